"""What a step of the language model's training costs, and the loop around it: the three stages on cached latents.

Stage 1: text-to-motion only, the text branch frozen. Stage 2: every task, still frozen. Stage 3: everything trained,
text-to-text included. `official` in a stage's options is the official loss to the letter (core/train/official.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from core.evaluate.checks import CHECKS, prompt_checks
from core.model.motiongpt3 import MotionGPT3
from core.model.schedule import Schedule
from core.train import official
from core.train.loop import Best, Loop, mixed_precision
from core.train.tasks import Batch, Latents, TaskBatches
from core.train.textbranch import freeze_text, text_names

MIXTURES: dict[str, dict[str, float]] = {
    "text": {"text": 1.0},
    "stage1": {"t2m": 1.0},
    "stage2": {"t2m": 0.6, "m2t": 0.2, "predict": 0.1, "inbetween": 0.1},
    "stage3": {"t2m": 0.56, "m2t": 0.2, "predict": 0.1, "inbetween": 0.1, "t2t": 0.04},
}
"""Share of each task in each stage; "text" is the text branch's own pre-training."""


@dataclass
class StageOptions:
    """How a stage is trained; configs/*.toml has the same names."""

    steps: int = 4000
    minutes: float | None = None
    batch: int = 64
    seed: int = 0
    lr: float = 1e-3  # AdamW: tables, vectors, norms
    matrix_lr: float = 2e-3  # Muon: the hidden matrices
    decay: float = 0.9995  # of the averaged weights
    clip: float = 1.0
    every: int = 500  # steps between validations
    text_weight: float = 0.5
    diffusion_weight: float = 1.0
    copies: int = 8  # noise levels drawn per condition (official: 4)
    drop: float = 0.1
    check_seeds: int = 4
    instructions: bool = True
    official: bool = False
    mixture: dict[str, float] = field(default_factory=dict)  # empty: the stage's own


def text_loss(model: MotionGPT3, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Weighted next-token cross-entropy; padding, holders and what follows a motion token never count."""
    w = batch.weights[:, 1:]
    use = w > 0
    logits = model.backbone.logits(hidden[:, :-1][use]).float()
    return (F.cross_entropy(logits, batch.ids[:, 1:][use], reduction="none") * w[use]).sum()


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
        return torch.ones(model.cfg.vae.channels, device=model.device)
    w = model.vae.linear.scale.detach() ** 0.4
    w = (w / w.mean()).clamp(0.4, 4)
    return w / w.mean()


def losses(model: MotionGPT3, batch: Batch, alpha_bar: torch.Tensor) -> dict[str, torch.Tensor]:
    """ "diffusion" and "text" of a batch, or of one process's share of it."""
    hidden = official.hidden_mixed(model, batch.ids, batch.real, batch.motions())
    diffusion = hidden.new_zeros(())
    if bool(batch.output.any()):
        holders = model.cfg.backbone.holders
        condition = hidden[batch.ids == model.tokenizer.holder_out].view(-1, holders, hidden.shape[-1])
        K = batch.t.shape[1]
        condition = condition.repeat_interleave(K, 0)
        latent = batch.target[batch.output].repeat_interleave(K, 0)
        t, noise, forget = (x[batch.output].flatten(0, 1) for x in (batch.t, batch.noise, batch.drop))
        condition = torch.where(forget[:, None, None], model.fake_latent.to(condition.dtype), condition)
        error = model.head.errors(latent, condition, t, noise, alpha_bar)
        weighted = (error * level_weight(alpha_bar[t])[:, None] * channel_weight(model)).mean(1)
        diffusion = weighted.sum() / (batch.outputs * K)
    return {"diffusion": diffusion, "text": text_loss(model, hidden, batch)}


def official_losses(model: MotionGPT3, batch: Batch) -> dict[str, torch.Tensor]:
    """The official loss to the letter: padding counts in the text loss, noise errors are not weighted."""
    t, noise, drop = (x[batch.output].transpose(0, 1).flatten(0, 1) for x in (batch.t, batch.noise, batch.drop))
    out = official.losses(
        model, batch.ids, batch.real, batch.motions(), batch.target[batch.output], count_padding=True,
        t=t, noise=noise, drop=drop, copies=batch.t.shape[1],
    )  # fmt: skip
    return {"diffusion": out["diffusion"], "text": out["text"]}


def alpha_bars(model: MotionGPT3) -> torch.Tensor:
    return torch.from_numpy(Schedule(model.cfg.diffusion, 2).full_alpha_bar).float().to(model.device)


def freeze(model: MotionGPT3, what: str) -> None:
    """Choose what a stage trains: "text" the text branch alone, "stage1" and "stage2" all but it, "stage3" both.

    The VAE is never trained here. In stages 1 and 2 only the rows of <start_of_motion> and <end_of_motion> of the text
    embedding move, as in the official code."""
    model.requires_grad_(True)
    model.vae.requires_grad_(False)
    if what == "text":
        names = text_names(model)
        for name, p in model.named_parameters():
            p.requires_grad_(name in names)
    elif what in ("stage1", "stage2"):
        freeze_text(model)


def best_rule(what: str) -> Best:
    """Which checkpoint of a stage is kept: judged by what it generates, the loss only breaks ties."""
    if what == "text":
        return Best("lowest text loss on the validation captions", lambda f: f["text"])

    def value(f: dict[str, float]) -> float:
        kept = [f[k] for k in CHECKS if k in f]
        share = sum(kept) / len(kept) if kept else 0.0
        return share + f.get("r3", 0.0) - 0.1 * f["diffusion"]

    return Best("share of prompts obeyed + R@3 of the validation captions - 0.1 validation loss", value, higher=True)


def train_stage(
    model: MotionGPT3,
    what: str,
    latents: Latents,
    held_out: Latents,
    folder: Path,
    options: StageOptions,
    *,
    checks: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train one stage (or "text"); resumes from folder/last.pt and leaves the best checkpoint's averaged weights in the
    model. `checks` adds figures to a validation."""
    torch.manual_seed(options.seed)
    mixture = options.mixture or MIXTURES[what]
    freeze(model, what)
    model.vae.eval()
    same = {"seed": options.seed, "copies": options.copies, "instructions": options.instructions}
    drop = options.drop if model.cfg.diffusion.guidance > 1 else 0.0
    batches = TaskBatches(model, latents, mixture, drop=drop, **same)  # type: ignore[arg-type]
    validation = TaskBatches(model, held_out, mixture, drop=0.0, rewording=False, **same)  # type: ignore[arg-type]
    ab = alpha_bars(model)
    text_weight = 0.0 if what == "stage1" else 1.0 if what == "text" else options.text_weight

    def parts(batch: Batch) -> dict[str, torch.Tensor]:
        return official_losses(model, batch) if options.official else losses(model, batch, ab)

    def step_fn(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = batches(step, options.batch).share(loop.rank, loop.world).to(model.device)
        with mixed_precision(model.device):
            found = parts(batch)
        loss = options.diffusion_weight * found["diffusion"] + text_weight * found["text"]
        return loss, {k: float(v.detach()) for k, v in found.items()}

    def validate() -> dict[str, float]:
        sums: dict[str, float] = {}
        for step in range(6):
            for k, v in parts(validation(step, options.batch).to(model.device)).items():
                sums[k] = sums.get(k, 0.0) + float(v) / 6
        if what != "text" and model.cfg.vae.features == 263:
            sums |= prompt_checks(model, options.check_seeds) | (checks() if checks is not None else {})
        return sums

    loop = Loop(
        model, folder, options.steps, step_fn, validate, lr=options.lr, matrix_lr=options.matrix_lr,
        every=options.every, clip=options.clip, decay=options.decay,
        stop_at=options.minutes and 60 * options.minutes, best=best_rule(what),
    )  # fmt: skip
    loop.run()
    model.requires_grad_(True)
