"""Hands and feet at the places where the motion has them, on a body with limbs of other lengths. NumPy only.

Limbs posed by direction alone end elsewhere on other proportions: a character with short arms does not touch its own
hips. Here wrists and ankles keep their places relative to the shoulders and hips, scaled to the character's limbs, and
elbows and knees follow by the two-bone solution in the plane they have anyway. Motion's axes, metres.
"""

from __future__ import annotations

import numpy as np

from . import rotation as rot
from .body import smoothstep
from .skeleton22 import INDEX as J

SOFT = 0.03
"""The last share of a limb's length that it gives up only gradually, so that it never snaps straight."""

_LIMBS = {"hands": ("shoulder", "elbow", "wrist", None), "feet": ("hip", "knee", "ankle", "foot")}


def two_bone(
    root: np.ndarray, upper: np.ndarray, lower: np.ndarray, end: np.ndarray, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middle joint and end of a limb of two bones whose end is to be at `end`.

    Args:
        root: (T, 3) where the limb starts.
        upper, lower: (T,) lengths of its bones.
        end: (T, 3) wanted place; out of reach is answered by a straight (or folded) limb towards it.
        pole: (T, 3) direction that the middle joint bends to; only its part across the limb counts.
    Returns:
        middle (T, 3) and end (T, 3); both lengths are exact.
    """
    line = rot.unit(end - root)
    distance = np.linalg.norm(end - root, axis=-1)
    distance = np.clip(distance, np.abs(upper - lower) + 1e-4, upper + lower)
    across = rot.unit(pole - (pole * line).sum(-1, keepdims=True) * line)
    along = (upper**2 - lower**2 + distance**2) / (2.0 * distance)
    out = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    return root + along[:, None] * line + out[:, None] * across, root + distance[:, None] * line


def pole_of(
    root: np.ndarray, middle: np.ndarray, end: np.ndarray, wanted: np.ndarray, hint: np.ndarray | None = None
) -> np.ndarray:
    """The side a middle joint bends to, once the limb from root to end is turned towards `wanted`. (T, 3).

    A straight limb shows no side and noise bends it to and fro; within 3 cm of straight `hint` (T, 3) has a say.
    """
    line = rot.unit(end - root)
    out = middle - root
    out = out - (out * line).sum(-1, keepdims=True) * line
    if hint is not None:
        front = rot.unit(hint - (hint * line).sum(-1, keepdims=True) * line)
        size = np.linalg.norm(out, axis=-1, keepdims=True)
        out = out + 0.01 * (1.0 - smoothstep(size, 0.01, 0.03)) * front
    return rot.turn(rot.swing(line, wanted - root), out)


def knee_hint(joints: np.ndarray, side: str) -> np.ndarray:
    """Where a straight leg's knee would bend to: between the front of the hips and the way the foot points. (T, 3)."""
    hip, ankle, ball = (J[f"{side}_{name}"] for name in ("hip", "ankle", "foot"))
    line = rot.unit(joints[:, ankle] - joints[:, hip])
    left = rot.unit(joints[:, J["l_hip"]] - joints[:, J["r_hip"]])
    foot = joints[:, ball] - joints[:, ankle]
    return rot.unit(np.cross(line, left)) + rot.unit(foot - (foot * line).sum(-1, keepdims=True) * line)


def soft_reach(distance: np.ndarray, length: np.ndarray, own: np.ndarray) -> np.ndarray:
    """A distance within reach of a limb: unchanged up to the last SOFT of its length, then ever more slowly. (T,).

    own: how far the limb stretches already, (T,); as far as that it may stretch freely.
    """
    most = np.maximum(0.9995 * length, own)
    start = np.maximum((1.0 - SOFT) * length, own)
    rest = np.maximum(most - start, 1e-5)
    return np.minimum(distance, start) + rest * (1.0 - np.exp(-np.maximum(distance - start, 0.0) / rest))


def reach(
    figure: np.ndarray,
    motion: np.ndarray,
    scale_ratio: float | tuple[float, float] | None = None,
    hands: bool = True,
    feet: bool = True,
) -> np.ndarray:
    """Put wrists and ankles where the motion has them, at the character's size. -> (T, 22, 3).

    Wrists keep their place relative to the middle of the shoulders, ankles relative to the middle of the hips, both
    times a ratio that is the same left and right: hands that touch each other still touch. Feet and everything else
    keep their directions.

    Args:
        figure: (T, 22, 3) the character's joints posed by direction; its hands and feet hang from wrist and ankle.
        motion: (T, 22, 3) the motion.
        scale_ratio: size of the character's limbs against the motion's, one number or (arms, legs); None: measured.
            1 keeps the places of the scene itself, as far as the limbs reach.
        hands, feet: which to place.
    """
    out = np.array(figure, np.float64)
    motion = np.asarray(motion, np.float64)
    given = scale_ratio if isinstance(scale_ratio, tuple) else (scale_ratio, scale_ratio)
    for wanted, kind, ratio in ((hands, "hands", given[0]), (feet, "feet", given[1])):
        if not wanted:
            continue
        first, middle, last, beyond = _LIMBS[kind]
        starts = [J[f"{s}_{first}"] for s in "lr"]
        if ratio is None:
            ratio = limb_length(out, first, middle, last) / limb_length(motion, first, middle, last)
        for side in "lr":
            a, b, c = (J[f"{side}_{name}"] for name in (first, middle, last))
            target = out[:, starts].mean(1) + ratio * (motion[:, c] - motion[:, starts].mean(1))
            upper, lower = (np.linalg.norm(out[:, m] - out[:, n], axis=-1) for m, n in ((b, a), (c, b)))
            line = target - out[:, a]
            distance, own = np.linalg.norm(line, axis=-1), np.linalg.norm(out[:, c] - out[:, a], axis=-1)
            target = out[:, a] + rot.unit(line) * soft_reach(distance, upper + lower, own)[:, None]
            pole = pole_of(out[:, a], out[:, b], out[:, c], target, knee_hint(out, side) if kind == "feet" else None)
            before = out[:, c].copy()
            out[:, b], out[:, c] = two_bone(out[:, a], upper, lower, target, pole)
            if beyond:
                out[:, J[f"{side}_{beyond}"]] += out[:, c] - before
    return out


def limb_length(joints: np.ndarray, first: str, middle: str, last: str) -> float:
    """Length of a limb, mean of left and right, median over frames. (T, 22, 3) -> metres."""
    bones = [
        np.linalg.norm(joints[:, J[f"{s}_{b}"]] - joints[:, J[f"{s}_{a}"]], axis=-1)
        for s in "lr"
        for a, b in ((first, middle), (middle, last))
    ]
    return float(np.median(np.sum(bones, axis=0)) / 2.0)
