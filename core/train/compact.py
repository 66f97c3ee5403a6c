"""The bundled compact model, from joint bundles to a model folder."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
import torch

from core.evaluate.checks import prompt_checks
from core.model.checkpoint import load_model, pick_device, save_model
from core.model.config import compact
from core.model.motiongpt3 import MotionGPT3
from core.model.vae import MotionVAE
from core.train.augment import augmented
from core.train.autoencoder import reconstruction, train_autoencoder
from core.train.bimodal import train_bimodal
from core.train.data import Clip, canonical_bones, load_bundle, mirrored, prepare
from core.train.polish import polish
from core.train.tokenizer import train_tokenizer

COPIES = 2
"""Other durations made of each clip."""


def load_data(paths: list[Path], count: int, seed: int, cache: Path) -> tuple[list[Clip], list[Clip], np.ndarray]:
    """Training clips (with mirrored and made ones), validation clips and canonical bones, cached in `cache`."""
    file = cache / f"clips_{count}_{seed}.pkl"  # written and read by this function only
    if file.exists():
        return pickle.loads(file.read_bytes())
    clips = [c for p in paths for c in load_bundle(p)]
    bones = canonical_bones(clips)
    train = [c for c in clips if c.split == "train"]
    made = augmented(train, count, COPIES, seed)
    # The clips themselves from both sides; of the made ones every second mirrored, as fair and half the memory.
    train = [*train, *(mirrored(c) for c in train), *(mirrored(c) if i % 2 else c for i, c in enumerate(made))]
    result = (prepare(train, bones), prepare([c for c in clips if c.split == "val"], bones), bones)
    cache.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(result))
    return result


def train_compact(args: argparse.Namespace) -> None:
    """Autoencoder, backbone and head on its latents, then the decoder on drawn latents.

    Writes a model folder with half-precision weights."""
    torch.manual_seed(args.seed)
    device = pick_device(args.device)
    cfg = compact()
    cfg.licence = args.licence
    cfg.data = ", ".join(p.name.removesuffix("_joints.npz") for p in args.data)
    train, val, bones = load_data(args.data, args.composed, args.seed, args.runs)
    print(f"{len(train)} training clips, {len(val)} validation clips", flush=True)
    finished = args.runs / "autoencoder.pt"
    if finished.exists():
        vae = MotionVAE(cfg.vae).to(device)
        vae.load_state_dict(torch.load(finished, map_location=device, weights_only=True))
    else:
        vae = train_autoencoder(
            cfg.vae, train, val, bones, args.runs / "autoencoder", steps=args.autoencoder_steps, seed=args.seed,
            stop_at=args.autoencoder_minutes and 60 * args.autoencoder_minutes, device=device,
        )  # fmt: skip
        torch.save(vae.state_dict(), finished)
    vae.eval()
    print("reconstruction:", json.dumps(reconstruction(vae, val)), flush=True)
    captions = [t for c in train for t in c.captions]
    model = MotionGPT3(cfg, train_tokenizer(captions, args.runs / "tokenizer.json"))
    model.vae = vae
    model.to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters", flush=True)
    finished = args.runs / "bimodal.pt"
    if finished.exists():
        model.load_state_dict(torch.load(finished, map_location=device, weights_only=True))
    else:
        if args.start is not None:
            begun = load_model(args.start, "cpu").state_dict()
            own = {k: v for k, v in begun.items() if not k.startswith("vae.")}
            model.load_state_dict(own, strict=False)
        train_bimodal(
            model, train, val, args.runs / "bimodal", steps=args.steps, seed=args.seed,
            check_seeds=args.check_seeds,
            stop_at=args.minutes and 60 * args.minutes,
        )  # fmt: skip
        torch.save(model.state_dict(), finished)
    if args.polish_steps:
        polish(
            model, train, val, args.runs / "polish", steps=args.polish_steps, seed=args.seed,
            check_seeds=args.check_seeds,
            stop_at=args.polish_minutes and 60 * args.polish_minutes,
        )  # fmt: skip
    out = args.out or args.runs / "model"
    save_model(model, out, torch.float16)
    print(json.dumps(prompt_checks(model, 4 * args.check_seeds)), flush=True)
    print(f"written to {out}", flush=True)
