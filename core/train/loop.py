"""The loop that every training shares: schedule, clipping, averaged weights, checkpoints, a log, one or more processes.

A run that was stopped (Ctrl+C, SIGTERM, a power cut) goes on from RUNS/last.pt and gives what it would have given.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from accelerate.utils import gather_object
from tqdm import tqdm

from core.errors import CoreError
from core.train.checkpoints import (
    CPU,
    Best,
    apart,
    find_checkpoint,
    load_checkpoint,
    random_state,
    save_checkpoint,
    seed_all,
    set_random_state,
)
from core.train.optimise import Average, mixed_precision, optimisers, use_precision
from core.train.processes import average, launched, processes, same_start
from core.train.runlog import RunLog

__all__ = ["CPU", "Average", "Best", "Interrupted", "Loop", "mixed_precision", "optimisers", "use_precision"]

VALIDATION_SEED = 1
"""What a validation draws is the same each time, and takes nothing from what the training draws."""
HOPELESS = 100
"""So many non-finite steps in a row end a training."""


class Interrupted(KeyboardInterrupt):
    """The training was stopped from outside, and its state is saved."""


class Loop:
    """Runs `step_fn` until the steps are done, with everything needed to stop and go on.

    With several processes each calls `step_fn` for its share of the same global batch (`loop.rank` of `loop.world`),
    scaled so that the mean over the processes is the loss of the whole; gradients are averaged, and every process
    makes the same step. The main process alone validates and writes.

    Args:
        model: what is trained, on its device. folder: checkpoints, log.jsonl and TensorBoard curves go there.
        steps: how many in all. step_fn: step -> (loss, figures).
        validate: called with averaged weights every `every` steps; returns figures. Generates, where it can: the loss
            alone hides a motion that stands still.
        lr, matrix_lr, slow: see `optimisers`. every: steps between validations, each with a checkpoint.
        clip: largest norm of all gradients together; 0 for none. decay: of the averaged weights.
        warm_up: steps of rising learning rate. constant: it does not fall afterwards (else a half cosine).
        stop_at: seconds of training after which to stop, over all resumptions.
        seed: seeds torch, numpy and Python at the start; None leaves them.
        resume: a checkpoint or a folder with last.pt to go on from; None for this folder's last.pt, if there is one.
        keep: also keep step_N.pt every so many steps.
        best: rule by which best.pt is chosen; its averaged weights are then what is left in the model.
        generators: numpy generators that step_fn draws from; their state is stored with the checkpoint.
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
        constant: bool = False,
        stop_at: float | None = None,
        seed: int | None = None,
        resume: Path | None = None,
        keep: int = 0,
        best: Best | None = None,
        generators: Sequence[np.random.Generator] = (),
    ) -> None:
        self.model, self.folder, self.steps, self.step_fn, self.validate = model, folder, steps, step_fn, validate
        self.every, self.clip, self.warm_up, self.constant = max(1, every), clip, warm_up, constant
        self.stop_at = stop_at or None
        self.keep, self.best, self.generators = keep, best, generators
        self.device = next(model.parameters()).device
        self.group = processes(self.device)
        self.rank, self.world = self.group.process_index, self.group.num_processes
        self.main = bool(self.group.is_main_process)
        self.params = [p for p in model.parameters() if p.requires_grad]
        if seed is not None:
            seed_all(seed)
        if self.main:
            folder.mkdir(parents=True, exist_ok=True)
        same_start(self.group, model)
        self.optimisers = optimisers([(n, p) for n, p in model.named_parameters() if p.requires_grad],
                                     lr, matrix_lr, slow)  # fmt: skip
        self.base = [[g["lr"] for g in o.param_groups] for o in self.optimisers]
        self.average = Average(model, decay)
        self.step = 0
        self.seconds = 0.0
        self.record: float | None = None  # the best checkpoint's number
        self.sums: dict[str, float] = {}  # of the figures since the last row of the log
        self.counts: dict[str, int] = {}
        self.lost = 0  # non-finite steps in a row
        self.signalled = False  # this process was asked to stop
        self.asked_to_stop = False  # one of them was, and all know it
        if resume is not None or (folder / "last.pt").exists():
            self._resume(find_checkpoint(resume or folder))
        self._agree()

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end (or to the time limit), then leave the averaged weights in the model: the best
        checkpoint's where there is a rule for it, else the last ones.

        Raises:
            Interrupted: it was stopped from outside; last.pt has its state.
            CoreError: training_diverged.
        """
        log = RunLog(self.folder, self.step) if self.main else None
        terminal = sys.stderr.isatty()
        bar = tqdm(total=self.steps, initial=self.step, desc=self.folder.name, mininterval=1 if terminal else 60,
                   dynamic_ncols=True, disable=not self.main)  # fmt: skip
        started, before = time.monotonic(), self.seconds
        with self._stoppable():
            while self.step < self.steps:
                loss = self._one_step(before - started)
                bar.update()
                bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
                late = self.stop_at is not None and self.seconds > self.stop_at
                if self.step % self.every == 0 or self.step == self.steps or late:
                    self._report(log)
                elif self.asked_to_stop:
                    self._save({"last.pt": {}})
                if self.keep and self.step % self.keep == 0:
                    self._save({f"step_{self.step:06d}.pt": {}})
                if late or self.asked_to_stop:
                    break
        bar.close()
        if log is not None:
            log.close()
        if self.asked_to_stop:
            where = self.folder / "last.pt"
            if self.main:
                tqdm.write(f"Stopped after step {self.step}. The same command goes on from {where}.")
            raise Interrupted(str(where))
        self._leave()

    def _one_step(self, clock: float) -> float:
        """One step of every process; returns its loss. `clock` plus the time is the training's age in seconds."""
        self._train_mode()
        scale = self._scale()
        for o, base in zip(self.optimisers, self.base, strict=True):
            for g, lr in zip(o.param_groups, base, strict=True):
                g["lr"] = lr * scale
        loss, figures = self.step_fn(self.step)
        loss.backward()
        figures = {**figures, "loss": float(loss.detach()), "_seconds": clock + time.monotonic(),
                   "_stop": float(self.signalled)}  # fmt: skip
        figures = average(self.group, self.params, figures)
        # Clocks differ: all processes go by their mean, or one would stop a step before the others, who wait forever.
        self.seconds = figures.pop("_seconds")
        self.asked_to_stop = figures.pop("_stop") > 0
        norm = float(torch.nn.utils.clip_grad_norm_(self.params, self.clip or math.inf))
        if math.isfinite(norm) and math.isfinite(figures["loss"]):
            for o in self.optimisers:
                o.step()
            self.lost = 0
            for k, v in {**figures, "norm": norm}.items():
                self.sums[k] = self.sums.get(k, 0.0) + v
                self.counts[k] = self.counts.get(k, 0) + 1
        else:  # dropped, and the log says how many were
            self.lost += 1
            self.sums["dropped"] = self.sums.get("dropped", 0.0) + 1
            self.counts["dropped"] = 1
        for o in self.optimisers:
            o.zero_grad(set_to_none=True)
        if self.lost >= HOPELESS:
            raise CoreError(
                "training_diverged", f"{HOPELESS} steps in a row up to step {self.step} gave no finite gradient.",
                f"Lower the learning rate and go on from a checkpoint in {self.folder}.",
            )  # fmt: skip
        self.average.update(self.model, self.step)
        self.step += 1
        return figures["loss"]

    def _scale(self) -> float:
        if self.step < self.warm_up:
            return (self.step + 1) / self.warm_up
        if self.constant:
            return 1.0
        part = (self.step - self.warm_up) / max(1, self.steps - self.warm_up)
        if self.stop_at is not None:  # where the time is what is limited, the rate falls with the time
            part = max(part, self.seconds / self.stop_at)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    def _train_mode(self) -> None:
        self.model.train()
        for part in self.model.children():  # a frozen part, such as the VAE, keeps what it has learnt: no dropout
            trained = [p.requires_grad for p in part.parameters()]
            if trained and not any(trained):
                part.eval()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Inside, Ctrl+C and SIGTERM end the step under way and then the training; a second Ctrl+C ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _: Any) -> None:
            if self.signalled:
                # A launcher passes Ctrl+C on to processes that the terminal has already told: not a second one.
                if number == signal.SIGINT and not launched():
                    raise KeyboardInterrupt
                return
            self.signalled = True
            if self.main:
                tqdm.write("Stopping after this step.")

        previous = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for s, handler in previous.items():
                signal.signal(s, handler)

    # -- what is written -------------------------------------------------------------------------------------------

    def _report(self, log: RunLog | None) -> None:
        row: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1)}
        row |= {k: round(v / self.counts[k], 5) for k, v in self.sums.items()}
        self.sums, self.counts = {}, {}
        best: dict[str, Any] = {}
        if log is not None:
            self.average.swap(self.model)
            self.model.eval()
            with torch.no_grad(), apart(VALIDATION_SEED, self.device):
                found = self.validate()
            row |= {"val_" + k: round(v, 5) for k, v in found.items()}
            new = self._judge(found, row)
            self.average.swap(self.model)
            log.write(row)
            if new:
                best = {"rule": row["best"], "value": self.record, "figures": found}
        self._save({"last.pt": {}} | ({"best.pt": best} if best else {}))

    def _judge(self, found: dict[str, float], row: dict[str, Any]) -> bool:
        """Whether these figures are the best so far; they go into the row of the log with the rule."""
        if self.best is None:
            return False
        value = float(self.best.value(found))
        row["score"] = round(value, 5)
        if not self.best.beats(value, self.record):
            return False
        self.record = value
        row["best"] = self.best.rule
        return True

    def _leave(self) -> None:
        """Averaged weights into the model, the best checkpoint's where there is one."""
        file = self.folder / "best.pt"
        self.group.wait_for_everyone()
        if self.best is not None and file.exists():
            state = load_checkpoint(file, self.device)
            self.average.weights = state["average"]
            if self.main:
                tqdm.write(f"{self.folder.name}: the best is step {state['step']} ({state.get('rule', '')})")
        self.average.copy_to(self.model)
        self.model.eval()

    def _save(self, files: dict[str, dict[str, Any]]) -> None:
        """Write checkpoints, each with what is special to it. Every process takes part: each draws for itself."""
        chance = gather_object([random_state(self.generators, self.device)])
        if self.main:
            state = {
                "model": self.model.state_dict(),
                "average": self.average.weights,
                "optimisers": [o.state_dict() for o in self.optimisers],
                "step": self.step,
                "seconds": self.seconds,
                "random": chance,
                "record": self.record,
                "sums": self.sums,
                "counts": self.counts,
            }
            for name, more in files.items():
                save_checkpoint(self.folder / name, state | more)
        self.group.wait_for_everyone()

    def _resume(self, file: Path) -> None:
        """Go on from a checkpoint. Raises CoreError: checkpoint_missing, checkpoint_broken."""
        state = load_checkpoint(file, self.device)
        try:
            self.model.load_state_dict(state["model"])
            self.average.weights = state["average"]
            for o, s in zip(self.optimisers, state["optimisers"], strict=True):
                o.load_state_dict(s)
        except (RuntimeError, ValueError, KeyError) as error:
            lines = str(error).strip().splitlines()
            raise CoreError(
                "checkpoint_broken", f"'{file}' belongs to another training ({lines[-1].strip()[:160]}).",
                "Use the same config, or another --runs folder for a new training.",
            ) from error  # fmt: skip
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.record = state.get("record")
        self.sums, self.counts = dict(state.get("sums", {})), dict(state.get("counts", {}))
        chance = state.get("random", [])
        chance = chance if isinstance(chance, list) else [chance]
        if self.rank < len(chance):
            set_random_state(chance[self.rank], self.generators, self.device)
        if self.main:
            tqdm.write(f"{self.folder.name}: goes on after step {self.step}, from {file}")

    def _agree(self) -> None:
        """All processes are at the same step. Raises CoreError("checkpoint_missing")."""
        if self.world > 1:
            steps = self.group.gather(torch.tensor([self.step], device=self.device)).tolist()
            if len(set(steps)) > 1:
                raise CoreError("checkpoint_missing", f"The processes found different checkpoints (steps {steps}).",
                                "Let all machines see the same runs folder.")  # fmt: skip
