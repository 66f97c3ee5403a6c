"""The code whose motion meets what is known of it: maximum a posteriori through the VAE's decoder.

Known are positions of joints in some frames, with a tolerance; the prior says what codes are like. Most of the compact
decoder is linear (core/model/vae.py), the rest bends its motion by centimetres: so each step solves the linear problem
with the bend as it is (Gauss-Newton with the linear path as its Jacobian), and three steps do. A model without a linear
path is fitted by gradient descent on the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from core.errors import Cancelled
from core.model.kinematics import resample
from core.model.motiongpt3 import MotionGPT3

STEPS = 3
GRADIENT_STEPS = 60
LEARNING_RATE = 0.05
SPREAD = 0.5
"""Of the prior, for codes to begin from."""


@dataclass
class Known:
    """Positions that are known.

    Attributes:
        frames: (N,) and joints (N,): which joint in which frame.
        axes: (N, 3) bool, which coordinates are known.
        positions: (N, 3) metres, in the clip's canonical place.
        tolerance: (N,) metres, one standard deviation.
    """

    frames: np.ndarray
    joints: np.ndarray
    axes: np.ndarray
    positions: np.ndarray
    tolerance: np.ndarray

    @classmethod
    def poses(cls, frames: np.ndarray, poses: np.ndarray, tolerance: float) -> Known:
        """Whole poses (K, 22, 3) in frames (K,)."""
        count = len(frames) * 22
        return cls(
            np.repeat(frames, 22), np.tile(np.arange(22), len(frames)), np.ones((count, 3), bool),
            np.asarray(poses, np.float64).reshape(-1, 3), np.full(count, tolerance),
        )  # fmt: skip

    def __add__(self, other: Known) -> Known:
        names = ("frames", "joints", "axes", "positions", "tolerance")
        return Known(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))

    def rows(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the coordinates that are known: their place in a flat (T, 22, 3), values, and weights 1 / tolerance^2."""
        at = (self.frames[:, None] * 22 + self.joints[:, None]) * 3 + np.arange(3)
        weight = np.repeat(1.0 / np.square(self.tolerance)[:, None], 3, 1)
        return (
            torch.from_numpy(at[self.axes].astype(np.int64)),
            torch.from_numpy(self.positions[self.axes].astype(np.float64)),
            torch.from_numpy(weight[self.axes]),
        )


class Fitter:
    """Fits codes of clips of one length with one prior; what depends on these alone is computed once.

    Args:
        model: whose decoder it is. frames: of the clips.
        mean, covariance: (C,) and (C, C) of the prior, float64.
    """

    def __init__(self, model: MotionGPT3, frames: int, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.vae, self.device, self.frames = model.vae, model.device, frames
        self.mean = mean
        self.factor = torch.linalg.cholesky(covariance)
        self.precision = torch.cholesky_inverse(self.factor)
        self.slope = _slope(model, frames) if model.vae.linear is not None else None

    def somewhere(self, seed: int) -> torch.Tensor:
        """A code to begin from where nothing is proposed (C,): the mean for seed 0, else one of the prior's near it."""
        if seed == 0:
            return self.mean
        noise = torch.randn(len(self.mean), dtype=torch.float64, generator=torch.Generator("cpu").manual_seed(seed))
        return self.mean + SPREAD * (self.factor @ noise)

    @torch.inference_mode()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, C) -> (B, T, 22, 3) float64 on the CPU."""
        lengths = torch.full((len(codes),), self.frames, device=self.device)
        z = self.vae.from_code(codes.float().to(self.device))
        return self.vae.decode_joints(z, lengths).double().cpu()

    def fit(
        self, known: Known, around: torch.Tensor, cancelled: Callable[[], bool] | None = None
    ) -> tuple[np.ndarray, torch.Tensor]:
        """The likeliest motions.

        Args:
            known: what they are to meet.
            around: (B, C) the prior's mean for each of B motions: a proposal, or `self.mean`.
        Returns:
            Motions (B, T, 22, 3) float64 in the canonical place, and their codes (B, C).
        Raises:
            Cancelled.
        """
        around = around.double().cpu()
        if self.slope is None:
            return self._descend(known, around, cancelled)
        at, values, weight = known.rows()
        part = self.slope[at]  # (M, C)
        gram = part.T @ (part * weight[:, None]) + self.precision
        factor = torch.linalg.cholesky(gram)
        codes, pull = around, around @ self.precision
        for _ in range(STEPS):
            if cancelled is not None and cancelled():
                raise Cancelled
            made = self.decode(codes).flatten(1)[:, at]
            wanted = (values - made + codes @ part.T) * weight  # what the linear path has to reach, the bend as it is
            codes = torch.cholesky_solve((wanted @ part + pull).T, factor).T
        return self.decode(codes).numpy(), codes

    def _descend(
        self, known: Known, around: torch.Tensor, cancelled: Callable[[], bool] | None
    ) -> tuple[np.ndarray, torch.Tensor]:
        at, values, weight = (x.to(self.device) for x in known.rows())
        values, weight = values.float(), weight.float()
        start = around.float().to(self.device)
        inverse = torch.linalg.inv(self.factor).float().to(self.device)
        lengths = torch.full((len(start),), self.frames, device=self.device)
        with torch.enable_grad():
            codes = start.clone().requires_grad_(True)
            optimiser = torch.optim.Adam([codes], lr=LEARNING_RATE)
            for _ in range(GRADIENT_STEPS):
                if cancelled is not None and cancelled():
                    raise Cancelled
                optimiser.zero_grad()
                made = self.vae.decode_joints(self.vae.from_code(codes), lengths).flatten(1)[:, at]
                loss = ((made - values).square() * weight).sum() + ((codes - start) @ inverse.T).square().sum()
                loss.backward()
                optimiser.step()
        codes = codes.detach()
        return self.decode(codes).numpy(), codes.double().cpu()


@torch.inference_mode()
def _slope(model: MotionGPT3, frames: int) -> torch.Tensor:
    """How joints change with the code along the linear path: (T * 66, C) float64."""
    vae = model.vae
    assert vae.linear is not None
    C = vae.cfg.channels
    zero = vae.from_code(torch.zeros(1, C, device=model.device))
    unit = vae.from_code(torch.eye(C, device=model.device)) - zero
    moved = unit + vae._in_metres(vae.code_correction(zero + unit) - vae.code_correction(zero))
    path = ((moved * vae.linear.scale) @ vae.linear.basis).view(C, vae.linear.frames, 22, 3)
    times = torch.full((C,), vae.linear.frames, device=model.device)
    at = torch.arange(frames, device=model.device)[None].float() * ((vae.linear.frames - 1) / max(frames - 1, 1))
    return resample(path, times, at=at.expand(C, -1)).reshape(C, -1).T.double().cpu().contiguous()
