"""What the ablations' systems say: motions for captions and captions for motions, many at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from core.evaluate.checks import CHECKS
from core.features import canonicalise
from core.model.motiongpt3 import MotionGPT3
from core.model.vq import MotionVQ
from core.model.writing import write_all
from core.skeleton import FPS
from core.train.ablation_data import PAD, START, Batches
from core.train.ablation_systems import Network
from core.train.ablation_vq import decoded

TEMPERATURE, TOP_K = 1.0, 50
"""How codes are drawn: the values of the official unified model (transformers' own defaults)."""
SIDES = ("raise_left", "raise_right", "wave_right", "turn_left", "turn_right")
"""Rules of core/evaluate/checks.py about left and right."""
SIZE = 128
"""Prompts run at a time."""


class Speaker:
    """Generation by a system; `batches` writes its prompts, of the split that is asked for."""

    def __init__(self, net: Network, batches: Batches, vq: MotionVQ) -> None:
        self.net, self.batches, self.vq = net, batches, vq

    @torch.no_grad()
    def motions(self, texts: list[str], frames: list[int], seed: int) -> list[np.ndarray]:
        """Joints (frames, 22, 3) for each text, metres, Y up, on the floor, from the origin facing +Z."""
        if isinstance(self.net, MotionGPT3):
            out = self._by_diffusion(self.net, texts, frames, seed)
        else:
            out = self._by_codes(texts, frames, seed)
        return [canonicalise(joints) for joints in out]

    def _by_diffusion(self, net: MotionGPT3, texts: list[str], frames: list[int], seed: int) -> list[np.ndarray]:
        rows = [self.batches.request(t, n, 0) for t, n in zip(texts, frames, strict=True)]
        seeds = [int(s) for s in np.random.default_rng(seed).integers(0, 2**31 - 1, len(rows))]
        out: list[np.ndarray] = []
        for a in range(0, len(rows), SIZE):
            part, lengths = rows[a : a + SIZE], torch.tensor(frames[a : a + SIZE], device=net.device)
            longest = max(map(len, part))
            ids = torch.tensor([r + [PAD] * (longest - len(r)) for r in part], device=net.device)
            codes = net.sample_codes(net.condition(ids, pad=PAD), seeds[a : a + SIZE])
            joints = net.vae.decode_joints(net.vae.from_code(codes), lengths).cpu().numpy()
            out += [j[:n] for j, n in zip(joints, lengths.tolist(), strict=True)]
        return out

    def _by_codes(self, texts: list[str], frames: list[int], seed: int) -> list[np.ndarray]:
        net, patch = self.net, self.vq.cfg.patch
        assert not isinstance(net, MotionGPT3)
        start = net.tokenizer.text_vocab + START
        generator = torch.Generator().manual_seed(seed)
        codes: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        rows = [self.batches.request(t, n, 0) for t, n in zip(texts, frames, strict=True)]
        rows = [r[: r.index(start) + 1] for r in rows]
        for same in _by_length(rows):
            counts = [-(-frames[i] // patch) for i in same]
            ids = torch.tensor([rows[i] for i in same], device=net.device)
            drawn = net.sample(ids, max(counts), generator, TEMPERATURE, TOP_K).cpu()
            for i, row, n in zip(same, drawn, counts, strict=True):
                codes[i] = row[:n]
        return decoded(self.vq, codes, frames)

    @torch.no_grad()
    def captions(self, rows: list[int]) -> list[str]:
        """Greedy captions of clips of the split."""
        net, tk = self.net, self.net.tokenizer
        asked = [self.batches.question(i) for i in rows]
        out = [""] * len(rows)
        for same in _by_length(asked):
            for a in range(0, len(same), SIZE):
                part = same[a : a + SIZE]
                ids = torch.tensor([asked[i] for i in part], device=net.device)
                codes = None
                if isinstance(net, MotionGPT3):
                    codes = self.batches.latents(np.array([rows[i] for i in part])).to(net.device)[:, None]
                written = write_all(net, ids, codes, draft=False)  # type: ignore[arg-type]
                for i, (tokens, _) in zip(part, written, strict=True):
                    out[i] = tk.decode(tokens)
        return out

    def rules(self, seeds: int, seed: int = 0) -> dict[str, float]:
        """Share of motions that keep each rule about left and right."""
        texts = [CHECKS[k][0] for k in SIDES for _ in range(seeds)]
        frames = [round(CHECKS[k][1] * FPS) for k in SIDES for _ in range(seeds)]
        made = self.motions(texts, frames, seed)
        kept = [CHECKS[SIDES[i // seeds]][2](j) for i, j in enumerate(made)]
        return {k: float(np.mean(kept[i * seeds : (i + 1) * seeds])) for i, k in enumerate(SIDES)}


def _by_length(rows: list[list[int]]) -> list[list[int]]:
    """Indices of prompts of equal length: they run together without padding."""
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(len(row), []).append(i)
    return list(groups.values())


def bleu4(said: list[str], references: list[list[str]]) -> float:
    """BLEU-4 of captions against all captions of each clip (sacrebleu, its own tokenisation), 0 to 1."""
    import sacrebleu

    most = max(map(len, references))
    columns = [[r[min(i, len(r) - 1)] for r in references] for i in range(most)]
    return float(sacrebleu.corpus_bleu(said, columns).score / 100)


def save_motions(file: Path, motions: list[np.ndarray], rows: list[int], captions: list[str]) -> None:
    """Motions in tenths of a millimetre, with the row of the split each stands for and its caption."""
    offsets = np.cumsum([0, *map(len, motions)])
    local = np.round(np.concatenate(motions) * 1e4).clip(-(2**31), 2**31 - 1).astype(np.int32)
    np.savez_compressed(file, joints=local, offsets=offsets, rows=np.array(rows), captions=np.array(captions))


def load_motions(file: Path) -> tuple[list[np.ndarray], list[int], list[str]]:
    """What `save_motions` wrote: motions (T, 22, 3) metres, rows, captions."""
    with np.load(file) as z:
        joints = z["joints"].astype(np.float32) * np.float32(1e-4)
        parts = np.split(joints, z["offsets"][1:-1])
        return parts, z["rows"].tolist(), [str(c) for c in z["captions"]]
