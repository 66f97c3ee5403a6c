"""Text-to-motion: a prompt, a duration and a seed -> joint positions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from core import prompts
from core.errors import Cancelled, CoreError
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks.understand import Understood, understand

MIN_SECONDS, MAX_SECONDS = 1.0, 9.8
"""What the model's data covers: 20 to 196 frames at 20 fps."""
MAX_PROMPT_TOKENS = 180
MAX_SEED = 2**31 - 1


def frame_count(seconds: float) -> int:
    """Frames at 20 fps. Raises CoreError("duration_out_of_range")."""
    if not (math.isfinite(seconds) and MIN_SECONDS <= seconds <= MAX_SECONDS):
        raise CoreError(
            "duration_out_of_range",
            f"A motion of {seconds:g} s is outside what the model knows.",
            f"Choose between {MIN_SECONDS:g} and {MAX_SECONDS:g} seconds.",
        )
    return round(seconds * FPS)


def check_seed(seed: int) -> int:
    if not 0 <= seed <= MAX_SEED:
        raise CoreError("seed_out_of_range", f"The seed {seed} is out of range.", f"Use 0 to {MAX_SEED}.")
    return seed


def generate(
    model: MotionGPT3,
    prompt: str,
    seconds: float,
    seed: int,
    *,
    variations: int = 1,
    guidance: float | None = None,
    steps: int | None = None,
    fast: bool = False,
    literal: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    timings: dict[str, float] | None = None,
    told: Callable[[Understood], None] | None = None,
) -> list[np.ndarray]:
    """Motion for a prompt.

    Args:
        prompt: what the character does, in English.
        seconds: 1 to 9.8.
        seed: 0 to 2^31-1; variation i uses seed + i, so it can be made again alone.
        guidance: classifier-free guidance scale, 1 for none; None for the model's own.
        steps: sampling steps; None for the model's own.
        fast: the model's fast sampler and its number of steps, instead of the exact one.
        literal: let the model read the prompt as it is, also where it has words that the model never met.
        progress: told (fraction, message). cancelled: polled before every sampling step.
        timings: filled with "sample_s" and "decode_s" where given.
        told: told once, before sampling, what the prompt is taken for.
    Returns:
        One (frames, 22, 3) float32 array per variation: metres, Y up, on the floor, starting at the origin facing +Z.
    Raises:
        CoreError: prompt_empty, prompt_too_long, duration_out_of_range, seed_out_of_range, ...
        Cancelled: when `cancelled` turned true.
    """
    frames = frame_count(seconds)
    prompt = " ".join(prompt.split())
    if not prompt:
        raise CoreError("prompt_empty", "The prompt is empty.", "Type what the character should do.")
    if not 1 <= variations <= 64:
        raise CoreError("variations_out_of_range", f"{variations} variations cannot be made.", "Choose 1 to 64.")
    if guidance is not None and not (math.isfinite(guidance) and 0 <= guidance <= 20):
        raise CoreError("guidance_out_of_range", f"Guidance {guidance:g} is out of range.", "Choose 1 to 20.")
    if guidance is not None and guidance > 1 >= model.cfg.diffusion.guidance:
        raise CoreError(
            "guidance_unknown",
            f"'{model.cfg.name}' was trained without guidance and can only sample at 1.",
            "Leave the guidance to the model.",
        )
    if steps is not None and not 1 <= steps <= model.cfg.diffusion.train_steps:
        raise CoreError("steps_out_of_range", f"{steps} sampling steps cannot be made.", "Choose 1 to 1000.")
    check_seed(seed)
    sampler = None
    if fast:
        sampler, steps = model.cfg.diffusion.fast_sampler, steps or model.cfg.diffusion.fast_steps
    seeds = [(seed + i) % (MAX_SEED + 1) for i in range(variations)]
    if len(model.prompt(prompt)[0]) > MAX_PROMPT_TOKENS:
        raise CoreError("prompt_too_long", "The prompt is too long.", "Describe one motion in a sentence or two.")
    understood = Understood(prompt) if literal else understand(model, prompt)
    if told is not None:
        told(understood)
    text = prompts.text_to_motion(understood.prompt_used, seconds if model.cfg.reads_duration else None)
    ids = model.prompt(text)
    if ids.shape[1] > MAX_PROMPT_TOKENS:
        raise CoreError("prompt_too_long", "The prompt is too long.", "Describe one motion in a sentence or two.")

    def on_step(step: int, of: int) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled
        if progress is not None:
            progress(step / of * 0.9, f"Sampling, step {step + 1} of {of}")

    started = time.perf_counter()
    with torch.inference_mode(), model.computing():
        codes = model.sample_codes(
            model.condition(ids), seeds, guidance=guidance, steps=steps, sampler=sampler, on_step=on_step
        )
        sampled = time.perf_counter()
        if progress is not None:
            progress(0.9, "Decoding")
        lengths = torch.full((variations,), frames, device=model.device)
        joints = model.vae.decode_joints(model.vae.from_code(codes), lengths).float().cpu().numpy()
    if timings is not None:
        timings.update(sample_s=sampled - started, decode_s=time.perf_counter() - sampled)
    if not np.isfinite(joints).all():
        raise CoreError(
            "model_diverged", "The model gave a motion that is not finite.", "Lower the guidance or change the seed."
        )
    from core.features import canonicalise

    if progress is not None:
        progress(1.0, "Done")
    return [canonicalise(j).astype(np.float32) for j in joints]
