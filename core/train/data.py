"""Captioned motion for training: joint bundles, mirrored copies, composed clips, batches.

A bundle is a pair NAME_joints.npz and NAME_captions.jsonl: `local` int16 in 0.1 mm (joint minus root x and z),
`root_xz` float32 metres, `offsets`, `ids`; a caption line has id, split, source, captions [{text, ...}].
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from core.errors import CoreError
from core.features import canonicalise, joints_to_features
from core.skeleton import MIRROR, PARENTS, bone_lengths, mirror

MAX_FRAMES = 196

_SWAP = {"left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise"}


@dataclass
class Clip:
    """One captioned clip: joints (T, 22, 3) metres, Y up, 20 fps; features (T - 1, 263) once computed."""

    id: str
    source: str
    split: str
    joints: np.ndarray
    captions: list[str]
    features: np.ndarray | None = None

    @property
    def frames(self) -> int:
        """Frames of the features, which is what the models are trained on."""
        return len(self.joints) - 1


def mirror_text(text: str) -> str:
    """The caption of the mirrored clip."""
    return re.sub(r"\b(left|right|clockwise|counterclockwise)\b", lambda m: _SWAP[m.group(1)], text)


def mirrored(clip: Clip) -> Clip:
    joints = mirror(clip.joints)
    captions = [mirror_text(c) for c in clip.captions]
    return replace(clip, id=clip.id + "~m", joints=joints, captions=captions, features=None)


def load_bundle(joints_path: Path) -> list[Clip]:
    """Read a bundle. Raises CoreError("data_broken") naming the file and line that is wrong."""
    captions_path = joints_path.with_name(joints_path.name.replace("_joints.npz", "_captions.jsonl"))
    remedy = "Check the bundle against the description in core/train/data.py."
    try:
        with np.load(joints_path) as z:
            offsets, ids = z["offsets"], [str(i) for i in z["ids"]]
            local, root = z["local"], z["root_xz"]
    except (OSError, KeyError, ValueError) as error:
        raise CoreError("data_broken", f"{joints_path.name} is not a joint bundle ({error}).", remedy) from error
    if len(offsets) != len(ids) + 1 or offsets[-1] != len(local) or len(local) != len(root):
        raise CoreError("data_broken", f"{joints_path.name}: offsets, ids and rows do not agree.", remedy)
    lines = captions_path.read_text(encoding="utf-8").splitlines()
    meta: dict[str, dict] = {}
    for n, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            meta[entry["id"]] = entry
            _ = entry["split"], [c["text"] for c in entry["captions"]], entry["source"]
        except (ValueError, KeyError, TypeError) as error:
            raise CoreError("data_broken", f"{captions_path.name}, line {n}: {error!r}.", remedy) from error
    clips = []
    for i, name in enumerate(ids):
        if name not in meta:
            raise CoreError("data_broken", f"{captions_path.name} has no line for the clip {name}.", remedy)
        a, b = offsets[i], offsets[i + 1]
        joints = local[a:b].astype(np.float32) * np.float32(1e-4)
        joints[..., 0] += root[a:b, None, 0]
        joints[..., 2] += root[a:b, None, 1]
        m = meta[name]
        texts = list(dict.fromkeys(c["text"] for c in m["captions"]))
        clips.append(Clip(name, m["source"], m["split"], joints[: MAX_FRAMES + 1], texts))
    return clips


def canonical_bones(clips: list[Clip]) -> np.ndarray:
    """(22,) bone lengths, the same left and right, so that a mirrored clip has the same skeleton."""
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
    """Canonical bones, place and features for every clip; clips shorter than 21 frames are dropped."""
    out = []
    for c in clips:
        if len(c.joints) < 21:
            continue
        joints = canonicalise(with_bones(c.joints, bones)).astype(np.float32)
        out.append(replace(c, joints=joints, features=joints_to_features(joints)))
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
