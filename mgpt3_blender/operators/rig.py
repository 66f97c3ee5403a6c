"""The bone map's buttons: find the bones, choose one, mirror, reset, and presets of the user's own."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from .. import bonemap, current, jobs
from ..errors import RigError, UserError
from ..i18n import say, tip
from ..rig import userpresets
from ..rig.mapping import best_mapping, check_mapping
from ..rig.skeleton22 import JOINTS
from .running import in_applicable_mode, redraw, report

PROBLEMS = {"unknown_rig", "missing_bones", "bones_gone", "bones_missing", "bones_double"}
"""Errors about the bone map: settled as soon as the map is."""

_PARTS = [
    *((joint, bonemap.LABELS[joint], f"The bone of the {bonemap.LABELS[joint].lower()}") for joint in JOINTS),
    ("root", "Root Bone", "The bone that carries the whole character over the floor"),
]


def find_bones(armature: bpy.types.Object) -> str:
    """Look for the bones and store what was found; the line that says so.

    Raises RigError where the character is no one that can be driven; what was found of it is stored all the same.
    """
    bonemap.writable(armature)
    if armature.data.is_editmode:
        raise RigError("edit_mode", f'"{armature.name}" is in Edit Mode.', "Leave Edit Mode (Tab), then try again.")
    mapping = best_mapping(armature)
    bonemap.found(armature, mapping)
    check_mapping(mapping)
    return say(
        "Found {count} of {joints} bones: {summary}.",
        count=len(mapping.bones),
        joints=len(JOINTS),
        summary=bonemap.summary(armature),
    )


def active_bone(context: bpy.types.Context, armature: bpy.types.Object) -> bpy.types.Bone | None:
    """The bone that was clicked last in the character."""
    posed = context.active_pose_bone
    if posed is not None and posed.id_data == armature:
        return posed.bone
    return armature.data.bones.active


class _MapOperator:
    """Mixin: an operator on the character's bone map. `change` does it and returns the line that says what was done."""

    bl_options = {"UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not in_applicable_mode(cls, context):
            return False
        armature = current.character(context)
        if armature is None:
            cls.poll_message_set("Choose a character first")  # type: ignore[attr-defined]
            return False
        if bonemap.locked(armature):
            cls.poll_message_set("This character is linked: make a library override first")  # type: ignore[attr-defined]
            return False
        return True

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            line = self.change(context, current.needed(context))
        except UserError as error:
            redraw(context)
            return report(self, error)  # type: ignore[arg-type]
        if jobs.view.error is not None and jobs.view.error.code in PROBLEMS:
            jobs.view.error = None
        if line:
            self.report({"INFO"}, line)  # type: ignore[attr-defined]
        redraw(context)
        return {"FINISHED"}


class MGPT3_OT_bones_find(_MapOperator, bpy.types.Operator):
    """Look for the character's bones, by their names and by the shape of the skeleton. What you chose yourself stays"""

    bl_idname = "mgpt3.bones_find"
    bl_label = "Find Bones"

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        return find_bones(armature)

    def execute(self, context: bpy.types.Context) -> set[str]:
        result = super().execute(context)
        armature = current.character(context)
        if armature is not None and armature.mgpt3_bones.searched:
            return {"FINISHED"}  # also where bones are missing: that is shown now, and one undo takes it back
        return result


class MGPT3_OT_bones_pick(_MapOperator, bpy.types.Operator):
    """Use the bone that is active in the character's Pose Mode"""

    bl_idname = "mgpt3.bones_pick"
    bl_label = "Use the Active Bone"

    joint: EnumProperty(
        name="Part",
        description="Which part of the body",
        items=_PARTS,
        options={"SKIP_SAVE", "HIDDEN"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        part = "Root Bone" if properties.joint == "root" else bonemap.LABELS[properties.joint]
        return tip("Use the bone that is active in the character's Pose Mode as {part}", part=tip(part))

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        bone = active_bone(context, armature)
        if bone is None:
            raise UserError("no_bone", "No bone of the character is active.", "Click one in Pose Mode first.")
        bonemap.set_bone(armature, self.joint, bone.name)
        return ""


class MGPT3_OT_bones_release(_MapOperator, bpy.types.Operator):
    """You chose this bone. Forget that, and let it be found"""

    bl_idname = "mgpt3.bones_release"
    bl_label = "Let It Be Found"

    joint: StringProperty(name="Part", description="Which part of the body", options={"SKIP_SAVE", "HIDDEN"})

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        if self.joint not in (*JOINTS, "root"):
            raise UserError("no_joint", f'"{self.joint}" is no part of the body.', "Choose one in the panel.")
        bonemap.release(armature, self.joint)
        return ""


class MGPT3_OT_bones_mirror(_MapOperator, bpy.types.Operator):
    """Give the other side the bones that mirror this side's, by their names or by where they lie"""

    bl_idname = "mgpt3.bones_mirror"
    bl_label = "Mirror Bone Map"

    source: EnumProperty(
        name="How",
        description="Which side is taken over",
        items=[
            ("l", "Left to Right", "The left side is taken over"),
            ("r", "Right to Left", "The right side is taken over"),
            ("SWAP", "Swap Sides", "Left and right change places"),
        ],
        default="l",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.source == "SWAP":
            return tip("Let left and right change places, where the character's names have them the wrong way round")
        if properties.source == "l":
            return tip("Give the right side the bones that mirror the left side's, by their names or by where they lie")
        return tip("Give the left side the bones that mirror the right side's, by their names or by where they lie")

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        if self.source == "SWAP":
            return "" if bonemap.swap_sides(armature) else say("There is nothing to swap.")
        changed, without = bonemap.mirror_map(armature, self.source)
        if without:
            self.report({"WARNING"}, say("No bone mirrors these: {joints}.", joints=bonemap.name_joints(without)))
        if changed:
            return say("Mirrored: {joints}.", joints=bonemap.name_joints(changed))
        return "" if without else say("Both sides are alike already.")


class MGPT3_OT_bones_reset(_MapOperator, bpy.types.Operator):
    """Forget the character's bone map, also what you chose yourself. It is found anew when the next motion is made"""

    bl_idname = "mgpt3.bones_reset"
    bl_label = "Reset Bone Map"

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        bonemap.clear_map(armature)
        return ""


class MGPT3_OT_bones_save_preset(_MapOperator, bpy.types.Operator):
    """Save this bone map as a preset of your own, for other characters whose bones are named alike"""

    bl_idname = "mgpt3.bones_save_preset"
    bl_label = "Save Bone Map as Preset"
    bl_options = {"INTERNAL"}

    name: StringProperty(
        name="Name", description="What to call the preset", maxlen=userpresets.MAX_NAME, options={"SKIP_SAVE"}
    )
    overwrite: BoolProperty(
        name="Replace It", description="Replace the preset that has this name", options={"SKIP_SAVE"}
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        bonemap.refresh_presets()
        if not self.name:
            armature = current.character(context)
            self.name = armature.name[: userpresets.MAX_NAME] if armature is not None else ""
        return context.window_manager.invoke_props_dialog(self, confirm_text="Save")

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.prop(self, "name")
        if any(userpresets.same_name(preset.name, self.name) for preset in bonemap.view.presets):
            layout.label(text="There is a preset of this name already.", icon="ERROR")
            layout.prop(self, "overwrite")

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        bonemap.save_preset(armature, self.name, overwrite=self.overwrite)
        return say('Saved as the preset "{name}".', name=self.name.strip())


class MGPT3_OT_bones_load_preset(_MapOperator, bpy.types.Operator):
    """Choose the bones that this preset names. Parts that it names no bone for are found as usual"""

    bl_idname = "mgpt3.bones_load_preset"
    bl_label = "Use Bone Preset"

    file: StringProperty(name="File", description="The preset's file", options={"SKIP_SAVE", "HIDDEN"})

    def change(self, context: bpy.types.Context, armature: bpy.types.Object) -> str:
        count, named = bonemap.load_preset(armature, self.file)
        return say("Took {count} of {named} bones from the preset.", count=count, named=named)


class MGPT3_OT_bones_delete_preset(bpy.types.Operator):
    """Delete this preset of yours from the disk. Characters keep their bone maps"""

    bl_idname = "mgpt3.bones_delete_preset"
    bl_label = "Delete Bone Preset"
    bl_options = {"INTERNAL"}

    file: StringProperty(name="File", description="The preset's file", options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        name = next((preset.name for preset in bonemap.view.presets if preset.path.name == self.file), self.file)
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=say('Delete the preset "{name}"?', name=name),
            message="Characters keep the bone maps they have.",
            confirm_text="Delete",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            userpresets.delete(bonemap.preset_folder(), self.file)
        except UserError as error:
            return report(self, error)
        finally:
            bonemap.refresh_presets()
            redraw(context)
        return {"FINISHED"}


class MGPT3_OT_bones_presets(bpy.types.Operator):
    """Your own bone presets: use one, or delete it"""

    bl_idname = "mgpt3.bones_presets"
    bl_label = "Bone Presets"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        bonemap.refresh_presets()  # another Blender may have saved one; the menu itself looks nothing up
        if not bpy.app.background and context.window is not None:
            bpy.ops.wm.call_menu(name="MGPT3_MT_bone_presets")
        return {"FINISHED"}


classes = (
    MGPT3_OT_bones_find,
    MGPT3_OT_bones_pick,
    MGPT3_OT_bones_release,
    MGPT3_OT_bones_mirror,
    MGPT3_OT_bones_reset,
    MGPT3_OT_bones_save_preset,
    MGPT3_OT_bones_load_preset,
    MGPT3_OT_bones_delete_preset,
    MGPT3_OT_bones_presets,
)
