"""Small layers shared by the VAE, the backbone and the diffusion head."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention: the fused kernel, or written out where a gradient is wanted, because on a CPU that has the
    faster backward pass.

    Args:
        q: (B, H, Tq, D). k, v: (B, H, Tk, D).
        mask: broadcastable to (B, H, Tq, Tk), True where a query may look.
    Returns:
        (B, H, Tq, D)
    """
    if not (torch.is_grad_enabled() and q.requires_grad):
        return F.scaled_dot_product_attention(q, k, v, mask)
    scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v


class SelfAttention(nn.Module):
    """Multi-head attention with the parameter names and layout of torch's own (packed q, k, v)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:  # (B, T, D)
        B, T, D = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        return self.out_proj(attend(q, k, v, mask).transpose(1, 2).reshape(B, T, D))


class CrossAttention(SelfAttention):
    """Attention to a memory of ONE token. The softmax over one key is 1, so only v and the output projection act."""

    def constant(self, memory: torch.Tensor) -> torch.Tensor:  # (B, D) -> (B, 1, D), the same for every query
        D = memory.shape[-1]
        v = F.linear(memory, self.in_proj_weight[2 * D :], self.in_proj_bias[2 * D :])
        return self.out_proj(v)[:, None]


class PositionTable(nn.Module):
    """Learned positions, stored as (rows, 1, D) like the official model's `pe`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.pe = nn.Parameter(torch.empty(rows, 1, width).uniform_(0, 1))

    def forward(self, length: int) -> torch.Tensor:  # -> (1, T, D)
        return self.pe[:length, 0][None]
