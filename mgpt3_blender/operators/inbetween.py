"""Fill between keyed poses: the button, another take, and the list of places to reach."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from .. import current, jobs
from ..between import fill_job, next_take
from ..properties_between import AROUND, SELECTED
from .running import APPLICABLE_MODES, JobOperator, SeedDice


def selected_bones(armature: bpy.types.Object) -> frozenset[str]:
    """Names of the character's selected bones."""
    own = "select" in bpy.types.PoseBone.bl_rna.properties  # from 5.0 on bones are selected by their pose
    return frozenset(b.name for b in armature.pose.bones if (b.select if own else b.bone.select))


class MGPT3_OT_fill_between(JobOperator, bpy.types.Operator):
    """Fill the frames between two keyed poses with motion. The keyed poses and everything outside stay as they are"""

    bl_idname = "mgpt3.fill_between"
    bl_label = "Fill Between"
    bl_options = {"UNDO"}

    which: EnumProperty(
        name="Fill",
        description="Which keyed poses to fill between",
        items=[
            ("PANEL", "As in the Panel", "What the panel Fill Between says"),
            (AROUND, "Around Frame", "Between the keyed poses before and after the current frame"),
            (SELECTED, "Selected Keys", "Between the key columns that are selected in the Dope Sheet"),
        ],
        default="PANEL",
        options={"SKIP_SAVE"},
    )

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        armature = current.needed(context)
        which = "" if self.which == "PANEL" else self.which
        request = context.scene.mgpt3_between.request(selected_bones(armature), which)
        return fill_job(armature, context.scene, request)


class MGPT3_OT_fill_next_take(JobOperator, bpy.types.Operator):
    """Fill the same gaps again with the next seed: another take, instead of the last one"""

    bl_idname = "mgpt3.fill_next_take"
    bl_label = "Next Take to Fill Between"
    bl_options = {"UNDO"}

    def make_job(self, context: bpy.types.Context) -> jobs.Job:
        armature, settings = current.needed(context), context.scene.mgpt3_between
        request = next_take(armature, settings.request(None))
        job = fill_job(armature, context.scene, request)
        settings.seed = request.seed
        return job


class MGPT3_OT_fill_seed_dice(SeedDice, bpy.types.Operator):
    """Throw the dice: another seed for another take"""

    bl_idname = "mgpt3.fill_seed_dice"
    settings = "mgpt3_between"


class MGPT3_OT_reach_add(bpy.types.Operator):
    """Add a place to reach: the active object for a hand, at the current frame"""

    bl_idname = "mgpt3.reach_add"
    bl_label = "Add Place to Reach"
    bl_options = {"UNDO", "INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.mgpt3_between
        entry = settings.targets.add()
        entry.frame = context.scene.frame_current
        active = context.view_layer.objects.active
        if active is not None and active != current.character(context) and active.type != "ARMATURE":
            entry.target = active
        settings.target_index = len(settings.targets) - 1
        return {"FINISHED"}


class MGPT3_OT_reach_remove(bpy.types.Operator):
    """Remove this place to reach"""

    bl_idname = "mgpt3.reach_remove"
    bl_label = "Remove Place to Reach"
    bl_options = {"UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = context.scene.mgpt3_between
        if not 0 <= settings.target_index < len(settings.targets):
            cls.poll_message_set("There is no place to reach yet")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.mgpt3_between
        settings.targets.remove(settings.target_index)
        settings.target_index = max(min(settings.target_index, len(settings.targets) - 1), 0)
        return {"FINISHED"}


def _draw_dope_sheet(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.operator("mgpt3.fill_between", text="Fill Between Selected Poses").which = SELECTED


def _draw_pose(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    if context.mode in APPLICABLE_MODES:
        menu.layout.separator()
        menu.layout.operator("mgpt3.fill_between", text="Fill Between Keyed Poses").which = AROUND


_MENUS = (
    ("DOPESHEET_MT_key", _draw_dope_sheet),
    ("DOPESHEET_MT_context_menu", _draw_dope_sheet),
    ("VIEW3D_MT_pose", _draw_pose),
)

classes = (
    MGPT3_OT_fill_between,
    MGPT3_OT_fill_next_take,
    MGPT3_OT_fill_seed_dice,
    MGPT3_OT_reach_add,
    MGPT3_OT_reach_remove,
)


def register() -> None:
    for name, draw in _MENUS:
        getattr(bpy.types, name).append(draw)


def unregister() -> None:
    for name, draw in _MENUS:
        getattr(bpy.types, name).remove(draw)
