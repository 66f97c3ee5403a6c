"""Groups of the diffusion head: its schedule, one step with the answer known, and whole sampling loops."""

from __future__ import annotations

import numpy as np
import torch

from core.model.schedule import Schedule
from core.parity.fixtures import Fixtures
from core.parity.report import Recorder

FLOAT64 = 1e-12
"""Bound of values computed in float64 on both sides."""


def schedule(f: Fixtures, r: Recorder) -> None:
    cfg = f.model.cfg.diffusion
    kept = len(f.main.raw("diff/gen_timestep_map")) if "diff/gen_timestep_map" in f.main else cfg.steps
    s = Schedule(cfg, kept)
    every = s.full_alpha_bar
    r.close("diff/train_betas", 1 - every / np.append(1.0, every[:-1]), bound=FLOAT64)
    with r.optional():
        r.same("diff/gen_timestep_map", s.timesteps.tolist(), f.main.raw("diff/gen_timestep_map").tolist())
    r.close("diff/gen_betas", 1 - s.alpha_bar / s.alpha_bar_previous, bound=FLOAT64)
    r.close("diff/gen_posterior_log_variance_clipped", 2 * np.log(s.std), bound=FLOAT64)
    r.close("diff/gen_posterior_mean_coef1", s.mean_x0, bound=FLOAT64)
    r.close("diff/gen_posterior_mean_coef2", s.mean_x, bound=FLOAT64)


def teacher_forcing(f: Fixtures, r: Recorder) -> None:
    """One noise prediction at given time steps."""
    head, t, condition = f.model.head, f.main["diff/t"], f.main["diff/cond"]
    r.close("diff/cond_embed", head.cond_embed(condition)[:, None])
    r.close("diff/time_embed", head.time_embed(t))
    clean, noise = f.main["diff/x0"][:, 0], f.main["diff/noise"][:, 0]
    alpha_bar = torch.from_numpy(Schedule(f.model.cfg.diffusion, 2).full_alpha_bar).to(f.device)
    ab = alpha_bar[t][:, None]
    noisy = (ab.sqrt().float() * clean) + (1 - ab).sqrt().float() * noise
    r.close("diff/x_t", noisy[:, None])
    predicted = head(noisy, t, condition)
    r.close("diff/eps_pred", predicted[:, None])
    errors = head.errors(clean, condition, t, noise, alpha_bar.float())
    r.close("diff/mse_per_sample", errors.mean(-1))
    unconditional = head(noisy, t, f.model.fake_latent.expand_as(condition))
    guided = unconditional + f.model.cfg.diffusion.guidance * (predicted - unconditional)
    r.close("diff/eps_cfg", guided[:, None])


def draw(
    f: Fixtures,
    name: str,
    condition: torch.Tensor,
    *,
    sampler: str = "ddpm",
    guidance: float | None = None,
    trace: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> torch.Tensor:
    """Sample with the noise that is recorded under `name`: condition (N, 4, D) -> codes (N, C)."""
    first, rows = f.main[f"{name}/noise_init"][:, 0], len(condition)
    steps, noise = f.model.cfg.diffusion.steps, torch.zeros(0)
    if sampler == "ddpm":
        noise = f.main[f"{name}/noise_steps"][:, :rows, 0]  # the rest is drawn for the second half and discarded
        steps = len(noise)

    def keep(step: int, x: torch.Tensor, clean: torch.Tensor) -> None:
        if trace is not None:
            trace[step] = (x.clone(), clean.clone())

    return f.model.head.sample(
        condition,
        f.model.fake_latent[None],
        first,
        lambda step: noise[step],
        steps=steps,
        guidance=f.model.cfg.diffusion.guidance if guidance is None else guidance,
        sampler=sampler,
        on_state=keep if trace is not None else None,
    )


def guided(f: Fixtures, r: Recorder) -> None:
    condition = f.main["sample_cfg/cond"]
    trace: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    with r.optional():
        at = f.main["sample_cfg/trace_step_index"].tolist()
        draw(f, "sample_cfg", condition, trace=trace)
        r.close("sample_cfg/trace_x_after_step", torch.stack([trace[i][0] for i in at])[:, :, None])
        r.close("sample_cfg/trace_pred_x0", torch.stack([trace[i][1] for i in at])[:, :, None])
    code = draw(f, "sample_cfg", condition)  # again without the trace: what inference runs
    r.close("sample_cfg/latents_unscaled", f.model.vae.from_code(code)[:, None])


def unguided(f: Fixtures, r: Recorder) -> None:
    code = draw(f, "sample_nocfg", f.main["sample_cfg/cond"], guidance=1.0)
    r.close("sample_nocfg/latents_unscaled", f.model.vae.from_code(code)[:, None])


def ddim(f: Fixtures, r: Recorder) -> None:
    code = draw(f, "sample_ddim", f.main["sample_cfg/cond"], sampler="ddim")
    r.close("sample_ddim/x_final_scaled", code[:, None])
