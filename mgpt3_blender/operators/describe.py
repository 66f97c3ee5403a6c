"""Describe: what the character does as a sentence, and what is done with it then."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, IntProperty

from .. import current, drafts, jobs, segmentmarkers
from ..describe import TITLE, Request, describe_job
from ..errors import UserError
from ..i18n import say, tip
from ..properties_describe import POSE, SCENE, WHOLE
from .running import JobOperator, redraw, report


class MGPT3_OT_describe(JobOperator, bpy.types.Operator):
    """Say in a sentence what the character does in its action, and measure what can be measured. Nothing is changed \
but the description"""

    bl_idname = "mgpt3.describe"
    bl_label = "Describe Motion"
    bl_options = {"UNDO"}

    which: EnumProperty(
        name="Frames",
        description="Which frames to describe",
        items=[
            ("PANEL", "As in the Panel", "What the panel Describe says"),
            (WHOLE, "Whole Action", "All frames of the character's action"),
            (SCENE, "Scene Range", "The frames that the scene plays: its preview range where that is on"),
        ],
        default="PANEL",
        options={"SKIP_SAVE"},
    )

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        jobs.prepare(TITLE)
        settings = context.scene.mgpt3_describe
        first, last = settings.frames("" if self.which == "PANEL" else self.which)
        return describe_job(Request(first, last, fast=context.scene.mgpt3.fast), context.scene, current.needed(context))


class _OnDescribed:
    """Mixin: an operator on the description of the character's action; `work` is what it does."""

    bl_options = {"UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if drafts.shown(current.character(context)) is None:
            cls.poll_message_set("Describe the character's action first")  # type: ignore[attr-defined]
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            self.work(context, current.needed(context))  # type: ignore[attr-defined]
        except UserError as error:
            jobs.prepare(TITLE)
            redraw(context)
            return report(self, error)  # type: ignore[arg-type]
        redraw(context)
        return {"FINISHED"}

    def tell(self, line: str, warnings: tuple[str, ...] = ()) -> None:
        """Say what was done, in the panel and where Blender says such things."""
        if not jobs.busy():  # what is under way has the panel to itself
            jobs.prepare(TITLE)
            jobs.view.line, jobs.view.warnings = line, warnings
        for warning in warnings:
            self.report({"WARNING"}, warning)  # type: ignore[attr-defined]
        self.report({"INFO"}, line)  # type: ignore[attr-defined]


class MGPT3_OT_description_take(_OnDescribed, bpy.types.Operator):
    """Take this sentence; the one above goes to its place"""

    bl_idname = "mgpt3.description_take"
    bl_label = "Take This Sentence"

    number: IntProperty(name="Number", description="Which alternative", min=0, options={"SKIP_SAVE", "HIDDEN"})

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        found, words = drafts.shown(current.character(context)), tip(cls.__doc__ or "")
        if found is None or properties.number >= len(found[1].alternatives):
            return words
        return f"{found[1].alternatives[properties.number].text}.\n{words}"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        drafts.take_alternative(drafts.need(character)[1], self.number)


class MGPT3_OT_description_prompt(_OnDescribed, bpy.types.Operator):
    """Copy the description to the prompt field at the top of the panel"""

    bl_idname = "mgpt3.description_prompt"
    bl_label = "Use as Prompt"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        drafts.use_as_prompt(context.scene, drafts.need(character)[1])
        self.tell("The description is the prompt now.")


class MGPT3_OT_description_sequence(_OnDescribed, bpy.types.Operator):
    """Make the list of the panel Sequence anew of these segments, each with its duration"""

    bl_idname = "mgpt3.description_sequence"
    bl_label = "Use as Sequence"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        drafts.use_as_sequence(context.scene, drafts.need(character)[1])
        self.tell("The segments are the list of the panel Sequence now.")


class MGPT3_OT_description_copy(_OnDescribed, bpy.types.Operator):
    """Copy the description to the clipboard"""

    bl_idname = "mgpt3.description_copy"
    bl_label = "Copy"
    bl_options = {"INTERNAL"}  # nothing in the file changes

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        context.window_manager.clipboard = drafts.need(character)[1].sentence
        self.tell("Copied.")


class MGPT3_OT_description_apply(_OnDescribed, bpy.types.Operator):
    """Write the description, the tags and what was measured into the action, where the Asset Browser shows them"""

    bl_idname = "mgpt3.description_apply"
    bl_label = "Apply to Action"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        settings = context.scene.mgpt3_describe
        done = drafts.apply(character, context.scene, overwrite=settings.overwrite, mark=settings.mark)
        self.tell(done.line, done.warnings)


class MGPT3_OT_description_markers(_OnDescribed, bpy.types.Operator):
    """Set a marker where each segment begins, with what happens there, in place of those set before"""

    bl_idname = "mgpt3.description_markers"
    bl_label = "Add Markers"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        pose = context.scene.mgpt3_describe.markers == POSE
        count = len(segmentmarkers.add(character, context.scene, pose=pose))
        words = "{count} pose markers set." if pose else "{count} markers set."
        self.tell(say(words, count=count))


class MGPT3_OT_description_markers_remove(_OnDescribed, bpy.types.Operator):
    """Take away the markers that Add Markers set; those that were moved or renamed stay"""

    bl_idname = "mgpt3.description_markers_remove"
    bl_label = "Remove Markers"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        segmentmarkers.remove(character, context.scene, pose=context.scene.mgpt3_describe.markers == POSE)
        self.tell("Markers removed.")


class MGPT3_OT_description_goto(_OnDescribed, bpy.types.Operator):
    """Go to the first frame of the active segment"""

    bl_idname = "mgpt3.description_goto"
    bl_label = "Go to Segment"

    def work(self, context: bpy.types.Context, character: bpy.types.Object) -> None:
        draft = drafts.need(character)[1]
        if 0 <= draft.active < len(draft.segments):
            context.scene.frame_set(draft.segments[draft.active].first)


def _draw_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.operator("mgpt3.describe", text="Describe Action").which = WHOLE


_MENUS = ("DOPESHEET_MT_action",)

classes = (
    MGPT3_OT_describe,
    MGPT3_OT_description_take,
    MGPT3_OT_description_prompt,
    MGPT3_OT_description_sequence,
    MGPT3_OT_description_copy,
    MGPT3_OT_description_apply,
    MGPT3_OT_description_markers,
    MGPT3_OT_description_markers_remove,
    MGPT3_OT_description_goto,
)


def register() -> None:
    for name in _MENUS:
        if hasattr(bpy.types, name):  # the menu is there from Blender 4.4 on
            getattr(bpy.types, name).append(_draw_menu)


def unregister() -> None:
    for name in _MENUS:
        if hasattr(bpy.types, name):
            getattr(bpy.types, name).remove(_draw_menu)
