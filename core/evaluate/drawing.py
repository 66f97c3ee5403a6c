"""The model at work on many clips at once: draw, encode, reconstruct, describe. Before any clean-up.

Batches of clips of similar length: many times faster than one by one, and by the named noise of each sample the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from core import prompts
from core.model.motiongpt3 import MotionGPT3
from core.restpose import LENGTHS
from core.skeleton import FPS
from core.tasks.generate import MAX_PROMPT_TOKENS
from core.train.autoencoder import batch_of
from core.train.data import Clip

BATCH = 64
PAD = -1


def bones_of(model: MotionGPT3) -> np.ndarray:
    """(22,) bone lengths of the bodies the model draws, metres."""
    bones = model.vae.bones.cpu().numpy() if model.vae.linear is not None else LENGTHS
    return np.asarray(bones, np.float32)


def batches(frames: list[int]) -> Iterator[list[int]]:
    """Row numbers in batches, short clips first."""
    order = sorted(range(len(frames)), key=lambda i: frames[i])
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


@torch.inference_mode()
def draw(
    model: MotionGPT3,
    captions: list[str],
    frames: list[int],
    seeds: list[int],
    guidance: float | None = None,
    steps: int | None = None,
) -> list[np.ndarray]:
    """One motion a caption, as the decoder gives it: (frames, 22, 3) each, metres, the floor at y = 0.

    Args:
        frames: of each motion. seeds: one each; the same seed gives the same motion in any batch.
        guidance, steps: None for the model's own.
    """
    out: list[np.ndarray] = [np.empty(0)] * len(captions)
    for rows in batches(frames):
        ids = [_prompt(model, captions[i], frames[i] / FPS) for i in rows]
        longest = max(map(len, ids))
        padded = torch.tensor([r + [PAD] * (longest - len(r)) for r in ids], device=model.device)
        lengths = torch.tensor([frames[i] for i in rows], device=model.device)
        with model.computing():
            condition = model.condition(padded, pad=PAD)
            codes = model.sample_codes(condition, [seeds[i] for i in rows], guidance=guidance, steps=steps)
            joints = model.vae.decode_joints(model.vae.from_code(codes), lengths).float().cpu().numpy()
        for i, motion in zip(rows, joints, strict=True):
            out[i] = motion[: frames[i]]
    return out


def _prompt(model: MotionGPT3, caption: str, seconds: float) -> list[int]:
    """Token ids of the prompt; words are dropped from the end of a caption that is too long."""
    duration = seconds if model.cfg.reads_duration else None
    words = caption.split()
    while True:
        ids = model.tokenizer.encode(prompts.text_to_motion(" ".join(words), duration))
        if len(ids) <= MAX_PROMPT_TOKENS or len(words) < 2:
            return ids
        words = words[: max(1, len(words) - max(1, (len(ids) - MAX_PROMPT_TOKENS) // 2))]


@torch.inference_mode()
def encode(model: MotionGPT3, clips: list[Clip]) -> torch.Tensor:
    """Latents (N, C), the posterior's mean, of prepared clips, in their order."""
    out = torch.zeros(len(clips), model.cfg.vae.channels, device=model.device)
    for rows in batches([c.frames for c in clips]):
        x, _, lengths = batch_of(model.vae, [clips[i] for i in rows])
        out[rows] = model.vae.encode(x, lengths)[0].float()
    return out


@torch.inference_mode()
def reconstruct(model: MotionGPT3, clips: list[Clip], latents: torch.Tensor) -> list[np.ndarray]:
    """Latents (N, C) through the decoder: (frames, 22, 3) each."""
    out: list[np.ndarray] = [np.empty(0)] * len(clips)
    for rows in batches([c.frames for c in clips]):
        lengths = torch.tensor([clips[i].frames for i in rows], device=model.device)
        joints = model.vae.decode_joints(latents[rows], lengths).float().cpu().numpy()
        for i, motion in zip(rows, joints, strict=True):
            out[i] = motion[: clips[i].frames]
    return out


@torch.inference_mode()
def through_basis(model: MotionGPT3, clips: list[Clip]) -> list[np.ndarray] | None:
    """The clips through the linear basis alone: (frames, 22, 3) each; None for a model that has none."""
    basis = model.vae.linear
    if basis is None:
        return None
    out: list[np.ndarray] = [np.empty(0)] * len(clips)
    for rows in batches([c.frames for c in clips]):
        _, joints, lengths = batch_of(model.vae, [clips[i] for i in rows])
        decoded = basis.decode(basis.encode(joints, lengths), lengths, joints.shape[1]).cpu().numpy()
        for i, motion in zip(rows, decoded, strict=True):
            out[i] = motion[: clips[i].frames]
    return out


@torch.inference_mode()
def describe(model: MotionGPT3, latents: torch.Tensor) -> list[str]:
    """The greedy caption of each latent (N, C)."""
    codes = model.vae.to_code(latents)
    out: list[str] = []
    ids = model.prompt(prompts.motion_to_text())
    for start in range(0, len(codes), BATCH):
        part = codes[start : start + BATCH, None]
        with model.computing():
            written = model.write_all(ids.expand(len(part), -1).contiguous(), part)
        out += [model.tokenizer.decode(tokens) for tokens, _ in written]
    return out
