"""Control rigs: what carries a control's motion on, and what has to be switched for the keyed bones to count.

A control rig's bones do not hang from one another as a body does: helper bones in between copy rotations and
transforms. The solve follows those (read here, evaluated in rest.pose), so that a control rig needs a preset file and
no code of its own. What decides between the keys and something else is a switch: a custom property that the preset
names (IK/FK), or a constraint found here that would override keyed bones. Switches are set *and* keyed, noted on the
action as they stood before, and set back with it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..action import fcurves
from . import ik
from .keys import STRETCH, switch_curve
from .mapping import Mapping, Switch
from .options import FK, IK
from .overriding import overriding
from .rest import Follow, Rig, read_rig

if TYPE_CHECKING:
    import bpy

SWITCHES_BEFORE = "mgpt3_switches_before"
"""Custom property of a generated action: the switches as they stood, JSON. Each is [bone, property, value], or
[bone, "", influence, constraint]."""

_SPACES = ("WORLD", "POSE")
_AXES = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}
_IGNORED = {"LIMIT_ROTATION", "LIMIT_LOCATION", "LIMIT_SCALE", "LIMIT_DISTANCE", "MAINTAIN_VOLUME", "COPY_SCALE"}
"""Constraints on helper bones that change nothing while the controls stay in their usual range."""


@dataclass(frozen=True)
class Plan:
    """What has to happen around the keys on one character.

    Attributes:
        limbs: "FK" or "IK", as it will be.
        switches: to set and key, custom properties and constraints.
        hold: controls kept at rest by one key.
        bones: further bones that read_rig has to read.
        warnings: one sentence each.
        solving: switches to have set while the rig is read for the solve, which poses FK bones also for IK.
    """

    limbs: str
    switches: tuple[Switch, ...]
    hold: tuple[str, ...]
    bones: tuple[str, ...]
    warnings: tuple[str, ...]
    solving: tuple[Switch, ...] = ()


def plan(armature: bpy.types.Object, mapping: Mapping, limbs: str = FK) -> Plan:
    """Decide how a character's limbs are keyed and what is switched for it. Changes nothing.

    A rig whose preset describes no IK controls is keyed in FK whatever is asked for, with a warning where it has
    controls at all.
    """
    warnings: list[str] = []
    controls = ik.ik_mapping(mapping) if limbs == IK else None
    if limbs == IK and controls is None and mapping.is_control_rig:
        warnings.append(f"{mapping.preset}: its IK controls are not known to me; the FK controls are keyed.")
    if controls is None:
        keyed = {*mapping.bones.values(), *mapping.also, *mapping.spine, *mapping.neck}
        found = overriding(armature, keyed, _noted(armature), between=not mapping.is_control_rig)
        switches = _real(armature, mapping.switches + found.switches)
        return Plan(FK, switches, mapping.hold, (), (*warnings, *found.warnings), switches)
    found = overriding(armature, {*controls.keep, *controls.controls, *controls.poles}, _noted(armature))
    return Plan(
        IK,
        _real(armature, controls.switches + found.switches + _stretching(armature, controls.poles)),
        controls.hold,
        (*controls.controls, *controls.poles),
        (*warnings, *found.warnings),
        _real(armature, mapping.switches + found.switches),
    )


def read(armature: bpy.types.Object, mapping: Mapping, plan: Plan) -> tuple[Rig, Rig]:
    """The rig as the solve needs it (its FK bones in charge), and as the keys need it. Changes nothing.

    The two differ for IK only: helper bones follow other bones when the switches stand otherwise.
    """
    rig = _read(armature, mapping, plan.solving, ())
    return rig, rig if plan.limbs == FK else _read(armature, mapping, plan.switches, plan.bones)


def _read(armature: bpy.types.Object, mapping: Mapping, switches: Iterable[Switch], more: tuple[str, ...]) -> Rig:
    """The rig as it is with switches set; they are set for it only where a bone that is read depends on them."""
    off = {(switch.bone, switch.constraint) for switch in switches if switch.constraint and switch.value == 0.0}
    rig = read_rig(armature, mapping, more, off)
    names = {bone.name for bone in rig.bones}
    paths = {switch_curve(switch, 0.0).path for switch in switches if not switch.constraint}
    data = armature.animation_data
    for curve in data.drivers if data is not None else ():
        name = curve.data_path.partition('pose.bones["')[2].partition('"]')[0]
        if name in names and any(t.data_path in paths for v in curve.driver.variables for t in v.targets):
            with switched(armature, switches):
                return read_rig(armature, mapping, more, off)
    return rig


def _real(armature: bpy.types.Object, switches: Iterable[Switch]) -> tuple[Switch, ...]:
    """The switches that exist on this character, each once."""
    one = {(s.bone, s.property, s.constraint): s for s in reversed(tuple(switches)) if _entry(armature, s) is not None}
    return tuple(reversed(one.values()))


def _stretching(armature: bpy.types.Object, poles: Container[str]) -> tuple[Switch, ...]:
    """Switches that keep IK chains from stretching: a solver that may stretch a nearly straight limb leaves it bent.

    The chains are those with one of `poles`; the targets of a solved motion are always within reach.
    """
    out: list[Switch] = []
    for bone in armature.pose.bones:
        for constraint in bone.constraints:
            if constraint.type != "IK" or not constraint.use_stretch or constraint.pole_subtarget not in poles:
                continue
            link, count = bone if constraint.use_tail else bone.parent, constraint.chain_count
            while link is not None and (count > 0 or constraint.chain_count == 0):
                if link.ik_stretch > 0.0 or any(row[:2] == [link.name, STRETCH] for row in _noted(armature)):
                    out.append(Switch(link.name, STRETCH, 0.0))
                link, count = link.parent, count - 1
    return tuple(dict.fromkeys(out))


def _kind(constraint: bpy.types.Constraint) -> str | None:
    """The kind of Follow that a constraint is, or None when the solve cannot follow it."""
    c = constraint
    if c.type == "ARMATURE":
        return "carry"
    if c.type == "CHILD_OF":
        parts = (f"use_{part}_{axis}" for part in ("location", "rotation", "scale") for axis in "xyz")
        return "carry" if all(getattr(c, part) for part in parts) else None
    if c.type == "DAMPED_TRACK" or c.type == "STRETCH_TO":
        return "aim"
    kind = {
        "COPY_ROTATION": "rotation",
        "COPY_TRANSFORMS": "transform",
        "COPY_LOCATION": "location",
        "COPY_SCALE": "scale",
    }.get(c.type)
    if kind is None:
        return None
    if c.type != "COPY_TRANSFORMS":
        inverted = any(getattr(c, f"invert_{axis}", False) for axis in "xyz")
        if inverted or not (c.use_x and c.use_y and c.use_z) or getattr(c, "use_offset", False):
            return None
    if getattr(c, "mix_mode", "REPLACE") != "REPLACE":
        return None
    if c.target_space in _SPACES and c.owner_space in _SPACES:
        return kind
    local = c.target_space == "LOCAL" and c.owner_space == "LOCAL" and kind in ("rotation", "transform")
    return f"local {kind}" if local else None


def _active(bone: bpy.types.PoseBone, off: Container[tuple[str, str]]) -> list[bpy.types.Constraint]:
    return [c for c in bone.constraints if not c.mute and c.influence > 0.0 and (bone.name, c.name) not in off]


def _targets(armature: bpy.types.Object, constraint: bpy.types.Constraint) -> list[tuple[str, float]] | None:
    """(Bone of the same armature, weight) of what a constraint looks at; None where it looks elsewhere.

    Weights add up to 1, and targets without weight are left out.
    """
    if constraint.type == "ARMATURE":
        entries = [(t.target, t.subtarget, t.weight) for t in constraint.targets if t.weight > 0.0]
    else:
        entries = [(constraint.target, constraint.subtarget, 1.0)]
    total = sum(weight for _, _, weight in entries)
    bones = armature.pose.bones
    if not entries or any(target != armature or name not in bones for target, name, _ in entries):
        return None
    return [(name, weight / total) for _, name, weight in entries]


def followed(
    armature: bpy.types.Object, bone: bpy.types.PoseBone, keyed: bool = False, off: Container[tuple[str, str]] = ()
) -> list[str]:
    """Names of the bones that `bone` follows through constraints the solve understands.

    A bone that gets keys follows only what carries it as a whole. `off`: as in read_rig.
    """
    kinds = [(c, _kind(c)) for c in _active(bone, off)]
    return [
        name for c, kind in kinds if kind == "carry" or (kind and not keyed) for name, _ in _targets(armature, c) or ()
    ]


def read_follows(
    armature: bpy.types.Object,
    bone: bpy.types.PoseBone,
    index: dict[str, int],
    lost: list[str],
    own: Collection[str],
    still: Container[str] = (),
    off: Container[tuple[str, str]] = (),
) -> tuple[Follow, ...]:
    """The constraints of one bone as Follows.

    Args:
        index: bones read so far, name -> index.
        lost: gets "constraint on bone" for each that moves a helper bone but cannot be followed.
        own: bones that get keys. Only what carries such a bone as a whole counts; the rest is `overriding`'s.
        still: bones kept at rest; a copy of their own (local) pose changes nothing.
        off: as in read_rig.
    """
    out = []
    keyed = bone.name in own
    for constraint in _active(bone, off):
        if _rests(armature, constraint, own, still):
            continue
        kind, targets = _kind(constraint), None
        if kind:
            targets = _targets(armature, constraint)
        if not targets or any(name not in index for name, _ in targets):
            solved = constraint.type == "IK" and {constraint.subtarget, constraint.pole_subtarget} & set(own)
            aimless = getattr(constraint, "target", bone) is None
            if not (keyed or solved or aimless or constraint.type in _IGNORED):
                lost.append(f'{constraint.name} on "{bone.name}"')
        elif kind == "carry":
            if not keyed or constraint.influence >= 1.0:
                ids = tuple((index[name], weight) for name, weight in targets)
                offsets = tuple(_offset(armature, constraint, name) for name, _ in targets)
                out.append(Follow("carry", ids[0][0], constraint.influence, ids, offsets))
        elif not keyed:
            axis = (0.0, 1.0, 0.0)
            if constraint.type == "DAMPED_TRACK":
                sign = -1.0 if "NEGATIVE" in constraint.track_axis else 1.0
                axis = tuple(sign * v for v in _AXES[constraint.track_axis[-1]])
            along = float(getattr(constraint, "head_tail", 0.0)) if kind != "rotation" else 0.0
            out.append(Follow(kind, index[targets[0][0]], constraint.influence, axis=axis, along=along))
    return tuple(out)


def _rests(
    armature: bpy.types.Object, constraint: bpy.types.Constraint, own: Collection[str], still: Container[str]
) -> bool:
    """Whether a constraint copies the own pose of a bone that has none: it changes nothing then."""
    if getattr(constraint, "target_space", "") != "LOCAL":
        return False
    name = getattr(constraint, "subtarget", "")
    if name in still:
        return True
    target = armature.pose.bones.get(name)
    return target is not None and name not in own and np.abs(np.array(target.matrix_basis) - np.eye(4)).max() < 1e-5


def _offset(armature: bpy.types.Object, constraint: bpy.types.Constraint, name: str) -> np.ndarray:
    """(4, 4) what a carrier's pose matrix is multiplied by to give the motion of what it carries, armature space."""
    if constraint.type == "ARMATURE":
        return np.linalg.inv(np.array(armature.data.bones[name].matrix_local))
    inverse = np.array(constraint.inverse_matrix)
    if constraint.owner_space == "POSE":  # what Blender sets for bones: all of it happens in armature space
        return inverse
    return inverse @ np.array(armature.matrix_world)


def _entry(armature: bpy.types.Object, switch: Switch) -> list | None:
    """A switch as it stands now, or None where it does not exist."""
    bone = armature.pose.bones.get(switch.bone)
    if bone is None:
        return None
    if switch.constraint:
        constraint = bone.constraints.get(switch.constraint)
        return [switch.bone, "", float(constraint.influence), switch.constraint] if constraint is not None else None
    if switch.property == STRETCH:
        return [switch.bone, STRETCH, float(bone.ik_stretch)]
    if switch.property in bone.keys():  # noqa: SIM118 - a bone is no dict
        return [switch.bone, switch.property, float(bone[switch.property])]
    return None


def read_switches(armature: bpy.types.Object, switches: Iterable[Switch]) -> list[list]:
    """The switches as they stand now, as in SWITCHES_BEFORE, of those that exist."""
    return [entry for switch in switches if (entry := _entry(armature, switch)) is not None]


def set_switches(armature: bpy.types.Object, switches: Iterable[Switch | list]) -> None:
    """Set switches, given as such or as in SWITCHES_BEFORE; those that no longer exist are passed over."""
    for switch in switches:
        row = [switch.bone, switch.property, switch.value, switch.constraint] if isinstance(switch, Switch) else switch
        name, prop, value, constraint = (*row, "")[:4]
        bone = armature.pose.bones.get(name)
        if bone is None:
            continue
        if constraint:
            if constraint in bone.constraints:
                bone.constraints[constraint].influence = value
        elif prop == STRETCH:
            bone.ik_stretch = value
        elif prop in bone.keys():  # noqa: SIM118
            kind = type(bone[prop])
            bone[prop] = kind(value) if kind is bool else round(value) if kind is int else float(value)
    armature.update_tag()


@contextmanager
def switched(armature: bpy.types.Object, switches: Iterable[Switch]) -> Iterator[None]:
    """Have switches set for a moment, drivers that hang on them included; they stand as before afterwards.

    How helper bones follow depends on them (the IK parent of a toe), so the rig is read with the switches set.
    """
    before = read_switches(armature, switches)
    wanted = {(s.bone, s.property, s.constraint): s.value for s in switches}
    layer = _layer(armature)
    if layer is None or all(wanted[row[0], row[1], (*row, "")[3]] == row[2] for row in before):
        yield
        return
    set_switches(armature, switches)
    layer.update()
    try:
        yield
    finally:
        set_switches(armature, before)
        layer.update()


def _layer(armature: bpy.types.Object) -> bpy.types.ViewLayer | None:
    import bpy

    layer = bpy.context.view_layer
    return layer if layer is not None and armature.name in layer.objects else None


def _noted(armature: bpy.types.Object) -> list[list]:
    """What the generated action that plays now notes about the switches before it; [] where none plays."""
    data = armature.animation_data
    return switches_before(data.action) if data is not None and data.action is not None else []


def note_switches(action: bpy.types.Action, armature: bpy.types.Object, switches: Iterable[Switch]) -> None:
    """Note on a new action how its switches stand before it is put on, so that `remove_motion` can set them back.

    Call it while the earlier action still plays and before the switches are set: what an earlier motion has switched
    counts as it stood before that one.
    """
    earlier = {(row[0], row[1], *row[3:]): row for row in _noted(armature)}
    now = {(row[0], row[1], *row[3:]): row for row in read_switches(armature, switches)}
    rows = list({**now, **earlier}.values())
    if rows:
        action[SWITCHES_BEFORE] = json.dumps(rows)


def restore_switches(armature: bpy.types.Object, before: Iterable[list]) -> None:
    """Set switches back to what a removed action noted, or to what the action that plays now keys them to."""
    import bpy

    rows = [[*row, ""][:4] for row in before]
    data = armature.animation_data
    if data is not None and data.action is not None:
        curves = {curve.data_path: curve for curve in fcurves(data.action, armature)}
        for row in rows:
            curve = curves.get(switch_curve(Switch(row[0], row[1], row[2], row[3]), 0.0).path)
            if curve is not None:
                row[2] = curve.evaluate(bpy.context.scene.frame_current)
    set_switches(armature, rows)


def switches_before(action: bpy.types.Action) -> list[list]:
    """The switches as they stood before a generated action was put on its character; what is no such note is none."""
    try:
        rows = json.loads(str(action.get(SWITCHES_BEFORE, "[]")))
    except ValueError:
        return []
    kinds = (str, str, int | float, str)
    return [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list) and len(row) in (3, 4) and all(map(isinstance, row, kinds))
    ]
