"""The ablations' plots: losses against steps and time, what sharing and stages change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from core.train.ablation_curves import Curve, Key
from core.train.ablation_systems import LONGER

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"Unified": "#c2571a", "Bimodal": "#1f5fa8"}
STAGES = ("1", "12", "123", "23", "3")
BEST = {"R@3": "higher is better", "FID": "lower is better", "BLEU-4": "higher is better"}


def draw(curves: dict[Key, list[Curve]], results: dict[Key, list[dict[str, Any]]], folder: Path) -> None:
    """Write steps.png, time.png and variants.png."""
    _losses(curves, folder / "steps.png", time=False)
    _losses(curves, folder / "time.png", time=True)
    _variants(curves, results, folder / "variants.png")


def _losses(curves: dict[Key, list[Curve]], file: Path, time: bool) -> None:
    """Rows: tokenizer. Columns: training loss (all), validation loss (all), its motion and its text part."""
    columns = [("train", "training, all"), ("val_total", "validation, all"), ("val_motion", "validation, motion"),
               ("val_text", "validation, text")]  # fmt: skip
    fig, axes = plt.subplots(2, 4, figsize=(15, 6.4))
    for axis_row, kind in zip(axes, ("VQ", "VAE"), strict=True):
        for axis, (name, title) in zip(axis_row, columns, strict=True):
            for system, colour in COLOURS.items():
                runs = longest(curves, f"{system}+{kind}")
                _lines(axis, runs, name, colour, f"{system} ({len(runs)} seed{'s' * (len(runs) > 1)})", time)
            axis.set_title(f"{kind}: {title}", fontsize=10)
            axis.set_xlabel("training time, s of one core" if time else "steps", fontsize=9)
            axis.grid(alpha=0.25)
            axis.tick_params(labelsize=8)
        if axis_row[0].lines:
            axis_row[0].legend(fontsize=8, frameon=False)
    fig.tight_layout()
    fig.savefig(file, dpi=110)
    plt.close(fig)


def longest(curves: dict[Key, list[Curve]], name: str) -> list[Curve]:
    """A main system's runs with the most steps, of those that are done; runs of the same seed begin alike."""
    return max(
        ([c for c in v if c.done] for k, v in curves.items() if k[:3] == (name, "all", "3")),
        key=lambda runs: runs[0].rows[-1]["step"] if runs else 0,
        default=[],
    )


def _series(run: Curve, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "train":
        rows = [r for r in run.rows if "motion" in r]
        return np.array([r["step"] for r in rows], float), np.array([r["motion"] + 0.5 * r["text"] for r in rows])
    return run.of(name)


def _lines(axis: Any, runs: list[Curve], name: str, colour: str, label: str, time: bool) -> None:
    """Seeds thin, their mean thick; from a twentieth of the run on, where the curves can be told apart."""
    drawn = []
    for run in runs:
        x, y = _series(run, name)
        if not len(x):
            continue
        keep = x >= 0.05 * x[-1]
        x, y = x[keep] * (run.seconds if time else 1.0), y[keep]
        axis.plot(x, y, color=colour, lw=0.8, alpha=0.45)
        drawn.append((x, y))
    whole = [d for d in drawn if len(d[0]) == max(len(e[0]) for e in drawn)]
    if whole:
        axis.plot(whole[0][0], np.mean([y for _, y in whole], 0), color=colour, lw=2, label=label)


def _variants(curves: dict[Key, list[Curve]], results: dict[Key, list[dict[str, Any]]], file: Path) -> None:
    """Bars of test figures by shared layers and by stages, and the validation loss of the motion part over steps."""
    layers = sorted({k[1] for k in (*results, *curves) if k[1] != "all"})
    groups = [("layers with shared attention", [(k, ("Bimodal+VAE", k, "3", LONGER)) for k in [*layers, "all"]]),
              ("stages", [("+".join(s), ("Bimodal+VAE", "all", s, LONGER)) for s in STAGES])]  # fmt: skip
    fig, axes = plt.subplots(2, 4, figsize=(15, 6.4))
    for axis_row, (title, rows) in zip(axes, groups, strict=True):
        for axis, (figure, better) in zip(axis_row, BEST.items(), strict=False):
            for at, (_, key) in enumerate(rows):
                values = [r["score"][figure] for r in results.get(key, []) if figure in r["score"]]
                if values:
                    axis.bar(at, np.mean(values), color="#1f5fa8", alpha=0.75, width=0.7)
                    axis.plot([at] * len(values), values, "k.", ms=5)
            axis.set_xticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
            axis.set_title(f"{figure}, {better}", fontsize=10)
            axis.set_xlabel(title, fontsize=9)
            axis.tick_params(axis="y", labelsize=8)
        for (label, key), colour in zip(rows, plt.cm.viridis(np.linspace(0, 0.9, len(rows))), strict=True):
            _lines(axis_row[3], curves.get(key, []), "val_motion", colour, label, time=False)
        axis_row[3].set_title("validation loss, motion", fontsize=10)
        axis_row[3].set_xlabel("steps", fontsize=9)
        axis_row[3].grid(alpha=0.25)
        axis_row[3].tick_params(labelsize=8)
        if axis_row[3].lines:
            axis_row[3].legend(fontsize=8, frameon=False)
    fig.tight_layout()
    fig.savefig(file, dpi=110)
    plt.close(fig)
