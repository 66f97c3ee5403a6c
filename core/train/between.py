"""What in-betweening needs to know besides the weights: how codes vary at each length, and how far to trust a fit.

`python build.py train between --model FOLDER --data BUNDLE...`: crops of real motion are encoded, their codes' mean and
covariance kept (core/tasks/codeprior.py); then gaps are cut into validation clips, and for the root and every joint's
rotation the mixture of the fit and of plain interpolation that is nearest to the real motion is kept.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from core.errors import CoreError
from core.features import canonicalise, joints_to_features
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import mirror
from core.tasks import poses
from core.tasks.codeprior import CodePrior
from core.train.data import Clip, source_weights, with_bones

LENGTHS = (20, 26, 34, 46, 62, 88, 128, 196)
GAPS = (1, 3, 5, 8, 12, 20, 40, 80)
RANK = 96
CROPS = 5000
CONTEXT = 10
JUDGES = ("cmu", "accad")
"""Sources whose validation clips say how far to trust a fit: Bandai's actors are in every split."""


def crops(clips: list[Clip], frames: int, count: int, bones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random pieces of real motion, half of them mirrored: (count, frames, 263) features."""
    long = [c for c in clips if len(c.joints) > frames]
    if not long:
        raise CoreError("data_unsuitable", f"No clip is longer than {frames} frames.", "Give longer motion.")
    p = source_weights(long)
    out = []
    for i in rng.choice(len(long), count, p=p / p.sum()):
        joints = long[i].joints
        at = rng.integers(0, len(joints) - frames)
        piece = joints[at : at + frames + 1]
        piece = mirror(piece) if rng.random() < 0.5 else piece
        out.append(joints_to_features(canonicalise(with_bones(piece, bones)))[:frames])
    return np.stack(out).astype(np.float32)


@torch.inference_mode()
def encode(model: MotionGPT3, features: np.ndarray) -> torch.Tensor:
    """Features (N, T, 263) -> codes (N, C) float64, the posterior's mean."""
    out = []
    for at in range(0, len(features), 250):
        x = torch.from_numpy(features[at : at + 250]).to(model.device)
        lengths = torch.full((len(x),), x.shape[1], device=model.device)
        mean, _ = model.vae.encode((x - model.vae.mean) / model.vae.std, lengths)
        out.append(model.vae.to_code(mean).double().cpu())
    return torch.cat(out)


def learn(model: MotionGPT3, clips: list[Clip], seed: int = 0, count: int = CROPS) -> CodePrior:
    """The Gaussians of all lengths."""
    if model.vae.linear is None:
        raise CoreError("model_unsuitable", "Only a model with bones of its own is held to keys in this way.", "")
    rng = np.random.default_rng(seed)
    bones = model.vae.bones.cpu().numpy()
    means, factors, rests = [], [], []
    for frames in LENGTHS:
        codes = encode(model, crops(clips, frames, count, bones, rng))
        covariance = torch.cov(codes.T)
        values, vectors = torch.linalg.eigh(covariance)
        top = vectors[:, -RANK:] * values[-RANK:].clamp(min=0).sqrt()
        means.append(codes.mean(0).numpy())
        factors.append(top.numpy())
        rests.append((covariance.diagonal() - top.square().sum(1)).clamp(min=1e-4).numpy())
        print(f"length {frames}: variance {covariance.diagonal().mean():.3f}", file=sys.stderr, flush=True)
    return CodePrior(np.array(LENGTHS), np.stack(means), np.stack(factors), np.stack(rests))


def gaps_of(clips: list[Clip], frames: int, most: int = 400, each: int = 4) -> list[np.ndarray]:
    """Stretches of real motion, a gap of so many frames in the middle: (2 * CONTEXT + 2 + frames, 22, 3) each."""
    length = frames + 2 + 2 * CONTEXT
    out = []
    for clip in clips:
        room = len(clip.joints) - length
        if room >= 0:
            count = min(each, room // max(frames // 2, 1) + 1)
            out += [clip.joints[at : at + length] for at in np.linspace(0, room, count).astype(int)]
    return out[:: max(1, len(out) // most)]


def learn_shares(model: MotionGPT3, prior: CodePrior, clips: list[Clip]) -> CodePrior:
    """How much of the fit is nearest to real motion, in the logarithm of the turn from plain interpolation to the real
    motion, least squares over all frames of all gaps; without context, then with it."""
    from core.tasks.gap import Gap

    out = np.zeros((2, len(GAPS), 23))
    for k, frames in enumerate(GAPS):
        pieces = gaps_of(clips, frames)
        for context in (False, True):
            above, below = np.zeros(23), np.zeros(23)
            for whole in pieces:
                first, last = CONTEXT, CONTEXT + 1 + frames
                before = whole[: first + 1] if context else whole[first : first + 1]
                after = whole[last:] if context else whole[last : last + 1]
                gap = Gap(model, before, after, frames, [], prior=prior)
                plain = gap.plain()
                (fit,), _ = gap.fitted(0, 1, None, 0.0, None)
                held = gap.held(fit)
                real = poses.from_joints(whole[first : last + 1])
                inner = slice(1, -1)
                a = poses.difference(plain[inner], held[inner])
                b = poses.difference(plain[inner], real[inner])
                near, far = [a.root, *a.turns.swapaxes(0, 1)], [b.root, *b.turns.swapaxes(0, 1)]
                for n, (x, y) in enumerate(zip(near, far, strict=True)):
                    weight = 1.0 / (np.linalg.norm(y) + np.linalg.norm(x) + 1e-3)  # no stretch outvotes the others
                    above[n] += weight * (x * y).sum()
                    below[n] += weight * np.square(x).sum()
            out[int(context), k] = np.clip(above / np.maximum(below, 1e-9), 0.0, 1.0)
            print(f"gap {frames}, {'with' if context else 'no'} context: {len(pieces)} stretches, root "
                  f"{out[int(context), k, 0]:.2f}, joints {out[int(context), k, 1:].mean():.2f}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return replace(prior, gaps=np.array(GAPS), shares=out)


def run(data: list[Path], folder: Path | None, out: Path | None, seed: int, count: int = CROPS) -> Path:
    """Learn and write `between.safetensors`; the path."""
    from core.model.checkpoint import BUNDLED, load_model
    from core.tasks.codeprior import FILE
    from core.train.data import load_data_source

    folder = folder or BUNDLED
    model = load_model(folder, "auto", "float32")
    clips = [c for source in data for c in load_data_source(source)]
    prior = learn(model, [c for c in clips if c.split == "train"], seed, count)
    prior = learn_shares(model, prior, [c for c in clips if c.split == "val" and c.source.startswith(JUDGES)])
    target = out or folder
    target.mkdir(parents=True, exist_ok=True)
    prior.save(target)
    return target / FILE
