"""Captioned motion on its way into a model: canonical bones and place, features, sampling weights, batches.

Where it comes from is core/train/sources; what it offers that others need is importable from here too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from core.errors import CoreError
from core.features import canonicalise, joints_to_features, parts
from core.skeleton import MIRROR, PARENTS, bone_lengths
from core.train.sources import describe, load_data_source
from core.train.sources.bundle import load_bundle
from core.train.sources.clip import MAX_FRAMES, Clip
from core.train.sources.humanml import refuse_kit
from core.train.sources.mirroring import mirror_text, mirrored, with_mirrored

__all__ = [
    "MAX_FRAMES", "Bucketed", "Clip", "canonical_bones", "describe", "featured", "load_bundle", "load_data_source",
    "mirror_text", "mirrored", "prepare", "source_weights", "stack", "with_bones", "with_mirrored",
]  # fmt: skip


def canonical_bones(clips: list[Clip]) -> np.ndarray:
    """(22,) bone lengths, the same left and right, so that a mirrored clip has the same skeleton."""
    refuse_kit(clips, "a model with bones of its own")
    lengths = np.mean([bone_lengths(c.joints[0]) for c in clips], 0)
    return ((lengths + lengths[list(MIRROR)]) / 2).astype(np.float32)


def with_bones(joints: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The motion with these bone lengths: (T, 22, 3), (22,) -> (T, 22, 3)."""
    out = joints.copy()
    for j in range(1, 22):
        d = joints[:, j] - joints[:, PARENTS[j]]
        out[:, j] = out[:, PARENTS[j]] + d * (bones[j] / np.linalg.norm(d, axis=-1, keepdims=True).clip(1e-6))
    return out


# -- the whole set --------------------------------------------------------------------------


def prepare(clips: list[Clip], bones: np.ndarray) -> list[Clip]:
    """Canonical bones, place and features for every clip; clips shorter than 21 frames are dropped.

    For the compact recipe (linear path, exact bones). Raises CoreError("data_unsuitable") for KIT-ML's 21 joints."""
    refuse_kit(clips, "the compact recipe")
    out = []
    for c in clips:
        if len(c.joints) < 21:
            continue
        joints = canonicalise(with_bones(c.joints, bones)).astype(np.float32)
        out.append(replace(c, joints=joints, features=joints_to_features(joints)))
    return out


def featured(clips: list[Clip]) -> list[Clip]:
    """Features for every clip, for models of the official kind, which learn features and know no bones.

    Features that a clip brings are kept, but for the unit of length: they are in metres then, as everything that
    training weighs and reports is. Clips shorter than 21 frames are dropped.

    Raises:
        CoreError: data_unsuitable, where clips of 22 and of 21 joints are mixed.
    """
    out = []
    for c in clips:
        if len(c.joints) < 21:
            continue
        if c.features is None:
            joints = canonicalise(c.joints).astype(np.float32)
            out.append(replace(c, joints=joints, features=joints_to_features(joints)))
        elif c.unit != 1.0:
            out.append(replace(c, features=in_metres(c.features, c.unit), unit=1.0))
        else:
            out.append(c)
    if len({c.joints.shape[1] for c in out}) > 1:
        raise CoreError(
            "data_unsuitable",
            "KIT-ML's clips (21 joints) cannot be trained on together with clips of 22 joints.",
            "Train on either.",
        )
    return out


def in_metres(features: np.ndarray, unit: float) -> np.ndarray:
    """Features (T, F) whose unit of length is `unit` metres, in metres; turns, rotations and contacts have none."""
    out = features.copy()
    for name in ("root_velocity", "root_height", "positions", "velocities"):
        out[..., parts(features.shape[-1])[name]] *= unit
    return out


class Bucketed:
    """Batches of clips of similar length, in fixed shapes (fewer shapes run faster on a CPU)."""

    def __init__(self, clips: list[Clip], weights: np.ndarray, batch: int, seed: int) -> None:
        self.clips, self.batch = clips, batch
        self.rng = np.random.default_rng(seed)
        frames = np.array([c.frames for c in clips])
        self.buckets = []
        edges = [0, 32, 48, 64, 84, 108, 140, 196]
        for low, high in itertools.pairwise(edges):
            rows = np.flatnonzero((frames > low) & (frames <= high))
            if len(rows):
                self.buckets.append((rows, weights[rows], high))
        mass = np.array([w.sum() for _, w, _ in self.buckets])
        self.mass = mass / mass.sum()

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        """Endless (row indices (batch,), padded length)."""
        while True:
            rows, w, high = self.buckets[self.rng.choice(len(self.buckets), p=self.mass)]
            yield self.rng.choice(rows, self.batch, p=w / w.sum()), high


def stack(arrays: list[np.ndarray], length: int) -> torch.Tensor:
    """Arrays (T_i, ...) -> (B, length, ...) padded by repeating the last frame."""
    return torch.stack([torch.from_numpy(a[np.minimum(np.arange(length), len(a) - 1)]) for a in arrays])


def source_weights(clips: list[Clip], power: float = 0.6) -> np.ndarray:
    """Sampling weight of each clip, so that a source of n clips counts as n ** power."""
    counts: dict[str, int] = {}
    for c in clips:
        counts[c.source] = counts.get(c.source, 0) + 1
    return np.array([counts[c.source] ** (power - 1) for c in clips])
