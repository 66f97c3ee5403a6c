"""The noise schedule: which noise there is at which step, and what a sampler multiplies by.

References: Ho et al. (NeurIPS 2020) and Nichol & Dhariwal (ICML 2021). The official configuration calls its betas
"scaled_linear"; they are linear.
"""

from __future__ import annotations

import math

import numpy as np

from core.model.config import DiffusionConfig


class Schedule:
    """Linear betas and the coefficients of every step, in float64, for a subset of the training steps.

    Args:
        steps: how many of the training steps are kept.
        to_end: False for the official spacing, which goes down to step 0; True leaves step 0 out (the last step then
            goes from a little noise to none), which is better where there are few steps.
    """

    def __init__(self, cfg: DiffusionConfig, steps: int, to_end: bool = False) -> None:
        betas = np.linspace(cfg.beta_start, cfg.beta_end, cfg.train_steps)
        self.full_alpha_bar = np.cumprod(1 - betas)
        stride = (cfg.train_steps - 1) / (steps - 1) if steps > 1 else 0.0
        kept, at = [], 0.0
        for _ in range(steps):  # accumulated, not multiplied: the rounding of the official spacing
            kept.append(round(at))
            at += stride
        if to_end:
            kept = [round(t) for t in np.linspace(cfg.train_steps - 1, 0, steps + 1)[:-1][::-1]]
        self.timesteps = np.array(kept)
        ab = self.full_alpha_bar[self.timesteps]
        previous = np.append(1.0, ab[:-1])
        beta = 1 - ab / previous
        self.alpha_bar, self.alpha_bar_previous = ab, previous
        self.x0_from_x, self.x0_from_eps = 1 / np.sqrt(ab), np.sqrt(1 / ab - 1)
        self.mean_x0 = beta * np.sqrt(previous) / (1 - ab)
        self.mean_x = (1 - previous) * np.sqrt(1 - beta) / (1 - ab)
        variance = beta * (1 - previous) / (1 - ab)
        if steps > 1:
            variance[0] = variance[1]
        self.std = np.sqrt(variance)

    def log_snr(self, alpha_bar: float) -> float:
        """Half the logarithm of the signal-to-noise ratio (the lambda of DPM-Solver)."""
        return 0.5 * (math.log(alpha_bar) - math.log1p(-alpha_bar))
