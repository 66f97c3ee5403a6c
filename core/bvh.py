"""Motion as BVH files: our own out, anybody's in.

A file we write is in metres, Y up, facing +Z, in a T pose at rest: what Blender's importer expects with its default
settings (scale 1, forward -Z, up Y), so that the character has its real size and looks to the front. Programs that
take BVH units for centimetres need a scale of 100.

Joint positions say nothing about twist: rotations are the least swing from the parent's, the hips' and chest's the
best fit to their children (Kabsch, 1976).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core import bvh_format, bvh_names
from core.bvh_format import Clip, Node
from core.errors import CoreError
from core.features import canonicalise, check_joints, retarget
from core.restpose import LENGTHS, REST_OFFSETS
from core.skeleton import FPS, JOINTS, PARENTS, bone_lengths

ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")
CHANNELS = ("Xposition", "Yposition", "Zposition", *ROTATIONS)
_ENDS = {"head": (0.0, 0.18, 0.02), "l_wrist": (0.17, 0.0, 0.0), "r_wrist": (-0.17, 0.0, 0.0),
         "l_foot": (0.0, 0.0, 0.06), "r_foot": (0.0, 0.0, 0.06)}  # fmt: skip
MAX_BYTES = 500_000_000
_HUMAN_LEG = (0.6, 1.1)  # metres; a file whose legs are this long is in metres
_JUMP = 0.1  # metres that the joints move on average from a file's first T pose to its motion, in one frame


def write_bvh(path: Path | str, joints: np.ndarray, fps: float = FPS) -> float:
    """Write a motion as a BVH file.

    Bone lengths in the file are the clip's means. Hips and chest of a generated motion need not be rigid: nodes of no
    length before the legs and collars (as CMU's files have them) let each of their bones point where it should.

    Args:
        path: the file, overwritten.
        joints: (T, 22, 3) metres, Y up, `fps` frames a second.
    Returns:
        The largest distance between a joint and its place in the file, metres; 0 but for rounding where the bone
        lengths are constant.
    Raises:
        CoreError: joints_invalid, file_not_written.
    """
    joints = check_joints(joints).astype(np.float64)
    clip, error = _solve(joints, fps)
    try:
        Path(path).write_text(bvh_format.render(clip), encoding="ascii", newline="\n")
    except OSError as problem:
        raise CoreError(
            "file_not_written", f"'{path}' cannot be written: {problem.strerror}.", "Choose another folder."
        ) from problem
    return error


def read_bvh(path: Path | str, *, fps: float | None = None, uniform: bool = False) -> np.ndarray:
    """Read a BVH file of a human, of any of the conventions in core/bvh_names.py.

    Units are guessed from the legs (brought to human size), Z-up files are turned, a T pose before the motion is left
    out, joints that the file lacks are placed.

    Args:
        path: the file.
        fps: its true frame rate, where the file does not say it rightly.
        uniform: give the body the canonical bone lengths, as the model's data has them.
    Returns:
        (T, 22, 3) float32: metres, Y up, 20 fps, canonical place (see `features.canonicalise`).
    Raises:
        CoreError: file_missing, bvh_broken, bvh_unknown_skeleton.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CoreError("bvh_broken", f"'{path}' is too large to be one motion.", "Cut it into clips.")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CoreError("file_missing", f"'{path}' cannot be read: {error.strerror}.", "Check the path.") from error
    clip = bvh_format.parse(text)
    convention, found = bvh_names.find([node.name for node in clip.nodes])
    where = bvh_format.positions(clip)
    if not np.isfinite(where).all() or np.abs(where).max() > 1e9:
        raise bvh_format.broken("its positions are not of this world")

    where = _upright(where, found)
    leg = np.median(
        [_distance(where, found[f"{side}_hip"], found[f"{side}_knee"])
         + _distance(where, found[f"{side}_knee"], found[f"{side}_ankle"]) for side in "lr"]
    )  # fmt: skip
    if not leg > 0:
        raise bvh_format.broken("its legs have no length")
    if not _HUMAN_LEG[0] <= leg <= _HUMAN_LEG[1]:
        where = where * (LENGTHS[[4, 5, 7, 8]].sum() / 2 / leg)

    parents, ends = [node.parent for node in clip.nodes], [node.end for node in clip.nodes]
    joints = bvh_names.to_joints(where, convention, found, parents, ends)
    if uniform:
        joints = retarget(joints, REST_OFFSETS).astype(np.float64)
    joints = resample(_without_rest_pose(joints), fps or 1 / clip.frame_time)
    return canonicalise(joints)


def resample(joints: np.ndarray, fps: float, target: float = FPS) -> np.ndarray:
    """(T, ...) at `fps` -> (T', ...) at `target` frames a second, through cubic splines; never past the last frame."""
    frames = len(joints)
    if frames < 2 or abs(fps / target - 1) < 1e-3:  # a frame time of 0.0333 s is meant to be 30 fps
        return joints
    from scipy.interpolate import make_interp_spline

    wanted = np.arange(int((frames - 1) * target / fps + 1e-3) + 1) * (fps / target)
    spline = make_interp_spline(np.arange(frames), joints, k=min(3, frames - 1))
    return spline(np.minimum(wanted, frames - 1))


def _solve(joints: np.ndarray, fps: float) -> tuple[Clip, float]:
    """(T, 22, 3) -> the file's content and the largest position error, metres."""
    frames = len(joints)
    offsets = REST_OFFSETS / np.maximum(LENGTHS, 1e-9)[:, None] * bone_lengths(joints).mean(0)[:, None]
    children = [[child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(22)]
    nodes: list[Node] = []
    columns: list[np.ndarray] = []
    placed = joints.copy()

    def add(joint: int, node_parent: int, before: np.ndarray) -> None:
        """Add a joint's node, and its children's; `before` (T, 3, 3) is the parent node's rotation in the world."""
        name = JOINTS[joint]
        if joint:
            helper = bvh_names.EXPORT_HELPERS.get(name)
            if helper:
                swung = _swing(offsets[joint], joints[:, joint] - placed[:, PARENTS[joint]], before)
                nodes.append(Node(helper, node_parent, np.zeros(3), ROTATIONS))
                columns.append(_euler(before.transpose(0, 2, 1) @ swung))
                node_parent, before = len(nodes) - 1, swung
            placed[:, joint] = placed[:, PARENTS[joint]] + before @ offsets[joint]
        own = before
        below = children[joint]
        if len(below) > 1:
            own = _kabsch(offsets[below], joints[:, below] - placed[:, [joint]])
        if below:  # the spine's bone, or the only one, points exactly at its end
            main = below[-1] if joint == 0 else below[0]
            own = _swing(offsets[main], joints[:, main] - placed[:, joint], own)
        nodes.append(Node(bvh_names.EXPORT_NAMES[name], node_parent, offsets[joint], ROTATIONS if joint else CHANNELS))
        if not joint:
            columns.append(joints[:, 0])
        columns.append(_euler(before.transpose(0, 2, 1) @ own))
        number = len(nodes) - 1
        if name in _ENDS:
            nodes.append(Node("", number, np.array(_ENDS[name]), end=True))
        for child in below:
            add(child, number, own)

    add(0, -1, np.tile(np.eye(3), (frames, 1, 1)))
    error = float(np.linalg.norm(placed - joints, axis=-1).max())
    return Clip(nodes, np.concatenate(columns, axis=1), 1.0 / fps), error


def _swing(rest: np.ndarray, direction: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The least turn after `before` (T, 3, 3) that points the bone `rest` (3,) along `direction` (T, 3): (T, 3, 3)."""
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    a = before @ (rest / max(np.linalg.norm(rest), 1e-9))  # (T, 3) where the bone points so far
    b = np.where(length > 1e-9, direction / np.maximum(length, 1e-9), a)
    cross, dot = np.cross(a, b), (a * b).sum(-1)
    # Rodrigues' formula for the rotation between two unit vectors; for opposite ones a half turn about any normal.
    x = np.zeros((len(a), 3, 3))
    x[:, 0, 1], x[:, 0, 2], x[:, 1, 2] = -cross[:, 2], cross[:, 1], -cross[:, 0]
    x -= x.transpose(0, 2, 1)
    opposite = dot < -1 + 1e-9
    turn = np.eye(3) + x + x @ x / np.where(opposite, 1.0, 1 + dot)[:, None, None]
    if opposite.any():
        normal = np.cross(a, np.eye(3)[np.abs(a).argmin(-1)])
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        half = 2 * normal[:, :, None] * normal[:, None, :] - np.eye(3)
        turn[opposite] = half[opposite]
    return turn @ before


def _kabsch(rest: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The rotations that best bring bones (K, 3) onto (T, K, 3), by direction: (T, 3, 3)."""
    a = rest / np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-9)
    b = bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-9)
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", b, a))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _euler(turn: np.ndarray) -> np.ndarray:
    """(T, 3, 3) -> (T, 3) degrees Z, X, Y with R = Rz Rx Ry, without jumps from frame to frame."""
    x = np.arcsin(np.clip(turn[:, 2, 1], -1, 1))
    z = np.arctan2(-turn[:, 0, 1], turn[:, 1, 1])
    y = np.arctan2(-turn[:, 2, 0], turn[:, 2, 2])
    one = np.stack([z, x, y], axis=-1)
    other = np.stack([z + np.pi, np.pi - x, y + np.pi], axis=-1)  # the same rotation
    out = one
    for t in range(1, len(out)):
        near = [option + 2 * np.pi * np.round((out[t - 1] - option) / (2 * np.pi)) for option in (one[t], other[t])]
        out[t] = min(near, key=lambda angles: np.abs(angles - out[t - 1]).sum())
    return np.degrees(out)


def _upright(where: np.ndarray, found: dict[str, int]) -> np.ndarray:
    """The positions with Y up: a file in which people stand along Z is turned."""
    body = where[:, found["neck"]] - (where[:, found["l_ankle"]] + where[:, found["r_ankle"]]) / 2
    body = body / np.maximum(np.linalg.norm(body, axis=-1, keepdims=True), 1e-9)
    _, y, z = body.mean(0)
    if z > 0.7 and abs(y) < 0.4:
        return np.stack([where[..., 0], where[..., 2], -where[..., 1]], axis=-1)
    return where


def _without_rest_pose(joints: np.ndarray) -> np.ndarray:
    """Without the T pose that some files begin with: frames from which no body gets to the next one."""
    local = joints - joints[:, :1]
    start = 0
    while start < min(3, len(joints) - 2):
        if np.linalg.norm(local[start + 1] - local[start], axis=-1).mean() < _JUMP:
            break
        start += 1
    return joints[start:]


def _distance(where: np.ndarray, first: int, second: int) -> float:
    return float(np.median(np.linalg.norm(where[:, first] - where[:, second], axis=-1)))
