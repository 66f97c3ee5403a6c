"""Matrices in 2 or 4 bits a number: groups of 32 share a half-precision scale, and all share 4 or 16 levels.

The levels are fitted to the weights (Lloyd 1982), which suits their bell shape better than even steps do; the same
thought as QLoRA's NF4 (Dettmers et al., NeurIPS 2023). Where it is known what a matrix will be multiplied with, each
column's error is made good in the columns still to come (GPTQ, Frantar et al., ICLR 2023).
"""

from __future__ import annotations

import torch

GROUP = 32
DAMPING = 0.01
"""Part of the mean of the Hessian's diagonal that is added to it, so that it can be inverted (as in GPTQ)."""
_SEARCH = torch.linspace(0.7, 1.0, 13)
"""Which part of a group's largest number its scale may be: clipping one outlier can be better for the other 31."""


def fit_levels(matrices: list[torch.Tensor], bits: int, rounds: int = 40) -> torch.Tensor:
    """(2 ** bits,) float32 in [-1, 1], ascending: the levels with the least squared error over the groups."""
    x = torch.cat([m.float().reshape(-1, GROUP) for m in matrices])
    x = x[:: len(x) // 20_000 + 1]
    x = (x / x.abs().amax(1, keepdim=True).clamp(min=1e-8)).flatten()
    n = 1 << bits
    levels = torch.quantile(x, torch.linspace(0.5 / n, 1 - 0.5 / n, n))
    for _ in range(rounds):
        at = torch.bucketize(x, (levels[1:] + levels[:-1]) / 2)
        count = torch.bincount(at, minlength=n).clamp(min=1)
        levels = torch.bincount(at, weights=x, minlength=n) / count
    return levels.sort().values.float()


def best_scales(x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """(G, 32) -> (G, 1): the scale of each group with the least squared error, as half precision can say it."""
    middle = (levels[1:] + levels[:-1]) / 2
    largest = x.abs().amax(1, keepdim=True).clamp(min=1e-6) / levels.abs().max()
    least = torch.full_like(largest, torch.inf)
    scale = largest.clone()
    for part in _SEARCH:
        s = (largest * part).half().float()
        error = (levels[torch.bucketize(x / s, middle)] * s - x).square().sum(1, keepdim=True)
        scale = torch.where(error < least, s, scale)
        least = torch.minimum(least, error)
    return scale


def pack(
    matrix: torch.Tensor, levels: torch.Tensor, hessian: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Store a matrix.

    Args:
        matrix: (R, C) float, C a multiple of 32.
        levels: (4,) or (16,).
        hessian: (C, C), the mean of x x^T over the inputs x that the matrix will meet; None for all alike.
    Returns:
        Codes (R, C * bits / 8) uint8, and scales (R, C / 32) half.
    """
    R, C = matrix.shape
    middle = (levels[1:] + levels[:-1]) / 2
    if hessian is None:
        x = matrix.float().reshape(-1, GROUP)
        s = best_scales(x, levels)
        return _bytes(torch.bucketize(x / s, middle).view(R, C), levels), s.view(R, -1).half()
    left = matrix.float().clone()
    h = hessian.double() + DAMPING * hessian.diagonal().mean() * torch.eye(C, dtype=torch.float64)
    spread = torch.linalg.cholesky(torch.linalg.inv(h), upper=True).float()
    codes, scales = torch.zeros(R, C, dtype=torch.long), []
    for start in range(0, C, GROUP):
        end = start + GROUP
        s = best_scales(left[:, start:end], levels)
        errors = torch.zeros(R, GROUP)
        for j in range(start, end):
            codes[:, j] = torch.bucketize(left[:, j] / s[:, 0], middle)
            errors[:, j - start] = (left[:, j] - levels[codes[:, j]] * s[:, 0]) / spread[j, j]
            left[:, j:end] -= errors[:, j - start, None] * spread[j, j:end]
        left[:, end:] -= errors @ spread[start:end, end:]
        scales.append(s)
    return _bytes(codes, levels), torch.cat(scales, 1).half()


def _bytes(codes: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """(R, C) levels' numbers -> (R, C * bits / 8) uint8, the first number in the lowest bits."""
    bits = 2 if len(levels) == 4 else 4
    per_byte = codes.to(torch.uint8).view(len(codes), -1, 8 // bits)
    return sum(per_byte[..., i] << (bits * i) for i in range(8 // bits))  # type: ignore[return-value]


def unpack(codes: torch.Tensor, scales: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """What `pack` stored, as (R, C) float32."""
    bits = 2 if len(levels) == 4 else 4
    byte = torch.arange(256)
    meaning = torch.stack([levels[(byte >> (bits * i)) % len(levels)] for i in range(8 // bits)], 1)  # (256, per byte)
    values = meaning[codes.flatten().int()].view(-1, GROUP)
    return values.mul_(scales.float().view(-1, 1)).view(len(codes), -1)
