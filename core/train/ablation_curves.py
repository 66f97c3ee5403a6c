"""Losses of the ablations' runs over steps and time, and how much sooner one system gets where another ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LOSSES = {"total": "all", "motion": "motion", "text": "text"}
"""Loss -> what it is called; all = motion + half of text, which is what is trained."""
SMOOTH = 3
"""Measurements averaged in a curve: what one batch of dropped noise does is no progress."""
Key = tuple[str, str, str, float]  # System.key


@dataclass
class Curve:
    """One run: rows of its log, seconds a step, whether it is done."""

    seed: int
    rows: list[dict[str, Any]]
    seconds: float
    done: bool

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (N,) and a logged figure (N,), where it was logged."""
        rows = [r for r in self.rows if name in r]
        return np.array([r["step"] for r in rows], float), np.array([r[name] for r in rows], float)

    def smooth(self, loss: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and validation loss, averaged over SMOOTH measurements (centred; fewer at the ends)."""
        steps, values = self.of(f"val_{loss}")
        half = SMOOTH // 2
        return steps, np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])

    def final(self, loss: str) -> float:
        return float(self.smooth(loss)[1][-1])


def read_curves(runs: Path, speed: dict[str, float]) -> dict[Key, list[Curve]]:
    """Curves of all runs, also of those that are not done, by system.

    Args:
        speed: seconds a step by system, measured in turn (see ablation_speed.py); where a system is not in it, the
            run's own mean is taken.
    """
    out: dict[Key, list[Curve]] = {}
    for folder in sorted((runs / "runs").glob("*")):
        log, about = folder / "log.jsonl", folder / "about.json"
        if not log.exists() or not about.exists():
            continue
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        if not rows or rows[-1]["step"] == 0:
            continue
        a = json.loads(about.read_text())
        own = rows[-1]["cpu"] / rows[-1]["step"]
        curve = Curve(a["seed"], rows, speed.get(a["name"], own), (folder / "result.json").exists())
        out.setdefault(key_of(a), []).append(curve)
    return out


def key_of(about: dict[str, Any]) -> Key:
    """The key of a system written as JSON."""
    return about["name"], about["shared"], about["stages"], float(about.get("times", 1))


def reached(unified: Curve, bimodal: Curve, loss: str) -> tuple[float, float]:
    """Factors in steps and in time by which `bimodal` reaches the final loss of `unified` sooner.

    Where it never does, it is turned round: below 1, the share of its steps (time) after which `unified` had reached
    the final loss of `bimodal`.
    """
    steps_u, steps_b = unified.smooth(loss)[0][-1], bimodal.smooth(loss)[0][-1]
    found = _first(bimodal, loss, unified.final(loss))
    if found is not None:
        return steps_u / found, steps_u * unified.seconds / (found * bimodal.seconds)
    found = _first(unified, loss, bimodal.final(loss)) or steps_u
    return found / steps_b, found * unified.seconds / (steps_b * bimodal.seconds)


def _first(curve: Curve, loss: str, level: float) -> float | None:
    """The step, interpolated, at which the curve first is at `level` or below; None if it never is."""
    steps, values = curve.smooth(loss)
    below = np.flatnonzero(values <= level)
    if not len(below):
        return None
    i = int(below[0])
    if i == 0:
        return float(max(steps[0], 1))
    part = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(steps[i - 1] + part * (steps[i] - steps[i - 1]))
