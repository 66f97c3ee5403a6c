"""Diffusion head: the hidden states of the output holders condition a small MLP that denoises one latent.

In the spirit of MAR (Li et al., NeurIPS 2024); modulation after DiT (Peebles & Xie, ICCV 2023).

What does not depend on the noisy latent is computed apart (`tables`), so that sampling (sampling.py) does it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch.nn as nn

from core.model.config import DiffusionConfig
from core.model.layers import PositionTable
from core.model.sampling import OnState, OnStep, Recipe, Table, denoise, sample
from core.model.vae import EncoderLayer


class ConditionEmbedding(nn.Module):
    """Four hidden rows and a learned one through one transformer layer; the learned row becomes the condition."""

    def __init__(self, cfg: DiffusionConfig, width: int) -> None:
        super().__init__()
        self.hidden_embedding = nn.Parameter(torch.empty(1, width).normal_())
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

    def table(self, y: torch.Tensor) -> Table:
        """The modulation, with the layer norm's own weights folded in: (..., W) -> three of (..., W)."""
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, -1)
        scale = 1 + scale
        return self.in_ln.weight * scale, torch.addcmul(shift, self.in_ln.bias, scale), gate

    def weights(self) -> tuple[torch.Tensor, ...]:
        first, last = self.mlp[0], self.mlp[2]
        return first.weight, first.bias, last.weight, last.bias  # type: ignore[return-value]


class FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def table(self, y: torch.Tensor) -> Table:  # (..., W) -> two of (..., W)
        shift, scale = self.adaLN_modulation(y).chunk(2, -1)
        return 1 + scale, shift

    def weights(self) -> tuple[torch.Tensor, ...]:
        return self.linear.weight, self.linear.bias


class DiffusionHead(nn.Module):
    """Predicts the noise in a latent. Latents (N, C) are in the language model's scale."""

    def __init__(self, cfg: DiffusionConfig, hidden: int, channels: int) -> None:
        super().__init__()
        self.cfg, self.channels = cfg, channels
        self.kept: tuple[Hashable, torch.Tensor, list[Table] | None] | None = None  # sampling: what no prompt changes
        self.graphs: dict[Hashable, Any] = {}  # sampling: recorded loops, CUDA only
        W = cfg.width
        self.time_embed = TimeEmbedding(W)
        self.cond_embed = ConditionEmbedding(cfg, hidden)
        self.input_proj = nn.Linear(channels, W)
        self.res_blocks = nn.ModuleList(ResBlock(W) for _ in range(cfg.depth))
        self.final_layer = FinalLayer(W, channels)

    def tables(self, y: torch.Tensor) -> list[Table]:
        """What time + condition (..., W) does to each layer: computed before, not inside, the sampling loop."""
        layers = [*self.res_blocks, self.final_layer]
        return [layer.table(y) for layer in layers]

    def weights(self) -> list[tuple[torch.Tensor, ...]]:
        """The weights that `denoise` multiplies by, layer by layer: looked up once, not in every step."""
        layers = [*self.res_blocks, self.final_layer]
        return [(self.input_proj.weight, self.input_proj.bias), *(layer.weights() for layer in layers)]

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Noisy latents (N, C), time steps (N,) of the full schedule, hidden rows (N, 4, D) -> what `cfg.predicts`
        says (N, C); see `noise_in`."""
        return denoise(x, self.tables(self.time_embed(t) + self.cond_embed(condition)), self.weights())

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
        x = ab.sqrt() * latent + (1 - ab).sqrt() * noise
        return (self.noise_in(x, self(x, t, condition).float(), ab) - noise).square()

    def noise_in(self, x: torch.Tensor, predicted: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
        """The noise in x (N, C), from what the network gave for it, at alpha_bar (N, 1).

        A network that gives the noise itself must be wider than the latent: where there is little but noise it has to
        hand all of x on, exactly. Velocity, sqrt(ab) noise - sqrt(1 - ab) latent, leaves that to x itself."""
        if self.cfg.predicts == "noise":
            return predicted
        return (1 - alpha_bar).sqrt() * x + alpha_bar.sqrt() * predicted

    @torch.no_grad()
    def sample(
        self,
        condition: torch.Tensor,
        unconditional: torch.Tensor | None,
        first_noise: torch.Tensor,
        step_noise: torch.Tensor | Callable[[int], torch.Tensor],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        rescale: float | None = None,
        sampler: str | None = None,
        on_step: OnStep | None = None,
        on_state: OnState | None = None,
    ) -> torch.Tensor:
        """Draw latents.

        Args:
            condition: (N, 4, D), or (1, 4, D) for all. unconditional: (1, 4, D), used when guidance > 1.
            first_noise: (N, C). step_noise: (steps - 1, N, C) in loop order, or i -> (N, C); only "ddpm" reads it.
            steps, guidance, rescale, sampler: None for the model's own; samplers are in `sampling.Recipe`.
            on_step: called before each step with (step, steps); may raise to stop.
            on_state: called after each step with (step, latents, predicted clean latents), both (N, C), for checks.
        Returns:
            (N, C) in the language model's scale.
        """
        cfg = self.cfg
        recipe = Recipe(
            steps or cfg.steps,
            cfg.guidance if guidance is None else guidance,
            cfg.rescale if rescale is None else rescale,
            sampler or cfg.sampler,
        )
        noise: torch.Tensor | None = None
        if recipe.sampler == "ddpm" and recipe.steps > 1:
            noise = (
                torch.stack([step_noise(i) for i in range(recipe.steps - 1)]) if callable(step_noise) else step_noise
            )
        return sample(self, condition, unconditional, first_noise, noise, recipe, on_step, on_state)
