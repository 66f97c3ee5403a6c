"""Joint positions <-> the 263 numbers a frame of HumanML3D (Guo et al., CVPR 2022), in NumPy.

Layout of one frame, in the frame of the root's heading ("yaw-free"):
    [0]        half the yaw velocity of the root, radians a frame
    [1:3]      velocity of the root along x and z, metres a frame
    [3]        height of the root, metres
    [4:67]     positions of joints 1..21, relative to the root in x and z, absolute in y
    [67:193]   rotations of joints 1..21, first two columns of the matrix (never use them as local rotations)
    [193:259]  velocities of joints 0..21
    [259:263]  foot contacts: left ankle, left foot, right ankle, right foot

The rotations follow the official procedure's inverse kinematics with its quirks, because the official checkpoint was
trained on them; each quirk is named where it is copied.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d

from core.errors import CoreError
from core.skeleton import CHAINS, PARENTS, bone_lengths

FEATURES = 263
"""Numbers a frame."""

WIDTHS = (FEATURES, 251)
"""Numbers a frame of the layouts that are read: 22 joints, and the 21 of KIT-ML."""

CONTACT_THRESHOLD = 0.002
"""A foot joint is in contact if its squared displacement to the next frame is below this, square metres."""

HEADING_SIGMA = 20.0
"""Standard deviation of the heading's smoothing over time, frames."""

# Direction of the bone that ends in each joint when every rotation is identity (HumanML3D's t2m_raw_offsets).
RAW_DIRECTIONS = np.array(
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0],
     [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, -1, 0], [0, -1, 0], [0, -1, 0], [0, -1, 0],
     [0, -1, 0], [0, -1, 0]],
    dtype=np.float32,
)  # fmt: skip

_L_HIP, _R_HIP, _L_SHOULDER, _R_SHOULDER = 1, 2, 16, 17
_L_FEET, _R_FEET = [7, 10], [8, 11]
_TINY = 1e-12


def joints_to_features(
    joints: np.ndarray, *, reference: np.ndarray | None = None, continuous: bool = True
) -> np.ndarray:
    """Features of one clip. The clip is put into canonical place first (see `canonicalise`).

    Args:
        joints: (T, 22, 3) positions, metres, Y up, 20 fps, T >= 2.
        reference: (22, 3) bone vectors of a reference skeleton; the clip is given their lengths first.
        continuous: unwrap the heading, so that someone who turns past 180 degrees is recovered rightly. False is the
            official behaviour: there one sample of the yaw velocity has the wrong sign.
    Returns:
        (T - 1, 263) float32. The last frame is dropped: it has no velocity.
    Raises:
        CoreError: joints_invalid.
    """
    joints = check_joints(joints, least_frames=2)
    if reference is not None:
        joints = retarget(joints, reference)
    joints = canonicalise(joints)
    frames = len(joints)

    yaw = _smooth_heading(joints, continuous)  # (T,) of the rotation heading -> +z
    step = joints[1:] - joints[:-1]  # (T-1, 22, 3)
    half_velocity = 0.5 * np.diff(yaw)
    if not continuous:
        # The official arcsin of the quaternion's y: right within +-90 degrees, wrong sign where q turned into -q.
        half_velocity = np.arcsin(np.sin(half_velocity))

    root_velocity = _turn(step[:, 0], yaw[1:])  # the heading of the *next* frame, as in the official code
    local_velocity = _turn(step, yaw[:-1])
    local = joints - joints[:, :1] * np.array([1, 0, 1], np.float32)
    local = _turn(local, yaw)

    feet = np.square(step[:, _L_FEET + _R_FEET]).sum(-1) < CONTACT_THRESHOLD

    out = np.empty((frames - 1, FEATURES), np.float32)
    out[:, 0] = half_velocity
    out[:, 1] = root_velocity[:, 0]
    out[:, 2] = root_velocity[:, 2]
    out[:, 3] = joints[:-1, 0, 1]
    out[:, 4:67] = local[:-1, 1:].reshape(frames - 1, 63)
    out[:, 67:193] = _rotations(joints[:-1], yaw[:-1]).reshape(frames - 1, 126)
    out[:, 193:259] = local_velocity.reshape(frames - 1, 66)
    out[:, 259:263] = feet
    return out


def joint_count(width: int) -> int:
    """How many joints features of that many numbers a frame stand for: 263 -> 22 (HumanML3D), 251 -> 21 (KIT-ML).

    N joints have 4 numbers of the root, 3 (N - 1) positions, 6 (N - 1) rotations, 3 N velocities and 4 contacts.

    Raises:
        CoreError: features_invalid.
    """
    if width not in WIDTHS:
        raise CoreError("features_invalid", f"Motion features must be {FEATURES} numbers a frame, not {width}.")
    return (width + 1) // 12


def parts(width: int) -> dict[str, slice]:
    """Where the kinds of numbers lie in a frame of `width` numbers, in order. Raises CoreError("features_invalid")."""
    n = joint_count(width)
    ends = np.cumsum([1, 2, 1, 3 * (n - 1), 6 * (n - 1), 3 * n, 4]).tolist()
    names = ("turn", "root_velocity", "root_height", "positions", "rotations", "velocities", "contacts")
    return {name: slice(a, b) for name, a, b in zip(names, [0, *ends[:-1]], ends, strict=True)}


def features_to_joints(features: np.ndarray) -> np.ndarray:
    """Joint positions from features: the official `recover_from_ric`.

    Args:
        features: (..., T, 263), or (..., T, 251) of KIT-ML's 21 joints; not normalised.
    Returns:
        (..., T, 22, 3) float32, metres, Y up; the root of frame 0 at the origin in x and z, heading +Z. For KIT-ML
        (..., T, 21, 3), in the features' own unit of length.
    Raises:
        CoreError: features_invalid.
    """
    features = np.asarray(features)
    if features.ndim < 2 or features.shape[-1] not in WIDTHS:
        raise CoreError("features_invalid", f"Motion features must be (frames, {FEATURES}), not {features.shape}.")
    count = joint_count(features.shape[-1])
    f = features.astype(np.float64)
    # The pose of frame t is reached by the velocities of the frames before it.
    yaw = 2 * (np.cumsum(f[..., 0], axis=-1) - f[..., 0])  # (..., T)
    step = np.zeros((*f.shape[:-1], 3))
    step[..., 1:, 0] = f[..., :-1, 1]
    step[..., 1:, 2] = f[..., :-1, 2]
    root = np.cumsum(_turn(step, -yaw), axis=-2)
    root[..., 1] = f[..., 3]

    joints = np.empty((*f.shape[:-1], count, 3), np.float32)
    local = _turn(f[..., 4 : 4 + 3 * (count - 1)].reshape(*f.shape[:-1], count - 1, 3), -yaw)
    joints[..., 0, :] = root
    joints[..., 1:, :] = local + root[..., None, :] * np.array([1.0, 0.0, 1.0])
    return joints


def next_joints(features: np.ndarray) -> np.ndarray:
    """The frame after the last one, which the last frame's velocities tell: (T, F) -> (N, 3), as `features_to_joints`
    places them."""
    last = features_to_joints(features)[-1]
    yaw = 2 * features[:-1, 0].astype(np.float64).sum()
    velocity = features[-1:, parts(features.shape[-1])["velocities"]].reshape(1, -1, 3)
    return (last + _turn(velocity.astype(np.float64), np.array([-yaw]))[0]).astype(np.float32)


def canonicalise(joints: np.ndarray) -> np.ndarray:
    """The same motion in canonical place: lowest point on y = 0, first root at x = z = 0, first facing +Z.

    Args:
        joints: (T, 22, 3) metres, Y up.
    Returns:
        (T, 22, 3) float32.
    Raises:
        CoreError: joints_invalid.
    """
    joints = check_joints(joints)
    origin = joints[0, 0].copy()
    origin[1] = joints[..., 1].min()
    joints = joints - origin
    forward = facing(joints[:1])[0]
    angle = -np.arctan2(forward[0], forward[2])
    return _turn(joints, np.full(len(joints), angle)).astype(np.float32)


def facing(joints: np.ndarray) -> np.ndarray:
    """Where the body faces, from hips and shoulders: (T, 22, 3) -> (T, 3), horizontal, of length 1."""
    across = (joints[:, _R_HIP] - joints[:, _L_HIP]) + (joints[:, _R_SHOULDER] - joints[:, _L_SHOULDER])
    return _unit(np.cross(np.array([0.0, 1.0, 0.0]), across), np.array([0.0, 0.0, 1.0]))


def retarget(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same poses on a skeleton of other bone lengths (HumanML3D's "uniform skeleton").

    Directions of bones are kept; the root's path is scaled by the ratio of the leg lengths.

    Args:
        joints: (T, 22, 3) metres.
        reference: (22, 3) bone vectors, of which only the lengths count.
    Returns:
        (T, 22, 3) float32.
    """
    joints = check_joints(joints)
    target = np.linalg.norm(np.asarray(reference, np.float64), axis=-1)
    source = bone_lengths(joints[0])
    scale = (target[5] + target[8]) / max(source[5] + source[8], _TINY)
    out = np.empty(joints.shape, np.float64)
    out[:, 0] = joints[:, 0] * scale
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            direction = _unit(joints[:, joint] - joints[:, parent], RAW_DIRECTIONS[joint])
            out[:, joint] = out[:, parent] + direction * target[joint]
    return out.astype(np.float32)


def check_joints(joints: np.ndarray, least_frames: int = 1) -> np.ndarray:
    """The joints as (T, 22, 3) float32; raises CoreError joints_invalid if they are not that, or not finite."""
    array = np.asarray(joints)
    if array.ndim != 3 or array.shape[1:] != (22, 3) or array.dtype.kind not in "fiu":
        raise CoreError("joints_invalid", f"Motion must be joint positions (frames, 22, 3), not {array.shape}.")
    if len(array) < least_frames:
        raise CoreError(
            "joints_invalid",
            f"The motion has {len(array)} frame(s); at least {least_frames} are needed.",
            "Choose a longer motion.",
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise CoreError("joints_invalid", "The motion has positions that are not finite numbers.", "Repair its keys.")
    return array


def _smooth_heading(joints: np.ndarray, continuous: bool) -> np.ndarray:
    """(T, 22, 3) -> (T,) yaw of the rotation that takes the smoothed heading to +z, radians; 0 at frame 0."""
    # Official quirk: in the IK the index list is unpacked as (left, right), so the hips count with the opposite sign.
    across = (joints[:, _L_HIP] - joints[:, _R_HIP]) + (joints[:, _R_SHOULDER] - joints[:, _L_SHOULDER])
    across = _unit(across, np.array([-1.0, 0.0, 0.0]))
    forward = np.cross(np.array([0.0, 1.0, 0.0]), across)
    forward = gaussian_filter1d(forward, HEADING_SIGMA, axis=0, mode="nearest")
    yaw = -np.arctan2(forward[:, 0], forward[:, 2])
    yaw[0] = 0.0  # official: the first rotation is identity whatever the smoothing made of it
    return np.unwrap(yaw) if continuous else yaw


def _rotations(joints: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(T, 22, 3) and the root's yaw (T,) -> (T, 21, 6): local rotations along the five chains.

    Each chain starts from the root's rotation, the arms' too although they start at joint 9 (official quirk).
    """
    frames = len(joints)
    root = np.zeros((frames, 4), np.float32)
    root[:, 0], root[:, 2] = np.cos(yaw / 2), np.sin(yaw / 2)
    parents = np.asarray(PARENTS[1:])
    directions = _unit(joints[:, 1:] - joints[:, parents], RAW_DIRECTIONS[1:])
    world = np.concatenate([root[:, None], _between(RAW_DIRECTIONS[1:], directions)], axis=1)  # (T, 22, 4)

    before = np.zeros(22, np.int64)  # whose accumulated rotation a joint's local rotation is relative to
    for chain in CHAINS:
        for first, second in pairwise(chain):
            before[second] = 0 if first == chain[0] else first
    inverse = world[:, before[1:]] * np.array([1, -1, -1, -1], np.float32)
    w, x, y, z = np.moveaxis(_multiply(inverse, world[:, 1:]), -1, 0)  # (T, 21) each
    return np.stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w),
         2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)],
        axis=-1,
    )  # fmt: skip


def _turn(vectors: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Rotate (..., T, 3) or (..., T, N, 3) about +y by (..., T) radians."""
    if vectors.ndim == yaw.ndim + 2:
        yaw = yaw[..., None]
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([x * cos + z * sin, y, z * cos - x * sin], axis=-1)


def _unit(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Vectors of length 1; those of length 0 become `fallback`."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > _TINY, vectors / np.maximum(length, _TINY), fallback)


def _between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), w first, of the shortest rotation between unit vectors (..., 3)."""
    source, target = np.broadcast_arrays(source, target)
    xyz = np.cross(source, target)
    w = 1.0 + (source * target).sum(-1, keepdims=True)
    # Opposite vectors have no shortest rotation (the official code gives NaN): any axis at a right angle will do, and
    # as `source` lies along an axis, its neighbour is one.
    away = np.stack([np.abs(source[..., 1]), np.abs(source[..., 2]), np.abs(source[..., 0])], axis=-1)
    opposite = np.concatenate([np.zeros_like(w), away], axis=-1)
    return _unit(np.where(w > 1e-7, np.concatenate([w, xyz], axis=-1), opposite), np.array([1.0, 0, 0, 0]))


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of quaternions (..., 4), w first."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
         aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw],
        axis=-1,
    )  # fmt: skip
