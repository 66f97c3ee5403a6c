"""Motion-to-text: joint positions -> sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from core import prompts
from core.errors import Cancelled, CoreError
from core.features import canonicalise, joints_to_features
from core.model.motiongpt3 import MotionGPT3
from core.restpose import LENGTHS, REST_OFFSETS

MIN_FRAMES, MAX_FRAMES = 20, 196
TEMPERATURE = 0.8
TRIES = 4
"""Continuations drawn for each alternative that is asked for: many come out the same."""


def encode_motion(model: MotionGPT3, joints: np.ndarray) -> torch.Tensor:
    """Joints (T, 22, 3), metres, Y up -> the code the language model reads (1, C): the posterior's mean.

    The body is given the bone lengths the model knows first, whatever character it came from.
    """
    return encode_motions(model, [joints])


def encode_motions(model: MotionGPT3, motions: Sequence[np.ndarray]) -> torch.Tensor:
    """As `encode_motion`, of several motions (T_i, 22, 3) at a time -> (N, C); alike lengths waste the least."""
    reference = REST_OFFSETS
    if model.vae.linear is not None:
        reference = REST_OFFSETS / np.maximum(LENGTHS, 1e-9)[:, None] * model.vae.bones.cpu().numpy()[:, None]
    rows = [joints_to_features(canonicalise(j), reference=reference.astype(np.float32)) for j in motions]
    x = pad_sequence([torch.from_numpy(r) for r in rows], batch_first=True).to(model.device)  # (N, T, 263)
    lengths = torch.tensor([len(r) for r in rows], device=model.device)
    mean, _ = model.vae.encode((x - model.vae.mean) / model.vae.std, lengths)
    return model.vae.to_code(mean)


def check_motion(joints: np.ndarray) -> np.ndarray:
    """Shape, length and finiteness. Raises CoreError(motion_shape, motion_not_finite, motion_too_short)."""
    joints = np.asarray(joints, dtype=np.float32)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise CoreError(
            "motion_shape", f"A motion is (frames, 22, 3) joint positions; this is {joints.shape}.", "Pass 22 joints."
        )
    if not np.isfinite(joints).all():
        raise CoreError("motion_not_finite", "The motion has values that are not numbers.", "Check the animation.")
    if len(joints) < MIN_FRAMES:
        raise CoreError(
            "motion_too_short",
            f"The motion has {len(joints)} frames at 20 fps; a description needs a second.",
            "Choose a longer frame range.",
        )
    return joints


def caption(
    model: MotionGPT3,
    joints: np.ndarray,
    *,
    alternatives: int = 0,
    fast: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[str]:
    """Describe a motion.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps. Of a motion longer than 9.8 s the middle is described.
        fast: let a large model write with 8-bit weights: now and then another word.
        alternatives: how many further, different sentences to add (fewer come back if the model finds no more).
    Returns:
        The greedy sentence first, then alternatives by likelihood.
    Raises:
        CoreError: motion_shape, motion_not_finite, motion_too_short. Cancelled.
    """
    joints = check_motion(joints)
    if len(joints) > MAX_FRAMES + 1:
        start = (len(joints) - MAX_FRAMES - 1) // 2
        joints = joints[start : start + MAX_FRAMES + 1]

    def on_token(_: int) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled

    with torch.inference_mode(), model.computing():
        codes = encode_motion(model, joints)[:, None]  # (1, 1, C)
        ids = model.prompt(prompts.motion_to_text())
        first, _ = model.write(ids, codes, on_token=on_token, unchecked=fast)
        best = model.tokenizer.decode(first)
        found: dict[str, float] = {}
        if alternatives:
            if progress is not None:
                progress(0.5, "Looking for other words")
            generator = torch.Generator("cpu").manual_seed(0)
            for tokens, score in model.write_all(
                ids,
                codes,
                copies=TRIES * alternatives,
                generator=generator,
                temperature=TEMPERATURE,
                on_token=on_token,
            ):
                text = model.tokenizer.decode(tokens)
                if text and text != best:
                    found[text] = max(score, found.get(text, -1e9))
    if progress is not None:
        progress(1.0, "Done")
    return [best, *sorted(found, key=lambda t: -found[t])[:alternatives]]
