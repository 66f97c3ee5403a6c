"""Control rigs: the constraints that carry a control's motion on, and the switches that put limbs in FK.

A control rig's bones do not hang from one another as a body does: helper bones in between copy rotations and
transforms. The solve follows those (read here, evaluated in rest.pose), so that a control rig needs a preset file and
no code of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .mapping import Switch
from .rest import Follow

if TYPE_CHECKING:
    import bpy

SWITCHES_BEFORE = "mgpt3_switches_before"
"""Custom property of a generated action: the switches as they stood, JSON [[bone, property, value], ...]."""

_SPACES = ("WORLD", "POSE")
_HARMLESS = {"COPY_SCALE", "LIMIT_SCALE", "MAINTAIN_VOLUME", "STRETCH_TO"}  # they leave a bone's head and aim alone


def _kind(constraint: bpy.types.Constraint) -> str | None:
    """The kind of Follow that a constraint is, or None when the solve cannot follow it."""
    if constraint.type == "COPY_ROTATION":
        whole = constraint.use_x and constraint.use_y and constraint.use_z
        turned = constraint.invert_x or constraint.invert_y or constraint.invert_z
        if whole and not turned and constraint.mix_mode == "REPLACE" and constraint.target_space in _SPACES:
            return "rotation"
    if constraint.type == "COPY_TRANSFORMS" and constraint.mix_mode == "REPLACE":
        return "transform" if constraint.target_space in _SPACES else None
    if constraint.type == "ARMATURE":
        return "armature" if len([t for t in constraint.targets if t.weight > 0.0]) == 1 else None
    return None


def _active(bone: bpy.types.PoseBone) -> list[bpy.types.Constraint]:
    return [c for c in bone.constraints if not c.mute and c.influence > 0.0]


def _target(armature: bpy.types.Object, constraint: bpy.types.Constraint) -> str | None:
    """Name of the bone of the same armature that a constraint looks at."""
    source = constraint
    if constraint.type == "ARMATURE":
        source = next((t for t in constraint.targets if t.weight > 0.0), None)
    if source is None or getattr(source, "target", None) != armature or not getattr(source, "subtarget", ""):
        return None
    return source.subtarget if source.subtarget in armature.pose.bones else None


def followed(armature: bpy.types.Object, bone: bpy.types.PoseBone) -> list[str]:
    """Names of the bones that `bone` follows through constraints the solve understands."""
    targets = [_target(armature, c) for c in _active(bone) if _kind(c)]
    return [target for target in targets if target]


def read_follows(
    armature: bpy.types.Object,
    bone: bpy.types.PoseBone,
    index: dict[str, int],
    warnings: list[str],
    keyed: bool,
) -> tuple[Follow, ...]:
    """The constraints of one bone as Follows; what cannot be followed is said in `warnings`."""
    out = []
    for constraint in _active(bone):
        kind, target = _kind(constraint), _target(armature, constraint)
        if kind and target in index and index[target] < index.get(bone.name, len(index)) and not keyed:
            out.append(Follow(kind, index[target], constraint.influence))
        elif keyed and constraint.type not in _HARMLESS:
            warnings.append(f'Bone "{bone.name}" has a {constraint.name} constraint that can override its keys.')
        # A local copy of a control that is not keyed (Rigify's hips and chest) adds that control's own pose, which
        # the animator set; it is left to them.
    return tuple(out)


def read_switches(armature: bpy.types.Object, switches: tuple[Switch, ...]) -> list[list]:
    """The switches as they stand now: [[bone, property, value], ...] of those that exist."""
    out = []
    for switch in switches:
        bone = armature.pose.bones.get(switch.bone)
        if bone is not None and switch.property in bone.keys():  # noqa: SIM118 - a bone is no dict
            out.append([switch.bone, switch.property, float(bone[switch.property])])
    return out


def set_switches(armature: bpy.types.Object, switches: list[list]) -> None:
    """Set switches given as [[bone, property, value], ...]; those that no longer exist are passed over."""
    for name, prop, value in switches:
        bone = armature.pose.bones.get(name)
        if bone is not None and prop in bone.keys():  # noqa: SIM118
            whole = isinstance(bone[prop], int)
            bone[prop] = round(value) if whole else float(value)
    armature.update_tag()


def switches_before(action: bpy.types.Action) -> list[list]:
    """The switches as they stood before a generated action was put on its character."""
    return json.loads(action.get(SWITCHES_BEFORE, "[]"))
