"""The model's own answer to how a motion begins and ends: a proposal, not yet held to any key."""

from __future__ import annotations

import numpy as np
import torch

from core import prompts
from core.errors import CoreError
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks.caption import encode_motion
from core.tasks.place import fit, turn_and_shift
from core.tasks.predict import check_given, sample_motion


def complete(
    model: MotionGPT3, start: np.ndarray, end: np.ndarray, frames: int, seed: int = 0, prompt: str | None = None
) -> np.ndarray:
    """The model's proposal for a motion that begins and ends as given; the ends are approached, not met exactly.

    Args:
        start: (A, 22, 3), end: (B, 22, 3), metres, Y up, 20 fps, each at least 4 frames.
        frames: of the whole, ends included, at most 196. prompt: what happens, where it is to be said.
    Returns:
        (frames, 22, 3), placed so that its first A frames lie nearest to `start`. Where `end` is does not count: the
        model reads how the ends move, not where they are.
    Raises:
        CoreError: motion_shape, motion_not_finite, motion_too_short, duration_out_of_range, seed_out_of_range.
    """
    start, end = check_given(start, "The beginning"), check_given(end, "The end")
    if not len(start) + len(end) <= frames <= 196:
        raise CoreError(
            "duration_out_of_range", f"{frames} frames cannot hold both ends ({len(start)} and {len(end)} frames).",
            "Ask for more frames, at most 196, or give shorter ends.",
        )  # fmt: skip
    seconds = frames / FPS if model.cfg.reads_duration else None
    with torch.inference_mode():
        codes = torch.stack([encode_motion(model, start), encode_motion(model, end)], 1)  # (1, 2, C)
    out = sample_motion(model, prompts.complete_motion(seconds, prompt or ""), codes, frames, seed)
    return turn_and_shift(out, *fit(out[: len(start)], start)).astype(np.float32)
