"""IK controls that reproduce a pose: hands, feet and pole targets from the finished FK solution. NumPy only.

A control takes the orientation and the place that the FK bone of its joint has; its own rest offset and axes are kept.
A pole target lies in the plane of the bent limb, beyond the elbow or knee. While the limb is straight there is no such
plane: then the bending axis that the FK solution carries along decides, so that a pole never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import rotation as rot
from .mapping import Mapping, Switch
from .rest import Rig, pose
from .skeleton22 import INDEX

_LIMBS = {"elbow": ("shoulder", "elbow", "wrist"), "knee": ("hip", "knee", "ankle")}
_STRAIGHT, _BENT = 0.03, 0.12
"""How far the middle joint is beside the line between the ends, in limb lengths: below the first the carried axis alone
says where the pole is, above the second the plane that is seen."""


@dataclass(frozen=True)
class IkControls:
    """The IK controls of one character.

    Attributes:
        controls: bone -> joint whose orientation and place it takes.
        poles: bone -> middle joint of its limb (l_elbow, ...).
        keep: bones that are keyed as in FK: pelvis, spine, neck, head, collars, and whatever no control covers.
        hold: controls kept at rest by one key.
        switches: what puts the limbs into IK.
    """

    controls: dict[str, str]
    poles: dict[str, str]
    keep: tuple[str, ...]
    hold: tuple[str, ...]
    switches: tuple[Switch, ...]


def _switch(entry: Any) -> Switch:
    if isinstance(entry, Switch):
        return entry
    return Switch(entry["bone"], entry.get("property", ""), float(entry["value"]), entry.get("constraint", ""))


def ik_mapping(mapping: Mapping) -> IkControls | None:
    """The IK controls that a character's preset describes; None where there are none.

    A limb is put into IK only where its control, its pole target and its FK bones (to solve for) are all there.
    """
    given = mapping.ik
    controls: dict[str, str] = dict(given.get("controls", {}))
    poles: dict[str, str] = dict(given.get("poles", {}))
    covered: set[str] = set()
    for middle in set(poles.values()):
        limb = [f"{middle[:2]}{name}" for name in _LIMBS[middle[2:]]]
        if limb[2] in controls.values() and all(joint in mapping.bones for joint in limb):
            covered.update(limb)
    poles = {bone: joint for bone, joint in poles.items() if joint in covered}
    controls = {
        bone: joint
        for bone, joint in controls.items()
        if joint in covered or (joint[2:] == "foot" and f"{joint[:2]}ankle" in covered and joint in mapping.bones)
    }
    if not poles:
        return None
    named = set(given.get("keep", ()))
    rest = {**{bone: joint for joint, bone in mapping.bones.items()}, **mapping.also}
    replaced = covered | set(controls.values())
    kept = [bone for bone, joint in rest.items() if bone in named or joint not in replaced]
    kept += [bone for bone in (*mapping.spine, *mapping.neck) if bone not in kept]
    return IkControls(
        controls,
        poles,
        tuple(kept),
        tuple(bone for bone in (*mapping.hold, *given.get("hold", ())) if bone not in controls and bone not in kept),
        tuple(dict.fromkeys(_switch(entry) for entry in given.get("switches", ()))),
    )


def channels(
    rig: Rig, solution: Any, mapping: Mapping, solved: Rig | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The channels that reproduce a solution by IK controls.

    Args:
        rig: read with the IK controls among its bones and the switches set (controls.plan, controls.switched).
        solution: has `rotations` and `locations`, the FK channels by bone name.
        solved: the rig that the solution is for, read with its FK bones in charge; `rig` where that is no difference.
    Returns:
        rotations, bone name -> (T, 3, 3), and locations, bone name -> (T, 3): the FK parts that are kept and the
        controls.
    """
    described = ik_mapping(mapping)
    if described is None:
        raise ValueError("this character has no IK controls")
    solved = solved or rig
    located = solution.locations
    there = {bone.name: i for i, bone in enumerate(solved.bones)}
    fk = pose(
        solved.bones,
        {},
        {there[name]: channel for name, channel in located.items()},
        basis={there[name]: channel for name, channel in solution.rotations.items()},
    )
    index = {bone.name: i for i, bone in enumerate(rig.bones)}
    targets: dict[int, np.ndarray] = {}
    places: dict[int, np.ndarray] = {}
    for name, joint in described.controls.items():
        control, bone = index[name], solved.joint_bone[INDEX[joint]]
        turn = fk.rotations[bone] @ solved.bones[bone].rotation.T
        targets[control] = turn @ rig.bones[control].rotation
        if joint[2:] != "foot":  # toes hang from the foot's control
            offset = fk.scales[bone] * (rig.bones[control].head - solved.bones[bone].head)
            places[control] = fk.heads[bone] + rot.turn(turn, offset)
    for name, middle in described.poles.items():
        places[index[name]] = _pole(solved, fk.rotations, fk.heads, middle, rig.bones[index[name]].head)

    covered = {solved.bones[i].name for i in solved.keyed} - set(described.keep)
    rotations = {name: channel for name, channel in solution.rotations.items() if name not in covered}
    locations = {name: channel for name, channel in located.items() if name not in covered}
    posed = pose(
        rig.bones,
        targets,
        {index[name]: channel for name, channel in locations.items()},
        places,
        {index[name]: channel for name, channel in rotations.items()},
    )
    frames = max(len(channel) for channel in solution.rotations.values())
    rotations |= {rig.bones[i].name: _whole(channel, frames) for i, channel in posed.channels.items()}
    locations |= {rig.bones[i].name: _whole(channel, frames) for i, channel in posed.shifts.items()}
    return rotations, locations


def _whole(channel: np.ndarray, frames: int) -> np.ndarray:
    """A channel for each frame, also where nothing moves."""
    return np.broadcast_to(channel, (frames, *channel.shape[1:]))


def _beside(v: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The part of v at right angles to the unit vector `along`."""
    return v - (v * along).sum(-1, keepdims=True) * along


def _pole(
    rig: Rig, rotations: list[np.ndarray], heads: list[np.ndarray], middle: str, pole_rest: np.ndarray
) -> np.ndarray:
    """Where a limb's pole target belongs at each frame, armature space. (T, 3)."""
    limb = [rig.joint_bone[INDEX[f"{middle[:2]}{name}"]] for name in _LIMBS[middle[2:]]]
    a, b, c = (rig.bones[i].head for i in limb)
    length = float(np.linalg.norm(b - a) + np.linalg.norm(c - b))
    # In rest: which way the middle joint points out, and where the pole stands against that.
    along = rot.unit(c - a)
    pole = rot.unit(_beside(pole_rest - a, along))
    out = _beside(b - a, along)
    bend = float(np.linalg.norm(out)) / length
    out = rot.unit(out) if bend > 0.01 and rot.unit(out) @ pole > 0.5 else pole
    hinge = np.cross(along, out)
    twist = np.arctan2(np.cross(out, pole) @ along, out @ pole)

    turn = rotations[limb[0]] @ rig.bones[limb[0]].rotation.T
    a, b, c = (heads[i] for i in limb)
    reach = np.linalg.norm(c - a, axis=-1, keepdims=True)
    along = rot.unit(c - a)
    carried = rot.unit(np.cross(rot.turn(turn, hinge), rot.unit(b - a)))
    carried = rot.unit(_beside(carried, along))
    seen = _beside(b - a, along)
    bent = np.linalg.norm(seen, axis=-1, keepdims=True) / length
    seen = rot.unit(seen)
    t = np.clip((bent - _STRAIGHT) / (_BENT - _STRAIGHT), 0.0, 1.0)
    agrees = (seen * carried).sum(-1, keepdims=True) > 0.2
    folded = reach < 0.05 * length  # hand on the shoulder: no line between the ends to speak of
    weight = np.where(folded | agrees, np.where(folded, 1.0, t * t * (3.0 - 2.0 * t)), 0.0)
    out = rot.unit((1.0 - weight) * carried + weight * seen)
    return b + length * rot.turn(rot.about(along, np.full(len(along), twist)), out)
