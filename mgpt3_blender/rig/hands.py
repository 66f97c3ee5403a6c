"""A relaxed hand: fingers that hang a little curled towards the palm, instead of the flat hand of a rest pose."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from . import rotation as rot
from .mapping import Mapping

if TYPE_CHECKING:
    import bpy

CURL = (15.0, 25.0, 15.0)
"""Degrees that the bones of a finger curl, from the palm outwards."""
THUMB_CURL = (6.0, 10.0, 10.0)
MOST = 30.0
"""A finger that the rest pose curls this far already (degrees over all its bones) is left as it is."""


def relaxed(armature: bpy.types.Object, mapping: Mapping) -> dict[str, np.ndarray]:
    """Rotation channels of the finger bones of a relaxed hand, bone -> (1, 3, 3). Changes nothing.

    Fingers of a hand whose palm cannot be found (a single finger) keep what they have.
    """
    out: dict[str, np.ndarray] = {}
    for side in "lr":
        wrist = mapping.deform.get(f"{side}_wrist")
        if wrist is not None:
            out |= _hand(armature, mapping, side, np.array(armature.data.bones[wrist].head_local))
    return out


def _hand(armature: bpy.types.Object, mapping: Mapping, side: str, wrist: np.ndarray) -> dict[str, np.ndarray]:
    fingers = _fingers(armature, mapping, side)
    if len(fingers) < 2:
        return {}
    bones = armature.data.bones
    bases = np.array([bones[names[0]].head_local for names in fingers])
    ways = np.array([_way(armature, names) for names in fingers])
    thumb = _thumb(fingers, bases, ways, wrist)
    others = [i for i in range(len(fingers)) if i != thumb]
    along = rot.unit(bases[others].mean(0) - wrist)
    # Along the knuckles, towards the thumb's side. The thumb itself stands in front of the palm: it gives the sign.
    ends = bases[others][:, None] - bases[others][None]
    across = ends.reshape(-1, 3)[np.linalg.norm(ends, axis=-1).argmax()]
    if thumb is None:  # listed from the first finger to the last
        across = bases[0] - bases[-1]
    elif len(others) == 1:
        across = bases[thumb] - bases[others[0]]
    elif across @ (bases[thumb] - bases[others].mean(0)) < 0.0:
        across = -across
    palm = np.cross(along, across) * (1.0 if side == "l" else -1.0)  # out of the palm: fixed by the hand's chirality
    palm = rot.unit(palm - (palm @ along) * along)
    if np.linalg.norm(palm) < 0.5:
        return {}
    out = {}
    for i, names in enumerate(fingers):
        directions = [_pointing(armature, names, n) for n in range(len(names))]
        already = np.degrees(sum(rot.angle_between(u, v) for u, v in pairwise(directions)))
        if i != thumb and already > MOST:
            continue
        for name, direction in zip(names, directions, strict=True):
            axis = np.cross(direction, palm)
            if np.linalg.norm(axis) < 0.2:
                continue
            level = mapping.fingers[name][1]
            angle = np.radians((THUMB_CURL if i == thumb else CURL)[min(level, 2)])
            rest = np.array(bones[name].matrix_local)[:3, :3]
            out[name] = (rest.T @ rot.about(rot.unit(axis), np.array(angle)) @ rest)[None]
    return out


def _fingers(armature: bpy.types.Object, mapping: Mapping, side: str) -> list[list[str]]:
    """The bones of each finger of one hand, from the palm outwards."""
    bones = armature.data.bones
    mine = {name: level for name, (s, level) in mapping.fingers.items() if s == side and name in bones}
    chains: dict[str, list[str]] = {}
    for name in sorted(mine, key=mine.get):
        parent = bones[name].parent
        while parent is not None and parent.name not in mine:  # helper bones in between
            parent = parent.parent
        first = next((top for top, names in chains.items() if parent is not None and parent.name in names), None)
        if first is not None and mine[name] > 0:
            chains[first].append(name)
        else:
            chains[name] = [name]
    return list(chains.values())


def _pointing(armature: bpy.types.Object, names: list[str], n: int) -> np.ndarray:
    """Where a finger bone points: at the next one, the last along itself or as the one before."""
    bones = armature.data.bones
    here = np.array(bones[names[n]].head_local)
    if n + 1 < len(names):
        there = np.array(bones[names[n + 1]].head_local)
        if np.linalg.norm(there - here) > 1e-6:
            return rot.unit(there - here)
    own = rot.unit(np.array(bones[names[n]].tail_local) - here)
    if n == 0:
        return own
    before = _pointing(armature, names, n - 1)
    return own if own @ before > 0.3 else before  # some importers leave tails anywhere


def _way(armature: bpy.types.Object, names: list[str]) -> np.ndarray:
    """Where a whole finger points."""
    return rot.unit(sum(_pointing(armature, names, n) for n in range(len(names))))


def _thumb(fingers: list[list[str]], bases: np.ndarray, ways: np.ndarray, wrist: np.ndarray) -> int | None:
    """Which finger is the thumb: by its name, else the one that starts nearest the wrist and points elsewhere."""
    for i, names in enumerate(fingers):
        if any(word in names[0].lower() for word in ("thumb", "daumen", "pouce", "親指", "拇")):
            return i
    if len(fingers) < 3:
        return None
    far = np.linalg.norm(bases - wrist, axis=-1)
    apart = [float(np.median([rot.angle_between(ways[i], v) for k, v in enumerate(ways) if k != i])) for i in
             range(len(fingers))]  # fmt: skip
    i = int(np.argmax(apart))
    return i if apart[i] > np.radians(20.0) and far[i] <= np.median(far) else None
