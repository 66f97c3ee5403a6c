"""What a character is compared with: the motion on its proportions, the way travelled, standing feet. NumPy only.

Made without the solve, so that the solve can be measured with it. Axes of a motion: X to the character's left, Y up, Z
forward, metres; of a rest pose in the world: Z up.
"""

from __future__ import annotations

import numpy as np

from .rig import body, ground
from .rig import rotation as rot
from .rig.skeleton22 import FPS, JOINTS, NEUTRAL, PARENTS
from .rig.skeleton22 import INDEX as J
from .rig.solve import leg_length

LEANING = 35.0  # degrees from upright at which a rest pose no longer stands


def standing_axes(rest: np.ndarray) -> np.ndarray:
    """Columns left (through the hips), the world's up, forward. rest (22, 3) world space -> (3, 3)."""
    up = np.array([0.0, 0.0, 1.0])
    left = rot.unit((rest[J["l_hip"]] - rest[J["r_hip"]]) * [1.0, 1.0, 0.0])
    return np.stack([left, up, np.cross(left, up)], -1)


def own_axes(rest: np.ndarray) -> np.ndarray:
    """Columns left, up and forward of a body that may lie down in rest: its up is then from the hips to the head."""
    hips, left = 0.5 * (rest[J["l_hip"]] + rest[J["r_hip"]]), rot.unit(rest[J["l_hip"]] - rest[J["r_hip"]])
    torso = rot.unit(rest[J["head"]] - hips)
    if torso[2] > np.cos(np.radians(LEANING)):
        return standing_axes(rest)
    up = rot.unit(torso - (torso @ left) * left)
    return np.stack([left, up, np.cross(left, up)], -1)


def slide_mm(joints: np.ndarray, standing: np.ndarray, fps: float) -> float | None:
    """How far feet travel across the floor while the motion's stand: mean, millimetres a frame of 1/20 s.

    joints (T, 22, 3) in the motion's axes and size; standing (T, 4) as in ground.FEET, of the motion.
    """
    feet = joints[:, ground.FEET]
    both = standing[1:] & standing[:-1]
    steps = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1) * (fps / FPS)
    return float(steps[both].mean() * 1000.0) if both.any() else None


def travel_ratio(motion: np.ndarray, figure: np.ndarray) -> float | None:
    """How far the hips travel for a metre that they should (least squares over the way); None on the spot."""
    hips = [J["l_hip"], J["r_hip"]]
    wanted = (motion[:, hips].mean(1) - motion[0, hips].mean(0))[:, [0, 2]]
    there = (figure[:, hips].mean(1) - figure[0, hips].mean(0))[:, [0, 2]]
    if np.abs(wanted).max() < 0.3:
        return None
    return float((there * wanted).sum() / (wanted * wanted).sum())


def on_character(motion: np.ndarray, rest: np.ndarray, is_pose: bool) -> np.ndarray:
    """The motion on a character's proportions, made without the solve. -> (T, 22, 3), NaN where it has no joint.

    Limbs, spine and neck point where the motion's do, with the character's lengths. Hips, collarbones (and shoulders
    where there are none) sit where they sit in rest, carried by the motion's pelvis and chest; collarbones turn from
    there as the motion's turn from where they are on a person standing straight.

    Args:
        motion: (T, 22, 3).
        rest: (22, 3) the character's rest in the motion's axes and size; NaN where it has no joint.
    """
    pelvis, chest = body.pelvis_rotation(motion), body.chest_rotation(motion)
    present = np.isfinite(rest).all(-1)
    own = {"pelvis": np.eye(3), "chest": np.eye(3)}
    if not is_pose:
        for name, origin, around in (("pelvis", "pelvis", ("l_hip", "r_hip", "spine1")),
                                     ("chest", "spine3", ("neck", "l_collar", "r_collar"))):  # fmt: skip
            seen = [J[joint] for joint in around if present[J[joint]] and present[J[origin]]]
            if len(seen) > 1:
                own[name] = rot.kabsch(rest[seen] - rest[J[origin]], NEUTRAL[seen] - NEUTRAL[J[origin]])
    pelvis_own, chest_own = pelvis @ own["pelvis"], chest @ own["chest"]
    out = np.full_like(motion, np.nan, dtype=np.float64)
    out[:, 0] = 0.0
    for j, parent in enumerate(PARENTS):
        if j == 0 or not present[j]:
            continue
        while not present[parent]:
            parent = PARENTS[parent]
        offset = rest[j] - rest[parent]
        name = JOINTS[j]
        if name.endswith("_hip") or parent == 0:
            step = rot.turn(pelvis_own, offset)
        elif name.endswith(("_collar", "_shoulder")):
            step = rot.turn(chest_own, offset)
            stiff = parent in (J["spine1"], J["spine2"]) or (parent == J["spine3"] and not present[J["neck"]])
            if stiff:  # one bone up to the neck or head, which turns as a whole to point there
                end = J["neck"] if present[J["neck"]] else J["head"]
                own_way, way = rot.turn(chest_own, rest[end] - rest[parent]), motion[:, end] - motion[:, parent]
                step = rot.turn(rot.swing(own_way, way), step)
            if JOINTS[parent].endswith("_collar") and not is_pose:  # where it points in such a rest means nothing
                step = rot.unit(motion[:, j] - motion[:, parent]) * np.linalg.norm(offset)
            elif JOINTS[parent].endswith("_collar"):
                turned = rot.swing(rot.turn(chest, NEUTRAL[j] - NEUTRAL[parent]), motion[:, j] - motion[:, parent])
                step = rot.turn(turned, step)
        else:
            step = rot.unit(motion[:, j] - motion[:, parent]) * np.linalg.norm(offset)
        out[:, j] = out[:, parent] + step
    return out


def round_trip_mm(motion: np.ndarray, sampled: np.ndarray, rest: np.ndarray, is_pose: bool) -> float:
    """Mean distance between the sampled character and the motion on its proportions, millimetres at the model's size.

    Both are laid over each other at the middle of the hips in each frame and turned by one angle for the whole clip.
    motion, sampled: (T, 22, 3) at the same frames; rest as for `on_character`.
    """
    wanted = on_character(motion, rest, is_pose)
    wanted *= leg_length(NEUTRAL) / leg_length(wanted)
    joints = np.flatnonzero(np.isfinite(rest).all(-1))
    hips = [J["l_hip"], J["r_hip"]]
    a = (wanted - wanted[:, hips].mean(1, keepdims=True))[:, joints]
    b = (sampled - sampled[:, hips].mean(1, keepdims=True))[:, joints]
    angle = np.arctan2((a[..., 0] * b[..., 2] - a[..., 2] * b[..., 0]).sum(), (a[..., [0, 2]] * b[..., [0, 2]]).sum())
    cos, sin = np.cos(angle), np.sin(angle)
    b = b @ np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]]).T
    return float(np.linalg.norm(a - b, axis=-1).mean() * 1000.0)


def complete(figure: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The figure with joints that it lacks as far from the joint above as the motion's are; nothing compares them."""
    out = figure.copy()
    for j, parent in enumerate(PARENTS):
        if parent >= 0 and not np.isfinite(out[0, j]).all():
            out[:, j] = out[:, parent] + motion[:, j] - motion[:, parent]
    return out
