"""Diffusion head: the hidden states of the output holders condition a small MLP that denoises one latent.

Forward and sampling as a pair, in the spirit of MAR (Li et al., NeurIPS 2024); schedule and ancestral sampler after
Ho et al. (NeurIPS 2020) and Nichol & Dhariwal (ICML 2021); guidance after Ho & Salimans (2022).

What does not depend on the noisy latent is computed once: the condition per sample, the time embeddings and the
modulations per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn as nn

from core.model.config import DiffusionConfig
from core.model.layers import PositionTable
from core.model.vae import EncoderLayer


class Schedule:
    """Linear betas and the coefficients of every step, in float64, for a subset of the training steps."""

    def __init__(self, cfg: DiffusionConfig, steps: int) -> None:
        betas = np.linspace(cfg.beta_start, cfg.beta_end, cfg.train_steps)
        self.full_alpha_bar = np.cumprod(1 - betas)
        stride = (cfg.train_steps - 1) / (steps - 1) if steps > 1 else 0.0
        kept, at = [], 0.0
        for _ in range(steps):  # accumulated, not multiplied: the rounding of the official spacing
            kept.append(round(at))
            at += stride
        self.timesteps = np.array(kept)
        ab = self.full_alpha_bar[self.timesteps]
        previous = np.append(1.0, ab[:-1])
        beta = 1 - ab / previous
        self.alpha_bar, self.alpha_bar_previous = ab, previous
        self.x0_from_x, self.x0_from_eps = 1 / np.sqrt(ab), np.sqrt(1 / ab - 1)
        self.mean_x0 = beta * np.sqrt(previous) / (1 - ab)
        self.mean_x = (1 - previous) * np.sqrt(1 - beta) / (1 - ab)
        variance = beta * (1 - previous) / (1 - ab)
        if steps > 1:
            variance[0] = variance[1]
        self.std = np.sqrt(variance)


class ConditionEmbedding(nn.Module):
    """Four hidden rows and a learned one through one transformer layer; the learned row becomes the condition."""

    def __init__(self, cfg: DiffusionConfig, width: int) -> None:
        super().__init__()
        self.hidden_embedding = nn.Parameter(torch.randn(1, width))
        self.hid_pos = PositionTable(cfg.cond_positions, width)
        self.hid_encoder_layer = EncoderLayer(width, cfg.cond_heads, cfg.cond_ff, norm_first=False)
        self.cond_proj = nn.Linear(width, cfg.width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:  # (N, 4, D) -> (N, W)
        x = torch.cat([self.hidden_embedding.expand(len(hidden), -1, -1), hidden], 1)
        x = self.hid_encoder_layer(x + self.hid_pos(x.shape[1]))
        return self.cond_proj(x[:, 0])


class TimeEmbedding(nn.Module):
    def __init__(self, width: int, size: int = 256) -> None:
        super().__init__()
        self.size = size
        self.mlp = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:  # (N,) original time steps -> (N, W)
        half = self.size // 2
        f = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angle = t.float()[:, None] * f
        return self.mlp(torch.cat([angle.cos(), angle.sin()], -1))


class ResBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, h: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = modulation.chunk(3, -1)
        return h + gate * self.mlp(self.in_ln(h) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, h: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        shift, scale = modulation.chunk(2, -1)
        return self.linear(self.norm_final(h) * (1 + scale) + shift)


class DiffusionHead(nn.Module):
    """Predicts the noise in a latent. Latents (N, C) are in the language model's scale."""

    def __init__(self, cfg: DiffusionConfig, hidden: int, channels: int) -> None:
        super().__init__()
        self.cfg, self.channels = cfg, channels
        W = cfg.width
        self.time_embed = TimeEmbedding(W)
        self.cond_embed = ConditionEmbedding(cfg, hidden)
        self.input_proj = nn.Linear(channels, W)
        self.res_blocks = nn.ModuleList(ResBlock(W) for _ in range(cfg.depth))
        self.final_layer = FinalLayer(W, channels)

    def modulations(self, y: torch.Tensor) -> list[torch.Tensor]:
        """What time + condition (..., W) does to each block: computed before, not inside, the sampling loop."""
        return [m.adaLN_modulation(y) for m in [*self.res_blocks, self.final_layer]]

    def denoise(self, x: torch.Tensor, modulations: list[torch.Tensor]) -> torch.Tensor:  # (N, C) -> (N, C)
        h = self.input_proj(x)
        for block, m in zip(self.res_blocks, modulations[:-1], strict=True):
            h = block(h, m)
        return self.final_layer(h, modulations[-1])

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Noisy latents (N, C), time steps (N,) of the full schedule, hidden rows (N, 4, D) -> noise (N, C)."""
        return self.denoise(x, self.modulations(self.time_embed(t) + self.cond_embed(condition)))

    def errors(
        self,
        latent: torch.Tensor,
        condition: torch.Tensor,
        t: torch.Tensor,
        noise: torch.Tensor,
        alpha_bar: torch.Tensor,
    ) -> torch.Tensor:
        """Squared errors of the predicted noise, (N, C); their mean is the official loss.

        Args:
            latent: (N, C) clean. condition: (N, 4, D). t: (N,) ints. noise: (N, C). alpha_bar: (train_steps,).
        """
        ab = alpha_bar[t][:, None]
        predicted = self(ab.sqrt() * latent + (1 - ab).sqrt() * noise, t, condition)
        return (predicted.float() - noise).square()

    @torch.no_grad()
    def sample(
        self,
        condition: torch.Tensor,
        unconditional: torch.Tensor | None,
        first_noise: torch.Tensor,
        step_noise: Callable[[int], torch.Tensor],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        rescale: float | None = None,
        sampler: str = "ddpm",
        on_step: Callable[[int, int], None] | None = None,
    ) -> torch.Tensor:
        """Draw latents.

        Args:
            condition: (N, 4, D). unconditional: (1, 4, D), used when guidance > 1.
            first_noise: (N, C). step_noise: i -> (N, C), noise of loop step i.
            steps, guidance, rescale: None for the model's own.
            sampler: "ddpm" (ancestral) or "ddim" (eta 0).
            on_step: called before each step with (step, steps); may raise to stop.
        Returns:
            (N, C) in the language model's scale.
        """
        steps = steps or self.cfg.steps
        guidance = self.cfg.guidance if guidance is None else guidance
        rescale = self.cfg.rescale if rescale is None else rescale
        s = Schedule(self.cfg, steps)
        guided = guidance > 1 and unconditional is not None
        N = len(condition)
        c = self.cond_embed(condition)  # (N, W)
        if guided:
            c = torch.cat([c, self.cond_embed(unconditional).expand(N, -1)])
        times = self.time_embed(torch.as_tensor(s.timesteps, device=condition.device))  # (steps, W)
        x = first_noise
        for loop, i in enumerate(range(steps - 1, -1, -1)):
            if on_step is not None:
                on_step(loop, steps)
            modulation = self.modulations(times[i] + c)
            eps = self.denoise(torch.cat([x, x]) if guided else x, modulation)
            if guided:
                cond, uncond = eps.chunk(2)
                eps = uncond + guidance * (cond - uncond)
            x0 = float(s.x0_from_x[i]) * x - float(s.x0_from_eps[i]) * eps
            if guided and rescale > 0:
                # Guidance inflates the spread of the predicted latent; bring it back to the conditional one's.
                x0c = float(s.x0_from_x[i]) * x - float(s.x0_from_eps[i]) * cond
                factor = x0c.std(-1, keepdim=True) / x0.std(-1, keepdim=True).clamp(min=1e-6)
                x0 = x0 * (rescale * factor + 1 - rescale)
                eps = (float(s.x0_from_x[i]) * x - x0) / float(s.x0_from_eps[i])
            if sampler == "ddim":
                ab = float(s.alpha_bar_previous[i])
                x = ab**0.5 * x0 + (1 - ab) ** 0.5 * eps
            else:
                x = float(s.mean_x0[i]) * x0 + float(s.mean_x[i]) * x
                if i > 0:
                    x = x + float(s.std[i]) * step_noise(loop)
        return x


def noise_source(seeds: list[int], channels: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """Gaussian noise, one named CPU generator a sample, so that a seed means the same on every device and in every
    batch. Each call gives the next (len(seeds), channels)."""
    generators = [torch.Generator("cpu").manual_seed(s) for s in seeds]

    def draw() -> torch.Tensor:
        return torch.stack([torch.randn(channels, generator=g) for g in generators]).to(device)

    return draw
