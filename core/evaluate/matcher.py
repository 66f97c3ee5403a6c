"""The matcher: how well a motion fits a text, as the distance of two vectors.

In the spirit of the evaluator of Guo et al. (CVPR 2022) and of TMR (Petrovich et al., ICCV 2023): a small transformer a
side, trained so that a text and its motion lie near each other (core/train/matcher.py). The text side reads the states
of the frozen sentence encoder (core/language/sentence.py), so words that no training caption has still mean something.

Motion goes in as joints in the frame of the body's own smoothed heading, with velocities and the path in the frame of
the first heading: place, heading and bone lengths of what is given do not matter.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter1d

from core.errors import CoreError
from core.features import canonicalise, check_joints, facing, retarget
from core.model.vae import EncoderLayer
from core.skeleton import MIRROR

BUNDLED = Path(__file__).resolve().parents[1] / "weights" / "matcher"
INPUTS = 22 * 3 * 2 + 6
"""Numbers a frame that the motion side reads; `motion_input` says which."""
SHORTEST, LONGEST = 8, 200
"""Frames. Longer motions are read in parts of equal length, and the parts' vectors averaged."""
HEADING_SIGMA = 4.0
"""Standard deviation of the heading's smoothing over time, frames: hips and shoulders swing with each step."""
BATCH = 64

_joint = np.array([3 * m + a for m in MIRROR for a in range(3)])
_FLIP_INDEX = np.concatenate([_joint, 66 + _joint, np.arange(132, INPUTS)])
_FLIP_SIGN = np.array([-1, 1, 1] * 44 + [-1, -1, -1, 1, -1, 1], np.float32)


@dataclass
class MatcherConfig:
    """Shape of the two networks."""

    width: int = 128
    heads: int = 4
    ff: int = 256
    motion_layers: int = 4
    text_layers: int = 2
    patch: int = 4  # frames a token
    text_width: int = 384  # of the sentence encoder's states
    embedding: int = 128


def motion_input(joints: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """What the motion side reads of a motion of any skeleton, place and heading.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps, T >= 2. bones: (22,) lengths to give the skeleton, metres.
    Returns:
        (T, INPUTS) float32: joints in the heading frame, relative to the root in x and z (66); their velocities there,
        metres a frame (66); yaw velocity, radians a frame; root x, whole yaw, root z, sine and cosine of the yaw, since
        and in the frame of the first heading (6).
    """
    reference = np.zeros((22, 3), np.float32)
    reference[:, 0] = bones
    joints = canonicalise(retarget(joints, reference))
    forward = facing(joints)
    yaw = gaussian_filter1d(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2])), HEADING_SIGMA, mode="nearest")
    sine, cosine = np.sin(yaw)[:, None], np.cos(yaw)[:, None]

    def turned(v: np.ndarray) -> np.ndarray:  # into the heading's frame
        x, z = v[..., 0], v[..., 2]
        return np.stack([cosine * x - sine * z, v[..., 1], sine * x + cosine * z], -1)

    local = turned(joints - joints[:, :1] * np.array([1, 0, 1], np.float32))
    step = turned(np.diff(joints, axis=0, append=joints[-1:]))
    step[-1] = step[-2]
    spin = np.diff(yaw, append=yaw[-1])
    whole = yaw - yaw[0]
    root = joints[:, 0] - joints[0, 0]
    rest = np.stack([spin, root[:, 0], whole, root[:, 2], np.sin(whole), np.cos(whole)], -1)
    return np.concatenate([local.reshape(-1, 66), step.reshape(-1, 66), rest], -1).astype(np.float32)


def mirrored_input(rows: torch.Tensor) -> torch.Tensor:
    """`motion_input` of the mirrored motion from that of the motion: (..., INPUTS) -> (..., INPUTS)."""
    return rows[..., torch.from_numpy(_FLIP_INDEX).to(rows.device)] * torch.from_numpy(_FLIP_SIGN).to(rows)


def positions(length: int, width: int) -> torch.Tensor:
    """Sine and cosine positions (Vaswani et al., 2017): (length, width)."""
    at = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1000.0) / width))
    return torch.stack([at.sin(), at.cos()], -1).flatten(1)


class Side(nn.Module):
    """One side: rows of numbers -> a unit vector, through a transformer with a reading token."""

    def __init__(self, inputs: int, layers: int, cfg: MatcherConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, cfg.width)
        self.reader = nn.Parameter(torch.zeros(cfg.width))
        self.layers = nn.ModuleList(EncoderLayer(cfg.width, cfg.heads, cfg.ff, norm_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(cfg.width)
        self.leave = nn.Linear(2 * cfg.width, cfg.embedding)

    def forward(self, rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:  # (B, T, I), (B, T) -> (B, E)
        x = self.enter(rows)
        x = x + positions(x.shape[1], x.shape[2]).to(x)
        x = torch.cat([self.reader.to(x).expand(len(x), 1, -1), x], 1)
        real = F.pad(real, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, real[:, None, None])
        x = self.norm(x)
        weight = real[:, 1:, None].to(x)
        mean = (x[:, 1:] * weight).sum(1) / weight.sum(1)
        return F.normalize(self.leave(torch.cat([x[:, 0], mean], -1)).float(), dim=-1)


class Matcher(nn.Module):
    """Both sides. `bones`, `mean` and `std` are those of the training clips."""

    bones: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, cfg: MatcherConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.register_buffer("bones", torch.ones(22))
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("std", torch.ones(INPUTS))
        self.motion = Side(INPUTS * cfg.patch, cfg.motion_layers, cfg)
        self.text_norm = nn.LayerNorm(cfg.text_width)
        self.text = Side(cfg.text_width, cfg.text_layers, cfg)
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))  # 1 / temperature of the training's softmax
        self.encoder: Any = None  # a SentenceEncoder; None: the bundled one, once it is needed

    def read_motion(self, rows: torch.Tensor, frames: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Rows of `motion_input` (B, T, INPUTS), T a multiple of the patch, frames (B,) -> (B, E) of length one.

        keep (B, T / patch) bool: patches to read; training leaves some out."""
        B, T, _ = rows.shape
        patch = self.cfg.patch
        rows = ((rows - self.mean) / self.std).reshape(B, T // patch, patch * INPUTS)
        real = torch.arange(T // patch, device=rows.device)[None] * patch < frames[:, None]
        if keep is not None:
            real = real & keep
        return self.motion(rows, real)

    def read_text(self, states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """States of the sentence encoder (B, T, text_width) and which are real (B, T) -> (B, E) of length one."""
        return self.text(self.text_norm(states), real)

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> np.ndarray:
        """(N, E) float32 of length one."""
        if self.encoder is None:
            from core.language.sentence import load_sentence

            self.encoder = load_sentence()
        out = np.zeros((len(texts), self.cfg.embedding), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            states, real = self.encoder.tokens([texts[i] for i in part])
            out[part] = self.read_text(states.to(self.mean), real.to(self.mean.device)).cpu().numpy()
        return out

    @torch.inference_mode()
    def embed_motion(self, motions: list[np.ndarray]) -> np.ndarray:
        """Vectors of motions (T_i, 22, 3), metres, Y up, 20 fps, of any skeleton, place and heading.

        A motion of more than LONGEST frames is read in parts of equal length and the parts' vectors are averaged.

        Returns:
            (N, E) float32 of length one.
        Raises:
            CoreError: joints_invalid, also for a motion of fewer than SHORTEST frames.
        """
        bones = self.bones.cpu().numpy()
        rows, owner = [], []
        for i, joints in enumerate(motions):
            joints = check_joints(joints, least_frames=SHORTEST)
            for part in np.array_split(joints, -(-len(joints) // LONGEST)):
                rows.append(motion_input(part, bones))
                owner.append(i)
        found = np.zeros((len(rows), self.cfg.embedding), np.float32)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # little padding in a batch
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            padded, frames = pad([rows[i] for i in chosen], self.cfg.patch)
            found[chosen] = self.read_motion(padded.to(self.mean), frames.to(self.mean.device)).cpu().numpy()
        out = np.zeros((len(motions), self.cfg.embedding), np.float32)
        np.add.at(out, np.array(owner, int), found)
        return out / np.linalg.norm(out, axis=-1, keepdims=True).clip(1e-12)


def pad(rows: list[np.ndarray], patch: int, length: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrays (T_i, D) -> (B, T, D) with T a multiple of the patch, the last row repeated, and the lengths (B,)."""
    length = length or max(len(r) for r in rows)
    length = -(-length // patch) * patch
    index = [np.minimum(np.arange(length), len(r) - 1) for r in rows]
    out = np.stack([r[i] for r, i in zip(rows, index, strict=True)]).astype(np.float32)
    return torch.from_numpy(out), torch.tensor([len(r) for r in rows])


def load_matcher(path: Path | None = None, device: str = "cpu") -> Matcher:
    """The matcher of a folder, None for the bundled one; loaded once. Raises CoreError("matcher_missing" or
    "matcher_broken")."""
    return _load(Path(path) if path is not None else BUNDLED, device)


@lru_cache(maxsize=4)
def _load(folder: Path, device: str) -> Matcher:
    remedy = "Reinstall the add-on, or train one: python build.py train matcher."
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        matcher = Matcher(MatcherConfig(**config["network"]))
        weights = load_file(folder / "model.safetensors")
        matcher.load_state_dict({k: v.float() for k, v in weights.items()})
    except FileNotFoundError as error:
        raise CoreError("matcher_missing", f"There is no matcher in '{folder}'.", remedy) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        message = f"The matcher in '{folder}' cannot be read ({type(error).__name__}: {str(error)[:120]})."
        raise CoreError("matcher_broken", message, remedy) from error
    return matcher.to(device).eval().requires_grad_(False)


def config_of(matcher: Matcher, **more: Any) -> dict[str, Any]:
    """What config.json holds: the shape, and whatever else is given (data, licence, figures)."""
    return {"name": "matcher", "network": asdict(matcher.cfg)} | more
