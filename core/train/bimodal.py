"""Backbone and diffusion head on cached latents: text-to-motion and motion-to-text together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from core import prompts
from core.evaluate.checks import prompt_checks
from core.model.motiongpt3 import MotionGPT3
from core.model.schedule import Schedule
from core.skeleton import FPS
from core.train.autoencoder import encode_all
from core.train.data import Clip, source_weights
from core.train.loop import Loop, mixed_precision
from core.train.rewording import reword

PAD = -1
T2M_SHARE = 0.75
"""Share of text-to-motion in a batch; the rest is motion-to-text."""
DIFFUSION_COPIES = 8
"""Noise levels drawn per condition (the official model: 4)."""
DROP = 0.1
"""Share of conditions replaced by the unconditional one, for classifier-free guidance."""
TEXT_WEIGHT = 0.5
PROMPT_WEIGHT = 0.1
"""Weight of predicting the words of a prompt against the words of an answer."""


class Captioned:
    """Draws batches of prompts and latents."""

    def __init__(self, model: MotionGPT3, clips: list[Clip], seed: int) -> None:
        self.model, self.clips = model, clips
        self.mean, self.std = encode_all(model.vae, clips)
        self.rng = np.random.default_rng(seed)
        w = source_weights(clips)
        self.p = w / w.sum()
        self.eos = model.tokenizer.eos

    def codes(self, rows: np.ndarray) -> torch.Tensor:
        """Fresh posterior samples as codes (B, C)."""
        mean, std = self.mean[rows], self.std[rows]
        return self.model.vae.to_code((mean + std * torch.randn_like(mean)).to(self.model.device))

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Ids (B, T) padded with PAD, text-loss weights (B, T), codes (B, C), and how many rows are text-to-motion;
        those rows come first."""
        rows = self.rng.choice(len(self.clips), size, p=self.p)
        n = round(size * T2M_SHARE)
        encode = self.model.tokenizer.encode
        ids, weights = [], []
        for k, i in enumerate(rows):
            clip = self.clips[i]
            text = clip.captions[self.rng.integers(len(clip.captions))]
            if k < n:
                row = encode(prompts.text_to_motion(reword(text, self.rng), clip.frames / FPS))
                weight = [PROMPT_WEIGHT] * len(row)
            else:
                head = encode(prompts.motion_to_text())
                row = head + encode(" " + text) + [self.eos]
                weight = [0.0] * len(head) + [1.0] * (len(row) - len(head))
            ids.append(row)
            weights.append(weight)
        T = -(-max(map(len, ids)) // 8) * 8
        return (
            torch.tensor([r + [PAD] * (T - len(r)) for r in ids]).to(self.model.device),
            torch.tensor([w + [0.0] * (T - len(w)) for w in weights]).to(self.model.device),
            self.codes(rows),
            n,
        )


def text_loss(model: MotionGPT3, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted next-token cross-entropy where both the reader and the target are text, and the target no <eom>."""
    tk = model.tokenizer
    source, target, w = ids[:, :-1], ids[:, 1:], weights[:, 1:]
    use = (source >= 0) & (source < tk.text_vocab) & (target >= 0) & (target < tk.text_vocab) & (target != tk.eom)
    use &= w > 0
    logits = model.backbone.logits(hidden[:, :-1][use]).float()
    losses = F.cross_entropy(logits, target[use], reduction="none")
    return (losses * w[use]).sum() / w[use].sum().clamp(min=1e-6)


def level_weight(alpha_bar: torch.Tensor) -> torch.Tensor:
    """Weight of the squared noise error at each noise level.

    An error in the noise counts as snr times the error in the clean latent, so at high noise, where what was asked for
    is decided (left or right, say), plain noise prediction learns next to nothing. Here the error in the latent counts
    clamp(snr, 1, 5) everywhere: truncated below as in Salimans & Ho (ICLR 2022), above as in Hang et al. (ICCV 2023).
    """
    snr = alpha_bar / (1 - alpha_bar)
    return (snr.clamp(1, 5) / snr).clamp(max=20)


def channel_weight(model: MotionGPT3) -> torch.Tensor:
    """Weight of each code channel (C,), mean 1: channels that move the body more count more."""
    if model.vae.linear is None:
        return torch.ones(model.cfg.vae.width, device=model.device)
    w = model.vae.linear.scale.detach() ** 0.4
    w = (w / w.mean()).clamp(0.4, 4)
    return w / w.mean()


def losses(
    model: MotionGPT3, data: Captioned, size: int, alpha_bar: torch.Tensor, drop: float = DROP
) -> dict[str, torch.Tensor]:
    ids, weights, codes, n = data.batch(size)
    hidden = model.hidden(ids, codes[n:, None], pad=PAD)
    condition = hidden[ids == model.tokenizer.holder_out].view(n, model.cfg.backbone.holders, -1)
    condition = condition.repeat(DIFFUSION_COPIES, 1, 1)
    latent = codes[:n].repeat(DIFFUSION_COPIES, 1)
    forget = (torch.rand(len(condition)) < drop)[:, None, None].to(model.device)
    condition = torch.where(forget, model.fake_latent.to(condition.dtype), condition)
    # Spread evenly over the schedule: the loss of a batch depends less on which levels it happened to draw.
    t = ((torch.randperm(len(latent)) + torch.rand(len(latent))) / len(latent) * len(alpha_bar)).long().to(model.device)
    error = model.head.errors(latent, condition, t, torch.randn_like(latent), alpha_bar)
    diffusion = (error * level_weight(alpha_bar[t])[:, None] * channel_weight(model)).mean()
    return {"diffusion": diffusion, "text": text_loss(model, hidden, ids, weights)}


def train_bimodal(
    model: MotionGPT3,
    clips: list[Clip],
    val: list[Clip],
    folder: Path,
    *,
    steps: int,
    batch: int = 64,
    seed: int = 0,
    check_seeds: int = 4,
    stop_at: float | None = None,
) -> None:
    """Train backbone and head (the VAE stays as it is); resumes from folder/last.pt."""
    torch.manual_seed(seed)
    model.vae.requires_grad_(False)
    model.vae.eval()
    data, held_out = Captioned(model, clips, seed), Captioned(model, val, seed)
    alpha_bar = torch.from_numpy(Schedule(model.cfg.diffusion, 2).full_alpha_bar).float().to(model.device)

    def step_fn(_: int) -> tuple[torch.Tensor, dict[str, float]]:
        with mixed_precision(model.device):
            parts = losses(model, data, batch, alpha_bar)
        loss = parts["diffusion"] + TEXT_WEIGHT * parts["text"]
        return loss, {k: float(v.detach()) for k, v in parts.items()}

    def validate() -> dict[str, float]:
        state = torch.get_rng_state()
        torch.manual_seed(1)
        held_out.rng = np.random.default_rng(1)
        sums: dict[str, float] = {}
        for _ in range(6):
            for k, v in losses(model, held_out, batch, alpha_bar, drop=0.0).items():
                sums[k] = sums.get(k, 0.0) + float(v) / 6
        torch.set_rng_state(state)
        return sums | prompt_checks(model, check_seeds)

    Loop(model, folder, steps, step_fn, validate, lr=1e-3, matrix_lr=2e-3, every=500, decay=0.9995,
         stop_at=stop_at).run()  # fmt: skip
