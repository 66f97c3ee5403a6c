"""What all parts of a measurement share: the model, the clips and their groups, and the figures as they come in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import CoreError
from core.evaluate import drawing
from core.evaluate.metrics import interval
from core.model.motiongpt3 import MotionGPT3
from core.train.data import Clip, featured, load_data_source, prepare
from core.train.sources.humanml import refuse_kit

ALL, REST, BANDAI, CMU_ACCAD, HDM05 = "all", "all but Bandai", "Bandai", "CMU+ACCAD", "HDM05"
SHORTEST = 21
"""Joint frames a clip must have: 20 of features, which is what the models begin at."""

Figures = dict[str, dict[str, dict[str, dict[str, list[float | None]]]]]
"""part -> group of sources -> row -> figure -> [mean, half the 95 % interval or None where nothing was repeated]."""


def group_name(source: str) -> str:
    """The group a source is reported in: CMU and ACCAD together, any other by itself."""
    low = source.lower()
    if low.startswith(("cmu", "accad")):
        return CMU_ACCAD
    return next((name for name in (BANDAI, HDM05) if low.startswith(name.lower())), source)


def groups_of(clips: list[Clip]) -> dict[str, np.ndarray]:
    """Row numbers of each group, smaller names first; then all but Bandai, and all, where they are more than one."""
    rows: dict[str, list[int]] = {}
    for i, clip in enumerate(clips):
        rows.setdefault(group_name(clip.source), []).append(i)
    out = {name: np.array(rows[name]) for name in sorted(rows, key=lambda n: (n == BANDAI, n.lower()))}
    if BANDAI in out and len(out) > 2:
        out[REST] = np.sort(np.concatenate([r for name, r in out.items() if name != BANDAI]))
    if len(rows) > 1:
        out[ALL] = np.arange(len(clips))
    return out


def read_clips(
    paths: list[Path], split: str, body_model: Path | None = None
) -> tuple[list[Clip], list[Clip], list[str]]:
    """Clips of the split, those of the train split, and what should be said about them.

    Args:
        paths: anything `load_data_source` reads. body_model: for AMASS motion.
    Raises:
        CoreError: data_missing where there is no such file, data_broken, data_empty where the split has no clip,
            data_unsuitable for a skeleton of 21 joints (KIT-ML).
    """
    clips = [clip for path in paths for clip in load_data_source(path, body_model=body_model)]
    refuse_kit(clips, "what is measured here")
    wanted = [c for c in clips if c.split == split]
    if not wanted:
        counts = ", ".join(f"{s} {sum(c.split == s for c in clips)}" for s in sorted({c.split for c in clips}))
        names = ", ".join(p.name for p in paths)
        raise CoreError("data_empty", f"No clip of {names} is in the split '{split}'.",
                        f"Choose another with --split; clips there are: {counts or 'none'}.")  # fmt: skip
    usable = [c for c in wanted if len(c.joints) >= SHORTEST]
    if not usable:
        raise CoreError("data_empty", f"All clips of the split '{split}' are shorter than a second.",
                        "Give clips of at least 21 frames at 20 fps.")  # fmt: skip
    notes = []
    if len(usable) < len(wanted):
        notes.append(f"left out: {len(wanted) - len(usable)} clips shorter than {SHORTEST} frames")
    train = [c for c in clips if c.split == "train"] if split != "train" else []
    return usable, train, notes


def ready_for(model: MotionGPT3, clips: list[Clip]) -> list[Clip]:
    """The clips as the model reads them: with its bone lengths where it has some, in canonical place, with features."""
    if model.vae.linear is None:
        return featured(clips)
    return prepare(clips, drawing.bones_of(model))


@dataclass
class Study:
    """One measurement under way.

    Args:
        clips: made ready for the model (`ready_for`).
        matcher: `core.evaluate.matcher.Matcher` or None. encoder: `core.language.sentence.SentenceEncoder` or None.
        train: clips of the train split, for the nearest caption; not prepared.
    """

    model: MotionGPT3
    clips: list[Clip]
    matcher: Any = None
    encoder: Any = None
    train: list[Clip] = field(default_factory=list)
    repeats: int = 20
    seed: int = 0
    guidance: float | None = None
    steps: int | None = None
    notes: list[str] = field(default_factory=list)
    values: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clips = [replace(c, captions=[t for t in c.captions if t.strip()]) for c in self.clips]
        if not self.clips:
            raise CoreError("data_empty", "There is no clip to measure on.", "Give clips of at least 21 frames.")
        self.groups = groups_of(self.clips)
        self.real = [c.joints[: c.frames] for c in self.clips]
        self.model.eval()

    @property
    def captioned(self) -> np.ndarray:
        """Row numbers of the clips that have a caption."""
        return np.array([i for i, c in enumerate(self.clips) if c.captions], dtype=int)

    @cached_property
    def latents(self) -> torch.Tensor:
        return drawing.encode(self.model, self.clips)

    @cached_property
    def reconstructed(self) -> list[np.ndarray]:
        return drawing.reconstruct(self.model, self.clips, self.latents)

    def rng(self, *what: int) -> np.random.Generator:
        """Random numbers that depend on the seed and on what they are for, not on what was drawn before."""
        return np.random.default_rng([self.seed, *what])

    def add(self, part: str, group: str, row: str, /, **figures: float) -> None:
        """Note one value of each figure; a figure noted again is a repeat. What is no number is left out."""
        for name, value in figures.items():
            if math.isfinite(value):
                self.values.setdefault((part, group, row, name), []).append(float(value))

    def say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def figures(self) -> Figures:
        out: Figures = {}
        for (part, group, row, name), values in self.values.items():
            mean, half = interval(values)
            place = out.setdefault(part, {}).setdefault(group, {}).setdefault(row, {})
            place[name] = [mean, half if len(values) > 1 else None]
        return out
