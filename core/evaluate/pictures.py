"""Strips of stick figures: the worst and the median clip of each source, real, through the autoencoder and drawn.

Seen from the front and from the left side of the first pose, the floor as a line: what floats, sinks or tangles shows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from core.evaluate import drawing
from core.evaluate.poses import distance, relative
from core.evaluate.study import ALL, REST, Study
from core.skeleton import CHAINS, FPS

POSES = 10
SPACING = 1.1
"""Metres between two poses of a strip: each stands at its own place, whatever way the body went."""
COLOURS = ("#c0392b", "#2471a3", "#555555", "#c0392b", "#2471a3")
"""Of the chains: right leg, left leg, spine, right arm, left arm."""


def write_pictures(study: Study, folder: Path) -> list[Path]:
    """Two PNG a source group, of the clips with the largest and the median error of reconstruction; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = [float(distance(relative(o), relative(j)).mean())
              for o, j in zip(study.reconstructed, study.real, strict=True)]  # fmt: skip
    paths = []
    for group, rows in study.groups.items():
        if group in (ALL, REST):
            continue
        order = sorted(rows.tolist(), key=lambda i: errors[i])
        chosen = {"worst": order[-1], "median": order[len(order) // 2]}
        for which, i in chosen.items():
            clip = study.clips[i]
            caption = clip.captions[0] if clip.captions else ""
            strips = {"real": study.real[i], f"autoencoder, {1000 * errors[i]:.0f} mm": study.reconstructed[i]}
            if caption:
                drawn = drawing.draw(study.model, [caption], [clip.frames], [study.seed], study.guidance, study.steps)
                strips["generated for the caption"] = drawn[0]
            name = re.sub(r"[^A-Za-z0-9]+", "_", f"{group}_{which}").strip("_").lower()
            title = f"{clip.id}, {clip.frames / FPS:.1f} s: {caption}"
            paths.append(draw_strips(strips, title, folder / f"{name}.png"))
    return paths


def draw_strips(strips: dict[str, np.ndarray], title: str, path: Path) -> Path:
    """Write one picture: two rows, front and side, for each motion (T, 22, 3) of `strips`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2 * len(strips), 1, figsize=(8.6, 3.7 * len(strips)), squeeze=False)
    for k, (name, joints) in enumerate(strips.items()):
        for side in (0, 1):
            _strip(axes[2 * k + side, 0], joints, across=(0, 2)[side])
            axes[2 * k + side, 0].set_ylabel(("front", "side")[side], fontsize=8)
        axes[2 * k, 0].set_title(name, fontsize=9, loc="left")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)
    return path


def _strip(axes: Any, joints: np.ndarray, across: int) -> None:
    """Poses of one motion side by side; `across` is the axis that runs along the paper."""
    frames = np.linspace(0, len(joints) - 1, min(POSES, len(joints))).round().astype(int)
    for n, t in enumerate(frames):
        flat = joints[t, :, across] - joints[t, 0, across] + SPACING * n
        for chain, colour in zip(CHAINS, COLOURS, strict=True):
            axes.plot(flat[list(chain)], joints[t, list(chain), 1], color=colour, linewidth=1.3)
        axes.text(SPACING * n, -0.28, f"{t / FPS:.1f} s", fontsize=6, ha="center")
    axes.axhline(0, color="#999999", linewidth=0.7)
    axes.set_aspect("equal")
    axes.set_ylim(-0.35, 2.1)
    axes.set_xlim(-SPACING, SPACING * len(frames))
    axes.set_xticks([])
    axes.tick_params(labelsize=6)
