"""Bimodal GPT-2: a text branch and a motion branch that meet in attention only (mixture of transformers).

Every token belongs to one modality, 0 text or 1 motion, and runs through that branch's layer norms, projections and
MLP; attention is one causal softmax over all tokens. References: MotionGPT3 (ICLR 2026); Mixture-of-Transformers
(Liang et al., 2024); GPT-2 (Radford et al., 2019).

Only real tokens are computed: each in its own branch, without a fixed prompt length.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F

from core.model.config import BackboneConfig
from core.model.layers import attend


class Conv1D(nn.Module):
    """A linear layer stored [in, out], as in GPT-2's checkpoints."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * 0.02)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.t(), self.bias)


class MLP(nn.Module):
    def __init__(self, cfg: BackboneConfig) -> None:
        super().__init__()
        self.c_fc = Conv1D(cfg.width, cfg.ff)
        self.c_proj = Conv1D(cfg.ff, cfg.width)
        nn.init.normal_(self.c_proj.weight, std=0.02 / math.sqrt(2 * cfg.layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Routes:
    """Which rows of a flattened (B*T) batch belong to which branch; padding belongs to none."""

    def __init__(self, modality: torch.Tensor) -> None:  # (B, T): 0 text, 1 motion, -1 padding
        flat = modality.reshape(-1)
        self.rows = [(flat == b).nonzero()[:, 0] for b in (0, 1)]
        self.count = len(flat)


class Bimodal(nn.Module):
    """The same layer for both branches: `fn.0` for text, `fn.1` for motion."""

    def __init__(self, text: nn.Module, motion: nn.Module) -> None:
        super().__init__()
        self.fn = nn.ModuleList([text, motion])

    def forward(self, x: torch.Tensor, routes: Routes) -> torch.Tensor:  # (N, D) -> (N, D'), foreign rows 0
        parts = [(r, fn(x[r])) for fn, r in zip(self.fn, routes.rows, strict=True) if len(r)]
        out = torch.zeros(routes.count, parts[0][1].shape[-1], dtype=parts[0][1].dtype, device=x.device)
        for rows, part in parts:
            out = out.index_copy(0, rows, part)
        return out


@dataclass
class Cache:
    """Keys and values of what has been read so far, per layer, for token-by-token text."""

    keys: list[torch.Tensor] = field(default_factory=list)  # (B, H, T, D) each
    values: list[torch.Tensor] = field(default_factory=list)


class Block(nn.Module):
    def __init__(self, cfg: BackboneConfig, shared: bool) -> None:
        super().__init__()
        D = cfg.width
        self.heads, self.shared, self.dropout = cfg.heads, shared, cfg.dropout
        self.ln_1 = Bimodal(nn.LayerNorm(D), nn.LayerNorm(D))
        self.c_attn = Bimodal(Conv1D(D, 3 * D), Conv1D(D, 3 * D))
        self.c_proj = Bimodal(Conv1D(D, D), Conv1D(D, D))
        self.ln_2 = Bimodal(nn.LayerNorm(D), nn.LayerNorm(D))
        self.mlp = Bimodal(MLP(cfg), MLP(cfg))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)

    def forward(
        self,
        x: torch.Tensor,  # (B*T, D)
        modality: torch.Tensor,  # (B, T)
        routes: Routes,
        mask: torch.Tensor,  # (B, 1, Tq, Tk) True where a query may look
        cache: Cache | None,
        layer: int,
    ) -> torch.Tensor:
        B, T = modality.shape
        qkv = self.c_attn(self.ln_1(x, routes), routes)
        q, k, v = qkv.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D/H)
        if cache is not None:
            if len(cache.keys) > layer:
                k = torch.cat([cache.keys[layer], k], 2)
                v = torch.cat([cache.values[layer], v], 2)
                cache.keys[layer], cache.values[layer] = k, v
            else:
                cache.keys.append(k)
                cache.values.append(v)
        if self.shared:
            y = attend(q, k, v, mask)
        else:
            y = self._separate(q, k, v, mask, modality)
        y = self.c_proj(y.transpose(1, 2).reshape(B * T, -1), routes)
        x = x + self._drop(y)
        return x + self._drop(self.mlp(self.ln_2(x, routes), routes))

    def _separate(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, modality: torch.Tensor
    ) -> torch.Tensor:
        """Attention that is not shared: a branch sees foreign tokens as its own projection's bias (the official
        model's layer norm zeroes them, so all that is left of them is the bias)."""
        out = torch.zeros_like(q)
        for b in (0, 1):
            mine = (modality == b)[:, None, :, None]
            _, kb, vb = self.c_attn.fn[b].bias.view(3, self.heads, 1, -1)  # type: ignore[operator]
            y = attend(q, torch.where(mine, k, kb.to(k.dtype)), torch.where(mine, v, vb.to(v.dtype)), mask)
            out = torch.where(mine, y, out)
        return out


def shared_layers(mode: str, layers: int) -> list[bool]:
    """Which layers share attention between the branches.

    Args:
        mode: "all"; "none"; "first"/"last" (one layer) or "first<N>"/"last<N>"; "Ahalf"/"halfB" (the first, the second
            half); "firstthird"/"midthird"/"lastthird"; "odd" or "even" (layers
            counted from one, as the official names do). Upper and lower case are the same.
    Raises:
        ValueError: unknown mode.
    """
    name, every = mode.lower(), range(layers)
    third, half = layers // 3, layers // 2
    named = {
        "all": every,
        "none": range(0),
        "ahalf": range(half),
        "halfb": range(half, layers),
        "firstthird": range(third),
        "midthird": range(third, 2 * third),
        "lastthird": range(2 * third, layers),
        "odd": range(0, layers, 2),  # official: the first layer is layer one
        "even": range(1, layers, 2),
    }
    found = re.fullmatch(r"(first|last)(\d*)", name)
    if found:
        n = min(int(found[2] or 1), layers)
        chosen = range(n) if found[1] == "first" else range(layers - n, layers)
    elif name in named:
        chosen = named[name]
    else:
        raise ValueError(f"unknown attention mode {mode!r}")
    return [i in chosen for i in every]


class Backbone(nn.Module):
    """Embedded tokens -> final hidden states, each token through its own branch."""

    def __init__(self, cfg: BackboneConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.wte = nn.Embedding(cfg.text_vocab, cfg.width)  # also the text head: logits = hidden @ wte^T
        self.wpe = nn.Embedding(cfg.positions, cfg.width)  # shared by both modalities
        self.motion_embedding = nn.Embedding(cfg.motion_vocab, cfg.width)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.h = nn.ModuleList(Block(cfg, s) for s in shared_layers(cfg.shared, cfg.layers))
        self.ln_f = Bimodal(nn.LayerNorm(cfg.width), nn.LayerNorm(cfg.width))

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (B, T) -> embeddings without positions (B, T, D); ids from text_vocab on are motion tokens."""
        first_motion = self.cfg.text_vocab
        text = self.wte(ids.clamp(max=first_motion - 1))
        motion = self.motion_embedding((ids - first_motion).clamp(min=0))
        return torch.where((ids >= first_motion)[..., None], motion, text)

    def forward(
        self,
        x: torch.Tensor,
        modality: torch.Tensor,
        cache: Cache | None = None,
        cached: int = 0,
        trace: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Run the branches.

        Args:
            x: (B, T, D) embeddings. modality: (B, T) 0 text, 1 motion, -1 padding (on the right).
            cache: keys and values of `cached` earlier tokens; extended in place.
            trace: filled with (B, T, D) before the first block, after every block but the last, and the result.
        Returns:
            (B, T, D) final hidden states; padding rows are zero.
        """
        B, T, D = x.shape
        x = x + self.wpe.weight[cached : cached + T]
        x = F.dropout(x, self.cfg.dropout, self.training)
        routes = Routes(modality)
        causal = torch.ones(T, cached + T, dtype=torch.bool, device=x.device).tril(cached)
        mask = causal[None, None]  # padding stands on the right, so causality already hides it
        x = x.reshape(B * T, D)
        for i, block in enumerate(self.h):
            if trace is not None:
                trace.append(x.view(B, T, D))
            x = block(x, modality, routes, mask, cache, i)
        x = self.ln_f(x, routes).view(B, T, D)
        if trace is not None:
            trace.append(x)
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:  # (..., D) -> (..., text_vocab)
        return hidden @ self.wte.weight.T
