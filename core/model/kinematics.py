"""The differentiable kinematics the model needs, in torch; the NumPy side of it is core/features.py."""

from __future__ import annotations

import torch

from core.skeleton import PARENTS


def features_to_joints(features: torch.Tensor) -> torch.Tensor:
    """HumanML3D features -> joint positions (`recover_from_ric` of Guo et al., CVPR 2022).

    Args:
        features: (..., T, 263), or (..., T, 251) of KIT-ML's 21 joints; not normalised.
    Returns:
        (..., T, 22, 3) metres, Y up, frame 0 at the origin facing +Z; (..., T, 21, 3) for KIT-ML.
    """
    f = features
    zero = torch.zeros_like(f[..., :1, 0])
    angle = 2 * torch.cat([zero, f[..., :-1, 0]], -1).cumsum(-1)  # the feature is a half angle
    c, s = angle.cos(), angle.sin()
    vx = torch.cat([zero, f[..., :-1, 1]], -1)
    vz = torch.cat([zero, f[..., :-1, 2]], -1)
    root_x = (vx * c - vz * s).cumsum(-1)
    root_z = (vx * s + vz * c).cumsum(-1)
    others = (f.shape[-1] + 1) // 12 - 1  # joints but the root: 12 numbers a joint, less one
    local = f[..., 4 : 4 + 3 * others].unflatten(-1, (others, 3))
    x = local[..., 0] * c[..., None] - local[..., 2] * s[..., None] + root_x[..., None]
    z = local[..., 0] * s[..., None] + local[..., 2] * c[..., None] + root_z[..., None]
    joints = torch.stack([x, local[..., 1], z], -1)
    root = torch.stack([root_x, f[..., 3], root_z], -1)
    return torch.cat([root[..., None, :], joints], -2)


def resample(x: torch.Tensor, lengths: torch.Tensor, frames: int = 0, at: torch.Tensor | None = None) -> torch.Tensor:
    """Linear interpolation in time.

    Args:
        x: (B, T, 22, 3). lengths: (B,) frames of each sample that count.
        frames: how many evenly spaced times from the first to the last frame; or
        at: (B, N) the times themselves, in frames.
    Returns:
        (B, N, 22, 3)
    """
    B = len(x)
    if at is None:
        unit = torch.linspace(0, 1, frames, device=x.device)
        at = unit[None] * (lengths - 1)[:, None]
    low = at.floor().long().clamp(min=0)
    high = (low + 1).minimum(lengths[:, None] - 1)
    part = (at - low).to(x.dtype)[..., None, None]
    rows = torch.arange(B, device=x.device)[:, None]
    return x[rows, low] * (1 - part) + x[rows, high] * part


def heading_frame(joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The body's heading: (..., 22, 3) -> rotation (..., 3, 3) with columns left, up, forward in world axes, and the
    point under the root (..., 1, 3)."""
    across = (joints[..., 1, :] - joints[..., 2, :]) + (joints[..., 16, :] - joints[..., 17, :])
    left_x, left_z = across[..., 0], across[..., 2]
    norm = (left_x**2 + left_z**2 + 1e-8).sqrt()
    left_x, left_z = left_x / norm, left_z / norm
    zero, one = torch.zeros_like(left_x), torch.ones_like(left_x)
    rotation = torch.stack(
        [
            torch.stack([left_x, zero, -left_z], -1),
            torch.stack([zero, one, zero], -1),
            torch.stack([left_z, zero, left_x], -1),
        ],
        -2,
    )
    origin = joints[..., :1, :] * torch.tensor([1.0, 0.0, 1.0], device=joints.device)
    return rotation, origin


def propagate_bones(joints: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Keep every bone's direction and give it its length: (..., 22, 3) and (22,) metres -> (..., 22, 3)."""
    out = [joints[..., 0, :]]
    for j in range(1, 22):
        p = PARENTS[j]
        d = joints[..., j, :] - joints[..., p, :]
        out.append(out[p] + d * (lengths[j] / (d.square().sum(-1, keepdim=True) + 1e-8).sqrt()))
    return torch.stack(out, -2)
