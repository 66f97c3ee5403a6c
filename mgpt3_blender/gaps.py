"""Which keys of an action are a pose, and which frames between two poses are a gap to be filled."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import bpy
import numpy as np

from .action import fcurves
from .action_splice import NEAR
from .errors import UserError
from .keyshape import JITTER
from .rig.mapping import Mapping

FULL = 0.5
"""A pose is keyed on at least this share of the bones that the best keyed pose has keys on."""

FILLERS = "mgpt3_fillers"
"""Custom property of an action: JSON, frame -> check sum of the fillers that were keyed there. A frame that was filled
is no pose; where the animator has changed its fillers since, it is."""


@dataclass(frozen=True)
class Gap:
    """The frames strictly between two keyed poses; scene frames."""

    first: float
    last: float


@dataclass(frozen=True)
class Column:
    """The keys at one frame.

    Attributes:
        bones: how many bones have a key there that an animator has set; none where all is filled.
        selected: whether any key is.
    """

    frame: float
    bones: int
    selected: bool


def body_bones(mapping: Mapping) -> set[str]:
    """The bones that a motion may key on a character, FK and IK."""
    ik = mapping.ik
    names = {*mapping.bones.values(), *mapping.also, *mapping.spine, *mapping.neck}
    return names | {*ik.get("controls", {}), *ik.get("poles", {})}


def _keys(
    action: bpy.types.Action, armature: bpy.types.Object
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Each transform curve of a bone: the bone, (N,) frames and values float32, types, selected."""
    curves = [(c.data_path, c.array_index, c) for c in fcurves(action, armature) if _bone_of(c.data_path)]
    for path, _, curve in sorted(curves, key=lambda entry: entry[:2]):
        count = len(curve.keyframe_points)
        co, kinds, chosen = np.empty(count * 2, np.float32), np.empty(count, np.int32), np.empty(count, bool)
        curve.keyframe_points.foreach_get("co", co)
        curve.keyframe_points.foreach_get("type", kinds)
        curve.keyframe_points.foreach_get("select_control_point", chosen)
        yield _bone_of(path), co[::2], co[1::2], kinds, chosen


def columns(action: bpy.types.Action, armature: bpy.types.Object, bones: Collection[str]) -> list[Column]:
    """The key columns of some bones' transform channels, in time."""
    sums, noted = _fillers(action, armature), _noted(action)
    own: dict[float, set[str]] = {}
    selected: set[float] = set()
    for bone, frames, _, kinds, chosen in _keys(action, armature):
        if bone not in bones:
            continue
        for at, kind, picked in zip(_rounded(frames), kinds.tolist(), chosen.tolist(), strict=True):
            filled = kind == JITTER and at in noted and noted[at] == sums.get(at)
            own.setdefault(at, set()).update(() if filled else (bone,))
            if picked:
                selected.add(at)
    return [Column(frame, len(own[frame]), frame in selected) for frame in sorted(own)]


def _rounded(frames: np.ndarray) -> list[float]:
    """Frames as they are told apart: whole ones where they nearly are, else to NEAR. (N,)"""
    frames = np.asarray(frames, np.float64)
    whole = np.round(frames)
    return np.where(np.abs(frames - whole) < NEAR, whole, np.round(frames / NEAR) * NEAR).tolist()


def _fillers(action: bpy.types.Action, armature: bpy.types.Object) -> dict[float, int]:
    """Frame -> check sum of the values of all fillers there."""
    out: dict[float, int] = {}
    for _, frames, values, kinds, _ in _keys(action, armature):
        mine = np.flatnonzero(kinds == JITTER)
        for at, value in zip(_rounded(frames[mine]), values[mine], strict=True):
            out[at] = zlib.crc32(value.tobytes(), out.get(at, 0))
    return out


def _noted(action: bpy.types.Action) -> dict[float, int]:
    try:
        return {float(frame): int(total) for frame, total in json.loads(str(action.get(FILLERS, "{}"))).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def note_fillers(action: bpy.types.Action, armature: bpy.types.Object, frames: Collection[float]) -> None:
    """Note that some frames have just been filled: what is keyed there now makes no pose."""
    sums = _fillers(action, armature)
    noted = {at: total for at, total in _noted(action).items() if at in sums}
    noted |= {at: sums[at] for at in _rounded(np.array(list(frames))) if at in sums}
    action[FILLERS] = json.dumps({f"{at:g}": total for at, total in sorted(noted.items())})


def _bone_of(path: str) -> str:
    """The bone whose transform a data path is, "" for anything else."""
    head, sep, prop = path.rpartition('"].')
    known = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle")
    if not sep or prop not in known or not head.startswith('pose.bones["'):
        return ""
    return head.removeprefix('pose.bones["').replace('\\"', '"').replace("\\\\", "\\")


def poses(found: list[Column]) -> list[Column]:
    """The columns that are whole poses: some bones keyed a frame apart from the rest make no pose of their own."""
    most = max((column.bones for column in found), default=0)
    return [column for column in found if column.bones >= max(FULL * most, 1)]


def find_gaps(
    action: bpy.types.Action,
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    selected: bool,
    bones: Collection[str],
    hold: bool = True,
) -> list[Gap]:
    """The gaps that are meant.

    Args:
        selected: those between the selected key columns; otherwise the one around the current frame.
        bones: whose keys count.
        hold: poses keyed between two selected columns stay and split the gap; otherwise they are replaced.

    Raises UserError: no_keys, one_key, not_between, no_gap.
    """
    found = columns(action, armature, bones)
    whole = poses(found)
    if len(whole) < 2:
        raise UserError(
            "no_keys",
            f'"{armature.name}" has {"one keyed pose" if whole else "no keyed pose"} only.'
            if whole
            else f'"{armature.name}" has no keys yet.',
            "Key two poses (I), then fill the frames between them.",
        )
    frames = [column.frame for column in whole]
    if selected:
        chosen = [column.frame for column in whole if column.selected]
        if len(chosen) < 2:
            chosen = [column.frame for column in found if column.selected and column.bones]
        if len(chosen) < 2:
            raise UserError(
                "one_key",
                "Fewer than two key columns of the character are selected.",
                "Select the keys of two or more poses in the Dope Sheet.",
            )
        if hold:
            frames = sorted({*chosen, *(f for f in frames if chosen[0] < f < chosen[-1])})
        else:
            frames = chosen
        pairs = list(pairwise(frames))
    else:
        now = scene.frame_current + scene.frame_subframe
        before = [frame for frame in frames if frame <= now + NEAR]
        after = [frame for frame in frames if frame > now + NEAR]
        if not after and before and abs(before[-1] - now) < NEAR:  # on the last pose: the gap before it
            before, after = before[:-1], before[-1:]
        if not before or not after:
            raise UserError(
                "not_between",
                f"Frame {now:g} is not between two keyed poses of the character.",
                f"Go to a frame from {frames[0]:g} to {frames[-1]:g}, or select the keys of two poses.",
            )
        pairs = [(before[-1], after[0])]
    out = [Gap(a, b) for a, b in pairs if np.ceil(b - NEAR) - np.floor(a + NEAR) > 1]
    if not out:
        between = f"frames {pairs[0][0]:g} and {pairs[0][1]:g}" if len(pairs) == 1 else "the selected keys"
        raise UserError(
            "no_gap",
            f"There is no frame between {between}.",
            "Move the poses apart, or delete the keys between them that are to be replaced.",
        )
    return out
