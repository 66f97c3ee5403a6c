"""Sequence: the list of prompts, and making one motion of it."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty

from .. import compose, current, jobs, segments
from ..errors import UserError
from ..i18n import tip
from .running import JobOperator, SeedDice, report


class MGPT3_OT_sequence(JobOperator, bpy.types.Operator):
    """Make one motion of the listed prompts, from the current frame on, and set a marker where each one begins"""

    bl_idname = "mgpt3.sequence"
    bl_label = "Make Sequence"
    bl_options = {"UNDO"}

    create_mannequin: BoolProperty(
        name="Add Mannequin",
        description="Add the built-in mannequin where the scene has no character",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        request = context.scene.mgpt3_sequence.request()
        armature = current.character(context)
        return compose.sequence_job(request, context.scene, armature, create_mannequin=self.create_mannequin)


class MGPT3_OT_segment_add(bpy.types.Operator):
    """Add a segment after the active one, with the prompt and duration from above"""

    bl_idname = "mgpt3.segment_add"
    bl_label = "Add Segment"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        segments.add_segment(context.scene)
        return {"FINISHED"}


class _OnActive:
    """Mixin: an operator on the active segment."""

    bl_options = {"UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = context.scene.mgpt3_sequence
        if not 0 <= settings.active < len(settings.segments):
            cls.poll_message_set("Add a segment first")  # type: ignore[attr-defined]
            return False
        return True


class MGPT3_OT_segment_remove(_OnActive, bpy.types.Operator):
    """Remove the active segment"""

    bl_idname = "mgpt3.segment_remove"
    bl_label = "Remove Segment"

    def execute(self, context: bpy.types.Context) -> set[str]:
        segments.remove_segment(context.scene)
        return {"FINISHED"}


class MGPT3_OT_segment_duplicate(_OnActive, bpy.types.Operator):
    """Copy the active segment"""

    bl_idname = "mgpt3.segment_duplicate"
    bl_label = "Duplicate Segment"

    def execute(self, context: bpy.types.Context) -> set[str]:
        segments.duplicate_segment(context.scene)
        return {"FINISHED"}


class MGPT3_OT_segment_move(_OnActive, bpy.types.Operator):
    """Move the active segment in the list"""

    bl_idname = "mgpt3.segment_move"
    bl_label = "Move Segment"

    direction: EnumProperty(
        name="Direction",
        description="Where to",
        items=[("UP", "Up", "Let it come earlier"), ("DOWN", "Down", "Let it come later")],
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        earlier = properties.direction == "UP"
        return tip("Let the active segment come earlier" if earlier else "Let the active segment come later")

    def execute(self, context: bpy.types.Context) -> set[str]:
        moved = segments.move_segment(context.scene, -1 if self.direction == "UP" else 1)
        return {"FINISHED"} if moved else {"CANCELLED"}


class MGPT3_OT_sequence_dice(SeedDice, bpy.types.Operator):
    """Throw the dice: another seed for another take"""

    bl_idname = "mgpt3.sequence_dice"
    settings = "mgpt3_sequence"


class MGPT3_OT_sequence_reuse(bpy.types.Operator):
    """Take the segments, transition and seed of the motion that is shown over into the list"""

    bl_idname = "mgpt3.sequence_reuse"
    bl_label = "Use Shown Motion's List"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            segments.reuse(context.scene, current.action(context))
        except UserError as error:
            return report(self, error)
        return {"FINISHED"}


classes = (
    MGPT3_OT_sequence,
    MGPT3_OT_segment_add,
    MGPT3_OT_segment_remove,
    MGPT3_OT_segment_duplicate,
    MGPT3_OT_segment_move,
    MGPT3_OT_sequence_dice,
    MGPT3_OT_sequence_reuse,
)
