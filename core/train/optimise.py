"""What turns gradients into better weights: the optimisers, averaged weights, the precision of products."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn as nn

from core.errors import CoreError

TABLES = ("wte", "wpe", "motion_embedding", "global_motion_token", "fake_latent", "adaLN")
"""Not hidden matrices: tables, and the diffusion head's wide modulations, which would cost Muon a third of its time."""
NEWTON_SCHULZ = 4
"""Muon's iterations (its default is 5): on a CPU they are half of a small model's step."""


def optimisers(
    named: list[tuple[str, nn.Parameter]], lr: float, matrix_lr: float, slow: Callable[[str], bool]
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the hidden matrices, AdamW for tables, vectors, norms and whatever is `slow`.

    With matrix_lr 0 AdamW trains the matrices too, as in the official code."""

    def is_matrix(name: str, p: nn.Parameter) -> bool:
        return matrix_lr > 0 and p.ndim == 2 and not any(k in name for k in TABLES) and not slow(name)

    matrices = [p for n, p in named if is_matrix(n, p)]
    slow_ones = [p for n, p in named if slow(n)]
    rest = [p for n, p in named if not is_matrix(n, p) and not slow(n)]
    groups = [{"params": rest, "lr": lr, "weight_decay": 0.0}]
    if slow_ones:
        groups.append({"params": slow_ones, "lr": lr * 0.05, "weight_decay": 0.0})
    out: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))]
    if matrices:
        out.append(torch.optim.Muon(matrices, lr=matrix_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw",
                                    ns_steps=NEWTON_SCHULZ))  # fmt: skip
    return out


PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
_precision = ["bf16"]


def use_precision(name: str) -> None:
    """Choose what `mixed_precision` gives in this process: "bf16" or "fp32". Raises CoreError("config_wrong")."""
    if name not in PRECISIONS:
        raise CoreError("config_wrong", f"There is no precision '{name}'.", f"Choose {' or '.join(PRECISIONS)}.")
    _precision[0] = name


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the device multiplies matrices in it; on a recent CPU several times faster than float32."""
    dtype = PRECISIONS[_precision[0]]
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype != torch.float32)


class Average:
    """Exponential moving average of the weights (EMA)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: p.detach().clone() for k, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for k, p in model.named_parameters():
            self.weights[k].lerp_(p.detach(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        for k, p in model.named_parameters():
            p.copy_(self.weights[k])

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchange the model's weights and the average; a second call undoes it."""
        for k, p in model.named_parameters():
            kept = p.detach().clone()
            p.copy_(self.weights[k])
            self.weights[k] = kept
