"""Motions that the tests make themselves: (T, 22, 3) float32, metres, Y up, facing +Z at frame 0, 20 fps.

Every motion is built by turning the joints of the canonical T pose, so bone lengths are constant, hips and chest are
rigid, knees and elbows bend the right way, and the lowest point of the clip is on y = 0. The stance foot does not
slide. NumPy only, so that the tests inside Blender can use it too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.restpose import REST_OFFSETS
from core.skeleton import FEET, FPS, JOINTS, PARENTS

Turns = dict[str, np.ndarray]
"""Joint name -> (T, 3, 3) rotation of the bones that start in it, relative to its parent."""


def rotation(axis: str, degrees: np.ndarray | float, frames: int = 1) -> np.ndarray:
    """(T,) or one angle about x, y or z -> (T, 3, 3)."""
    angle = np.radians(np.broadcast_to(degrees, (frames,)) if np.ndim(degrees) == 0 else degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.tile(np.eye(3), (len(angle), 1, 1))
    out[:, a, a], out[:, a, b], out[:, b, a], out[:, b, b] = cos, -sin, sin, cos
    return out


def pose(turns: Turns, frames: int, root: np.ndarray | None = None) -> np.ndarray:
    """Forward kinematics of the canonical skeleton: -> (T, 22, 3) float64, the root at `root` (T, 3) or the origin."""
    joints = np.zeros((frames, 22, 3))
    if root is not None:
        joints[:, 0] = root
    world = np.zeros((frames, 22, 3, 3))
    for joint, parent in enumerate(PARENTS):
        local = turns.get(JOINTS[joint], np.eye(3))
        if parent < 0:
            world[:, joint] = local
            continue
        joints[:, joint] = joints[:, parent] + world[:, parent] @ REST_OFFSETS[joint]
        world[:, joint] = world[:, parent] @ local
    return joints


def plant(joints: np.ndarray, stance: np.ndarray | None = None) -> np.ndarray:
    """Move the body so that in each frame the stance foot stays where it is on the floor. -> float32.

    Args:
        joints: (T, 22, 3) with the root standing still.
        stance: (T,) joint that stands; by default the lowest foot joint.
    """
    if stance is None:
        stance = np.array(FEET)[joints[:, list(FEET), 1].argmin(1)]
    frames = np.arange(len(joints) - 1)
    path = np.zeros((len(joints), 3))
    path[1:] = np.cumsum(joints[frames, stance[:-1]] - joints[frames + 1, stance[:-1]], axis=0)
    path[:, 1] = -joints[..., 1].min(1)
    return settle(joints + path[:, None])


def settle(joints: np.ndarray) -> np.ndarray:
    """Lowest point on the floor, first root at the origin in x and z. -> float32."""
    origin = joints[0, 0].copy()
    origin[1] = joints[..., 1].min()
    return (joints - origin).astype(np.float32)


def _frames(seconds: float) -> tuple[int, np.ndarray]:
    """Number of frames and the time of each, seconds."""
    frames = max(round(seconds * FPS), 2)
    return frames, np.arange(frames) / FPS


def _arms_down(frames: int, swing: np.ndarray | float = 0.0) -> Turns:
    """Arms hanging, elbows slightly bent; `swing` degrees forward of the right arm and backward of the left."""
    swing = np.broadcast_to(np.asarray(swing, np.float64), (frames,))
    return {
        "l_shoulder": rotation("x", swing) @ rotation("z", -78.0, frames),
        "r_shoulder": rotation("x", -swing) @ rotation("z", 78.0, frames),
        "l_elbow": rotation("y", -20.0, frames),
        "r_elbow": rotation("y", 20.0, frames),
    }


def _leg(side: str, forward: np.ndarray, bend: np.ndarray) -> Turns:
    """A leg with the thigh `forward` and the knee bent, degrees (T,); the foot stays level."""
    return {
        f"{side}_hip": rotation("x", -forward),
        f"{side}_knee": rotation("x", bend),
        f"{side}_ankle": rotation("x", forward - bend),
    }


def _gait(seconds: float, cadence: float, stride: float, lift: float, arms: float) -> np.ndarray:
    frames, time = _frames(seconds)
    phase = 2 * np.pi * cadence * time
    turns = _arms_down(frames, arms * np.sin(phase))
    for side, shift in (("l", 0.0), ("r", np.pi)):
        swinging = np.sqrt(np.clip(np.cos(phase + shift), 0, None))  # 0 while the foot stands
        turns |= _leg(side, stride * np.sin(phase + shift), 6 + lift * swinging)
    return plant(pose(turns, frames), np.where(np.cos(phase) > 0, JOINTS.index("r_foot"), JOINTS.index("l_foot")))


def walk(seconds: float = 3.0) -> np.ndarray:
    """Straight ahead, about 1 m/s."""
    return _gait(seconds, cadence=0.9, stride=24.0, lift=45.0, arms=20.0)


def run(seconds: float = 3.0) -> np.ndarray:
    """Straight ahead with long, quick strides."""
    return _gait(seconds, cadence=1.5, stride=38.0, lift=80.0, arms=40.0)


def stand(seconds: float = 2.0) -> np.ndarray:
    """Standing still, arms hanging."""
    frames, _ = _frames(seconds)
    return plant(pose(_arms_down(frames), frames))


def wave(seconds: float = 3.0) -> np.ndarray:
    """The right hand waves above the head."""
    frames, time = _frames(seconds)
    up = np.clip(time / 0.5, 0, 1)
    turns = _arms_down(frames)
    turns["r_shoulder"] = rotation("z", 78 - 128 * up)
    turns["r_elbow"] = rotation("z", up * (-40 + 30 * np.sin(4 * np.pi * time)))
    return plant(pose(turns, frames))


def raise_left_hand(seconds: float = 2.0) -> np.ndarray:
    """The left arm rises forward until it points straight up."""
    frames, time = _frames(seconds)
    turns = _arms_down(frames)
    turns["l_shoulder"] = rotation("x", -165 * np.clip(time / (0.7 * seconds), 0, 1)) @ rotation("z", -85.0, frames)
    return plant(pose(turns, frames))


def squat(seconds: float = 2.0) -> np.ndarray:
    """Down and up again once, feet on the spot."""
    frames, time = _frames(seconds)
    depth = np.sin(np.pi * time / time[-1]) ** 2
    turns = _arms_down(frames, 0.0)
    for side in "lr":
        turns |= _leg(side, 75 * depth, 110 * depth)
    turns["spine1"] = rotation("x", 25 * depth)
    return plant(pose(turns, frames))


def jump(seconds: float = 2.0) -> np.ndarray:
    """A crouch, half a metre into the air, and down."""
    _, time = _frames(seconds)
    joints = squat(seconds).astype(np.float64)
    air = np.clip((time / time[-1] - 0.5) * 4, 0, 1)
    joints[..., 1] += (4 * 0.5 * air * (1 - air))[:, None]
    return settle(joints)


def turn(seconds: float = 4.0, degrees: float = 450.0) -> np.ndarray:
    """Walking on the spot in a circle to the left, past 180 degrees: the heading wraps."""
    _, time = _frames(seconds)
    joints = walk(seconds).astype(np.float64)
    joints[..., [0, 2]] -= joints[:, :1, [0, 2]]
    angle = degrees * time / time[-1]
    joints = np.einsum("tij,tnj->tni", rotation("y", angle), joints)
    joints[..., 0] += (1 - np.cos(np.radians(angle)))[:, None]
    joints[..., 2] += np.sin(np.radians(angle))[:, None]
    return settle(joints)


def lie_down(seconds: float = 3.0) -> np.ndarray:
    """From standing onto the back: the body far from upright."""
    frames, time = _frames(seconds)
    turns = _arms_down(frames)
    turns["pelvis"] = rotation("x", -90 * np.clip(time / (0.6 * seconds), 0, 1) ** 2)
    joints = pose(turns, frames)
    joints[..., 1] -= joints[..., 1].min(1)[:, None]
    return settle(joints)


MOTIONS: dict[str, Callable[[], np.ndarray]] = {
    "walk": walk, "run": run, "stand": stand, "wave": wave, "raise_left_hand": raise_left_hand, "squat": squat,
    "jump": jump, "turn": turn, "lie_down": lie_down,
}  # fmt: skip
"""Every motion by name, for parametrised tests."""
