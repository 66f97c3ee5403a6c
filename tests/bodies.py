"""Bodies of other proportions that play a motion, and what is measured on them: for the tests of ground and place."""

from __future__ import annotations

from pathlib import Path

import motions
import numpy as np
import pytest

from mgpt3_blender.rig import ground, place
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, PARENTS
from mgpt3_blender.rig.solve import resample

RATES = [12.0, 20.0, 24.0, 30.0, 59.94, 120.0]
BODIES = {
    "as the motion": {},
    "long shins": {"knee": 0.85, "ankle": 1.14},
    "long thighs": {"knee": 1.15, "ankle": 0.86},
    "big feet, wide hips": {"foot": 1.3, "hip": 1.4},
}
LEGS = [(INDEX[f"{s}_{a}"], INDEX[f"{s}_{b}"]) for s in "lr" for a, b in (("hip", "knee"), ("knee", "ankle"))]
ANKLES, BALLS = [INDEX["l_ankle"], INDEX["r_ankle"]], [INDEX["l_foot"], INDEX["r_foot"]]


def reproportioned(joints: np.ndarray, **factors: float) -> np.ndarray:
    """The same directions on another body: bone lengths times a factor by the name of the joint they end in."""
    out = np.array(joints, np.float64)
    for k, parent in enumerate(PARENTS):
        if parent >= 0:
            factor = factors.get(JOINTS[k], factors.get(JOINTS[k][2:], 1.0))
            out[:, k] = out[:, parent] + factor * (joints[:, k] - joints[:, parent])
    return out


def heights_of(foot: float = 1.0, **_: float) -> np.ndarray:
    """Rest heights of the feet of such a body. The tests' own skeleton has feet that are not quite alike."""
    own = model(motions.stand())[0, ground.FEET, 1]
    return own[[1, 1, 3, 3]] + foot * (own - own[[1, 1, 3, 3]])


def placed(motion: np.ndarray, fps: float, body: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A body that plays a motion and stands on the floor: figure, contacts of the motion, rest heights."""
    heights = heights_of(**body)
    figure = reproportioned(motion, **body)
    figure = figure + place.root_offset(figure, motion, heights, fps)[:, None]
    return figure, ground.contacts(motion[:, ground.FEET], fps), heights


def at(motion: np.ndarray, fps: float) -> np.ndarray:
    return resample(np.asarray(motion, np.float64), 20.0, fps)


def lifted(motion: np.ndarray, up: float) -> np.ndarray:
    return np.asarray(motion, np.float64) + np.array([0.0, up, 0.0])


def model(motion: np.ndarray) -> np.ndarray:
    """A motion of the tests with its feet as high over the floor as the model's."""
    return lifted(motion, place.HEIGHTS[1])


def skating_walk(seconds: float = 4.0, speed: float = 0.06) -> np.ndarray:
    """A walk whose standing feet slide forward, metres a second."""
    walk = model(motions.walk(seconds))
    walk[..., 2] += (speed * np.arange(len(walk)) / 20.0)[:, None]
    return walk


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(joints[:, k] - joints[:, p], axis=-1) for k, p in enumerate(PARENTS) if p >= 0], -1)


def with_lengths(joints: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The same directions with these bone lengths, (T, 21)."""
    out = np.array(joints, np.float64)
    for k, parent in enumerate(PARENTS):
        if parent >= 0:
            out[:, k] = out[:, parent] + rot.unit(joints[:, k] - joints[:, parent]) * sizes[:, [k - 1]]
    return out


def smooth_walk(fps: float) -> np.ndarray:
    """The sliding walk without the corners that the tests' walk has: what accelerates then is the lock."""
    walk = at(skating_walk(), fps)
    sigma = 0.06 * fps
    more = max(1, round(3.0 * sigma))
    padded = np.pad(walk.reshape(len(walk), -1), ((more, more), (0, 0)), mode="reflect", reflect_type="odd")
    return with_lengths(place._gaussian(padded, sigma).reshape(walk.shape), lengths(walk[:1]).repeat(len(walk), 0))


def pitch(joints: np.ndarray) -> np.ndarray:
    """How far each heel is up over its toe, degrees (T, 2)."""
    foot = joints[:, ANKLES] - joints[:, BALLS]
    return np.degrees(np.arcsin(foot[..., 1] / np.linalg.norm(foot, axis=-1)))


def acceleration(joints: np.ndarray, which: list[int], fps: float) -> np.ndarray:
    return np.linalg.norm(np.diff(joints[:, which], 2, axis=0), axis=-1) * fps**2


def real_motions(shared: Path) -> list[tuple[str, np.ndarray]]:
    from core.bvh import read_bvh

    files = sorted((shared / "bvh").glob("*.bvh"))
    found = [(path.stem, read_bvh(path, uniform=True).astype(np.float64)) for path in files]
    bundle = shared / "data" / "permissive" / "cmu_joints.npz"
    if bundle.exists():
        with np.load(bundle) as data:
            offsets, local, root = data["offsets"], data["local"], data["root_xz"]
        for n in (0, 45, 180, 270, 405):
            clip = local[offsets[n] : offsets[n + 1]][:200] * 1e-4
            clip[..., [0, 2]] += root[offsets[n] : offsets[n + 1], None][:200]
            found.append((f"cmu{n}", clip))
    if not found:
        pytest.skip("needs BVH files in the shared/ folder")
    return found


def tiptoe(figure: np.ndarray, locked: np.ndarray, standing: np.ndarray, heights: np.ndarray) -> float:
    """How much steeper a foot got with its heel in contact than it was, or than it lies flat: degrees at the most."""
    size = np.median(np.linalg.norm(figure[:, BALLS] - figure[:, ANKLES], axis=-1), axis=0)
    flat = np.degrees(np.arcsin((heights[[0, 2]] - heights[[1, 3]]) / size))
    return float((pitch(locked) - np.maximum(pitch(figure), flat))[standing[:, [0, 2]]].max(initial=0.0))
