"""For the tests that fill between keys: keyed characters, what their curves consist of, and where their joints go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import rigs

from mgpt3_blender import action, action_splice, keyshape
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.poses import read_poses
from mgpt3_blender.rig.splice import SpliceResult, splice

MAKERS: dict[str, tuple[Callable[[], Any], str]] = {
    "mannequin": (rigs.mannequin, "FK"),
    "mixamo": (rigs.mixamo, "FK"),  # scaled by 0.01, Y up inside
    "rigify fk": (rigs.rigify, "FK"),
    "rigify ik": (rigs.rigify, "IK"),
    "euler": (rigs.cmu, "FK"),
}
"""Characters by name: how each is made, and whether its limbs are keyed on FK or IK controls."""

Curves = dict[tuple[str, int], keyshape.Table]


def read_curves(rig: Any) -> Curves:
    """Everything of the action's keys."""
    played = rig.animation_data.action
    return {(c.data_path, c.array_index): action_splice.read_table(c) for c in action.fcurves(played, rig)}


def different(before: Curves, after: Curves, first: float = np.inf, last: float = -np.inf) -> list[tuple]:
    """(path, index, what) of all that is not equal to the bit at or before `first` and at or after `last`."""
    out: list[tuple] = [(*key, "gone or new") for key in before.keys() ^ after.keys()]
    for key in before.keys() & after.keys():
        one, other = ({n: v[(t["co"][:, 0] <= first) | (t["co"][:, 0] >= last)] for n, v in t.items()}
                      for t in (before[key], after[key]))  # fmt: skip
        out += [(*key, name) for name in keyshape.FIELDS if one[name].tobytes() != other[name].tobytes()]
    return out


def key_motion(rig: Any, motion: np.ndarray, fps: int = 24, limbs: str = "FK", start: int = 1) -> None:
    """A motion on a character, a key on each frame of each channel."""
    scene = bpy.context.scene
    scene.render.fps = fps
    apply_motion(rig, motion, scene=scene, name="keys", start_frame=start, options=Options(limbs=limbs))
    curves = action.fcurves(rig.animation_data.action, rig)
    frames = max((read_frames(c) for c in curves), key=len)
    for curve in curves:
        if (
            len(curve.keyframe_points) == 1 and '"]["' not in curve.data_path
        ):  # what never moves has one key: an animator keys all channels
            points = curve.keyframe_points
            value = points[0].co[1]
            points.add(len(frames) - 1)
            points.foreach_set("co", np.stack([frames, np.full(len(frames), value)], 1).astype(np.float32).ravel())
            curve.update()


def read_frames(curve: Any) -> np.ndarray:
    return action_splice.read_table(curve)["co"][:, 0]


def keep_columns(rig: Any, columns: list[float]) -> None:
    """Leave keys on some frames only, as an animator blocks a motion: Bezier keys of all kinds of handles."""
    rng = np.random.default_rng(0)
    for curve in action.fcurves(rig.animation_data.action, rig):
        if len(curve.keyframe_points) < 2:
            continue
        table = action_splice.read_table(curve)
        table = keyshape.taken(table, np.isin(table["co"][:, 0], np.float32(columns)))
        count = len(table["co"])
        for side, sign in (("left", -1.0), ("right", 1.0)):
            table[f"handle_{side}_type"][:] = rng.choice([0, 1, 2, 3, 4], count)
            table[f"handle_{side}"][:] = table["co"] + sign * rng.uniform([0.5, -0.05], [9.0, 0.05], (count, 2))
        table["interpolation"][:] = rng.choice([0, 1, 2, 2, 2, 8], count)
        table["easing"][:] = rng.integers(0, 4, count)
        table["type"][:] = rng.integers(0, 5, count)
        table["select_control_point"][:] = rng.random(count) < 0.5
        table["select_left_handle"][:] = rng.random(count) < 0.5
        action_splice.write_table(curve, table)


def thin(rig: Any, first: float, last: float) -> None:
    """Take the keys strictly between two frames away."""
    for curve in action.fcurves(rig.animation_data.action, rig):
        table = action_splice.read_table(curve)
        x = table["co"][:, 0]
        action_splice.write_table(curve, keyshape.taken(table, (x <= first) | (x >= last)))


def joints_at(rig: Any, times: Any) -> np.ndarray:
    """The joints as Blender shows them."""
    return read_poses(rig, bpy.context.scene, map_armature(rig), np.asarray(times, float)).joints


def straight(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Joints interpolated in a straight line: no good motion, but one that passes through both poses."""
    return start + np.linspace(0.0, 1.0, steps + 1)[:, None, None] * (end - start)


def fill_straight(rig: Any, first: float, last: float, **more: Any) -> SpliceResult:
    """Splice the straight line between the two keyed poses."""
    scene = bpy.context.scene
    steps = max(1, round((last - first) / scene.render.fps * 20))
    ends = joints_at(rig, [first, last])
    return splice(rig, scene, straight(*ends, steps), first, last, mapping=map_armature(rig), **more)
