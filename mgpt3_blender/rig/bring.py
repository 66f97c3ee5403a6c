"""A posed figure brought to where a motion of the same body has its joints: by how much each joint turns. NumPy only.

The solve (turns.py) goes from one body to another and keeps each character's posture. Here both are the same body, so
that every joint can be met: hips and chest by the best fit of what hangs on them, everything else by pointing at its
next joint. A joint that is met already does not turn at all. Motion's axes.
"""

from __future__ import annotations

import numpy as np

from . import rotation as rot
from .character import Character
from .reach import pole_of, two_bone
from .skeleton22 import INDEX as J
from .skeleton22 import PARENTS, SPINE
from .turns import follow

HIPS = [J["l_hip"], J["r_hip"]]
_LIMBS = tuple(tuple(J[f"{s}_{n}"] for n in names) for s in "lr"
               for names in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")))  # fmt: skip


def bring(character: Character, now: np.ndarray, motion: np.ndarray) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """How far each joint of a figure has to turn, and where its joints are then.

    Args:
        character: says which joints there are.
        now: (T, 22, 3) the figure as it is posed, anywhere.
        motion: (T, 22, 3) where its joints are to be.
    Returns:
        turns, joint -> (T, 3, 3); joints (T, 22, 3), the middle of the hips where the motion has it.
    """
    turns = _torso(character, now, motion)
    for side in "lr":
        for name in ("hip", "knee", "ankle", "foot"):
            turns[J[f"{side}_{name}"]] = turns[J["pelvis"]]
        for name in ("shoulder", "elbow", "wrist"):
            turns[J[f"{side}_{name}"]] = turns[J[f"{side}_collar"]]
    carried = _carried(now, motion, turns)
    wanted = _reaching(carried, motion)
    follow(turns, carried, wanted)
    return turns, wanted


def _torso(character: Character, now: np.ndarray, motion: np.ndarray) -> dict[int, np.ndarray]:
    pelvis, chest = J["pelvis"], _chest(character)
    spine = [J[name] for name in SPINE if character.present[J[name]]]
    out = {j: np.broadcast_to(np.eye(3), (len(now), 3, 3)) for j in range(22)}
    out[pelvis] = _fit(character, pelvis, [*HIPS, *spine[:1]], now, motion, out[pelvis])
    top = _fit(character, chest, _on_chest(character, chest), now, motion, out[pelvis])
    for n, joint in enumerate(spine):
        base = top if joint == chest else rot.between(out[pelvis], top, (n + 1) / len(spine))
        following = character.next(joint)
        out[joint] = base if joint == chest else _aimed(base, joint, following, now, motion)
    for name in SPINE:  # what has no bone goes with what is below it
        if J[name] not in spine:
            out[J[name]] = next((out[j] for j in reversed(spine) if j < J[name]), out[pelvis])
    for joint, following in ((J["neck"], J["head"]), *((J[f"{s}_collar"], J[f"{s}_shoulder"]) for s in "lr")):
        out[joint] = _aimed(top, joint, following if character.present[joint] else None, now, motion)
    out[J["head"]] = out[J["neck"]]
    return out


def _chest(character: Character) -> int:
    """The topmost joint of the spine: it carries shoulders and neck."""
    return next(J[name] for name in reversed(SPINE) if character.present[J[name]])


def _on_chest(character: Character, chest: int) -> list[int]:
    """Joints that are fixed on the chest; shoulders are, where there are no collarbones to move them."""
    ends = [J["neck"] if character.present[J["neck"]] else J["head"]]
    for side in "lr":
        collar = J[f"{side}_collar"]
        fixed = character.present[collar] and np.linalg.norm(character.vector(chest, collar)) > 0.02 * character.size
        ends.append(collar if fixed else J[f"{side}_shoulder"])
    return ends


def _fit(
    character: Character, joint: int, ends: list[int], now: np.ndarray, motion: np.ndarray, base: np.ndarray
) -> np.ndarray:
    """The turn that best brings the vectors from a joint to others where the motion has them. (T, 3, 3)."""
    seen = [k for k in ends if character.present[k] and np.linalg.norm(now[:, k] - now[:, joint], axis=-1).min() > 1e-3]
    if len(seen) < 2:
        return _aimed(base, joint, seen[0] if seen else None, now, motion)
    source, target = (rot.unit(at[:, seen] - at[:, [joint]]) for at in (now, motion))
    U, _, Vt = np.linalg.svd(np.swapaxes(target, -1, -2) @ source)
    fix = np.ones((len(now), 3))
    fix[:, 2] = np.sign(np.linalg.det(U @ Vt))
    return (U * fix[:, None, :]) @ Vt


def _aimed(base: np.ndarray, joint: int, following: int | None, now: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A turn that also points a joint at the next one as the motion does. (T, 3, 3)."""
    if following is None:
        return base
    bone, wanted = now[:, following] - now[:, joint], motion[:, following] - motion[:, joint]
    if min(np.linalg.norm(bone, axis=-1).min(), np.linalg.norm(wanted, axis=-1).min()) < 1e-4:
        return base
    return rot.swing(rot.turn(base, bone), wanted) @ base


def _carried(now: np.ndarray, motion: np.ndarray, turns: dict[int, np.ndarray]) -> np.ndarray:
    """The figure with each joint turned, its hips where the motion's are."""
    out = np.empty_like(now)
    middle = now[:, HIPS].mean(1)
    out[:, 0] = motion[:, HIPS].mean(1) + rot.turn(turns[0], now[:, 0] - middle)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            out[:, joint] = out[:, parent] + rot.turn(turns[parent], now[:, joint] - now[:, parent])
    return out


def _reaching(now: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A figure with wrists, ankles and feet where a motion of the same body has them. Both (T, 22, 3)."""
    out = now.copy()
    for a, b, c in _LIMBS:
        upper, lower = (np.linalg.norm(now[:, n] - now[:, m], axis=-1) for m, n in ((a, b), (b, c)))
        pole = pole_of(motion[:, a], motion[:, b], motion[:, c], motion[:, c])
        pole = pole + 0.05 * pole_of(now[:, a], now[:, b], now[:, c], motion[:, c])  # a straight limb shows no side
        out[:, b], out[:, c] = two_bone(now[:, a], upper, lower, motion[:, c], pole)
        if b in (J["l_knee"], J["r_knee"]):
            ball = c + 3
            foot = np.linalg.norm(now[:, ball] - now[:, c], axis=-1, keepdims=True)
            out[:, ball] = out[:, c] + foot * rot.unit(motion[:, ball] - motion[:, c])
    return out
