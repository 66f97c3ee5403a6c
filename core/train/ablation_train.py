"""One run of the ablations: the text branch on captions, then the stages, with losses and motions along the way.

The learning rate is constant after its warm-up and what is measured are averaged weights, so the model of any step is
comparable with the model of any other: "reached sooner" would mean nothing under a rate that falls towards the end.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.model.vae import MotionVAE
from core.model.vq import MotionVQ
from core.prompts import Tokenizer
from core.train.ablation_data import Batches, Motions, write_json
from core.train.ablation_speak import Speaker, bleu4, save_motions
from core.train.ablation_systems import Network, Objective, Sizes, System, build, parameters, text_names
from core.train.optimise import Average, mixed_precision, optimisers

TEXT_WEIGHT = 0.5
"""Of the text loss against the motion loss, where both are trained."""


@dataclass(frozen=True)
class Budget:
    """What every run has alike."""

    steps: int = 640
    batch: int = 32
    text_steps: int = 150  # of the text branch on captions, before
    lr: float = 1e-3
    matrix_lr: float = 2e-3
    warm_up: int = 50
    decay: float = 0.99  # of the averaged weights
    every: int = 40  # steps between measured losses
    speak_every: int = 320  # steps between generated motions
    val_batches: int = 4
    val_motions: int = 96
    copies: int = 2  # motions made of each test caption
    rule_seeds: int = 16

    def times(self, n: float) -> Budget:
        """The same for n times the steps, looked at as often in all."""
        return replace(
            self, steps=round(n * self.steps), every=round(n * self.every), speak_every=round(n * self.speak_every)
        )


@dataclass
class World:
    """What the runs share: data, both tokenizers of motion, the tokenizer of text."""

    motions: dict[str, Motions]
    tokenizer: Tokenizer
    vae: MotionVAE
    vq: MotionVQ


class Run:
    """One system, one seed.

    Args:
        folder: its log.jsonl, last.pt, generated motions and result.json; a run that was cut off goes on from there.
        shared: where pre-trained text branches are kept.
    """

    def __init__(
        self, world: World, system: System, seed: int, budget: Budget, sizes: Sizes, folder: Path, shared: Path
    ) -> None:
        self.world, self.system, self.seed, self.budget, self.folder = world, system, seed, budget, folder
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "about.json", asdict(system) | {"name": system.name, "seed": seed})
        self.net: Network = build(system, sizes, world.tokenizer, world.vae, seed)
        self.objective = Objective(self.net, sizes)
        self.batches = {
            split: Batches(system.kind, part, world.tokenizer, world.vae, seed if split == "train" else 0)
            for split, part in world.motions.items()
        }
        self.step, self.cpu, self.wall = 0, 0.0, 0.0
        self._pretrain(shared / f"text_{system.name}_{seed}.pt")
        self.average = Average(self.net, budget.decay)
        self.stages = [(name, budget.steps * (i + 1) // len(system.stages)) for i, name in enumerate(system.stages)]

    def _pretrain(self, file: Path) -> None:
        """Train what text runs through on captions, or take it from a run that has."""
        names = text_names(self.net)
        if file.exists():
            self.net.load_state_dict(torch.load(file, weights_only=True), strict=False)
            return
        for n, p in self.net.named_parameters():
            p.requires_grad_(n in names)
        steppers = Stepper(self.net, self.budget)
        torch.manual_seed(self.seed)
        for step in range(self.budget.text_steps):
            batch = self.batches["train"](10**6 + step, self.budget.batch, "text")
            with mixed_precision(self.net.backbone.wte.weight.device):
                loss = self.objective(batch)["text"]
            steppers(loss)
        torch.save({n: p.detach() for n, p in self.net.named_parameters() if n in names}, file)

    # -- training ----------------------------------------------------------------------------------------------------

    def train(self, stop_at: float | None = None) -> bool:
        """Run to the end; False if the time (time.monotonic()) was up before. Writes result.json at the end."""
        state = self._resume()
        log = (self.folder / "log.jsonl").open("a", encoding="utf-8")
        if self.step == 0:
            self._measure(log, {})
        first = 0
        for name, last in self.stages:
            if self.step < last:
                self._choose(name)
                stepper = Stepper(self.net, self.budget, self.step - first)
                if state is not None and state["stage"] == name:
                    stepper.load(state["optimisers"])
                state = None
                if not self._stage(name, last, stepper, log, stop_at):
                    return False
            first = last
        log.close()
        self._finish()
        return True

    def _choose(self, stage: str) -> None:
        """Freeze what a stage does not train."""
        frozen = text_names(self.net) if stage in "12" and self.system.branches == 2 else set()
        for n, p in self.net.named_parameters():
            p.requires_grad_(n not in frozen)

    def _stage(self, stage: str, last: int, stepper: Stepper, log: Any, stop_at: float | None) -> bool:
        b = self.budget
        sums: dict[str, float] = {}
        count = 0
        while self.step < last:
            wall, cpu = time.monotonic(), time.process_time()
            torch.manual_seed(self.seed * 10**6 + self.step)
            batch = self.batches["train"](self.step, b.batch, "t2m" if stage == "1" else "mixed")
            self.net.train()
            with mixed_precision(self.net.backbone.wte.weight.device):
                parts = self.objective(batch)
            loss = parts["motion"] + (0.0 if stage == "1" else TEXT_WEIGHT) * parts["text"]
            stepper(loss)
            self.average.update(self.net, self.step)
            self.step += 1
            for k, v in parts.items():
                sums[k] = sums.get(k, 0.0) + float(v.detach())
            count += 1
            self.wall, self.cpu = self.wall + time.monotonic() - wall, self.cpu + time.process_time() - cpu
            if self.step % b.every == 0 or self.step == last:
                self._measure(log, {"stage": stage} | {k: v / count for k, v in sums.items()})
                sums, count = {}, 0
            if self.step % b.speak_every == 0 and self.step < b.steps:
                self._speak(log)
                self._save(stage, stepper)
            if stop_at is not None and time.monotonic() > stop_at:
                self._save(stage, stepper)
                return False
        return True

    # -- measuring -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the network, for as long as it is measured."""
        self.average.swap(self.net)
        self.net.eval()
        yield
        self.average.swap(self.net)

    @torch.no_grad()
    def _measure(self, log: Any, figures: dict[str, Any]) -> None:
        """Losses of the averaged weights on the same batches, with the same noise, each time."""
        sums = {"motion": 0.0, "text": 0.0}
        for i in range(self.budget.val_batches):
            torch.manual_seed(i)
            with self._averaged(), mixed_precision(self.net.backbone.wte.weight.device):
                parts = self.objective(self.batches["val"](i, self.budget.batch), drop=0.0, compare=True)
            for k, v in parts.items():
                sums[k] += float(v) / self.budget.val_batches
        row: dict[str, Any] = {"step": self.step, "wall": round(self.wall, 2), "cpu": round(self.cpu, 2)}
        row |= figures | {f"val_{k}": v for k, v in sums.items()}
        row["val_total"] = sums["motion"] + TEXT_WEIGHT * sums["text"]
        self._log(log, row)

    def _log(self, log: Any, row: dict[str, Any]) -> None:
        log.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
        log.flush()

    def _speak(self, log: Any) -> None:
        """Motions and captions of a part of the validation split."""
        clips = self.world.motions["val"].clips
        rows = np.random.default_rng(0).permutation(len(clips))[: self.budget.val_motions].tolist()
        with self._averaged():
            found = self._said("val", rows, 1, f"val_{self.step}")
        self._log(log, {"step": self.step, "cpu": round(self.cpu, 2)} | {f"val_{k}": v for k, v in found.items()})

    def _said(self, split: str, rows: list[int], copies: int, name: str) -> dict[str, float]:
        speaker = Speaker(self.net, self.batches[split], self.world.vq)
        part = self.world.motions[split]
        rng = np.random.default_rng(1)
        asked = rows * copies
        texts = [part.clips[i].captions[rng.integers(len(part.clips[i].captions))] for i in asked]
        made = speaker.motions(texts, [part.frames[i] for i in asked], 1)
        save_motions(self.folder / f"{name}.npz", made, asked, texts)
        said = speaker.captions(rows)
        (self.folder / f"{name}.json").write_text(json.dumps(dict(zip(map(str, rows), said, strict=True))))
        return {"bleu4": bleu4(said, [part.clips[i].captions for i in rows])}

    def _finish(self) -> None:
        """Leave averaged weights, make the test split's motions and captions, write result.json."""
        self.average.copy_to(self.net)
        self.net.eval()
        torch.save(self.net.state_dict(), self.folder / "net.pt")
        clips = self.world.motions["test"].clips
        figures = self._said("test", list(range(len(clips))), self.budget.copies, "test")
        rules = Speaker(self.net, self.batches["test"], self.world.vq).rules(self.budget.rule_seeds)
        figures |= {f"rule_{k}": v for k, v in rules.items()}
        result = {
            "system": asdict(self.system), "name": self.system.name, "seed": self.seed, "steps": self.step,
            "parameters": parameters(self.net), "ff": self.net.cfg.backbone.ff, "wall": self.wall, "cpu": self.cpu,
            "budget": asdict(self.budget), "figures": figures,
        }  # fmt: skip
        write_json(self.folder / "result.json", result)
        (self.folder / "last.pt").unlink(missing_ok=True)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _save(self, stage: str, stepper: Stepper) -> None:
        state = {
            "net": self.net.state_dict(),
            "average": self.average.weights, "optimisers": [o.state_dict() for o in stepper.optimisers],
            "stage": stage, "step": self.step, "cpu": self.cpu, "wall": self.wall,
        }  # fmt: skip
        torch.save(state, self.folder / "next.pt")
        (self.folder / "next.pt").replace(self.folder / "last.pt")

    def _resume(self) -> dict[str, Any] | None:
        file, log = self.folder / "last.pt", self.folder / "log.jsonl"
        if not file.exists():
            log.unlink(missing_ok=True)
            return None
        state = torch.load(file, weights_only=True)
        self.net.load_state_dict(state["net"], strict=False)
        self.average.weights = state["average"]
        self.step, self.cpu, self.wall = state["step"], state["cpu"], state["wall"]
        if log.exists():  # what was logged after the checkpoint will be logged again
            lines = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            log.write_text("".join(line + "\n" for line in lines))
        return state


class Stepper:
    """Muon for the matrices and AdamW for the rest, clipped gradients, a warm-up and then a constant rate."""

    def __init__(self, net: Network, budget: Budget, done: int = 0) -> None:
        named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        self.optimisers = optimisers(named, budget.lr, budget.matrix_lr, lambda _: False)
        self.rates = [[g["lr"] for g in o.param_groups] for o in self.optimisers]
        self.warm_up, self.done = budget.warm_up, done

    def __call__(self, loss: torch.Tensor) -> None:
        self.done += 1
        for o, rates in zip(self.optimisers, self.rates, strict=True):
            for g, rate in zip(o.param_groups, rates, strict=True):
                g["lr"] = rate * min(1.0, self.done / self.warm_up)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        for o in self.optimisers:
            if math.isfinite(norm):
                o.step()
            o.zero_grad(set_to_none=True)

    def load(self, states: list[dict[str, Any]]) -> None:
        for o, s in zip(self.optimisers, states, strict=True):
            o.load_state_dict(s)
