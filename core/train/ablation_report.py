"""Table and plots of the ablations, from whatever runs are there.

    python -m core.train.ablation_report RUNS docs/results

writes docs/results/ablation/*.png and the part of docs/results/ablation.md between its two marks; what stands around
that part is written by hand and kept.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from core.machine import machine
from core.train.ablation_curves import LOSSES, Curve, Key, key_of, reached, read_curves
from core.train.ablation_plots import STAGES, draw, longest
from core.train.ablation_systems import LONGER

BEGIN, END = "<!-- made by core.train.ablation_report: begin -->", "<!-- made by core.train.ablation_report: end -->"
COLUMNS = {
    "R@1": 3,
    "R@2": 3,
    "R@3": 3,
    "FID": 3,
    "MM-Dist": 3,
    "BLEU-4": 3,
    "sides": 2,
    "slide_ratio": 2,
    "jerk_ratio": 2,
}
"""Figures of the test split and their decimals."""
PARTS = {"bandai": "Bandai", "rest": "the rest"}


class Finished:
    """Runs that are done: system key -> seeds' figures."""

    def __init__(self, runs: Path) -> None:
        self.results: dict[Key, list[dict[str, Any]]] = {}
        for file in sorted((runs / "runs").glob("*/result.json")):
            r = json.loads(file.read_text())
            scored = file.with_name("score.json")
            r["score"] = json.loads(scored.read_text()).get("test", {}) if scored.exists() else {}
            rules = [v for k, v in r["figures"].items() if k.startswith("rule_")]
            r["score"]["rules"] = float(np.mean(rules))
            self.results.setdefault(key_of(r["system"] | {"name": r["name"]}), []).append(r)
        self.spread = {c: self._pooled(c) for c in self._columns()}

    def _columns(self) -> list[str]:
        return sorted({c for rs in self.results.values() for r in rs for c in r["score"]})

    def _pooled(self, column: str) -> tuple[float, int]:
        """Standard deviation over seeds, pooled over all systems, and its degrees of freedom."""
        square, free = 0.0, 0
        for rs in self.results.values():
            v = [r["score"][column] for r in rs if column in r["score"]]
            if len(v) > 1:
                square, free = square + float(np.var(v)) * len(v), free + len(v) - 1
        return (float(np.sqrt(square / free)) if free else float("nan")), free

    def cell(self, key: Key, column: str, digits: int) -> str:
        """Mean over seeds and half the 95 % interval of that mean, by Student's t on the pooled spread."""
        values = [r["score"][column] for r in self.results[key] if column in r["score"]]
        if not values:
            return "-"
        std, free = self.spread[column]
        text = f"{np.mean(values):.{digits}f}"
        return text if not free else f"{text} ±{student.ppf(0.975, free) * std / np.sqrt(len(values)):.{digits}f}"


def table(done: Finished, rows: Sequence[tuple[str, Key]], prefix: str = "") -> str:
    """A Markdown table of systems (label, key)."""
    columns = dict(COLUMNS) if not prefix else dict(list(COLUMNS.items())[:6])
    if not prefix:
        columns["rules"] = 2
    lines = [f"| system | seeds | {' | '.join(columns)} |", "|---|--:|" + "--:|" * len(columns)]
    for label, key in rows:
        if key in done.results:
            cells = [done.cell(key, prefix + c, d) for c, d in columns.items()]
            lines.append(f"| {label} | {len(done.results[key])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def reference_rows(runs: Path, prefix: str = "") -> str:
    """Rows of real motion and of the two tokenizers alone, to stand under the systems' table."""
    file = runs / "reference.json"
    if not file.exists():
        return ""
    labels = {"real": "*real motion*", "vae": "*real, through the VAE*", "vq": "*real, through the VQ-VAE*"}
    columns = (
        [*COLUMNS, "rules"] if not prefix else [c for c in COLUMNS if c in ("R@1", "R@2", "R@3", "FID", "MM-Dist")]
    )
    found = json.loads(file.read_text())
    lines = []
    for name, label in labels.items():
        cells = [f"{found[name][prefix + c]:.{COLUMNS[c]}f}" if prefix + c in found[name] else "" for c in columns]
        lines.append(f"| {label} | | {' | '.join(cells)} |")
    return "\n" + "\n".join(lines)


def sooner(curves: dict[Key, list[Curve]]) -> str:
    """How much sooner bimodal reaches unified's final validation loss, by tokenizer and loss; seed against seed."""
    lines = ["| tokenizer | validation loss | unified, final | bimodal, final | factor in steps | factor in time |",
             "|---|---|--:|--:|--:|--:|"]  # fmt: skip
    for kind in ("VQ", "VAE"):
        one, two = (longest(curves, f"{name}+{kind}") for name in ("Unified", "Bimodal"))
        pairs = [(a, b) for a in one for b in two if a.seed == b.seed]
        for loss, label in LOSSES.items():
            if pairs:
                found = [reached(a, b, loss) for a, b in pairs]
                steps, times = (_factors([f[k] for f in found]) for k in (0, 1))
                finals = [f"{np.mean([c.final(loss) for c in cs]):.3f}" for cs in zip(*pairs, strict=True)]
                lines.append(f"| {kind} | {label} | {finals[0]} | {finals[1]} | {steps} | {times} |")
    return "\n".join(lines)


def _factors(values: list[float]) -> str:
    """Mean and the seeds' values; a factor below 1 is how much longer bimodal would take."""
    return f"**{np.exp(np.mean(np.log(values))):.2f}** ({', '.join(f'{v:.2f}' for v in values)})"


def sizes_table(done: Finished, speed: dict[str, float]) -> str:
    lines = ["| system | trained parameters | feed-forward | ms a step |", "|---|--:|--:|--:|"]
    for (name, shared, stages, times), rs in done.results.items():
        if (shared, stages, times) == ("all", "3", 1):
            ms = f"{1000 * speed[name]:.0f}" if name in speed else "-"
            lines.append(f"| {name} | {rs[0]['parameters']:,} | {rs[0]['ff']} | {ms} |")
    return "\n".join(lines)


def figures(runs: Path) -> str:
    """Everything between the marks."""
    done = Finished(runs)
    file = runs / "speed.json"
    speed = json.loads(file.read_text()) if file.exists() else {}
    curves = read_curves(runs, speed)
    reference = ("Bimodal+VAE", "all", "3", LONGER)
    names = ("Unified+VQ", "Unified+VAE", "Bimodal+VQ", "Bimodal+VAE")
    main: list[tuple[str, Key]] = [(n, (n, "all", "3", 1.0)) for n in names]
    main += [(f"{n}, {LONGER} times the steps", (n, "all", "3", LONGER)) for n in names if n.endswith("VAE")]
    layers = sorted({k[1] for k in done.results if k[1] != "all"})
    shared = [(f"attention shared in {k}", ("Bimodal+VAE", k, "3", LONGER)) for k in layers]
    stages = [(f"stages {', '.join(s)}", ("Bimodal+VAE", "all", s, LONGER)) for s in STAGES[:-1]]
    count = sum(map(len, done.results.values()))
    vq = json.loads((runs / "vq.json").read_text()) if (runs / "vq.json").exists() else {}
    m = machine()
    parts = [
        f"{count} finished runs. Machine: {m['processor']}, {m['cores']} cores, of which one thread was used; "
        f"{m['system']}, torch {m['torch']}, bf16 products.",
        "### Systems (test split)",
        table(done, main) + reference_rows(runs),
        *(x for p, label in PARTS.items() for x in (f"On {label} alone:", table(done, main, f"{p}_"))),
        "### Sizes and time of a step",
        sizes_table(done, speed),
        "### How much sooner bimodal reaches unified's final loss",
        sooner(curves),
        "![losses against steps](ablation/steps.png)",
        "![losses against time](ablation/time.png)",
        "### Layers with shared attention",
        table(done, [*shared, ("attention shared in all", reference)]),
        "### Stages",
        table(done, [*stages, ("stage 3 only", reference)]),
        "![sharing and stages](ablation/variants.png)",
        "### The VQ-VAE (validation split)",
        ", ".join(f"{k} {v:.3g}" for k, v in vq.items()),
    ]
    return "\n\n".join(x for x in parts if x)


def main(argv: list[str]) -> int:
    runs, out = Path(argv[0]), Path(argv[1])
    (out / "ablation").mkdir(parents=True, exist_ok=True)
    done = Finished(runs)
    file = runs / "speed.json"
    draw(read_curves(runs, json.loads(file.read_text()) if file.exists() else {}), done.results, out / "ablation")
    page = out / "ablation.md"
    made = f"{BEGIN}\n\n{figures(runs)}\n\n{END}"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# Ablations\n\n{BEGIN}\n{END}\n"
    text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: made, text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
