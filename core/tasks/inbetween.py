"""In-betweening: two keyed poses, or two motions -> the frames between, passing through both keys exactly.

The model alone does not do this: it reads how each end moves and answers with one latent, relative to its own start.
Here its answers are proposals. Around each of them the likeliest code is looked for whose motion meets the keys, the
context and whatever else is asked for (latentfit.py); what is still missing at the keys is put right by a smooth
correction (joining.py); root and joints are mixed with plain interpolation as far as that is nearer to real motion
(codeprior.py, measured); feet that stand are pinned (feet.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.errors import Cancelled, CoreError
from core.model.motiongpt3 import MotionGPT3
from core.tasks.constraints import Constraint
from core.tasks.gap import Gap
from core.tasks.generate import MAX_SEED, check_seed

MAX_GAP = 190
"""Frames between two keys that the model can see at once: 9.5 seconds."""
CONTEXT = 10
"""Frames of the motion beside each key that are looked at."""
TRIES = 4
"""Proposals a take, of which the best is kept."""


@dataclass
class Filled:
    """One way to fill a gap.

    Attributes:
        joints: (frames + 2, 22, 3) float32, the two keys included and exactly as given.
        seed: what makes it again.
        report: boundary_mm (what the correction had to bridge at the keys), velocity_jump (m/s, the largest at a key),
            slide_mm (a frame, standing feet), jerk (m/s3), model_share (0 plain interpolation, 1 the model), score
            (less is better), constraints (each with its kind, its frame, and error_mm, what is left of it).
    """

    joints: np.ndarray
    seed: int
    report: dict[str, Any] = field(default_factory=dict)


def inbetween(
    model: MotionGPT3,
    start: np.ndarray,
    end: np.ndarray,
    frames: int,
    prompt: str | None = None,
    context_before: np.ndarray | None = None,
    context_after: np.ndarray | None = None,
    seed: int = 0,
    *,
    variations: int = 1,
    strength: float = 1.0,
    constraints: Sequence[Constraint] = (),
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Filled]:
    """Fill the frames between two keyed poses.

    Args:
        start, end: (22, 3) poses in one common place, metres, Y up, floor at 0; any body.
        frames: strictly between them, 20 a second; 1 to 190.
        prompt: what happens in between, where it is to be said.
        context_before, context_after: (A, 22, 3) what comes before `start`, (B, 22, 3) what follows `end`; the nearest
            ten frames count, and velocities are carried on across the keys. Fewer than two frames change little.
        seed: of the proposals. variations: takes, made with seed, seed + 1, ...
        strength: 0 is plain interpolation, 1 what is nearest to real motion.
        constraints: what else to meet.
        progress: told (fraction, message). cancelled: polled.
    Returns:
        The takes, best first: by what was left at the keys, foot slide and jerk.
    Raises:
        CoreError: motion_shape, motion_not_finite, gap_out_of_range, seed_out_of_range, strength_out_of_range,
            constraint_wrong. Cancelled.
    """
    check_seed(seed)
    if not 1 <= frames <= MAX_GAP:
        raise CoreError(
            "gap_out_of_range",
            f"A gap of {frames} frames at 20 a second cannot be filled at once.",
            f"Leave 1 to {MAX_GAP} frames between two keys; key a pose in the middle of a longer one.",
        )
    if not 0.0 <= strength <= 1.0:
        raise CoreError("strength_out_of_range", f"The strength {strength:g} is out of range.", "Choose 0 to 1.")
    ends = [_poses(start, "The first key"), _poses(end, "The second key")]
    for key, what in zip(ends, ("The first key", "The second key"), strict=True):
        if len(key) != 1:
            raise CoreError("motion_shape", f"{what} is {len(key)} poses.", "Pass one; what is around it is context.")
    context = [_poses(c, what) for c, what in ((context_before, "What comes before"), (context_after, "What follows"))]
    gap = Gap(
        model, np.concatenate([context[0], ends[0]])[-CONTEXT - 1 :],
        np.concatenate([ends[1], context[1]])[: CONTEXT + 1], frames, list(constraints),
    )  # fmt: skip
    out: list[Filled] = []
    for i in range(variations):
        take = (seed + i) % (MAX_SEED + 1)
        if cancelled is not None and cancelled():
            raise Cancelled
        if progress is not None:
            progress(i / variations, f"Filling {frames} frames" + (f", take {i + 1}" if variations > 1 else ""))
        joints, report = gap.fill(take, TRIES, prompt, strength, cancelled)
        joints = joints.astype(np.float32)
        joints[0], joints[-1] = ends[0][0], ends[1][0]
        out.append(Filled(joints, take, report))
    if progress is not None:
        progress(1.0, "Done")
    return sorted(out, key=lambda f: f.report["score"])


def _poses(given: np.ndarray | None, what: str) -> np.ndarray:
    """(T, 22, 3) float32, of one pose T is 1 and of None 0. Raises CoreError(motion_shape, motion_not_finite)."""
    if given is None:
        return np.zeros((0, 22, 3), np.float32)
    joints = np.asarray(given, dtype=np.float32)
    joints = joints[None] if joints.ndim == 2 else joints
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise CoreError("motion_shape", f"{what} has the shape {np.shape(given)}.", "Pass 22 joints of 3 coordinates.")
    if not np.isfinite(joints).all():
        raise CoreError("motion_not_finite", f"{what} has values that are not numbers.", "Check the animation.")
    return joints
