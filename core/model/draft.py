"""A quick guess at the next words, for large models on a CPU, where reading the weights is what takes the time.

An 8-bit copy of the text branch guesses several tokens, a quarter of the bytes each; the exact model then reads all of
them in one pass and keeps those it would have written itself. What comes out is exactly the exact model's text
(Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023; here the draft is the
model's own weights in int8).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F

from core.model.backbone import Backbone, Cache

LEAST_WEIGHTS = 20_000_000
"""Weights of a text branch from which on a draft is worth its memory (a quarter of that branch)."""

ROWS = 16384
"""Rows of a matrix that are packed at a time, so that packing needs little memory."""


NARROW = not getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
"""Inputs in 7 bits: without the VNNI instructions, sums of 8-bit products overflow."""


class Int8Linear:
    """y = x W^T + b with W in int8, a scale a row; inputs are rounded to 8 bits as they come (dynamic quantisation).

    PyTorch calls its quantised tensors deprecated, but its pinned version has nothing as quick: measured against
    oneDNN's products of plain int8 tensors (1.4 times slower, and worse guesses for want of a zero point) and against
    weights alone in int8 or bfloat16 (1.8 and 2.8 times slower).

    Args:
        weight: (out, in), any strides. bias: (out,) or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.parts = []
        bias = torch.zeros(len(weight)) if bias is None else bias
        for start in range(0, len(weight), ROWS):
            part = weight[start : start + ROWS].detach().contiguous()
            scale = (part.abs().amax(1).clamp(min=1e-12) / 127).double()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the deprecation named above
                zeros = torch.zeros(len(part), dtype=torch.long)
                rounded = torch.quantize_per_channel(part, scale, zeros, 0, torch.qint8)
            self.parts.append(torch.ops.quantized.linear_prepack(rounded, bias[start : start + ROWS].detach().clone()))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:  # (1, in) float32 -> (1, out) float32
        found = [torch.ops.quantized.linear_dynamic(x, part, NARROW) for part in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found, -1)


class Draft:
    """The text branch in int8. Shares the exact model's cache: what it writes there is written over by the check.

    Args:
        backbone: float32, on the CPU, with attention shared in every layer.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.blocks: list[Any] = list(backbone.h)
        self.layers = []
        for block in self.blocks:
            attn, proj, mlp = block.c_attn.fn[0], block.c_proj.fn[0], block.mlp.fn[0]
            convs = (attn, proj, mlp.c_fc, mlp.c_proj)
            self.layers.append([Int8Linear(c.weight.t(), c.bias) for c in convs])
        self.head = Int8Linear(backbone.wte.weight, None)

    @staticmethod
    def worth_it(backbone: Backbone) -> bool:
        """Whether the model is large, exact (float32), on a CPU with int8 products, and of the kind that is drafted."""
        weight = backbone.wte.weight
        return (
            weight.device.type == "cpu"
            and torch.backends.quantized.engine != "none"
            and weight.dtype == torch.float32
            and all(block.shared for block in backbone.h)
            and weight.numel() + 12 * backbone.cfg.layers * backbone.cfg.width**2 > LEAST_WEIGHTS
        )

    def step(self, token: int, cache: Cache) -> torch.Tensor:
        """Read one text token after those in the cache; the logits (V,) of the next, about."""
        net = self.backbone
        norm: Any = net.ln_f.fn[0]
        x = (net.wte.weight[token] + net.wpe.weight[cache.length])[None]  # (1, D)
        for i, (block, (qkv, proj, fc, back)) in enumerate(zip(self.blocks, self.layers, strict=True)):
            q, k, v = qkv(block.ln_1.fn[0](x)).view(1, 1, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
            k, v = cache.extend(i, k, v)
            x = x + proj(F.scaled_dot_product_attention(q, k, v).reshape(1, -1))
            x = x + back(F.gelu(fc(block.ln_2.fn[0](x)), approximate="tanh"))
        cache.length += 1
        return self.head(norm(x))[0]
