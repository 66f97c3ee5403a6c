"""Drawing latents with the diffusion head.

All that does not depend on the noisy latent is computed before the loop: the condition once a sample, the modulation
tables of all steps in large matrix products, those of the unconditional branch once and for all. All noise is on the
device before the loop begins, so that nothing in the loop waits for the host; on CUDA the loop is one graph.

References: ancestral sampling, Ho et al. (NeurIPS 2020); guidance, Ho & Salimans (2022); its rescaling, Lin et al.
(WACV 2024); DDIM, Song et al. (ICLR 2021); DPM-Solver++(2M), Lu et al. (2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from core.model.schedule import Schedule

if TYPE_CHECKING:
    from core.model.diffusion import DiffusionHead

SAMPLERS = ("ddpm", "ddim", "dpm++")
TABLE_ROWS = 256
"""Rows of a modulation table made at a time: enough for a fast matrix product, some tens of megabytes."""

Table = tuple[torch.Tensor, ...]
"""What time and condition do to one layer: (scale, shift, gate), or (scale, shift) for the last; each (..., W)."""

OnStep = Callable[[int, int], None]
OnState = Callable[[int, torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True)
class Recipe:
    """How to sample. steps: number of denoising steps. guidance: classifier-free guidance, 1 for none. rescale: 0 to 1,
    how far the guided prediction is brought back to the conditional one's spread. sampler: "ddpm" (ancestral, the
    official one), "ddim" (eta 0) or "dpm++" (DPM-Solver++ of order 2, for few steps)."""

    steps: int
    guidance: float
    rescale: float = 0.0
    sampler: str = "ddpm"


def sample(
    head: DiffusionHead,
    condition: torch.Tensor,
    unconditional: torch.Tensor | None,
    first_noise: torch.Tensor,
    step_noise: torch.Tensor | None,
    recipe: Recipe,
    on_step: OnStep | None = None,
    on_state: OnState | None = None,
) -> torch.Tensor:
    """Draw latents; see `DiffusionHead.sample`."""
    if recipe.sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {recipe.sampler!r}")
    schedule = Schedule(head.cfg, recipe.steps, to_end=recipe.sampler == "dpm++")
    guided = recipe.guidance > 1 and unconditional is not None
    times, tables = _kept(head, unconditional, schedule, condition)
    fixed = tables if guided else None
    c = head.cond_embed(condition)  # (R, W)
    if first_noise.is_cuda and on_state is None:
        from core.model.graph import graphed

        if on_step is not None:
            on_step(0, recipe.steps)
        return graphed(head, recipe, schedule, c, times, fixed, first_noise, step_noise)
    return loop(head, recipe, schedule, c, times, fixed, first_noise, step_noise, on_step, on_state)


def loop(
    head: DiffusionHead,
    recipe: Recipe,
    s: Schedule,
    c: torch.Tensor,
    times: torch.Tensor,
    fixed: list[Table] | None,
    x: torch.Tensor,
    noise: torch.Tensor | None,
    on_step: OnStep | None = None,
    on_state: OnState | None = None,
) -> torch.Tensor:
    """The denoising loop: tensors in, latents out, no word from the host between.

    Args:
        c: (1 or N, W) conditions. times: (S, W). fixed: tables of the unconditional branch, each (S, 1, W), where
            guided. x: (N, C). noise: (S - 1, N, C) in loop order, or None for a sampler that needs none.
    """
    steps, weights = recipe.steps, head.weights()
    x0_before: torch.Tensor | None = None
    chunk = max(1, TABLE_ROWS // len(c))
    for first in range(steps - 1, -1, -chunk):
        indices = list(range(first, max(first - chunk, -1), -1))
        tables = _step_tables(head, times, c, fixed, indices, alone=len(x) == 1)
        for i, table in zip(indices, tables, strict=True):
            at = steps - 1 - i  # counted from the beginning of the loop
            if on_step is not None:
                on_step(at, steps)
            noises = denoise(x, table, weights).float().view(-1, *x.shape)
            if head.cfg.predicts == "velocity":
                ab = float(s.alpha_bar[i])
                noises = torch.add(math.sqrt(ab) * noises, x, alpha=math.sqrt(1 - ab))
            x0, eps = _predict(recipe, s, i, x, noises)
            if recipe.sampler == "ddpm":
                x = torch.add(float(s.mean_x[i]) * x, x0, alpha=float(s.mean_x0[i]))
                if i > 0:
                    assert noise is not None
                    x.add_(noise[at], alpha=head.cfg.temperature * float(s.std[i]))
            elif recipe.sampler == "ddim":
                ab = float(s.alpha_bar_previous[i])
                x = ab**0.5 * x0 + (1 - ab) ** 0.5 * eps
            else:
                x = _multistep(s, i, steps, x, x0, x0_before)
                x0_before = x0
            if on_state is not None:
                on_state(at, x, x0)
    return x


def denoise(x: torch.Tensor, tables: list[Table], weights: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """The noise in latents x (N, C): what runs a hundred times, so few and plain operations.

    Args:
        tables: of `DiffusionHead.tables`, each (N, W); those of (2, N, W) give two predictions of one x: (2, N, C).
        weights: of `DiffusionHead.weights`.
    """
    h = F.linear(x, *weights[0])
    size = h.shape[-1:]
    for (scale, shift, gate), (w0, b0, w2, b2) in zip(tables[:-1], weights[1:-1], strict=True):
        r = torch.addcmul(shift, F.layer_norm(h, size, eps=1e-6), scale)
        r = F.linear(F.silu(F.linear(r, w0, b0)), w2, b2)
        h = torch.addcmul(h, gate, r)
    scale, shift = tables[-1]
    return F.linear(torch.addcmul(shift, F.layer_norm(h, size, eps=1e-6), scale), *weights[-1])


def _predict(
    recipe: Recipe, s: Schedule, i: int, x: torch.Tensor, noises: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clean latent and the noise in x (N, C) at step i, from the conditional prediction of the noise and, where
    there is guidance, the unconditional one: (1 or 2, N, C)."""
    a, b = float(s.x0_from_x[i]), float(s.x0_from_eps[i])
    cond = noises[0]
    if len(noises) == 1:
        return torch.add(a * x, cond, alpha=-b), cond
    eps = torch.lerp(noises[1], cond, recipe.guidance)
    ax = a * x
    x0 = torch.add(ax, eps, alpha=-b)
    if recipe.rescale > 0:
        # Guidance inflates the spread of the predicted latent; bring it back to the conditional one's.
        x0c = torch.add(ax, cond, alpha=-b)
        factor = x0c.std(-1, keepdim=True) / x0.std(-1, keepdim=True).clamp(min=1e-6)
        x0 = x0 * (recipe.rescale * factor + 1 - recipe.rescale)
        eps = (ax - x0) / b
    return x0, eps


def _multistep(
    s: Schedule, i: int, steps: int, x: torch.Tensor, x0: torch.Tensor, before: torch.Tensor | None
) -> torch.Tensor:
    """One step of DPM-Solver++(2M), in terms of the clean latent; the last step is of first order."""
    if i == 0:
        return x0
    here, there = float(s.alpha_bar[i]), float(s.alpha_bar_previous[i])
    h = s.log_snr(there) - s.log_snr(here)
    direction = x0
    if before is not None:
        ratio = (s.log_snr(here) - s.log_snr(float(s.alpha_bar[i + 1]))) / h
        direction = x0 + (x0 - before) / (2 * ratio)
    return math.sqrt((1 - there) / (1 - here)) * x - math.sqrt(there) * math.expm1(-h) * direction


def _step_tables(
    head: DiffusionHead,
    times: torch.Tensor,
    c: torch.Tensor,
    fixed: list[Table] | None,
    indices: list[int],
    alone: bool,
) -> list[list[Table]]:
    """Per step, per layer, the modulation: (R, W) each, or (2, R, W) with the unconditional branch second; for a sample
    that is alone (2, W), because matrices are quicker than stacks of them."""
    rows = slice(indices[-1], indices[0] + 1)  # ascending, as `times`
    layers = head.tables(times[rows, None] + c)  # each (S, R, W)
    if fixed is not None:
        layers = [
            tuple(torch.stack([t, u[rows].expand_as(t)], 1) for t, u in zip(table, other, strict=True))
            for table, other in zip(layers, fixed, strict=True)
        ]
        if alone:
            layers = [tuple(part.squeeze(2) for part in table) for table in layers]
    steps = [[part.unbind(0) for part in table] for table in layers]
    return [[tuple(part[k] for part in table) for table in steps] for k in range(len(indices) - 1, -1, -1)]


def _kept(
    head: DiffusionHead, unconditional: torch.Tensor | None, schedule: Schedule, like: torch.Tensor
) -> tuple[torch.Tensor, list[Table] | None]:
    """The time embeddings (S, W) and the tables of the unconditional branch, kept until a weight or the number of steps
    changes."""
    tensors = [*head.parameters()] + ([] if unconditional is None else [unconditional])
    key = (
        schedule.timesteps.tobytes(),
        torch.is_autocast_enabled(like.device.type),
        tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors),
    )
    if head.kept is None or head.kept[0] != key:
        times = head.time_embed(torch.as_tensor(schedule.timesteps, device=like.device))
        tables = None if unconditional is None else head.tables(times[:, None] + head.cond_embed(unconditional))
        head.kept = (key, times, tables)
    return head.kept[1], head.kept[2]


def draw_noise(seeds: list[int], count: int, channels: int) -> torch.Tensor:
    """Gaussian noise, one named CPU generator a sample, so that a seed means the same on every device and in every
    batch: (count, len(seeds), channels), on the CPU."""
    generators = [torch.Generator("cpu").manual_seed(s) for s in seeds]
    return torch.stack([torch.randn(count, channels, generator=g) for g in generators], 1)
