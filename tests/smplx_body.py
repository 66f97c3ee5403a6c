"""A body model that the tests make themselves, in the format of SMPLX_NEUTRAL.npz, and motion files for it.

No value is SMPL's: the joints are the project's own rest pose, a little bent and made symmetric; the vertices are small
clouds around them. The smplx package loads it as it loads the real one, which needs as many vertices as that has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.restpose import rest_joints
from core.skeleton import JOINTS, PARENTS, mirror

VERTICES = 10475
_FINGERS = [parent for finger in range(5) for parent in (-1, 3 * finger, 3 * finger + 1)]  # -1: the wrist
PARENTS_55 = [*PARENTS, 15, 15, 15] + [
    wrist if finger < 0 else first + finger for wrist, first in ((20, 25), (21, 40)) for finger in _FINGERS
]
J = {name: index for index, name in enumerate(JOINTS)}


def rest_55(leg: float = 1.0, arm: float = 1.0) -> np.ndarray:
    """(55, 3) metres: a T pose with slightly hanging arms and bent knees, its pelvis not at the origin.

    Args:
        leg, arm: how long the limbs are, beside those of the project's own skeleton.
    """
    body = rest_joints().astype(np.float64)
    body = (body + mirror(body)) / 2
    bones = body - body[np.maximum(PARENTS, 0)]
    for joint, name in enumerate(JOINTS):
        part = name.removeprefix("l_").removeprefix("r_")
        bones[joint] *= {"knee": leg, "ankle": leg, "elbow": arm, "wrist": arm}.get(part, 1.0)
        bones[joint] += {"elbow": [0, -0.02, -0.03], "wrist": [0, -0.01, 0.01], "knee": [0, 0, 0.02]}.get(part, [0] * 3)
    out = np.zeros((55, 3))
    out[0] = [0.003, -0.35, 0.012]
    for joint in range(1, 55):
        if joint < 22:
            bone = bones[joint]
        elif joint < 25:
            bone = np.array([0.03 * (joint - 23), 0.06, 0.07])
        else:
            bone = np.array([0.03 if joint < 40 else -0.03, 0, 0.01 * ((joint - 25) % 15 // 3 - 2)])
        out[joint] = out[PARENTS_55[joint]] + bone
    return out


def write_body(path: Path, *, joints: int = 55, leg: float = 1.0, arm: float = 1.0, **changes: Any) -> Path:
    """Write a body model: 55 joints as SMPL-X has them, or the first 22 and the hands' 30 for an SMPL+H one.

    Args:
        changes: arrays to write instead of the right ones; None leaves one out.
    """
    random = np.random.default_rng(5)
    kept = [j for j in range(55) if joints == 55 or not 22 <= j < 25][:joints]
    rest = rest_55(leg, arm)
    parents = [kept.index(PARENTS_55[joint]) for joint in kept[1:]]
    owner = np.concatenate([np.arange(joints).repeat(2), random.integers(0, joints, VERTICES - 2 * joints)])
    offset = random.normal(0, 0.03, (VERTICES, 3))
    offset[1 : 2 * joints : 2] = -offset[: 2 * joints : 2]  # a joint is the middle of its first two vertices
    regressor = np.zeros((joints, VERTICES))
    regressor[owner[: 2 * joints], np.arange(2 * joints)] = 0.5
    weights = np.zeros((VERTICES, joints), np.float32)
    weights[np.arange(VERTICES), owner] = 1
    content = {
        "v_template": rest[kept][owner] + offset, "J_regressor": regressor, "weights": weights,
        "shapedirs": _ways(rest)[kept][owner].astype(np.float32),
        "posedirs": np.zeros((VERTICES, 3, 9 * (joints - 1)), np.int8),
        "kintree_table": np.array([[2**32 - 1, *parents], range(joints)], np.int64),
        "f": random.integers(0, VERTICES, (200, 3)).astype(np.uint32),
        "hands_meanl": random.normal(0, 0.2, 45), "hands_meanr": random.normal(0, 0.2, 45),
        "hands_componentsl": np.eye(45), "hands_componentsr": np.eye(45),
        "lmk_faces_idx": np.arange(51), "lmk_bary_coords": np.full((51, 3), 1 / 3),
        "dynamic_lmk_faces_idx": np.zeros((79, 17), np.int64), "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3),
        "joint2num": np.array({"pelvis": 0}, dtype=object),  # pickled, as in the real file
    } | changes  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{key: value for key, value in content.items() if value is not None})
    return path


def _ways(rest: np.ndarray) -> np.ndarray:
    """(55, 3, 20) metres: ten ways in which bodies differ, then ten of the face, which move no joint."""
    bones = rest - rest[np.maximum([-1, *PARENTS_55[1:]], 0)]
    out = np.zeros((55, 3, 20))
    groups = (
        ("knee", "ankle", "elbow", "wrist", "spine1", "spine2", "spine3", "neck", "shoulder", "foot"),
        ("knee", "ankle"), ("elbow", "wrist"), ("spine1", "spine2", "spine3"), ("hip",), ("collar", "shoulder"),
        ("foot",), ("neck", "head"), ("knee",), ("elbow", "shoulder"),
    )  # fmt: skip
    for number, group in enumerate(groups):
        for joint in range(1, 55):
            out[joint, :, number] = out[PARENTS_55[joint], :, number]
            if joint < 22 and JOINTS[joint].removeprefix("l_").removeprefix("r_") in group:
                out[joint, :, number] += 0.04 * bones[joint]
    return out


def moves(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Someone who walks in a curve, bends and swings the arms: a motion of which every moment is known.

    Args:
        time: (T,) seconds.
    Returns:
        (T, 22, 3) axis-angle and (T, 3) metres, Z up as AMASS has them.
    """
    from scipy.spatial.transform import Rotation

    turns = np.zeros((len(time), 22, 3))
    swing = np.sin(2 * np.pi * 0.9 * time)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        turns[:, J[f"{side}_hip"]] = _vector(-0.2 - 0.4 * sign * swing, 0.1 * sign, 0)
        turns[:, J[f"{side}_knee"]] = _vector(0.6 + 0.4 * sign * np.sin(2 * np.pi * 0.9 * time + 1), 0, 0)
        turns[:, J[f"{side}_ankle"]] = _vector(-0.2, 0, 0)
        turns[:, J[f"{side}_collar"]] = _vector(0, 0, -0.1 * sign)
        turns[:, J[f"{side}_shoulder"]] = _vector(0.3 * sign * swing, 0.2 * sign, -1.1 * sign)
        turns[:, J[f"{side}_elbow"]] = _vector(0, -sign * (0.9 + 0.5 * swing), 0)
    for name, part in (("spine1", 0.1), ("spine2", 0.12), ("spine3", 0.08), ("neck", -0.1)):
        turns[:, J[name]] = _vector(part * (1 + np.sin(2 * np.pi * 0.4 * time)), 0.5 * part * swing, 0)
    heading = Rotation.from_rotvec(_vector(0, 0, 0.7 * time))
    turns[:, 0] = (heading * Rotation.from_rotvec([np.pi / 2, 0, 0])).as_rotvec()
    trans = np.stack([1 - np.cos(0.7 * time), -np.sin(0.7 * time), 1.2 + 0.02 * swing], axis=-1)
    return turns, trans


def _vector(*parts: np.ndarray | float) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def write_amass(path: Path, *, seconds: float = 3.0, fps: float = 120.0, layout: str = "smplh", **changes: Any) -> Path:
    """Write a motion as AMASS has it.

    Args:
        layout: "smplh", "smplx", or "poses", an SMPL-X file with nothing but `poses`.
        changes: arrays to write instead of the right ones; None leaves one out.
    """
    turns, trans = moves(np.arange(round(seconds * fps) + 1) / fps)
    frames = len(turns)
    body = turns.reshape(frames, 66)
    betas = np.random.default_rng(3).normal(0, 1, 16)
    content: dict[str, Any] = {"trans": trans, "betas": betas, "gender": np.array("male")}
    if layout == "smplh":
        content |= {"poses": np.pad(body, ((0, 0), (0, 90))), "mocap_framerate": fps, "dmpls": np.zeros((frames, 8))}
    else:
        content |= {"poses": np.pad(body, ((0, 0), (0, 99))), "mocap_frame_rate": fps, "surface_model_type": "smplx"}
        content |= {"latent_labels": np.array([{"C7": 1}], dtype=object)}  # pickled, as in the real files
    if layout == "smplx":
        content |= {"root_orient": body[:, :3], "pose_body": body[:, 3:], "pose_hand": np.zeros((frames, 90))}
    content |= changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path
