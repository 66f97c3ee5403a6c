"""The ablations' discrete tokenizer: its training, its figures, and clips as codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from core.evaluate.physical import foot_slide, jerk
from core.features import parts as parts_of
from core.model.kinematics import features_to_joints
from core.model.vq import MotionVQ, VQConfig
from core.train.data import Bucketed, Clip, source_weights, stack
from core.train.loop import Loop
from core.train.optimise import mixed_precision

COMMITMENT = 0.1
"""Weight of keeping the encoder near its codes."""
WORLD, VELOCITY = 1.0, 5.0
"""Weights of the joints' places and velocities, metres and metres a frame (L1): features alone leave the path of the
root to chance and let patches meet with a jolt."""


def new_vq(cfg: VQConfig, clips: list[Clip]) -> MotionVQ:
    """A VQ-VAE with the statistics of the training clips."""
    vq = MotionVQ(cfg)
    rows = np.concatenate([c.features for c in clips if c.features is not None])
    std = rows.std(0)
    for kind in parts_of(cfg.features).values():
        std[kind] = std[kind].mean()  # one spread a kind of channel, as in HumanML3D
    vq.mean.copy_(torch.from_numpy(rows.mean(0)))
    vq.std.copy_(torch.from_numpy(std.clip(1e-3)))
    return vq


def losses(vq: MotionVQ, clips: list[Clip], length: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Terms of the loss over the real frames, and the chosen codes (B, length / patch)."""
    device = vq.mean.device
    length = -(-length // vq.cfg.patch) * vq.cfg.patch
    features = stack([c.features for c in clips if c.features is not None], length).to(device)
    frames = torch.tensor([c.frames for c in clips], device=device)
    real = (torch.arange(length, device=device)[None] < frames[:, None]).float()
    x = (features - vq.mean) / vq.std
    with mixed_precision(device):
        out, commitment, chosen = vq(x)
    out = out.float()

    def mean(error: torch.Tensor) -> torch.Tensor:
        return (error.flatten(2).mean(-1) * real).sum() / real.sum()

    error = F.smooth_l1_loss(out, x, reduction="none")
    world = features_to_joints(out * vq.std + vq.mean) - features_to_joints(features)
    moved = F.pad(world[:, 1:] - world[:, :-1], (0, 0, 0, 0, 1, 0))
    parts = {
        "features": mean(error),
        "positions": mean(error[..., 4:67]),
        "world": mean(world.abs()),
        "velocity": mean(moved.abs()),
        "commitment": commitment,
    }
    return parts, chosen


def train_vq(
    clips: list[Clip], val: list[Clip], folder: Path, *, steps: int, seed: int = 0, minutes: float | None = None,
    cfg: VQConfig | None = None, device: str | torch.device = "cpu",
) -> MotionVQ:  # fmt: skip
    """Train on prepared clips; goes on from folder/last.pt where there is one."""
    torch.manual_seed(seed)
    vq = new_vq(cfg or VQConfig(), clips).to(device)
    rows = iter(Bucketed(clips, source_weights(clips), 64, seed))
    if len(val) > 256:
        val = val[:: -(-len(val) // 256)]

    def step_fn(_: int) -> tuple[torch.Tensor, dict[str, float]]:
        chosen, length = next(rows)
        parts, codes = losses(vq, [clips[i] for i in chosen], length)
        loss = parts["features"] + 0.5 * parts["positions"] + COMMITMENT * parts["commitment"]
        loss = loss + WORLD * parts["world"] + VELOCITY * parts["velocity"]
        figures = {k: float(v.detach()) for k, v in parts.items()}
        return loss, figures | {"used_in_batch": len(codes.unique()) / vq.cfg.codes}

    Loop(vq, folder, steps, step_fn, lambda: reconstruction(vq, val), lr=1e-3, matrix_lr=2e-3,
         every=max(1, min(1000, steps // 2)), stop_at=minutes and 60 * minutes).run()  # fmt: skip
    return vq.eval()


@torch.no_grad()
def tokenise(vq: MotionVQ, clips: list[Clip]) -> list[torch.Tensor]:
    """Codes of prepared clips, (ceil(frames / patch),) each; the last frame is repeated to fill a patch."""
    out: list[torch.Tensor] = [torch.empty(0)] * len(clips)
    for rows, length in _same_length(vq, [c.frames for c in clips]):
        features = [f for i in rows if (f := clips[i].features) is not None]
        codes = vq.encode(stack(features, length).to(vq.mean.device)).cpu()
        for i, code in zip(rows, codes, strict=True):
            out[i] = code.clone()  # a row alone, not its whole batch, when it is written to a file
    return out


@torch.no_grad()
def decoded(vq: MotionVQ, codes: list[torch.Tensor], frames: list[int]) -> list[np.ndarray]:
    """Joints (frames, 22, 3) of each sentence of codes, metres, Y up."""
    out: list[np.ndarray] = [np.empty(0)] * len(codes)
    for rows, _ in _same_length(vq, frames):
        joints = vq.decode_joints(torch.stack([codes[i] for i in rows]).to(vq.mean.device)).cpu().numpy()
        for i, j in zip(rows, joints, strict=True):
            out[i] = j[: frames[i]]
    return out


def _same_length(vq: MotionVQ, frames: list[int], size: int = 256) -> list[tuple[list[int], int]]:
    """Rows whose clips have the same number of patches, so that no padding is seen by any; and that many frames."""
    p = vq.cfg.patch
    groups: dict[int, list[int]] = {}
    for i, n in enumerate(frames):
        groups.setdefault(-(-n // p) * p, []).append(i)
    return [(rows[a : a + size], n) for n, rows in groups.items() for a in range(0, len(rows), size)]


def reconstruction(vq: MotionVQ, clips: list[Clip]) -> dict[str, float]:
    """Mean and median distance of joints (mm), jerk and slide against the real clips, share of codes in use, and the
    perplexity of their use."""
    codes = tokenise(vq, clips)
    overall, relative, jerks, slides = [], [], [], []
    for out, clip in zip(decoded(vq, codes, [c.frames for c in clips]), clips, strict=True):
        real = clip.joints[: clip.frames]
        overall.append(1000 * np.linalg.norm(out - real, axis=-1).mean())
        relative.append(1000 * np.linalg.norm((out - out[:, :1]) - (real - real[:, :1]), axis=-1).mean())
        jerks.append((jerk(out), jerk(real)))
        slides.append((foot_slide(out, real), foot_slide(real, real)))
    use = torch.bincount(torch.cat(codes), minlength=vq.cfg.codes).double()
    share = use / use.sum()
    jerks_, slides_ = np.array(jerks).mean(0), np.nanmean(np.array(slides), 0)
    return {
        "global_mm": float(np.mean(overall)), "relative_mm": float(np.mean(relative)),
        "relative_median_mm": float(np.median(relative)), "jerk_ratio": float(jerks_[0] / jerks_[1]),
        "slide_ratio": float(slides_[0] / max(slides_[1], 1e-9)), "used": float((use > 0).double().mean()),
        "perplexity": float(torch.exp(-(share * (share + 1e-12).log()).sum())),
    }  # fmt: skip


def load_or_train(
    clips: list[Clip], val: list[Clip], folder: Path, *, steps: int, device: str | torch.device = "cpu"
) -> MotionVQ:
    """The VQ-VAE of folder/vq.pt, trained and measured first where there is none."""
    file = folder / "vq.pt"
    if not file.exists():
        vq = train_vq(clips, val, folder / "vq", steps=steps, device=device)
        torch.save(vq.state_dict(), file)
        (folder / "vq.json").write_text(json.dumps(reconstruction(vq, val), indent=1) + "\n", encoding="utf-8")
        return vq
    vq = MotionVQ(VQConfig()).to(device)
    vq.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return vq.eval()
