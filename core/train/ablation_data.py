"""What the ablations learn from: captioned clips as latents and as codes, and the batches every system draws alike.

Clip, caption and wording of batch `step` follow from the seed alone, so at one seed all systems see the same examples
in the same order, whatever a motion is turned into for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core import prompts
from core.errors import CoreError
from core.model.vae import MotionVAE
from core.model.vq import MotionVQ
from core.prompts import Tokenizer
from core.skeleton import FPS
from core.train.ablation_vq import tokenise
from core.train.autoencoder import encode_all, features_of
from core.train.data import Clip, canonical_bones, mirrored, prepare, source_weights
from core.train.kept import keep, kept
from core.train.rewording import reword
from core.train.sources import load_data_source

T2M_SHARE = 0.75
"""Share of text-to-motion in a mixed batch; the rest is motion-to-text."""
PROMPT_WEIGHT = 0.1
"""Weight of predicting the words of a prompt against the words of an answer."""
PAD = -1
"""Token id of padding."""
CODES = 512
START, END = CODES, CODES + 1
"""Motion tokens of the VQ systems that are no codes."""
SPLITS = ("train", "val", "test")
MOTIONS = "motions.npz"


def prepared(paths: list[Path], folder: Path) -> tuple[dict[str, list[Clip]], np.ndarray]:
    """Clips by split, the training clips also mirrored, and the canonical bones (22,); kept in folder/clips.npz.

    Raises:
        CoreError("data_missing"): a split without clips.
    """
    file = folder / "clips.npz"  # written and read by this function only
    named = [p.name for p in paths]
    found = kept(file, json.dumps(named))
    if found is not None:
        return found[0], found[1]["bones"]
    clips = [c for p in paths for c in load_data_source(p)]
    bones = canonical_bones(clips)
    splits = {s: [c for c in clips if c.split == s] for s in SPLITS}
    splits["train"] += [mirrored(c) for c in splits["train"]]
    splits = {s: prepare(part, bones) for s, part in splits.items()}
    for split, part in splits.items():
        if not part:
            raise CoreError(
                "data_missing", f"There are no clips of the split '{split}' in {', '.join(named)}.", "Add a bundle."
            )
    keep(file, json.dumps(named), splits, {"bones": bones})
    return splits, bones


@dataclass
class Motions:
    """One split, without its training features: who moves, what was said of it, its latent and its codes."""

    clips: list[Clip]  # joints only where they are scored (val and test)
    frames: list[int]
    mean: torch.Tensor  # (N, C) posterior, as the VAE gives it
    std: torch.Tensor  # (N, C)
    codes: list[torch.Tensor]  # (ceil(frames / 4),) long each


def encoded(splits: dict[str, list[Clip]], vae: MotionVAE, vq: MotionVQ, folder: Path, key: str) -> dict[str, Motions]:
    """Latents and codes of every clip, kept in folder/motions.npz under `key`."""
    known = kept_motions(folder, key)
    if known is not None:
        return known
    motions = {}
    for split, clips in splits.items():
        mean, std = encode_all(vae, features_of(clips))
        light = clips if split != "train" else [Clip(c.id, c.source, c.split, c.joints[:1], c.captions) for c in clips]
        motions[split] = Motions(light, [c.frames for c in clips], mean, std, tokenise(vq, clips))
    keep_motions(folder, key, motions)
    return motions


def keep_motions(folder: Path, key: str, motions: dict[str, Motions]) -> None:
    """Write the motions to a folder, for `kept_motions`."""
    arrays: dict[str, np.ndarray] = {}
    for split, made in motions.items():
        lengths = [len(code) for code in made.codes]
        parts = {"frames": np.array(made.frames), "mean": made.mean.numpy(), "std": made.std.numpy(),
                 "codes": torch.cat(made.codes).numpy(), "lengths": np.array(lengths)}  # fmt: skip
        arrays |= {f"{split} {name}": array for name, array in parts.items()}
    keep(folder / MOTIONS, key, {split: made.clips for split, made in motions.items()}, arrays)


def kept_motions(folder: Path, key: str | None = None) -> dict[str, Motions] | None:
    """What `encoded` kept in a folder; None where there is nothing, or nothing under this key."""
    found = kept(folder / MOTIONS, key)
    if found is None:
        return None
    motions = {}
    for split, clips in found[0].items():
        frames, mean, std, codes, lengths = (
            torch.from_numpy(found[1][f"{split} {name}"]) for name in ("frames", "mean", "std", "codes", "lengths")
        )
        motions[split] = Motions(clips, frames.tolist(), mean, std, list(torch.split(codes, lengths.tolist())))
    return motions


@dataclass
class Batch:
    """Right-padded prompts; the first `outputs` rows are text-to-motion."""

    ids: torch.Tensor  # (B, T), PAD on padding
    weights: torch.Tensor  # (B, T) of predicting each text token, 0 for motion tokens
    latents: torch.Tensor  # (B, C) codes of the motion latents in the language model's scale
    outputs: int


class Batches:
    """Draws batches for one tokenizer of motion.

    Args:
        kind: "vae": a motion is four holders; "vq": a motion is its codes.
        motions: the split. vae: scales the latents.
    """

    def __init__(self, kind: str, motions: Motions, tokenizer: Tokenizer, vae: MotionVAE, seed: int) -> None:
        self.kind, self.motions, self.tokenizer, self.vae, self.seed = kind, motions, tokenizer, vae, seed
        weights = source_weights(motions.clips)
        self.p = weights / weights.sum()

    def __call__(self, step: int, size: int, what: str = "mixed") -> Batch:
        """Batch `step`.

        Args:
            what: "mixed", "t2m", or "text": the same prompts without motion, for the text branch alone.
        """
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.choice(len(self.motions.clips), size, p=self.p)
        outputs = size if what == "t2m" else round(size * T2M_SHARE)
        rows, weights = [], []
        for k, i in enumerate(chosen):
            captions = self.motions.clips[i].captions
            text = captions[rng.integers(len(captions))]
            wording = reword(text, np.random.default_rng((self.seed, step, k)))
            if k < outputs:
                row = self.request(wording, self.motions.frames[i], None if what == "text" else int(i))
                weight = [PROMPT_WEIGHT] * len(row)
            else:
                row = self.question(None if what == "text" else int(i))
                answer = [*self.tokenizer.encode(f" {text}"), self.tokenizer.eos]
                weight = [0.0] * len(row) + [1.0] * len(answer)
                row = row + answer
            rows.append(row)
            weights.append(weight)
        longest = max(map(len, rows))
        return Batch(
            torch.tensor([r + [PAD] * (longest - len(r)) for r in rows]),
            torch.tensor([w + [0.0] * (longest - len(w)) for w in weights]),
            self.latents(chosen, np.random.default_rng((self.seed, step, size))),
            0 if what == "text" else outputs,
        )

    def latents(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Samples of the posterior, or its means without a generator, in the language model's scale (B, C)."""
        z = self.motions.mean[rows]
        if rng is not None:
            z = z + self.motions.std[rows] * torch.from_numpy(rng.standard_normal(z.shape).astype(np.float32))
        return self.vae.to_code(z)

    def request(self, text: str, frames: int, motion: int | None) -> list[int]:
        """The ids of a text-to-motion prompt with the motion that answers it, or with none."""
        tk = self.tokenizer
        if self.kind == "vae" and motion is not None:
            return tk.encode(prompts.text_to_motion(text, frames / FPS))
        head = tk.encode(prompts.text_to_motion(text, frames / FPS).split(prompts.MOTION_OUT)[0])
        return [*head, *self.spelled(motion), tk.eos]

    def question(self, motion: int | None) -> list[int]:
        """The ids of a motion-to-text prompt about a motion, or about none."""
        tk = self.tokenizer
        if self.kind == "vae" and motion is not None:
            return tk.encode(prompts.motion_to_text())
        before, after = prompts.motion_to_text().split(prompts.MOTION_IN)
        return [*tk.encode(before), *self.spelled(motion), *tk.encode(after)]

    def spelled(self, motion: int | None) -> list[int]:
        """<start> codes <end> as ids; without a motion <som> <eom>, which are text in every system."""
        tk = self.tokenizer
        if motion is None:
            return [tk.som, tk.eom]
        first = tk.text_vocab
        start, end = first + START, first + END
        return [start, *(self.motions.codes[motion] + first).tolist(), end]


def write_json(file: Path, figures: dict) -> None:
    """Write figures, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
