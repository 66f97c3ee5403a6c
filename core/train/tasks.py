"""Mixed batches: every task on cached latents, drawn so that any number of processes sees the same global batch.

Tasks: "t2m" text-to-motion, "m2t" motion-to-text, "predict" the rest of a clip from its head, "inbetween" a clip from
its two ends, "t2t" a caption in other words or how long it takes, "text" plain captions (for the text branch alone).
The instructions are data: instructions.json, our own wording. Batch `step` of a seed is always the same, whatever was
drawn before, so a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from core import prompts
from core.model.motiongpt3 import MotionGPT3
from core.model.vae import MotionVAE
from core.skeleton import FPS
from core.train.autoencoder import encode_all, features_of
from core.train.data import Clip, source_weights
from core.train.official import motion_segments
from core.train.rewording import reword

INSTRUCTIONS = json.loads((Path(__file__).parent / "instructions.json").read_text(encoding="utf-8"))
PLAIN = 0.6
"""Share of prompts in the plain form, the one that is used at inference."""
PROMPT_WEIGHT = 0.1
"""Weight of predicting the words of a prompt against the words of an answer."""
LEAST_END, MOST_END = 8, 40
"""Frames of a head or tail that is given, where it is not the official share of the clip."""
LEAST_FRAMES = 40
"""A clip must have that many to be cut in parts."""
SHARES = {"composed": 0.4, "reactidle": 0.5}
"""Sources that count less than others: made of the other clips' parts, and nearly motionless."""


@dataclass
class Batch:
    """One batch. Rows are right-padded with the end token; the first rows are those with an output motion."""

    ids: torch.Tensor  # (B, T)
    real: torch.Tensor  # (B, T) bool, False on padding
    weights: torch.Tensor  # (B, T) of predicting each token; their sum over the global batch is 1
    codes: torch.Tensor  # (B, 2, C) input motions
    inputs: torch.Tensor  # (B,) how many of them there are
    output: torch.Tensor  # (B,) bool, has an output motion
    target: torch.Tensor  # (B, C) its code
    t: torch.Tensor  # (B, K) diffusion steps
    noise: torch.Tensor  # (B, K, C)
    drop: torch.Tensor  # (B, K) bool, the condition is forgotten
    outputs: int = 0  # of the global batch

    def share(self, rank: int, world: int) -> Batch:
        """Every world-th row, scaled so that the mean over all ranks is the loss of the global batch."""
        tensors = {f.name: getattr(self, f.name)[rank::world] for f in fields(self) if f.name != "outputs"}
        tensors["weights"] = tensors["weights"] * world
        return Batch(**tensors, outputs=self.outputs / world)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        return Batch(
            **{f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "outputs"},
            outputs=self.outputs,
        )

    def motions(self) -> list[torch.Tensor]:
        """Codes of each row's input motions, (k, C) each."""
        return [c[:n] for c, n in zip(self.codes, self.inputs.tolist(), strict=True)]


class Latents:
    """Posteriors of all clips, whole and in parts, as codes of the language model's scale.

    Args:
        clips: prepared clips. parts: cut each of the given clips so many ways for prediction and in-betweening: the
            first is the official share (a fifth; a quarter at each end), the others are random.
    """

    def __init__(self, vae: MotionVAE, clips: list[Clip], parts: int = 2, seed: int = 0) -> None:
        self.clips = clips
        whole = features_of(clips)
        self.mean, self.std = codes_of(vae, whole)
        rng = np.random.default_rng(seed)
        cut: list[np.ndarray] = []
        self.predict: dict[int, list[tuple[int, int, float]]] = {}  # clip -> (head, rest, seconds of the rest)
        self.inbetween: dict[int, list[tuple[int, int]]] = {}  # clip -> (start, end)
        for i, f in enumerate(whole):
            if len(f) < LEAST_FRAMES or "~t" in clips[i].id or "composed" in clips[i].id:
                continue
            for k in range(parts):
                (_, a), _ = motion_segments(len(f), 2)
                (_, b), (c, _), _ = motion_segments(len(f), 3)
                if k:
                    a = int(rng.integers(LEAST_END, min(MOST_END, len(f) // 2)))
                    b = int(rng.integers(LEAST_END, min(MOST_END, len(f) // 3)))
                    c = len(f) - int(rng.integers(LEAST_END, min(MOST_END, len(f) // 3)))
                n = len(cut)
                cut += [f[:a], f[a:], f[:b], f[c:]]
                self.predict.setdefault(i, []).append((n, n + 1, (len(f) - a) / FPS))
                self.inbetween.setdefault(i, []).append((n + 2, n + 3))
        self.part_mean, self.part_std = codes_of(vae, cut) if cut else (self.mean[:0], self.std[:0])
        self.cut = np.array(sorted(self.predict), dtype=np.int64)
        weights = source_weights(clips, 0.5) * np.array([SHARES.get(c.source, 1.0) for c in clips])
        self.p = weights / weights.sum()
        self.cut_p = self.p[self.cut] / max(self.p[self.cut].sum(), 1e-12)


def codes_of(vae: MotionVAE, features: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean and standard deviation of clips (T_i, F) in the language model's scale, (N, C) each."""
    mean, std = (x.to(vae.mean.device) for x in encode_all(vae, features))
    scale = vae.cfg.latent_scale / (1.0 if vae.linear is None else vae.latent_std)
    return vae.to_code(mean).cpu(), (std * scale).cpu()


class TaskBatches:
    """Draws batches.

    Args:
        mixture: share of each task.
        copies: noise levels a condition. drop: share of forgotten conditions, for classifier-free guidance.
        instructions: also prompts in other forms than the plain one.
    """

    def __init__(
        self,
        model: MotionGPT3,
        latents: Latents,
        mixture: dict[str, float],
        *,
        seed: int,
        copies: int = 8,
        drop: float = 0.1,
        instructions: bool = True,
        rewording: bool = True,
    ) -> None:
        self.tokenizer, self.latents, self.seed = model.tokenizer, latents, seed
        self.copies, self.drop = copies, drop
        self.instructions, self.rewording = instructions, rewording
        self.steps = model.cfg.diffusion.train_steps
        self.reads_duration = model.cfg.reads_duration
        total = sum(mixture.values())
        self.mixture = {k: v / total for k, v in mixture.items() if v > 0}
        if not len(latents.cut):  # nothing long enough to be cut
            self.mixture = {k: v for k, v in self.mixture.items() if k not in ("predict", "inbetween")}

    def counts(self, size: int) -> dict[str, int]:
        """Rows of each task; tasks with an output motion come first."""
        order = [k for k in ("t2m", "predict", "inbetween", "m2t", "t2t", "text") if k in self.mixture]
        total = sum(self.mixture.values())
        edges = np.round(np.cumsum([self.mixture[k] / total for k in order]) * size).astype(int)
        return dict(zip(order, np.diff(edges, prepend=0).tolist(), strict=True))

    def __call__(self, step: int, size: int) -> Batch:
        """The batch of a step: always the same for a seed, on the CPU."""
        rng = np.random.default_rng([self.seed, step])
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        lat = self.latents
        C = lat.mean.shape[1]
        rows: list[tuple[list[int], list[float]]] = []
        codes, target = torch.zeros(size, 2, C), torch.zeros(size, C)
        inputs, output = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.bool)

        def code(i: int, part: bool = False) -> torch.Tensor:
            mean, std = (lat.part_mean, lat.part_std) if part else (lat.mean, lat.std)
            return mean[i] + std[i] * torch.randn(C, generator=torch_rng)

        for task, count in self.counts(size).items():
            cut = task in ("predict", "inbetween")
            drawn = rng.choice(lat.cut, count, p=lat.cut_p) if cut else rng.choice(len(lat.p), count, p=lat.p)
            for i in drawn.tolist():
                n, way = len(rows), int(rng.integers(len(lat.predict[i]))) if cut else 0
                seconds = lat.predict[i][way][2] if task == "predict" else lat.clips[i].frames / FPS
                rows.append(self._words(task, lat.clips[i], seconds, rng))
                output[n] = task in ("t2m", "predict", "inbetween")
                if task == "t2m":
                    target[n] = code(i)
                elif task == "m2t":
                    codes[n, 0], inputs[n] = code(i), 1
                elif task == "predict":
                    head, rest, _ = lat.predict[i][way]
                    codes[n, 0], inputs[n], target[n] = code(head, True), 1, code(rest, True)
                elif task == "inbetween":
                    start, end = lat.inbetween[i][way]
                    codes[n, 0], codes[n, 1], inputs[n] = code(start, True), code(end, True), 2
                    target[n] = code(i)
        return self._assembled(rows, codes, inputs, output, target, torch_rng)

    def _assembled(
        self,
        rows: list[tuple[list[int], list[float]]],
        codes: torch.Tensor,
        inputs: torch.Tensor,
        output: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator,
    ) -> Batch:
        B, K = len(rows), self.copies
        T = -(-max(len(r) for r, _ in rows) // 8) * 8
        ids = torch.full((B, T), self.tokenizer.eos)
        real, weights = torch.zeros(B, T, dtype=torch.bool), torch.zeros(B, T)
        for n, (row, w) in enumerate(rows):
            ids[n, : len(row)], real[n, : len(row)] = torch.tensor(row), True
            weights[n, : len(row)] = torch.tensor(w)
        # A target counts where both it and the token before it are text; <end_of_motion> is put there, never written.
        text = (ids < self.tokenizer.text_vocab) & real
        weights[:, 1:] *= text[:, 1:] & text[:, :-1] & (ids[:, 1:] != self.tokenizer.eom)
        weights[:, 0] = 0
        # Spread evenly over the schedule: the loss of a batch depends less on which levels it happened to draw.
        order = torch.randperm(B * K, generator=generator) + torch.rand(B * K, generator=generator)
        return Batch(
            ids, real, weights / weights.sum().clamp(min=1e-6), codes, inputs, output, target,
            (order / (B * K) * self.steps).long().view(B, K),
            torch.randn(B, K, target.shape[1], generator=generator),
            torch.rand(B, K, generator=generator) < self.drop, int(output.sum()),
        )  # fmt: skip

    def _words(self, task: str, clip: Clip, seconds: float, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        """Token ids of a row and the weight of predicting each; `seconds` of what the answer is or is about."""
        encode, tk = self.tokenizer.encode, self.tokenizer
        text = clip.captions[rng.integers(len(clip.captions))] if clip.captions else ""
        said = reword(text, rng) if self.rewording else text
        if task == "text":
            row = [*encode(" " + said), tk.eos]
            return row, [1.0] * len(row)
        if task == "t2t":
            if rng.random() < 0.3:
                head = prompts.fill(self._choose("duration", rng), text)
                answer = f" about {seconds:.0f} seconds"
            else:
                head, answer = prompts.fill(self._choose("t2t", rng), text), " " + reword(text, rng)
            return self._answered(encode(head), encode(answer))
        plain = not self.instructions or rng.random() < PLAIN
        instruction = prompts.PLAIN[task] if plain else self._choose(task, rng)
        if task == "m2t":
            return self._answered(encode(prompts.fill(instruction)), encode(" " + text))
        head = prompts.fill(instruction, said, seconds if self.reads_duration else None)
        row = encode(f"{head} {prompts.MOTION_OUT}{prompts.EOS}")
        return row, [PROMPT_WEIGHT] * len(row)

    def _answered(self, head: list[int], answer: list[int]) -> tuple[list[int], list[float]]:
        row = [*head, *answer, self.tokenizer.eos]
        return row, [0.0] * len(head) + [1.0] * (len(row) - len(head))

    def _choose(self, task: str, rng: np.random.Generator) -> str:
        found = INSTRUCTIONS[task]
        return str(found[rng.integers(len(found))])
