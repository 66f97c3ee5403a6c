"""One process or several: Hugging Face `accelerate` says which of them this is and lets them add up their gradients.

    accelerate launch --multi_gpu --num_processes 2 -m core train stage1 …            two GPUs
    accelerate launch --multi_gpu --num_processes 2 -m core train stage1 … --device cpu   two processes on the CPU
    (`accelerate launch --cpu` starts more than one process through MPI only; the flag above uses torch's own gloo.)

No model is wrapped in DistributedDataParallel: it averages gradients of what went through `forward`, and our models
are used through several methods (embed, hidden, head.errors, encode, decode_joints). One flattened all-reduce after
the backward pass does the same for any of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.nn as nn
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast

from core.model.checkpoint import pick_device

PATIENCE = timedelta(hours=3)
"""How long the others wait for the main process, which validates alone."""

_made: list[Accelerator] = []


def launched() -> bool:
    """Whether a launcher (accelerate, torchrun) started this process as one of a group."""
    return "LOCAL_RANK" in os.environ


def processes(device: torch.device | str = "auto") -> Accelerator:
    """This process among its fellows; made once. `device` counts at the first call and for a group only.

    Raises CoreError("device_missing")."""
    if not _made:
        name = str(device)
        if name == "auto" and launched() and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
            name = "cpu"
        cpu = pick_device(name).type == "cpu"
        _made.append(Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]))
    return _made[0]


def own_device(device: str = "auto") -> torch.device:
    """Where this process computes: its own GPU in a group, else what was asked for. Raises CoreError."""
    if not launched():
        return pick_device(device)
    return torch.device(processes(device).device)


def is_main() -> bool:
    """Whether this is the one process that writes files and prints."""
    return bool(processes().is_main_process) if launched() else True


@contextmanager
def main_first() -> Iterator[bool]:
    """The main process does what is inside first, the others after it: for what one writes and the others read.

    Yields whether this is the main process."""
    group = processes() if launched() else None
    if group is not None and not group.is_main_process:
        group.wait_for_everyone()
    yield group is None or bool(group.is_main_process)
    if group is not None and group.is_main_process:
        group.wait_for_everyone()


def same_start(group: Accelerator, model: nn.Module) -> None:
    """Give every process the main one's weights and buffers."""
    if group.num_processes == 1:
        return
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(broadcast(tensor.contiguous()))


def average(group: Accelerator, params: list[nn.Parameter], figures: dict[str, float]) -> dict[str, float]:
    """Average the gradients of all processes in place; returns the average of the figures (of the same names).

    What has no gradient in any process still has none afterwards, so that an optimiser leaves it alone, as with one.
    """
    if group.num_processes == 1:
        return figures
    device, names = params[0].device, sorted(figures)
    rows = [p.grad.reshape(-1).float() if p.grad is not None else torch.zeros(p.numel(), device=device) for p in params]
    used = torch.tensor([float(p.grad is not None) for p in params], device=device)
    numbers = torch.tensor([figures[k] for k in names], device=device, dtype=torch.float32)
    flat = group.reduce(torch.cat([*rows, used, numbers]), "mean")
    parts = flat.split([*(p.numel() for p in params), len(params), len(names)])
    for p, row, share in zip(params, parts, parts[-2].tolist(), strict=False):
        p.grad = row.view_as(p).to(p.dtype) if share else None
    return dict(zip(names, parts[-1].tolist(), strict=True))
