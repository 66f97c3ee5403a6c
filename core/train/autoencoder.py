"""The motion VAE: first a PCA for its linear path, then everything together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from core.evaluate.physical import foot_slide, jerk
from core.features import parts as parts_of
from core.model.config import VAEConfig
from core.model.kinematics import features_to_joints, resample
from core.model.vae import MotionVAE
from core.skeleton import FEET
from core.train.data import Bucketed, Clip, source_weights, stack
from core.train.loop import CPU, Best, Loop, mixed_precision

CODE_NOISE = 0.02
"""Spread of the posterior at the start, in metres along the basis: about 5 mm a coordinate."""


def new_vae(cfg: VAEConfig, clips: list[Clip], bones: np.ndarray, weights: np.ndarray) -> MotionVAE:
    """A VAE with its statistics and the linear path's PCA set from the training clips."""
    vae = MotionVAE(cfg)
    rows = np.concatenate(features_of(clips))
    vae.mean.copy_(torch.from_numpy(rows.mean(0)))
    std = rows.std(0)
    # One spread a kind of channel, as in HumanML3D: quiet channels are not blown up.
    for kind in parts_of(cfg.features).values():
        std[kind] = std[kind].mean()
    vae.std.copy_(torch.from_numpy(std.clip(1e-3)))
    if vae.linear is None:
        return vae
    vae.bones.copy_(torch.from_numpy(bones))
    n = cfg.linear_frames
    X = torch.cat(
        [resample(torch.from_numpy(c.joints[: c.frames])[None], torch.tensor([c.frames]), n).flatten(1) for c in clips]
    ).double()
    w = torch.from_numpy(weights / weights.sum())[:, None]
    centre = (X * w).sum(0)
    X = (X - centre) * w.sqrt()
    values, vectors = torch.linalg.eigh(X.T @ X)
    k = cfg.channels
    vae.linear.basis.data.copy_(vectors[:, -k:].flip(1).T)
    vae.linear.centre.data.copy_(centre)
    vae.linear.scale.data.copy_(values[-k:].flip(0).clamp(min=1e-6).sqrt())
    spread = (CODE_NOISE / vae.linear.scale.data).clamp(max=0.3)
    vae.log_variance.bias.data.copy_(2 * spread.log())
    return vae


def losses(out: torch.Tensor, joints: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """L1 terms, each in its own unit: metres, metres a frame, metres a frame squared."""
    T = joints.shape[1]
    alive = (torch.arange(T, device=lengths.device)[None] < lengths[:, None]).float()[..., None, None]

    def mean(x: torch.Tensor, first: int) -> torch.Tensor:
        m = alive[:, first:]
        return (x.abs() * m).sum() / (m.sum() * x.shape[-1] * x.shape[-2])

    d = out - joints
    v = d[:, 1:] - d[:, :-1]
    a = v[:, 1:] - v[:, :-1]
    feet = list(FEET)
    real = (joints[:, 1:, feet] - joints[:, :-1, feet]).norm(dim=-1, keepdim=True)
    planted = (real < 0.02).float()  # a foot that moves less than 2 cm a frame stands
    return {
        "position": mean(d, 0),
        "relative": mean(d - d[:, :, :1], 0),
        "velocity": mean(v, 1),
        "acceleration": mean(a, 2),
        "contact": mean((out[:, 1:, feet] - out[:, :-1, feet]) * planted, 1),
    }


def feature_losses(
    vae: MotionVAE, out: torch.Tensor, x: torch.Tensor, joints: torch.Tensor, lengths: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Terms for a VAE without a linear path: the official ones on normalised features (B, T, F), padding left out, and
    where the features are those of 22 joints also on the joints (B, T, 22, 3) that they stand for."""
    alive = (torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None])[..., None]
    out, x = (out * alive).float(), x * alive
    count, ric = alive.sum() * x.shape[-1], parts_of(x.shape[-1])["positions"]
    parts = {
        "features": F.smooth_l1_loss(out, x, reduction="sum") / count,
        "positions": F.smooth_l1_loss(out[..., ric], x[..., ric], reduction="sum") / count,
    }
    if x.shape[-1] == 263:
        found = losses(features_to_joints(out * vae.std + vae.mean), joints, lengths)
        parts |= {k: found[k] for k in ("relative", "velocity")}
    return parts


WEIGHTS = {
    "features": 1.0,
    "positions": 0.5,
    "position": 1.0,
    "relative": 2.0,
    "velocity": 5.0,
    "acceleration": 3.0,
    "contact": 8.0,
}

BEST = Best("lowest mean root-relative error on the validation clips", lambda found: found["relative_mm"])


class Batches:
    """Endless batches of (normalised features, joints, lengths)."""

    def __init__(self, vae: MotionVAE, clips: list[Clip], batch: int, seed: int) -> None:
        self.vae, self.clips = vae, clips
        drawn = Bucketed(clips, source_weights(clips), batch, seed)
        self.rows, self.rng = iter(drawn), drawn.rng

    def __call__(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows, length = next(self.rows)
        return batch_of(self.vae, [self.clips[i] for i in rows], length)


def batch_of(vae: MotionVAE, clips: list[Clip], length: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clips -> normalised features (B, T, 263), joints (B, T, 22, 3), lengths (B,)."""
    length = length or max(c.frames for c in clips)
    features = stack(features_of(clips), length)
    joints = stack([c.joints[: c.frames] for c in clips], length)
    device = vae.mean.device
    features, joints = features.to(device), joints.to(device)
    return (features - vae.mean) / vae.std, joints, torch.tensor([c.frames for c in clips], device=device)


@torch.no_grad()
def reconstruction(vae: MotionVAE, clips: list[Clip], noise: float = 0.0) -> dict[str, float]:
    """Figures of the reconstruction, mean and median over clips: millimetres; jerk and slide against the real ones.

    Of other skeletons than the 22 joints only the features' error, in units of their spread."""
    if not clips:
        return {}
    if vae.cfg.features != 263:
        return {"features": _feature_error(vae, clips)}
    overall, relative, jerks, slides = [], [], [], []
    order = sorted(range(len(clips)), key=lambda i: clips[i].frames)
    for start in range(0, len(order), 32):
        part = [clips[i] for i in order[start : start + 32]]
        x, joints, lengths = batch_of(vae, part)
        mean, logvar = vae.encode(x, lengths)
        z = vae.sample(mean, logvar, torch.randn_like(mean) * noise)
        out = vae.decode_joints(z, lengths)
        for o, j, n in zip(out.cpu().numpy(), joints.cpu().numpy(), lengths.tolist(), strict=True):
            o, j = o[:n], j[:n]
            overall.append(1000 * np.linalg.norm(o - j, axis=-1).mean())
            relative.append(1000 * np.linalg.norm((o - o[:, :1]) - (j - j[:, :1]), axis=-1).mean())
            jerks.append((jerk(o), jerk(j)))
            slides.append((foot_slide(o, j), foot_slide(j, j)))
    jerks_, slides_ = np.array(jerks).mean(0), np.nanmean(np.array(slides), 0)
    return {
        "global_mm": float(np.mean(overall)), "relative_mm": float(np.mean(relative)),
        "relative_median_mm": float(np.median(relative)), "jerk_ratio": float(jerks_[0] / jerks_[1]),
        "slide_mm": float(slides_[0]), "slide_real_mm": float(slides_[1]),
    }  # fmt: skip


def _feature_error(vae: MotionVAE, clips: list[Clip]) -> float:
    errors = []
    for start in range(0, len(clips), 32):
        x, _, lengths = batch_of(vae, clips[start : start + 32])
        out = vae.decode(vae.encode(x, lengths)[0], lengths)
        alive = (torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None])[..., None]
        errors.append(float(((out - x).abs() * alive).sum() / (alive.sum() * x.shape[-1])))
    return float(np.mean(errors))


def train_autoencoder(
    cfg: VAEConfig,
    clips: list[Clip],
    val: list[Clip],
    bones: np.ndarray,
    folder: Path,
    *,
    steps: int,
    batch: int = 64,
    lr: float = 5e-4,
    matrix_lr: float = 1.5e-3,
    decay: float = 0.998,
    every: int = 250,
    seed: int = 0,
    stop_at: float | None = None,
    device: torch.device = CPU,
) -> MotionVAE:
    """Train a VAE; resumes from folder/last.pt. Returns it with averaged weights and latent statistics set."""
    torch.manual_seed(seed)
    weights = source_weights(clips)
    vae = new_vae(cfg, clips, bones, weights).to(device)
    if vae.linear is not None and val:
        print("linear path alone:", reconstruction(vae, val), flush=True)
    batches = Batches(vae, clips, batch, seed)

    def step_fn(_: int) -> tuple[torch.Tensor, dict[str, float]]:
        x, joints, lengths = batches()
        with mixed_precision(device):
            mean, logvar = vae.encode(x, lengths)
            mean, logvar = mean.float(), logvar.float()
            z = vae.sample(mean, logvar, torch.randn_like(mean))
            if vae.linear is not None:
                parts = losses(vae.decode_joints(z, lengths, joints.shape[1]), joints, lengths)
            else:
                parts = feature_losses(vae, vae.decode(z, lengths, joints.shape[1]), x, joints, lengths)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = sum((WEIGHTS[k] * v for k, v in parts.items()), 1e-5 * kl)
        return loss, {k: float(v.detach()) for k, v in parts.items()} | {"kl": float(kl.detach())}

    loop = Loop(
        vae, folder, steps, step_fn, lambda: reconstruction(vae, val), lr=lr, matrix_lr=matrix_lr,
        slow=lambda n: n.startswith("linear."), every=every, decay=decay, stop_at=stop_at,
        generators=[batches.rng], best=BEST if val and cfg.features == 263 else None,
    )  # fmt: skip
    loop.run()
    set_latent_statistics(vae, clips, weights)
    return vae


@torch.no_grad()
def encode_all(vae: MotionVAE, features: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean and standard deviation of clips (T_i, F), not normalised; each (N, C), on the CPU, in order."""
    order = sorted(range(len(features)), key=lambda i: len(features[i]))
    mean = torch.zeros(len(features), vae.cfg.channels)
    std = torch.zeros_like(mean)
    device = vae.mean.device
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        lengths = torch.tensor([len(features[i]) for i in rows], device=device)
        x = stack([features[i] for i in rows], int(lengths.max())).float().to(device)
        m, logvar = vae.encode((x - vae.mean) / vae.std, lengths)
        mean[rows], std[rows] = m.float().cpu(), (0.5 * logvar.float()).exp().cpu()
    return mean, std


def features_of(clips: list[Clip]) -> list[np.ndarray]:
    """The features of prepared clips."""
    return [c.features for c in clips if c.features is not None]


def set_latent_statistics(vae: MotionVAE, clips: list[Clip], weights: np.ndarray) -> None:
    """Estimate the latents' mean and spread, so that the language model sees standardised codes."""
    mean, std = encode_all(vae, features_of(clips))
    w = torch.from_numpy(weights / weights.sum()).float()[:, None]
    centre = (mean * w).sum(0)
    spread = (((mean - centre).square() + std.square()) * w).sum(0).sqrt()
    if vae.linear is None:  # one scale for all channels, as the official model's 0.8457, but of these latents
        vae.cfg.latent_scale = float(1 / (spread.square() + centre.square()).mean().sqrt())
        return
    vae.latent_mean.copy_(centre)
    vae.latent_std.copy_(spread)
