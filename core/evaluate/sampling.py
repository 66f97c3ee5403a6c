"""`python -m core sampling`: what fewer sampling steps cost, sampler by sampler.

For captions of a split, the same seeds each time:
    off        mean distance of joints to the 100-step ancestral sample from the same noise, mm; beside it what two such
               samples differ by when only the noise between the steps differs (the row "other noise")
    own        mean distance to the same sampler with 100 steps, mm: how far it is from its own limit
    R@1, R@3   text-to-motion retrieval in groups of 32 different captions, the model's own captioner as the judge: the
               caption's likelihood given each motion (no separately trained evaluator, so compare rows, not papers)
    rules      share of motions of known prompts that do what the prompt says (core/evaluate/checks.py)
    slide      of feet that should stand, mm a frame; jerk: m/s^3
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import prompts
from core.evaluate.checks import CHECKS
from core.evaluate.physical import foot_slide, jerk
from core.features import canonicalise
from core.model.motiongpt3 import MotionGPT3
from core.tasks.caption import encode_motion

GROUP = 32
RECIPES = [("ddpm", 100), ("ddpm", 50), ("ddpm", 20), ("ddpm", 10), ("ddim", 50), ("ddim", 20), ("ddim", 10),
           ("dpm++", 50), ("dpm++", 20), ("dpm++", 15), ("dpm++", 10), ("dpm++", 6)]  # fmt: skip


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core sampling", description="What fewer sampling steps cost.")
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the bundled one")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="joint bundles (NAME_joints.npz)")
    parser.add_argument("--split", default="test", help="whose captions: train, val or test")
    parser.add_argument("--groups", type=int, default=4, help="groups of 32 captions (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="write the figures there too")
    args = parser.parse_args(argv)
    from core.model.checkpoint import load_model

    model = load_model(args.model, "auto")
    captions, seconds = choose_captions(args.data, args.split, GROUP * args.groups, args.seed)
    rows = study(model, captions, seconds, args.seed)
    made_with = {"model": model.info["name"], "guidance": model.cfg.diffusion.guidance, "captions": len(captions),
                 "data": [p.name for p in args.data], "split": args.split, "seed": args.seed, "repeats": 1,
                 "device": str(model.device)}  # fmt: skip
    keys = [k for k in rows[0] if k != "recipe"]
    print(f"{'recipe':<20}" + "".join(f"{k:>9}" for k in keys))
    for row in rows:
        print(f"{row['recipe']:<20}" + "".join("        -" if row[k] is None else f"{row[k]:9.3g}" for k in keys))
    print("made with: " + ", ".join(f"{k} {v}" for k, v in made_with.items()))
    if args.json is not None:
        args.json.write_text(json.dumps({"made_with": made_with, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


def choose_captions(paths: list[Path], split: str, count: int, seed: int) -> tuple[list[str], list[float]]:
    """Different captions of the split and their clips' durations, drawn evenly from the bundles."""
    from core.train.data import load_bundle

    rng = np.random.default_rng(seed)
    found: dict[str, float] = {}
    pools = []
    for path in paths:
        clips = [c for c in load_bundle(path) if c.split == split]
        pools.append([clips[i] for i in rng.permutation(len(clips))])
    while len(found) < count and any(pools):
        for pool in pools:
            if pool and len(found) < count:
                clip = pool.pop()
                found.setdefault(clip.captions[0], float(np.clip(len(clip.joints) / 20, 1.0, 9.8)))
    whole = len(found) // GROUP * GROUP
    return list(found)[:whole], list(found.values())[:whole]


def study(model: MotionGPT3, captions: list[str], seconds: list[float], seed: int) -> list[dict[str, Any]]:
    """One row a recipe; see the module's text for the columns."""
    seeds = [seed + 1000 * i for i in range(len(captions))]
    exact = draw(model, captions, seconds, seeds, "ddpm", 100)
    limits = {"ddpm": exact} | {s: draw(model, captions, seconds, seeds, s, 100) for s in ("ddim", "dpm++")}
    other = draw(model, captions, seconds, seeds, "ddpm", 100, other_noise=True)
    rows: list[dict[str, Any]] = [{"recipe": "ddpm 100, other noise", "off mm": distance(other, exact), "own mm": None}
                                  | judged(model, other, captions) | {"rules": None, "ms": None}]  # fmt: skip
    for sampler, steps in RECIPES:
        started = time.perf_counter()
        motions = draw(model, captions, seconds, seeds, sampler, steps)
        took = (time.perf_counter() - started) / len(captions) * 1000
        row = {"recipe": f"{sampler} {steps}", "off mm": distance(motions, exact),
               "own mm": distance(motions, limits[sampler])}  # fmt: skip
        rows.append(row | judged(model, motions, captions) | {"rules": rules(model, sampler, steps), "ms": took})
    return rows


@torch.inference_mode()
def draw(
    model: MotionGPT3, captions: list[str], seconds: list[float], seeds: list[int], sampler: str, steps: int,
    other_noise: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """One motion a caption, (frames, 22, 3) each. The first noise follows the seed whatever the steps are."""
    from core.model.sampling import draw_noise

    out = []
    for caption, duration, seed in zip(captions, seconds, seeds, strict=True):
        reads = duration if model.cfg.reads_duration else None
        condition = model.condition(model.prompt(prompts.text_to_motion(caption, reads)))
        noise = draw_noise([seed], steps, model.cfg.vae.channels)
        later = draw_noise([seed + 1], steps, model.cfg.vae.channels)[1:] if other_noise else noise[1:]
        code = model.head.sample(condition, model.fake_latent[None], noise[0], later, steps=steps, sampler=sampler)
        lengths = torch.tensor([round(duration * 20)])
        out.append(model.vae.decode_joints(model.vae.from_code(code), lengths)[0].numpy())
    return out


def distance(motions: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Mean distance of joints, both relative to their roots, mm."""
    gaps = [np.linalg.norm((a - a[:, :1]) - (b - b[:, :1]), axis=-1).mean() for a, b in
            zip(motions, reference, strict=True)]  # fmt: skip
    return float(1000 * np.mean(gaps))


def judged(model: MotionGPT3, motions: list[np.ndarray], captions: list[str]) -> dict[str, float]:
    """Retrieval in groups of 32 by the model's own captioner; slide and jerk."""
    hits = {1: 0, 3: 0}
    for first in range(0, len(captions), GROUP):
        scores = likelihoods(model, motions[first : first + GROUP], captions[first : first + GROUP])
        rank = (scores > scores.diagonal()[None]).sum(0)  # motions that fit the caption better than its own
        for k in hits:
            hits[k] += int((rank < k).sum())
    slides = [s for m in motions if np.isfinite(s := foot_slide(m))]
    return {"R@1": hits[1] / len(captions), "R@3": hits[3] / len(captions), "slide": float(np.mean(slides)),
            "jerk": float(np.mean([jerk(m) for m in motions]))}  # fmt: skip


@torch.inference_mode()
def likelihoods(model: MotionGPT3, motions: list[np.ndarray], captions: list[str]) -> np.ndarray:
    """log p(caption j | motion i), (motions, captions)."""
    tk, pad = model.tokenizer, -1
    start = tk.encode(prompts.motion_to_text())
    texts = [[*tk.encode(f" {c}"), tk.eos] for c in captions]
    longest = max(map(len, texts))
    ids = torch.tensor([start + t + [pad] * (longest - len(t)) for t in texts])
    targets = ids[:, len(start) :]
    out = np.zeros((len(motions), len(captions)))
    for i, motion in enumerate(motions):
        codes = encode_motion(model, motion)[:, None].expand(len(captions), -1, -1)
        hidden = model.hidden(ids, codes, pad=pad)[:, len(start) - 1 : -1]
        likely = model.backbone.logits(hidden).log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
        out[i] = (likely * (targets != pad)).sum(1).numpy()
    return out


def rules(model: MotionGPT3, sampler: str, steps: int, seeds: int = 8) -> float:
    """Mean share of motions that keep the rule of their prompt."""
    kept = []
    for prompt, seconds, rule in CHECKS.values():
        motions = draw(model, [prompt] * seeds, [float(seconds)] * seeds, list(range(seeds)), sampler, steps)
        kept.append(np.mean([rule(canonicalise(m)) for m in motions]))
    return float(np.mean(kept))
