"""What the bimodal model proposes for a gap: codes for the whole stretch, from the ends, from words, or from both."""

from __future__ import annotations

import numpy as np
import torch

from core import prompts
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks.caption import encode_motion
from core.tasks.generate import MAX_SEED
from core.tasks.predict import LEAST_GIVEN
from core.tasks.understand import understand

LEAST_FRAMES = 20


def propose(
    model: MotionGPT3, before: np.ndarray, after: np.ndarray, frames: int, prompt: str | None, seeds: list[int]
) -> torch.Tensor | None:
    """Codes for a stretch that begins and ends with known frames.

    Args:
        before, after: (A, 22, 3) and (B, 22, 3) known frames at both ends, keys included.
        frames: of the whole stretch. prompt: what happens, where it is said: then it leads.
        seeds: one for each code.
    Returns:
        (N, C) on the CPU; None where there is nothing to go by: no words, and ends too short to show a movement.
    """
    seconds = frames / FPS if model.cfg.reads_duration else None
    codes: torch.Tensor | None = None
    with torch.inference_mode(), model.computing():
        if prompt:
            text = prompts.text_to_motion(understand(model, prompt).prompt_used, seconds)
        elif min(len(before), len(after)) >= LEAST_GIVEN:
            codes = torch.stack([encode_motion(model, before), encode_motion(model, after)], 1)
            text = prompts.complete_motion(seconds)
        else:
            return None
        condition = model.condition(model.prompt(text), codes)
        return model.sample_codes(condition, [s % (MAX_SEED + 1) for s in seeds]).float().cpu()
