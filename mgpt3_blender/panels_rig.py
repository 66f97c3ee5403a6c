"""Sub-panels of the tab: the bone map, how motions go onto the character, and how well the shown one arrived.

Drawing looks up bones by name and nothing else: finding them is a button's work.
"""

from __future__ import annotations

from functools import lru_cache

import bpy

from . import bonemap, current
from .drawing import draw_error, draw_text
from .errors import UserError
from .i18n import say
from .panels_shared import CharacterPanel, draw_choice
from .rig.report import PROPERTY, Report
from .rig.skeleton22 import INDEX

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Torso", ("pelvis", "spine1", "spine2", "spine3", "neck", "head")),
    ("Left Arm", ("l_collar", "l_shoulder", "l_elbow", "l_wrist")),
    ("Right Arm", ("r_collar", "r_shoulder", "r_elbow", "r_wrist")),
    ("Left Leg", ("l_hip", "l_knee", "l_ankle", "l_foot")),
    ("Right Leg", ("r_hip", "r_knee", "r_ankle", "r_foot")),
)
ICONS = {
    bonemap.OK: "CHECKMARK",
    bonemap.GUESSED: "QUESTION",
    bonemap.MISSING: "ERROR",
    bonemap.OPTIONAL: "RADIOBUT_OFF",
    bonemap.GONE: "ERROR",
    bonemap.DOUBLE: "ERROR",
}
RED = {bonemap.MISSING, bonemap.GONE, bonemap.DOUBLE}
"""States that are drawn in red."""
WORDS = {
    bonemap.MISSING: "Needed: choose its bone",
    bonemap.GONE: "No longer in the armature",
    bonemap.DOUBLE: "The same bone twice",
}
"""What is written below a line that needs attention."""
_LEVELS = {"ok": "CHECKMARK", "warn": "ERROR", "bad": "CANCEL"}
_FIND = [("mgpt3.bones_find", "Find Bones", {})]
_REMEDIES = dict.fromkeys(("bones_gone", "bones_missing", "bones_double"), _FIND)


def draw_map_problem(layout: bpy.types.UILayout, armature: bpy.types.Object | None) -> bool:
    """What is wrong with a character's bone map, with the button that helps; nothing where nothing is.

    Returns whether there was something to draw.
    """
    problem: UserError | None = bonemap.problem(armature) if armature is not None else None
    if problem is None:
        return False
    draw_error(layout, problem, _REMEDIES)
    return True


class MGPT3_PT_bone_map(CharacterPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_bone_map"
    bl_label = "Bone Map"

    def draw_header(self, context: bpy.types.Context) -> None:
        armature = current.character(context)
        if armature is not None and bonemap.problem(armature) is not None:
            self.layout.label(text="", icon="ERROR")

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        armature = current.character(context)
        if armature is None:
            return
        stored = armature.mgpt3_bones
        row = layout.row(align=True)
        row.operator("mgpt3.bones_find", icon="VIEWZOOM")
        row.operator("mgpt3.bones_presets", text="", icon="PRESET")
        row.operator("mgpt3.bones_reset", text="", icon="LOOP_BACK")
        if stored.searched:
            column = layout.column(align=True)
            draw_text(column, bonemap.summary(armature), "INFO")
            for warning in bonemap.texts(stored.warnings):
                draw_text(column, warning, "ERROR")
        else:
            draw_text(layout, "Bones are found when a motion is made, or now.", "INFO")
        column = layout.column()
        column.enabled = not bonemap.locked(armature)
        states = bonemap.states(armature)
        for title, joints in GROUPS:
            group = column.column(align=True)
            group.label(text=title)
            for joint in joints:
                is_now = states[joint]
                if not stored.searched and is_now == bonemap.MISSING:
                    is_now = bonemap.OPTIONAL  # not looked for yet: nothing to be red about
                by_hand = stored.by_hand[INDEX[joint]]
                label = bonemap.LABELS[joint].removeprefix("Left ").removeprefix("Right ")  # the title tells the side
                _draw_bone(group, armature, joint, label, is_now, by_hand)
        group = column.column(align=True)
        group.label(text="On the Ground")
        lost = bool(stored.root) and stored.root not in armature.data.bones
        is_now = bonemap.GONE if lost else (bonemap.OK if stored.root else bonemap.OPTIONAL)
        _draw_bone(group, armature, "root", "Root Bone", is_now, stored.root_by_hand)
        for name in ("spine", "neck"):
            bones = bonemap.texts(getattr(stored, f"{name}_chain"))
            if len(bones) > 1:
                draw_text(group, f"{say(name.capitalize())}: {', '.join(bones)}", translate=False)
        row = layout.row(align=True)
        row.operator("mgpt3.bones_mirror", text="Left to Right", icon="MOD_MIRROR").source = "l"
        row.operator("mgpt3.bones_mirror", text="Right to Left").source = "r"
        row.operator("mgpt3.bones_mirror", text="", icon="ARROW_LEFTRIGHT").source = "SWAP"
        layout.operator("mgpt3.bones_save_preset", text="Save as Preset...", icon="FILE_TICK")


def _draw_bone(
    layout: bpy.types.UILayout, armature: bpy.types.Object, joint: str, label: str, is_now: str, by_hand: bool
) -> None:
    """One line: the state, the part of the body, its bone, and buttons to choose it or to let it be found."""
    line = layout.row(align=True)
    line.alert = is_now in RED
    parts = line.split(factor=0.42, align=True)
    parts.label(text=label, icon=ICONS[is_now])
    field = parts.row(align=True)
    field.prop_search(armature.mgpt3_bones, joint, armature.data, "bones", text="")
    field.operator("mgpt3.bones_pick", text="", icon="EYEDROPPER").joint = joint
    if by_hand:
        field.operator("mgpt3.bones_release", text="", icon="X").joint = joint
    if is_now in WORDS:
        below = layout.row()
        below.alert = is_now in RED
        below.label(text=WORDS[is_now], icon="BLANK1")


class MGPT3_MT_bone_presets(bpy.types.Menu):
    """The user's own presets: a click takes one, the cross beside it deletes it."""

    bl_idname = "MGPT3_MT_bone_presets"
    bl_label = "Bone Presets"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        if not bonemap.view.presets:
            layout.label(text="You have saved no presets yet.", icon="INFO")
        layout.operator_context = "INVOKE_DEFAULT"
        for preset in bonemap.view.presets:
            row = layout.row(align=True)
            if preset.problem:
                row.label(text=preset.problem, icon="ERROR", translate=False)
            else:
                row.operator("mgpt3.bones_load_preset", text=preset.name, translate=False).file = preset.path.name
            row.operator("mgpt3.bones_delete_preset", text="", icon="X").file = preset.path.name


class MGPT3_PT_on_character(CharacterPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_on_character"
    bl_label = "On the Character"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        armature = current.character(context)
        if armature is None:
            return
        settings, stored = context.scene.mgpt3_rig, armature.mgpt3_bones
        layout.use_property_split = True
        layout.use_property_decorate = False
        if stored.controls or not stored.searched:  # a rig without controls has no choice
            row = layout.row()
            row.active = stored.ik or not stored.searched
            row.prop(settings, "limbs", expand=True)
        row = layout.row()
        row.active = bool(stored.root) or not stored.searched
        row.prop(settings, "root", expand=True)
        column = layout.column(heading="Motion")
        column.prop(settings, "in_place")
        column.prop(settings, "loop")
        column = layout.column(heading="Reach")
        column.prop(settings, "hands", text="Hands")
        column.prop(settings, "feet", text="Feet")
        column = layout.column(heading="Fingers")
        column.prop(settings, "relaxed_hands")
        draw_choice(layout, settings, "floor", "Floor")


@lru_cache(maxsize=8)
def report_lines(text: str) -> tuple[tuple[str, str, str], ...]:
    """A report as it is kept on an action -> (what, in words, "ok" | "warn" | "bad"); none where it is unreadable."""
    report = Report.from_json(text)
    return () if report == Report() else tuple(report.lines())


def _shown_report(context: bpy.types.Context) -> str:
    """The report on the motion that the character plays, "" where it has none."""
    action = current.action(context)
    text = action.get(PROPERTY, "") if action is not None else ""
    return text if isinstance(text, str) else ""


class MGPT3_PT_result_check(CharacterPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_result_check"
    bl_label = "Result Check"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return bool(_shown_report(context))

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        lines = report_lines(_shown_report(context))
        if not lines:
            draw_text(layout, "The report on this motion cannot be read.", "INFO")
        for label, value, level in lines:
            column = layout.column(align=True)
            column.alert = level == "bad"
            draw_text(column, f"{say(label)}: {say(value)}", _LEVELS.get(level, "DOT"))


classes = (MGPT3_PT_result_check, MGPT3_PT_on_character, MGPT3_PT_bone_map, MGPT3_MT_bone_presets)
