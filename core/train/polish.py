"""The last step: teach the decoder what the sampler really gives it.

Latents that the diffusion head draws are a little off those that the encoder gives, and what shows first is feet that
slide. Two kinds of batches train the decoder alone, the code staying what it is:
- real clips whose code was noised a little and denoised by the model: the target is the real clip;
- codes drawn from prompts: the target is the motion as decoded before, with feet that stand where they nearly stood.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from core import prompts
from core.evaluate.checks import prompt_checks
from core.model.motiongpt3 import MotionGPT3
from core.model.schedule import Schedule
from core.skeleton import FEET, FPS
from core.train.autoencoder import WEIGHTS, batch_of, losses, reconstruction
from core.train.data import Bucketed, Clip, source_weights
from core.train.loop import Loop, mixed_precision
from core.train.tasks import Latents

PAD = -1
MOST_NOISE = 250
"""Highest diffusion step that a real code is noised to (of 1000)."""
KEPT = 0.8
"""How far the decoder goes from what it was to what this training makes of it."""
STANDS_BELOW, STANDS_SLOWER = 0.06, 0.045
"""A drawn foot joint stands if it is that near to its lowest and moves less than that a frame, metres."""


def conditions(model: MotionGPT3, clips: list[Clip], rng: np.random.Generator) -> torch.Tensor:
    """Hidden rows of one caption of each clip, (N, 4, D), in batches of mixed length."""
    out = []
    for start in range(0, len(clips), 256):
        rows = []
        for c in clips[start : start + 256]:
            text = prompts.text_to_motion(c.captions[rng.integers(len(c.captions))], c.frames / FPS)
            rows.append(model.tokenizer.encode(text))
        T = max(map(len, rows))
        ids = torch.tensor([r + [PAD] * (T - len(r)) for r in rows], device=model.device)
        out.append(model.condition(ids, pad=PAD))
    return torch.cat(out)


def denoised(
    model: MotionGPT3, code: torch.Tensor, condition: torch.Tensor, t: torch.Tensor, alpha_bar: torch.Tensor
) -> torch.Tensor:
    """The model's guess of a code (B, C) that was noised to step t (B,), with the shipped guidance."""
    head, cfg = model.head, model.cfg.diffusion
    ab = alpha_bar[t][:, None]
    x = ab.sqrt() * code + (1 - ab).sqrt() * torch.randn_like(code)
    with_text = head.noise_in(x, head(x, t, condition), ab)
    without = head.noise_in(x, head(x, t, model.fake_latent.expand(len(x), -1, -1)), ab)
    guided = (x - (1 - ab).sqrt() * (without + cfg.guidance * (with_text - without))) / ab.sqrt()
    plain = (x - (1 - ab).sqrt() * with_text) / ab.sqrt()
    return guided * (plain.std(-1, keepdim=True) / guided.std(-1, keepdim=True))


def standing(joints: torch.Tensor) -> torch.Tensor:
    """(B, T, 22, 3) -> (B, T - 1, 4, 1): 1 where a foot joint stands or should."""
    feet = joints[:, :, list(FEET)]
    low = feet[..., 1] < feet[..., 1].amin(1, keepdim=True) + STANDS_BELOW
    slow = (feet[:, 1:] - feet[:, :-1]).norm(dim=-1) < STANDS_SLOWER
    return (low[:, 1:] & low[:, :-1] & slow).float()[..., None]


def polish(
    model: MotionGPT3, latents: Latents, val: list[Clip], folder: Path, *, steps: int, batch: int = 48, seed: int = 0,
    check_seeds: int = 4,
    stop_at: float | None = None,
) -> None:  # fmt: skip
    """Train the decoder of model.vae in place; resumes from folder/last.pt."""
    torch.manual_seed(seed)
    model.requires_grad_(False)
    model.eval()
    vae, clips = model.vae, latents.clips
    with torch.no_grad():
        condition = conditions(model, clips, np.random.default_rng(seed))
    before = copy.deepcopy(vae)
    for part in (vae.pose_embedding, vae.decoder, vae.query_pos_decoder, vae.final_layer):
        part.requires_grad_(True)
    alpha_bar = torch.from_numpy(Schedule(model.cfg.diffusion, 2).full_alpha_bar).float().to(model.device)
    batches = iter(Bucketed(clips, source_weights(clips), batch, seed))

    def real(rows: np.ndarray, length: int) -> torch.Tensor:
        _, joints, lengths = batch_of(vae, [clips[i] for i in rows], length)
        with torch.no_grad():
            t = torch.randint(1, MOST_NOISE, (len(rows),)).to(model.device)
            code = (latents.mean[rows] + latents.std[rows] * torch.randn_like(latents.mean[rows])).to(model.device)
            z = vae.from_code(denoised(model, code, condition[rows], t, alpha_bar))
        with mixed_precision(model.device):
            out = vae.decode_joints(z, lengths, length)
        parts = losses(out, joints, lengths)
        return torch.stack([WEIGHTS[k] * v for k, v in parts.items()]).sum()

    def drawn(rows: np.ndarray, length: int) -> torch.Tensor:
        lengths = torch.tensor([clips[i].frames for i in rows], device=model.device)
        with torch.no_grad():
            z = vae.from_code(model.sample_codes(condition[rows], torch.randint(2**31, (len(rows),)).tolist()))
            target = before.decode_joints(z, lengths, length)
        with mixed_precision(model.device):
            out = vae.decode_joints(z, lengths, length)
        alive = (torch.arange(length, device=model.device)[None] < lengths[:, None]).float()[..., None, None]
        moved = (out[:, 1:, list(FEET)] - out[:, :-1, list(FEET)]).abs() * standing(target) * alive[:, 1:]
        below = (-out[..., 1]).clamp(min=0).unsqueeze(-1) * alive
        near = (out - target).abs() * alive
        jerky = (out[:, 2:] - 2 * out[:, 1:-1] + out[:, :-2]).abs() * alive[:, 2:]
        return near.mean() + 40 * moved.mean() + 4 * below.mean() + 0.5 * jerky.mean()

    def step_fn(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rows, length = next(batches)
        if step % 2:
            loss = drawn(rows, length)
            return loss, {"drawn": float(loss.detach())}
        loss = real(rows, length)
        return loss, {"real": float(loss.detach())}

    def validate() -> dict[str, float]:
        return reconstruction(vae, val) | prompt_checks(model, check_seeds)

    Loop(vae, folder, steps, step_fn, validate, lr=2e-4, matrix_lr=3e-4, every=200, decay=0.99, warm_up=20,
         stop_at=stop_at).run()  # fmt: skip
    # Between the decoder before and after (Wortsman et al., CVPR 2022): most of the steadier feet for half of the price
    # in reconstruction.
    with torch.no_grad():
        for p, q in zip(vae.parameters(), before.parameters(), strict=True):
            p.lerp_(q, 1 - KEPT)
