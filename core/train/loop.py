"""What every training shares: optimisers, learning-rate schedule, averaged weights, checkpoints, a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

CPU = torch.device("cpu")


def optimisers(
    named: list[tuple[str, nn.Parameter]], lr: float, matrix_lr: float, slow: Callable[[str], bool]
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the hidden matrices, AdamW for tables, vectors, norms and whatever is `slow`."""

    def is_matrix(name: str, p: nn.Parameter) -> bool:
        table = any(k in name for k in ("wte", "wpe", "motion_embedding", "global_motion_token", "fake_latent"))
        return p.ndim == 2 and not table and not slow(name)

    matrices = [p for n, p in named if is_matrix(n, p)]
    slow_ones = [p for n, p in named if slow(n)]
    rest = [p for n, p in named if not is_matrix(n, p) and not slow(n)]
    groups = [{"params": rest, "lr": lr, "weight_decay": 0.0}]
    if slow_ones:
        groups.append({"params": slow_ones, "lr": lr * 0.05, "weight_decay": 0.0})
    out: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))]
    if matrices:
        out.append(torch.optim.Muon(matrices, lr=matrix_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"))
    return out


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the device multiplies matrices in it; on a recent CPU several times faster than float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


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


class Loop:
    """Runs `step_fn` until the steps are done, with everything needed to stop and go on.

    Args:
        model: what is trained. folder: checkpoints, log.jsonl and TensorBoard curves go there.
        steps: how many in all. step_fn: step -> (loss, figures).
        validate: called with averaged weights every `every` steps; returns figures.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        steps: int,
        step_fn: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
        validate: Callable[[], dict[str, float]],
        *,
        lr: float,
        matrix_lr: float,
        slow: Callable[[str], bool] = lambda _: False,
        every: int = 500,
        clip: float = 1.0,
        decay: float = 0.999,
        warm_up: int = 100,
        stop_at: float | None = None,
    ) -> None:
        self.model, self.folder, self.steps, self.step_fn, self.validate = model, folder, steps, step_fn, validate
        self.every, self.clip, self.warm_up, self.stop_at = every, clip, warm_up, stop_at
        folder.mkdir(parents=True, exist_ok=True)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.optimisers = optimisers(named, lr, matrix_lr, slow)
        self.base = [[g["lr"] for g in o.param_groups] for o in self.optimisers]
        self.average = Average(model, decay)
        self.step = 0
        self.seconds = 0.0
        if (folder / "last.pt").exists():
            self._resume()

    def _scale(self) -> float:
        if self.step < self.warm_up:
            return (self.step + 1) / self.warm_up
        part = (self.step - self.warm_up) / max(1, self.steps - self.warm_up)
        if self.stop_at is not None:  # where the time is what is limited, the rate falls with the time
            part = max(part, self.seconds / self.stop_at)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    def run(self) -> None:
        """Train to the end (or to the time limit), then leave the averaged weights in the model."""
        writer = SummaryWriter(str(self.folder))
        params = [p for p in self.model.parameters() if p.requires_grad]
        started = time.monotonic()
        before = self.seconds
        sums: dict[str, float] = {}
        count = 0
        bar = tqdm(total=self.steps, initial=self.step, mininterval=10, dynamic_ncols=True)
        while self.step < self.steps:
            self.model.train()
            for o, base in zip(self.optimisers, self.base, strict=True):
                for g, lr in zip(o.param_groups, base, strict=True):
                    g["lr"] = lr * self._scale()
            loss, figures = self.step_fn(self.step)
            loss.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(params, self.clip))
            if math.isfinite(norm):  # a non-finite step is dropped, and shows in the log
                for o in self.optimisers:
                    o.step()
            for o in self.optimisers:
                o.zero_grad(set_to_none=True)
            self.average.update(self.model, self.step)
            self.step += 1
            bar.update()
            for k, v in {**figures, "loss": float(loss.detach()), "norm": norm}.items():
                sums[k] = sums.get(k, 0.0) + v
            count += 1
            self.seconds = before + time.monotonic() - started
            late = self.stop_at is not None and self.seconds > self.stop_at
            if self.step % self.every == 0 or self.step == self.steps or late:
                self._report({k: v / count for k, v in sums.items()}, writer)
                sums, count = {}, 0
            if late:
                break
        bar.close()
        writer.close()
        self.average.copy_to(self.model)
        self.model.eval()

    def _report(self, sums: dict[str, float], writer: SummaryWriter) -> None:
        self.average.swap(self.model)
        self.model.eval()
        with torch.no_grad():
            found = self.validate()
        self.average.swap(self.model)
        row: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1)}
        row |= {k: round(v, 5) for k, v in sums.items()} | {"val_" + k: round(v, 5) for k, v in found.items()}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
        tqdm.write(json.dumps(row))
        for k, v in row.items():
            writer.add_scalar(k, v, self.step)
        self._save()

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, self.folder / "next.pt")
        (self.folder / "next.pt").replace(self.folder / "last.pt")  # a cut-off write never costs the last checkpoint

    def _resume(self) -> None:
        device = next(self.model.parameters()).device
        state = torch.load(self.folder / "last.pt", map_location=device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.weights = state["average"]
        for o, s in zip(self.optimisers, state["optimisers"], strict=True):
            o.load_state_dict(s)
        self.step, self.seconds = state["step"], state["seconds"]
        tqdm.write(f"resumed at step {self.step}")
