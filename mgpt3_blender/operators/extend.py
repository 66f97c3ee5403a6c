"""Continue and Make Loop: go on with a character's action, or make it a cycle."""

from __future__ import annotations

import bpy

from .. import current, jobs
from ..errors import UserError
from ..extend import extend_job
from ..looping import loop_character
from .running import JobOperator, SeedDice, may_make_motion, redraw, report


class MGPT3_OT_extend(JobOperator, bpy.types.Operator):
    """Go on with the character's action after its last keys, as further keys of the same action"""

    bl_idname = "mgpt3.extend"
    bl_label = "Continue Motion"
    bl_options = {"UNDO"}

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        return extend_job(context.scene.mgpt3_extend.request(), context.scene, current.needed(context))


class MGPT3_OT_make_loop(bpy.types.Operator):
    """Make a cycle of the character's action, as a new action: its end flows into its beginning"""

    bl_idname = "mgpt3.make_loop"
    bl_label = "Make Loop"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return may_make_motion(cls, context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            outcome = loop_character(current.needed(context), context.scene)
        except UserError as error:
            redraw(context)
            return report(self, error)
        jobs.view.error, jobs.view.note = None, ""
        jobs.view.line, jobs.view.warnings = outcome.line, tuple(outcome.warnings)
        self.report({"INFO"}, outcome.line)
        redraw(context)
        return {"FINISHED"}


class MGPT3_OT_extend_dice(SeedDice, bpy.types.Operator):
    """Throw the dice: another seed for another take"""

    bl_idname = "mgpt3.extend_dice"
    settings = "mgpt3_extend"


classes = (MGPT3_OT_extend, MGPT3_OT_make_loop, MGPT3_OT_extend_dice)
