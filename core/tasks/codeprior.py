"""What codes of motions of a given length look like: a Gaussian for each length, learnt from real motion.

The motion head draws codes for a prompt; to find the code of a motion of which a few poses are known, one has to know
how codes vary and which channels go together. That depends on the length, because a code describes a clip from its
beginning to its end: in a second arms move little and the way is short. The bundled model brings these Gaussians as
`between.safetensors` beside its weights (learnt by core/train/between.py); for a model without them codes count as
independent with unit variance, which is how the head sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from core.errors import CoreError

FILE = "between.safetensors"
CROSSOVER = 10
"""Frames (half a second)."""


@dataclass(eq=False)
class CodePrior:
    """Gaussians of codes.

    Attributes:
        lengths: (N,) frames, rising.
        mean: (N, C). factor: (N, C, R) and rest: (N, C) variances: the covariance is factor factor' + diag(rest).
        gaps: (G,) frames between keys, rising, for which `shares` is known.
        shares: (2, G, 23) how much of the fit to take and how much of plain interpolation, least squares over real
            motion: without and with context; the root, then the rotations of 22 joints.
    """

    lengths: np.ndarray
    mean: np.ndarray
    factor: np.ndarray
    rest: np.ndarray
    gaps: np.ndarray = field(default_factory=lambda: np.array([1]))
    shares: np.ndarray = field(default_factory=lambda: np.ones((2, 1, 23)))

    def at(self, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (C,) and covariance (C, C) of codes of clips of this length, float64; between lengths, in proportion."""
        i, part = _between(self.lengths, frames)
        mean: torch.Tensor | float = 0.0
        covariance: torch.Tensor | float = 0.0
        for k, weight in ((i, 1.0 - part), (i + 1, part)):
            if weight > 0.0:
                factor = torch.from_numpy(self.factor[k].astype(np.float64))
                mean = mean + weight * torch.from_numpy(self.mean[k].astype(np.float64))
                one = factor @ factor.T + torch.diag(torch.from_numpy(self.rest[k].astype(np.float64)))
                covariance = covariance + weight * one
        assert isinstance(mean, torch.Tensor)
        assert isinstance(covariance, torch.Tensor)
        return mean, covariance

    def share(self, gap: int, context: bool) -> np.ndarray:
        """(23,) how much of the fit to take for a gap of so many frames: the root, then the joints.

        Without context, rotations of gaps below CROSSOVER frames lean further to interpolation, and up to half of that
        are left to it: what shares learnt from few clips gain in distance there, they lose in the spectrum (NPSS).
        """
        table = self.shares[int(context)]
        i, part = _between(self.gaps, gap)
        out = (1.0 - part) * table[i] + part * table[min(i + 1, len(table) - 1)]
        if not context:
            out[1:] *= np.clip(2.0 * gap / CROSSOVER - 1.0, 0.0, 1.0)
        return out

    def save(self, folder: Path) -> None:
        """Write the file: factors in int8 with a scale for each column, the rest in half precision."""
        scale = np.abs(self.factor).max(1, keepdims=True) / 127.0
        entry = {
            "lengths": self.lengths.astype(np.int32),
            "mean": self.mean.astype(np.float16),
            "factor": np.round(self.factor / np.maximum(scale, 1e-12)).astype(np.int8),
            "scale": scale.astype(np.float32),
            "rest": self.rest.astype(np.float16),
            "gaps": self.gaps.astype(np.int32),
            "shares": self.shares.astype(np.float32),
        }
        save_file({k: np.ascontiguousarray(v) for k, v in entry.items()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path, channels: int) -> CodePrior:
        """The file beside a model's weights; codes of independent unit variance where there is none."""
        if not (folder / FILE).is_file():
            return cls.plain(channels)
        e = load_file(folder / FILE)
        if e["mean"].shape[1] != channels:
            raise CoreError("model_broken", f"{FILE} belongs to another model.", "Put the model's own file there.")
        factor = e["factor"].astype(np.float32) * e["scale"]
        return cls(
            e["lengths"].astype(int), e["mean"].astype(np.float32), factor, e["rest"].astype(np.float32),
            e["gaps"].astype(int), e["shares"].astype(np.float64),
        )  # fmt: skip

    @classmethod
    def plain(cls, channels: int) -> CodePrior:
        return cls(np.array([20]), np.zeros((1, channels)), np.zeros((1, channels, 1)), np.ones((1, channels)))


def _between(grid: np.ndarray, value: float) -> tuple[int, float]:
    """The last grid point at or below a value, and how far on to the next it lies, 0..1; outside, the nearest one."""
    i = int(np.clip(np.searchsorted(grid, value, side="right") - 1, 0, len(grid) - 1))
    if i + 1 >= len(grid):
        return i, 0.0
    return i, float(np.clip((value - grid[i]) / (grid[i + 1] - grid[i]), 0.0, 1.0))
