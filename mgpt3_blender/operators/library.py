"""Describe many actions: preview, write, cancel. Modal in a window, blocking in background mode."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty

from .. import library
from ..errors import UserError
from ..i18n import say
from .running import APPLICABLE_MODES, in_applicable_mode, redraw
from .stepping import SLICE, StepOperator, remove_timer


class _Runs(StepOperator):
    """Mixin: an operator that describes many actions."""

    kind = "library"
    writes = False

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if library.busy():
            cls.poll_message_set("A library is being described")  # type: ignore[attr-defined]
            return False
        return in_applicable_mode(cls, context)

    def current(self) -> Any:
        return library.view.run

    def step(self, run: Any, context: bpy.types.Context) -> bool:
        return run.step(SLICE, may_write=context.mode in APPLICABLE_MODES)

    def stop(self) -> None:
        library.reset()

    def refused(self, error: UserError) -> None:
        library.view.error, library.view.line = error, ""

    def end(self, context: bpy.types.Context) -> set[str]:
        run = library.view.run
        error = library.conclude(context)
        redraw(context)
        changed = self.writes and run is not None and getattr(run, "changed", False)
        self.tell(error, library.view.line)
        return {"FINISHED"} if changed or error is None else {"CANCELLED"}


class MGPT3_OT_library_preview(_Runs, bpy.types.Operator):
    """Describe the actions and show what would be written. Nothing is changed"""

    bl_idname = "mgpt3.library_preview"
    bl_label = "Preview"
    bl_options = {"INTERNAL"}

    resume: BoolProperty(
        name="Resume",
        description="Go on where the last preview of this library was stopped",
        default=False,
        options={"SKIP_SAVE"},
    )
    scope: EnumProperty(
        name="Scope",
        description="Which actions are described",
        items=[("PANEL", "As in the Panel", "What the panel says"), (library.SELECTED, "Selected", "Selected actions")],
        default="PANEL",
        options={"SKIP_SAVE"},
    )

    def begin(self, context: bpy.types.Context) -> None:
        if self.scope != "PANEL":
            context.scene.mgpt3_library.scope = self.scope
        library.start(context, write=False, resume=self.resume)


class MGPT3_OT_library_write(_Runs, bpy.types.Operator):
    """Write the ticked descriptions. In this file one undo takes them back; other files are replaced as a whole"""

    bl_idname = "mgpt3.library_write"
    bl_label = "Write Descriptions"
    bl_options = {"UNDO", "INTERNAL"}
    writes = True

    resume: BoolProperty(
        name="Resume",
        description="Go on where writing to this library was stopped",
        default=False,
        options={"SKIP_SAVE"},
    )

    def begin(self, context: bpy.types.Context) -> None:
        library.start(context, write=True, resume=self.resume)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        settings = context.scene.mgpt3_library
        if settings.scope not in (library.LIBRARY, library.FOLDER):
            return self.execute(context)
        ticked = [row.file for row in context.window_manager.mgpt3_library_rows if row.use]
        words = say(
            "{count} descriptions into {files} files. Undo does not reach other files.",
            count=len(ticked),
            files=len(set(ticked)),
        )
        return context.window_manager.invoke_confirm(
            self, event, title="Write Descriptions", message=words, confirm_text="Write"
        )


class MGPT3_OT_library_cancel(bpy.types.Operator):
    """Stop describing. What is done in a library stays done, and Resume goes on from there"""

    bl_idname = "mgpt3.library_cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not library.busy():
            cls.poll_message_set("No library is being described")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        library.stop()  # the operator that is under way takes in the end
        return {"FINISHED"}


class MGPT3_OT_library_tick(bpy.types.Operator):
    """Tick all descriptions that would change something, or none"""

    bl_idname = "mgpt3.library_tick"
    bl_label = "Tick"
    bl_options = {"INTERNAL"}

    on: BoolProperty(name="On", description="Tick instead of untick", default=True, options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        for row in context.window_manager.mgpt3_library_rows:
            row.use = self.on and row.status in ("described", "kept")
        return {"FINISHED"}


def _in_menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator("mgpt3.library_preview", text="Describe Selected Actions").scope = library.SELECTED


classes = (MGPT3_OT_library_preview, MGPT3_OT_library_write, MGPT3_OT_library_cancel, MGPT3_OT_library_tick)
_MENUS = ("ASSETBROWSER_MT_context_menu",)


@persistent
def _after_load(*_: object) -> None:
    """The table was about the file that is gone."""
    library.reset()
    bpy.context.window_manager.mgpt3_library_rows.clear()


def register() -> None:
    bpy.app.handlers.load_post.append(_after_load)
    for name in _MENUS:
        menu = getattr(bpy.types, name, None)
        if menu is not None:
            menu.append(_in_menu)


def unregister() -> None:
    library.reset()
    remove_timer(_Runs.kind)
    if _after_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_after_load)
    for name in _MENUS:
        menu = getattr(bpy.types, name, None)
        if menu is not None:
            menu.remove(_in_menu)
