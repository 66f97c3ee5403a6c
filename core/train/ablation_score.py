"""Scores of the ablations' saved motions and captions, by the matcher: a step of its own, over the runs there are.

python -m core.train.ablation_score RUNS      (RUNS as made by `python -m core train ablation`)
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import CoreError
from core.evaluate.matcher import Matcher, load_matcher
from core.evaluate.metrics import draw_groups, fid, matching, r_precision
from core.evaluate.physical import foot_slide, jerk
from core.evaluate.sides import agreement
from core.model.config import VAEConfig, compact
from core.model.vae import MotionVAE
from core.model.vq import MotionVQ, VQConfig
from core.train.ablation_data import Motions, kept_motions, write_json
from core.train.ablation_speak import bleu4, load_motions
from core.train.ablation_vq import decoded
from core.train.data import Clip

REPEATS = 20
"""Draws of the retrieval groups."""
PARTS = {"all": lambda c: True, "bandai": lambda c: c.source == "bandai", "rest": lambda c: c.source != "bandai"}


def fingerprint(matcher: Matcher) -> str:
    """Tells matchers apart: what one of them scored is not to be compared with what another did."""
    rows = b"".join(p.detach().cpu().numpy().tobytes() for p in matcher.parameters())
    return hashlib.sha256(rows).hexdigest()[:12]


class Judge:
    """The matcher and a split's real motions and captions."""

    def __init__(self, matcher: Matcher, clips: list[Clip]) -> None:
        self.matcher, self.clips, self.name = matcher, clips, fingerprint(matcher)
        self.real = matcher.embed_motion([c.joints[: c.frames] for c in clips])

    def judge(self, motions: list[np.ndarray], rows: list[int], captions: list[str]) -> dict[str, float]:
        """R@1-3, MM-Dist and FID of motions made for captions of clips, for all, Bandai and the rest; slide (mm a
        frame) and jerk against the real clips; share of the sides that captions name that are kept."""
        made, texts = self.matcher.embed_motion(motions), self.matcher.embed_text(captions)
        out: dict[str, float] = {}
        for part, belongs in PARTS.items():
            mine = np.array([k for k, i in enumerate(rows) if belongs(self.clips[i])], int)
            if len(mine):
                found = self._retrieval(made[mine], texts[mine], [rows[k] for k in mine], [captions[k] for k in mine])
                out |= {(k if part == "all" else f"{part}_{k}"): v for k, v in found.items()}
        real = [self.clips[i].joints[: self.clips[i].frames] for i in rows]
        slides = np.array([(foot_slide(m), foot_slide(r)) for m, r in zip(motions, real, strict=True)])
        out["slide_ratio"] = float(np.nanmean(slides[:, 0]) / np.nanmean(slides[:, 1]))
        kept = agreement(list(zip(captions, motions, strict=True))).values()
        if kept:
            out["sides"] = sum(k["right"] * k["count"] for k in kept) / sum(k["count"] for k in kept)
        out["jerk_ratio"] = float(np.mean([jerk(m) for m in motions]) / np.mean([jerk(m) for m in real]))
        return out

    def _retrieval(self, made: np.ndarray, texts: np.ndarray, rows: list[int], captions: list[str]) -> dict[str, float]:
        every = [list({*self.clips[i].captions, t}) for i, t in zip(rows, captions, strict=True)]
        rng = np.random.default_rng(0)
        found, distance = [], []
        for _ in range(REPEATS):
            for group in draw_groups(every, rng):
                found.append(r_precision(texts[group], made[group]))
                distance.append(matching(texts[group], made[group]))
        out = {f"R@{k + 1}": float(v) for k, v in enumerate(np.mean(found, 0))}
        return out | {"MM-Dist": float(np.mean(distance)), "FID": fid(made, self.real[sorted(set(rows))])}


def score(runs: Path, motions: dict[str, Motions], vae_cfg: VAEConfig | None = None) -> None:
    """Write score.json beside every finished run's result.json (and for its validation points as far as they are
    there), and reference.json: real motion, and real motion through each tokenizer."""
    matcher = load_matcher()
    judges = {split: Judge(matcher, motions[split].clips) for split in ("val", "test")}
    _reference(runs, motions["test"], judges["test"], vae_cfg or compact().vae)
    for folder in sorted((runs / "runs").glob("*")):
        _score_run(folder, judges)


def _score_run(folder: Path, judges: dict[str, Judge]) -> None:
    file = folder / "score.json"
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    name = judges["test"].name
    known = known if known.get("matcher") == name else {"matcher": name}
    before = len(known)
    for made in sorted(folder.glob("*.npz")):
        if made.stem in known:
            continue
        judge = judges[made.stem.split("_")[0]]
        known[made.stem] = judge.judge(*load_motions(made))
        said = {int(k): v for k, v in json.loads(made.with_suffix(".json").read_text()).items()}
        for part, belongs in PARTS.items():
            rows = [i for i in said if belongs(judge.clips[i])]
            if rows:
                column = "BLEU-4" if part == "all" else f"{part}_BLEU-4"
                known[made.stem][column] = bleu4([said[i] for i in rows], [judge.clips[i].captions for i in rows])
    if len(known) > before:
        write_json(file, known)


@torch.no_grad()
def _reference(runs: Path, test: Motions, judge: Judge, cfg: VAEConfig) -> None:
    """Rows to compare with: real motion and what each tokenizer makes of it."""
    file = runs / "reference.json"
    if file.exists() and json.loads(file.read_text()).get("matcher") == judge.name:
        return
    rows, rng = list(range(len(test.clips))), np.random.default_rng(1)
    captions = [c.captions[rng.integers(len(c.captions))] for c in test.clips]
    vae, vq = MotionVAE(cfg), MotionVQ(VQConfig())
    vae.load_state_dict(torch.load(runs / "autoencoder.pt", map_location="cpu", weights_only=True))
    vq.load_state_dict(torch.load(runs / "vq.pt", map_location="cpu", weights_only=True))
    vae.eval()
    vq.eval()
    through = {"real": [c.joints[: c.frames] for c in test.clips], "vq": decoded(vq, test.codes, test.frames)}
    through["vae"] = [
        vae.decode_joints(test.mean[i : i + 1], torch.tensor([n]))[0, :n].numpy() for i, n in enumerate(test.frames)
    ]
    out = {name: judge.judge(made, rows, captions) for name, made in through.items()}
    for name, made in through.items():
        d = [(m - m[:, :1]) - (r - r[:, :1]) for m, r in zip(made, through["real"], strict=True)]
        out[name]["relative_mm"] = float(np.mean([1000 * np.linalg.norm(x, axis=-1).mean() for x in d]))
    write_json(file, {"matcher": judge.name} | out)


def main(argv: list[str]) -> int:
    runs = Path(argv[0])
    motions = kept_motions(runs)
    if motions is None:
        raise CoreError("data_missing", f"'{runs}' holds no motions of an ablation.", "Run the ablation first.")
    score(runs, motions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
