"""Which controls of a control rig move its limbs now: FK or IK, each limb by itself, as the rig's switches stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .controls import read_switches
from .ik import ik_mapping
from .mapping import Mapping, Switch

if TYPE_CHECKING:
    import bpy

LIMBS: dict[str, tuple[str, ...]] = {
    f"{side}_{name}": tuple(f"{side}_{joint}" for joint in joints)
    for side in "lr"
    for name, joints in (("arm", ("shoulder", "elbow", "wrist")), ("leg", ("hip", "knee", "ankle", "foot")))
}
"""Limb -> its joints."""


@dataclass(frozen=True)
class InCharge:
    """What moves a character's limbs.

    Attributes:
        mapping: the mapping with the IK controls of those limbs alone that are in IK; nothing is held at rest.
        ik: limbs that are in IK.
        idle: pole targets that have no effect now (a rig may let the limb's own control say where a knee points).
        between: limbs whose switch is neither here nor there.
        switches: the switches that were looked at.
    """

    mapping: Mapping
    ik: tuple[str, ...]
    idle: frozenset[str]
    between: tuple[str, ...]
    switches: tuple[Switch, ...]


def in_charge(armature: bpy.types.Object, mapping: Mapping) -> InCharge:
    """Look at the switches as they stand. A rig without known IK controls is in FK."""
    free = replace(mapping, hold=(), ik={**mapping.ik, "hold": ()} if mapping.ik else {})
    described = ik_mapping(free)
    if described is None:
        return InCharge(replace(free, ik={}), (), frozenset(), (), ())
    fk = {(s.bone, s.property, s.constraint): s for s in mapping.switches}
    conditions: dict[str, list[bool]] = {}
    modes: dict[str, list[float]] = {}
    for switch in described.switches:
        key = (switch.bone, switch.property, switch.constraint)
        row = next(iter(read_switches(armature, [switch])), None)
        if row is None:
            continue
        limb = _limb_of(armature, mapping, switch.bone)
        if key in fk and fk[key].value != switch.value:
            part = (row[2] - fk[key].value) / (switch.value - fk[key].value)  # 0 FK, 1 IK
            modes.setdefault(limb, []).append(float(part))
        else:
            conditions.setdefault(limb, []).append(abs(row[2] - switch.value) < 0.5)
    ik = tuple(limb for limb in LIMBS if limb in modes and min(modes[limb]) > 0.5)
    between = tuple(limb for limb, parts in modes.items() if any(0.01 < part < 0.99 for part in parts))
    joints = {joint for limb in ik for joint in LIMBS[limb]}
    poles = {bone: joint for bone, joint in described.poles.items() if joint in joints}
    controls = {bone: joint for bone, joint in described.controls.items() if joint in joints}
    idle = {
        bone
        for bone, joint in poles.items()
        if not all(conditions.get(next(limb for limb in ik if joint in LIMBS[limb]), [True]))
    }
    parts = {**free.ik, "controls": controls, "poles": poles}
    return InCharge(
        replace(free, ik=parts if ik else {}), ik, frozenset(idle), between, (*described.switches, *mapping.switches)
    )


def _limb_of(armature: bpy.types.Object, mapping: Mapping, bone: str) -> str:
    """The limb that a switch is for: the one whose joints lie nearest to the bone that carries it, in rest."""
    bones = armature.data.bones
    at = np.array(bones[bone].head_local)

    def away(limb: str) -> float:
        there = [mapping.deform[joint] for joint in LIMBS[limb] if joint in mapping.deform]
        return min((float(np.linalg.norm(np.array(bones[b].head_local) - at)) for b in there), default=np.inf)

    return min(LIMBS, key=away)
