"""Bimodal GPT-2: a text branch and a motion branch that meet in attention only (mixture of transformers).

Every token belongs to one modality, 0 text or 1 motion, and runs through that branch's layer norms, projections and
MLP; attention is one causal softmax over all tokens. References: MotionGPT3 (ICLR 2026); Mixture-of-Transformers
(Liang et al., 2024); GPT-2 (Radford et al., 2019).

Only real tokens are computed: each in its own branch, without a fixed prompt length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from core.model.config import BackboneConfig
from core.model.layers import attend


class Conv1D(nn.Module):
    """A linear layer stored [in, out], as in GPT-2's checkpoints."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out).normal_(std=0.02))
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


class Packing:
    """The real tokens of a padded batch as one list of rows: all text tokens first, then all motion tokens.

    A branch then works on a slice, and padding is never computed; only attention needs the order of the sentence.
    """

    def __init__(self, modality: torch.Tensor) -> None:  # (B, T): 0 text, 1 motion, -1 padding
        flat = modality.reshape(-1)
        text, motion = ((flat == b).nonzero()[:, 0] for b in (0, 1))
        self.shape = modality.shape
        self.rows = torch.cat([text, motion])  # (N,) place of each row in the flattened batch
        self.text = len(text)
        self.in_order = len(flat) in (len(text), len(motion))  # one branch and no padding: nothing to rearrange
        # Padding reads row 0; nobody looks at what comes of it.
        self.slots = torch.zeros_like(flat).index_copy(0, self.rows, torch.arange(len(self.rows), device=flat.device))

    def pack(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, D) -> (N, D)
        x = x.reshape(-1, x.shape[-1])
        return x if self.in_order else x[self.rows]

    def spread(self, x: torch.Tensor) -> torch.Tensor:  # (N, D) -> (B, T, D)
        return (x if self.in_order else x[self.slots]).view(*self.shape, -1)

    def unpack(self, x: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
        """(N or len(keep), D) -> (B, T, D), zero where there is no row."""
        rows = self.rows if keep is None else self.rows[keep]
        out = torch.zeros(self.shape.numel(), x.shape[-1], dtype=x.dtype, device=x.device)
        return out.index_copy(0, rows, x).view(*self.shape, -1)


class Bimodal(nn.Module):
    """The same layer for both branches: `fn.0` for text, `fn.1` for motion; or one layer for all tokens."""

    def __init__(self, make: Callable[[], nn.Module], branches: int = 2) -> None:
        super().__init__()
        self.fn = nn.ModuleList(make() for _ in range(branches))

    def forward(self, x: torch.Tensor, text: int) -> torch.Tensor:  # (N, D) with `text` text rows first -> (N, D')
        if text == len(x) or len(self.fn) == 1:
            return self.fn[0](x)
        if text == 0:
            return self.fn[1](x)
        return torch.cat([self.fn[0](x[:text]), self.fn[1](x[text:])])


class Cache:
    """Keys and values of what has been read so far, per layer, for token-by-token text.

    Args:
        capacity: tokens there is room for.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # (B, H, capacity, D) each
        self.modality: torch.Tensor | None = None  # (B, length) of what has been read

    def extend(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add (B, H, T, D) of new tokens to a layer; returns keys and values of everything read."""
        B, H, T, D = k.shape
        if layer == len(self.layers):
            self.layers.append((k.new_empty(B, H, self.capacity, D), v.new_empty(B, H, self.capacity, D)))
        keys, values = self.layers[layer]
        end = self.length + T
        keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
        return keys[:, :, :end], values[:, :, :end]

    def repeat(self, times: int) -> None:
        """Let several continuations share what one prompt has read."""
        self.layers = [(k.repeat(times, 1, 1, 1), v.repeat(times, 1, 1, 1)) for k, v in self.layers]
        self.modality = None if self.modality is None else self.modality.repeat(times, 1)


class Block(nn.Module):
    def __init__(self, cfg: BackboneConfig, shared: bool) -> None:
        super().__init__()
        D, branches = cfg.width, cfg.branches
        self.heads, self.shared, self.dropout = cfg.heads, shared, cfg.dropout
        self.ln_1 = Bimodal(lambda: nn.LayerNorm(D), branches)
        self.c_attn = Bimodal(lambda: Conv1D(D, 3 * D), branches)
        self.c_proj = Bimodal(lambda: Conv1D(D, D), branches)
        self.ln_2 = Bimodal(lambda: nn.LayerNorm(D), branches)
        self.mlp = Bimodal(lambda: MLP(cfg), branches)

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training) if self.training else x

    def forward(
        self,
        x: torch.Tensor,  # (N, D) packed
        packing: Packing,
        modality: torch.Tensor,  # (B, T)
        read: torch.Tensor,  # (B, Tk) modality of all keys
        mask: torch.Tensor | None,  # (B or 1, 1, Tq, Tk) True where a query may look; None for everywhere
        cache: Cache | None,
        layer: int,
        keep: torch.Tensor | None = None,  # (K,) the rows to go on with, where not all are wanted
    ) -> torch.Tensor:
        B, T = modality.shape
        qkv = packing.spread(self.c_attn(self.ln_1(x, packing.text), packing.text))
        q, k, v = qkv.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D/H)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        y = attend(q, k, v, mask) if self.shared else self._separate(q, k, v, mask, modality, read)
        y = packing.pack(y.transpose(1, 2).reshape(B, T, -1))
        text = packing.text
        if keep is not None:
            x, y, text = x[keep], y[keep], int((keep < text).sum())
        x = x + self._drop(self.c_proj(y, text))
        return x + self._drop(self.mlp(self.ln_2(x, text), text))

    def _separate(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
        modality: torch.Tensor,
        read: torch.Tensor,
    ) -> torch.Tensor:
        """Attention that is not shared: a branch sees foreign tokens as its own projection's bias (the official
        model's layer norm zeroes them, so all that is left of them is the bias)."""
        out = torch.zeros_like(q)
        for b in (0, 1):
            own, mine = (modality == b)[:, None, :, None], (read == b)[:, None, :, None]
            _, kb, vb = self.c_attn.fn[b].bias.view(3, self.heads, 1, -1)  # type: ignore[operator]
            y = attend(q, torch.where(mine, k, kb.to(k.dtype)), torch.where(mine, v, vb.to(v.dtype)), mask)
            out = torch.where(own, y, out)
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
        shared = shared_layers(cfg.shared, cfg.layers)
        if cfg.branches == 1 and not all(shared):
            raise ValueError("one branch has nothing to share: shared must be 'all'")
        self.h = nn.ModuleList(Block(cfg, s) for s in shared)
        self.ln_f = Bimodal(lambda: nn.LayerNorm(cfg.width), cfg.branches)

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
        *,
        want: torch.Tensor | None = None,
        trace: list[torch.Tensor] | None = None,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the branches.

        Args:
            x: (B, T, D) embeddings. modality: (B, T) 0 text, 1 motion, -1 padding (on the right).
            cache: keys and values of the tokens read before these; extended in place.
            want: (B, T) bool, tokens whose hidden state is wanted; None for all. Saves most of the last block.
            trace: filled with (B, T, D) before the first block, after every block but the last, and the result.
            keys: (B, T) bool, tokens that others may look at; None for all. Needed only where padding is computed as
                text (modality 0), as the official training loss does. Not together with a cache.
        Returns:
            (B, T, D) final hidden states; padding rows and rows that were not wanted are zero.
        """
        T = x.shape[1]
        start = cache.length if cache is not None else 0
        x = x + self.wpe.weight[start : start + T]
        x = F.dropout(x, self.cfg.dropout, self.training) if self.training else x
        packing = Packing(modality)
        mask = None
        if T > 1:  # padding stands on the right, so causality already hides it
            mask = torch.ones(T, start + T, dtype=torch.bool, device=x.device).tril(start)[None, None]
        if keys is not None:
            mask = keys[:, None, None, :] if mask is None else mask & keys[:, None, None, :]
        read = modality
        if cache is not None:
            if cache.modality is not None:
                read = torch.cat([cache.modality[:, :start], modality], 1)
            cache.modality = read
        keep = None if want is None else want.reshape(-1)[packing.rows].nonzero()[:, 0]
        x = packing.pack(x)
        for i, block in enumerate(self.h):
            if trace is not None:
                trace.append(packing.unpack(x, None))
            x = block(x, packing, modality, read, mask, cache, i, keep if i == len(self.h) - 1 else None)
        if cache is not None:
            cache.length += T
        text = packing.text if keep is None else int((keep < packing.text).sum())
        x = packing.unpack(self.ln_f(x, text), keep)
        if trace is not None:
            trace.append(x)
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:  # (..., D) -> (..., text_vocab)
        return hidden @ self.wte.weight.T
