"""`python -m core evaluate`: what a model does on bundles it was not trained on.

Reconstruction by source, captions by BLEU, prompts by rules, motion by slide and jerk. Says data, split and seed.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core evaluate", description="Measure a model.")
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the bundled one")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="joint bundles (NAME_joints.npz)")
    parser.add_argument("--split", default="test", help="which clips of the bundles: train, val or test")
    parser.add_argument("--seeds", type=int, default=32, help="motions per prompt for the rules")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there too")
    args = parser.parse_args(argv)

    import torch

    from core.model.checkpoint import load_model

    model = load_model(args.model, "auto")
    figures: dict[str, Any] = {
        "model": model.info["name"],
        "parameters": model.info["parameters"],
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {model.device}",
        "data": [p.name for p in args.data],
        "split": args.split,
    }
    if args.data:
        figures["bundles"] = by_bundle(model, args.data, args.split)
    from core.evaluate.checks import prompt_checks

    figures["prompts"] = {"seeds": args.seeds} | prompt_checks(model, args.seeds)
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def by_bundle(model: Any, paths: list[Path], split: str) -> dict[str, Any]:
    """Reconstruction and caption figures of each bundle."""
    from core.train.autoencoder import reconstruction
    from core.train.data import load_bundle, prepare

    out: dict[str, Any] = {}
    for path in paths:
        clips = prepare([c for c in load_bundle(path) if c.split == split], model.vae.bones.cpu().numpy())
        if not clips:
            out[path.name] = {"clips": 0}
            continue
        rounded = {k: round(v, 2) for k, v in reconstruction(model.vae, clips).items()}
        out[path.name] = {"clips": len(clips)} | rounded | captions(model, clips)
    return out


def captions(model: Any, clips: list[Any]) -> dict[str, Any]:
    """BLEU-4 (sacrebleu, its own tokenisation) against all captions of a clip, and how often one is met exactly."""
    import sacrebleu

    from core.tasks.caption import caption

    said = [caption(model, c.joints)[0] for c in clips]
    most = max(len(c.captions) for c in clips)
    references = [[c.captions[min(i, len(c.captions) - 1)] for c in clips] for i in range(most)]
    exact = np.mean([s in c.captions for s, c in zip(said, clips, strict=True)])
    return {"bleu4": round(sacrebleu.corpus_bleu(said, references).score / 100, 3), "exact": round(float(exact), 3)}
