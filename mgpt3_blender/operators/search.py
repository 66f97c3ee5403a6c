"""Search: find actions by what they show, take them, describe what is not described. Blocking in background mode."""

from __future__ import annotations

import contextlib
from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import current, search, taking, transfer
from ..errors import UserError
from ..i18n import tip
from ..properties_search import FILE, LIBRARIES
from .running import APPLICABLE_MODES, in_applicable_mode, redraw
from .stepping import SLICE, StepOperator, remove_timer


class _Runs(StepOperator):
    """Mixin: an operator that begins a search or indexing. Nothing of the file is changed."""

    bl_options = {"INTERNAL"}
    kind = "search"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if search.busy():
            cls.poll_message_set("A search is under way")  # type: ignore[attr-defined]
            return False
        return True

    def current(self) -> Any:
        return search.view.run

    def step(self, run: Any, context: bpy.types.Context) -> bool:
        if isinstance(run, search.Indexing) and context.mode not in APPLICABLE_MODES:
            return False  # a rig in Edit Mode stands still: it goes on afterwards
        over = run.step(SLICE)
        search.show(context.window_manager)
        return over

    def stop(self) -> None:
        search.abandon()

    def refused(self, error: UserError) -> None:
        if error.code != "busy":
            search.view.error = error

    def end(self, context: bpy.types.Context) -> set[str]:
        error = search.conclude(context.window_manager)
        redraw(context)
        self.tell(error, search.summary())
        return {"FINISHED"} if error is None else {"CANCELLED"}


class MGPT3_OT_search(_Runs, bpy.types.Operator):
    """Find the actions that show what is typed, by meaning, not by name"""

    bl_idname = "mgpt3.search"
    bl_label = "Search"

    def begin(self, context: bpy.types.Context) -> None:
        search.start(context.scene.mgpt3_search.wanted(context))


class MGPT3_OT_search_index(_Runs, bpy.types.Operator):
    """Describe the actions that the search does not know yet. Nothing is written to any file"""

    bl_idname = "mgpt3.search_index"
    bl_label = "Index"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return in_applicable_mode(cls, context) and super().poll(context)

    def begin(self, context: bpy.types.Context) -> None:
        settings = context.scene.mgpt3_search
        files = search.unseen(settings.folders(context)) if settings.scope != FILE else []
        search.start_indexing(settings.scope != LIBRARIES, files, jobs=context.scene.mgpt3_library.jobs)

    def end(self, context: bpy.types.Context) -> set[str]:
        ended = super().end(context)
        if ended == {"FINISHED"} and context.scene.mgpt3_search.query.strip():
            line = search.view.line  # what was described, and what failed, stays shown beside what is found now
            with contextlib.suppress(RuntimeError):  # it cannot be searched now: the panel says why
                bpy.ops.mgpt3.search("INVOKE_DEFAULT")
            search.view.line = line
        return ended


class MGPT3_OT_search_cancel(bpy.types.Operator):
    """Stop searching or describing. What is described by then stays known"""

    bl_idname = "mgpt3.search_cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        search.stop()
        return {"FINISHED"}


class MGPT3_OT_search_take(bpy.types.Operator):
    """Let the character play the chosen action; one that is in another file is appended or linked first"""

    bl_idname = "mgpt3.search_take"
    bl_label = "Assign"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    assign: BoolProperty(
        name="Assign",
        description="Let the character play it. Off: only bring it into this file",
        default=True,
        options={"SKIP_SAVE"},
    )
    retarget: BoolProperty(
        name="Retarget",
        description="Put the motion on a character with another rig, as a new action from the current frame on",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        found = search.chosen(context.window_manager)
        if properties.retarget:
            return tip("Put the motion on the character, whose rig is another, as a new action from here on")
        if not properties.assign:
            return tip("Bring the chosen action into this file, without letting anybody play it")
        if found is None or not found.file:
            return tip("Let the character play the chosen action. The action it plays now stays in the file")
        return tip("Bring the chosen action into this file and let the character play it")

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not in_applicable_mode(cls, context):
            return False
        if search.chosen(context.window_manager) is None:
            cls.poll_message_set("Choose a motion in the list first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene = context.scene
        character = current.character(context)
        found = search.chosen(context.window_manager)
        assert found is not None
        try:
            if self.retarget and character is not None:
                outcome = transfer.transfer(found, character, scene, scene.mgpt3_rig.options(scene.mgpt3.clean_feet))
            else:
                outcome = taking.take(found, character, assign=self.assign, link=scene.mgpt3_search.link)
        except UserError as error:
            return _report(self, error)
        search.view.error, search.view.line = None, outcome.line
        self.report({"INFO"}, outcome.line)
        redraw(context)
        return {"FINISHED"}


class MGPT3_OT_search_library(bpy.types.Operator):
    """Search this asset library, or leave it out"""

    bl_idname = "mgpt3.search_library"
    bl_label = "Search Library"
    bl_options = {"UNDO", "INTERNAL"}

    library: StringProperty(name="Library", description="Name of the asset library", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.mgpt3_search
        settings.choose(self.library, not settings.chosen(self.library))
        return {"FINISHED"}


def _report(operator: bpy.types.Operator, error: UserError) -> set[str]:
    """Tell an error where the user looks: in this panel, not in the one above."""
    if error.code != "busy":
        search.view.error = error
    operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


classes = (
    MGPT3_OT_search,
    MGPT3_OT_search_index,
    MGPT3_OT_search_cancel,
    MGPT3_OT_search_take,
    MGPT3_OT_search_library,
)


def unregister() -> None:
    remove_timer(_Runs.kind)
