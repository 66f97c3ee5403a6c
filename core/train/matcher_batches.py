"""What the matcher learns from: wordings and their token states, clips beside their mirrored copies, broken motions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from core.evaluate.matcher import Matcher, mirrored_input, motion_input, pad
from core.train.data import Bucketed, Clip, mirror_text, source_weights
from core.train.rewording import reword

REWORDINGS = 10
"""Tries to say a caption in other words."""
BROKEN = 16
"""Broken motions a batch."""

BALANCE = 0.45
"""A source of n clips counts as n ** BALANCE."""
GESTURES = ("bandai", "composed")
"""Sources whose clips are one short action from rest to rest: no more than 3 frames are cut off."""

SIDES = re.compile(r"\b(left|right|clockwise|counterclockwise)\b")
STILL = re.compile(r"\b(stand|stands|standing|still|idle|waits|nothing|motionless)\b")


class Texts:
    """Every wording the training may use, with its token states, and which captions it stands for.

    keys: the captions and their mirrored forms, numbered. `means` (texts, keys) bool: what a wording may come from; one
    that lost its side by rewording ("waves") comes from the mirrored caption as well.
    """

    def __init__(self, captions: list[str], encoder: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        both = list(dict.fromkeys(t for c in captions for t in (c, mirror_text(c))))
        self.keys = {t: i for i, t in enumerate(both)}
        wordings: dict[str, set[int]] = {}
        self.of_key: list[list[str]] = []
        for caption in both:
            mine = {caption} | {reword(caption, rng) for _ in range(REWORDINGS)}
            self.of_key.append(sorted(mine))
            for text in mine:
                meant = wordings.setdefault(text, set())
                meant.add(self.keys[caption])
                if not SIDES.search(text):
                    meant.add(self.keys[mirror_text(caption)])
                wordings.setdefault(mirror_text(text), set()).add(self.keys[mirror_text(caption)])
        self.rows = {t: i for i, t in enumerate(wordings)}
        self.means = np.zeros((len(wordings), len(both)), np.float32)
        for i, meant in enumerate(wordings.values()):
            self.means[i, list(meant)] = 1
        texts = list(wordings)
        states, real = [], []
        for start in range(0, len(texts), 64):
            s, r = encoder.tokens(texts[start : start + 64])
            states.append(s.half())
            real.append(r)
        longest = max(s.shape[1] for s in states)
        self.states = torch.cat([F.pad(s, (0, 0, 0, longest - s.shape[1])) for s in states])
        self.real = torch.cat([F.pad(r, (0, longest - r.shape[1])) for r in real])


def describes(clips: list[Clip], texts: Texts) -> np.ndarray:
    """(clips, keys) float32: 1 where the key is one of the clip's captions."""
    out = np.zeros((len(clips), len(texts.keys)), np.float32)
    for row, clip in zip(out, clips, strict=True):
        row[[texts.keys[c] for c in clip.captions]] = 1
    return out


def broken(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The motion as a bad model would make it: (T, 22, 3) -> (T, 22, 3)."""
    root = joints[:, :1] * np.array([1, 0, 1], np.float32)
    pose = joints - root
    kind = rng.integers(3)
    if kind == 0:  # one pose, carried along the path
        return (pose[rng.integers(len(pose))] + root).astype(np.float32)
    if kind == 1:  # limbs that hardly swing
        return (pose.mean(0) + rng.uniform(0.05, 0.35) * (pose - pose.mean(0)) + root).astype(np.float32)
    return (joints + rng.normal(0, rng.uniform(0.015, 0.04), joints.shape)).astype(np.float32)  # trembling


class Batches:
    """Endless batches; everything that the step needs, on the device."""

    def __init__(self, matcher: Matcher, clips: list[Clip], texts: Texts, pairs: int, seed: int) -> None:
        self.matcher, self.texts, self.clips = matcher, texts, clips
        self.rng = np.random.default_rng(seed)
        self.bones = matcher.bones.cpu().numpy()
        self.inputs = [motion_input(c.joints, self.bones).astype(np.float16) for c in clips]
        own = describes(clips, texts)
        flip = np.array([texts.keys[mirror_text(k)] for k in texts.keys])
        self.described = np.stack([own, own[:, flip]])  # of the clips, of their mirrored copies
        self.buckets = Bucketed(clips, source_weights(clips, BALANCE), pairs, seed)
        self.rows = iter(self.buckets)
        lively = [c for c in clips if not STILL.search(c.captions[0])]
        count = min(len(lively), 600)
        chosen = self.rng.choice(len(lively), count, replace=False)
        self.broken = [motion_input(broken(lively[i].joints, self.rng), self.bones) for i in chosen]

    def _wordings(self, clip: Clip) -> tuple[str, str]:
        """A wording for the clip and one for its mirrored copy: the same words where they name a side."""

        def draw() -> str:
            of = self.texts.of_key[self.texts.keys[clip.captions[self.rng.integers(len(clip.captions))]]]
            return of[self.rng.integers(len(of))]

        text = draw()
        return text, mirror_text(text if SIDES.search(text) else draw())

    def _rows(self, i: int) -> np.ndarray:
        rows = self.inputs[i]
        long = len(rows) > 100 and self.clips[i].source not in GESTURES and self.rng.random() < 0.5
        cut = len(rows) // 5 if long else min(3, (len(rows) - 21) // 2)
        if cut > 0:  # a clip starts and ends where its cutter thought best
            a, b = self.rng.integers(0, cut + 1, 2)
            rows = rows[a : len(rows) - b]
        return rows

    def __call__(self) -> dict[str, torch.Tensor]:
        chosen, length = next(self.rows)
        device = self.matcher.mean.device
        spoilt = [self.broken[i] for i in self.rng.integers(0, len(self.broken), BROKEN)] if self.broken else []
        spoilt = [s[:length] for s in spoilt]
        rows, frames = pad([*(self._rows(i) for i in chosen), *spoilt], self.matcher.cfg.patch, length)
        n = len(chosen)
        rows = torch.cat([rows[:n], mirrored_input(rows[:n]), rows[n:]])
        frames = torch.cat([frames[:n], frames[:n], frames[n:]])
        wordings = [self._wordings(self.clips[i]) for i in chosen]
        index = np.array([self.texts.rows[w[side]] for side in (0, 1) for w in wordings])
        also = self.texts.means[index] @ np.concatenate([self.described[0][chosen], self.described[1][chosen]]).T > 0
        np.fill_diagonal(also, False)
        still = np.array([bool(STILL.search(w[side])) for side in (0, 1) for w in wordings])
        also = np.concatenate([also, np.repeat(still[:, None], len(spoilt), 1)], 1)
        real = self.texts.real[index]
        longest = int(real.sum(1).max())
        rows = rows + 0.02 * torch.randn(len(rows), 1, rows.shape[2]) * self.matcher.std.cpu()
        found = {"rows": rows, "frames": frames, "states": self.texts.states[index, :longest].float(),
                 "real": real[:, :longest], "also": torch.from_numpy(also)}  # fmt: skip
        return {k: v.to(device) for k, v in found.items()}
