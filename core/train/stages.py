"""From captioned motion to a model folder: the autoencoder, the three stages, and the compact model that is all of it.

The text branch is GPT-2's where the sizes are GPT-2's and it lies on this computer, else our own small causal language
model, pre-trained on the captions (step "text"). Every step's result stays in the runs folder: a step that is done is
not done again, one that was cut off goes on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import CoreError
from core.evaluate.checks import prompt_checks
from core.evaluate.study import ALL
from core.model.checkpoint import load_model, pick_device
from core.model.config import ModelConfig, compact, tiny
from core.model.motiongpt3 import MotionGPT3
from core.model.repack import FORMS, store
from core.model.vae import MotionVAE
from core.prompts import Tokenizer
from core.restpose import LENGTHS
from core.train.augment import augmented, windows
from core.train.autoencoder import reconstruction, train_autoencoder
from core.train.bimodal import StageOptions, train_stage
from core.train.checkpoints import put_back
from core.train.data import (
    Clip,
    canonical_bones,
    describe,
    featured,
    load_data_source,
    mirrored,
    prepare,
    with_mirrored,
)
from core.train.kept import keep, kept
from core.train.polish import polish
from core.train.processes import is_main, main_first
from core.train.tasks import Latents
from core.train.tokenizer import train_tokenizer

STAGES = ("stage1", "stage2", "stage3")
SIZES: dict[str, Callable[[], ModelConfig]] = {"compact": compact, "official": ModelConfig, "tiny": tiny}


@dataclass
class DataOptions:
    """What is made of the clips."""

    mirror: bool = True
    composed: int = 0  # clips of one's legs and another's arms
    durations: int = 0  # copies of each clip at another duration
    windows: int = 0  # parts of each clip, for the autoencoder only
    shortest: int = 8  # frames of a part
    longest: int = 80


@dataclass
class AutoencoderOptions:
    steps: int = 6000
    minutes: float | None = None
    batch: int = 64
    lr: float = 5e-4
    matrix_lr: float = 1.5e-3
    decay: float = 0.998
    every: int = 250


@dataclass
class PolishOptions:
    steps: int = 1000
    minutes: float | None = None
    batch: int = 48


@dataclass
class RunOptions:
    """Everything a training reads; the configs have the same names."""

    size: str = "compact"
    name: str = "MotionGPT3 compact"
    licence: str = ""
    stored: str = "int8"
    text_branch: str = "own"  # own: pre-trained here on the captions; or where GPT-2 lies: a folder, or "gpt2"
    model: dict[str, Any] = field(default_factory=dict)  # changes to the sizes: {"diffusion": {"width": 448}}
    data: DataOptions = field(default_factory=DataOptions)
    autoencoder: AutoencoderOptions = field(default_factory=AutoencoderOptions)
    text: StageOptions = field(default_factory=StageOptions)
    stage1: StageOptions = field(default_factory=StageOptions)
    stage2: StageOptions = field(default_factory=StageOptions)
    stage3: StageOptions = field(default_factory=StageOptions)
    polish: PolishOptions = field(default_factory=PolishOptions)


def options_from(config: dict[str, Any]) -> RunOptions:
    """A parsed config -> options. Raises CoreError("config_wrong") naming the key."""
    return _filled(RunOptions, config, "")


def _filled(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    made = {}
    for key, value in values.items():
        if key not in known:
            raise CoreError("config_wrong", f"The config has an unknown entry '{where}{key}'.",
                            f"Known here: {', '.join(known)}.")  # fmt: skip
        default = getattr(kind(), key)
        if dataclasses.is_dataclass(default):
            made[key] = _filled(type(default), value, f"{where}{key}.")
        else:
            made[key] = value
    return kind(**made)


def model_config(options: RunOptions) -> ModelConfig:
    """The sizes, with the config's changes. Raises CoreError("config_wrong")."""
    if options.size not in SIZES:
        raise CoreError("config_wrong", f"There is no model size '{options.size}'.", f"Choose {', '.join(SIZES)}.")
    raw = SIZES[options.size]().to_dict()
    for part, changes in options.model.items():
        if isinstance(changes, dict):
            raw[part] = raw[part] | changes
        else:
            raw[part] = changes
    return ModelConfig.from_dict(raw | {"name": options.name, "licence": options.licence})


@dataclass
class Data:
    """Clips to train on (with mirrored and made ones), parts of them for the autoencoder, and clips to watch."""

    train: list[Clip]
    parts: list[Clip]
    val: list[Clip]
    bones: np.ndarray


def load_data(
    paths: list[Path], options: DataOptions, seed: int, cache: Path, *, official: bool = False,
    body_model: Path | None = None,
) -> Data:  # fmt: skip
    """Read and prepare the sources; cached in `cache`, by what was asked for.

    Args:
        official: keep features as they are, for a VAE without a linear path, which knows no bones of its own.
        body_model: see `load_data_source`.
    """
    asked = json.dumps([[str(p) for p in paths], dataclasses.asdict(options), seed, official])
    with main_first():  # one process reads and prepares, the others find it done
        return _loaded(paths, options, seed, cache / "clips.npz", asked, official, body_model)


def _loaded(
    paths: list[Path], options: DataOptions, seed: int, file: Path, asked: str, official: bool, body_model: Path | None
) -> Data:
    """`load_data` of one process; `file` is written and read here only, `asked` is what it was made for."""
    found = kept(file, asked)
    if found is not None:
        return Data(**found[0], bones=found[1]["bones"])
    clips = [c for p in paths for c in load_data_source(p, body_model=body_model)]
    print(describe(clips), flush=True)
    own = [c for c in clips if c.split == "train"]
    if not own:
        raise CoreError("data_broken", "No clip of the data is for training.", "Mark clips with the split 'train'.")
    bones = LENGTHS.astype(np.float32) if official else canonical_bones(clips)

    def ready(some: list[Clip]) -> list[Clip]:
        return featured(some) if official else prepare(some, bones)

    made = augmented(own, options.composed, options.durations, seed) if options.composed or options.durations else []
    if options.mirror:
        # The clips themselves from both sides; of the made ones every second mirrored, as fair and half the memory.
        own = with_mirrored(own)
        made = [mirrored(c) if i % 2 else c for i, c in enumerate(made)]
    base = ready(own)
    parts = [w for k in range(options.windows) for w in windows(base, options.shortest, options.longest, seed + k)]
    data = Data(base + ready(made), parts, ready([c for c in clips if c.split == "val"]), bones)
    keep(file, asked, {"train": data.train, "parts": data.parts, "val": data.val}, {"bones": data.bones})
    return data


def run(
    what: str,
    config: dict[str, Any],
    *,
    data: list[Path],
    runs: Path,
    out: Path | None = None,
    start: Path | None = None,
    resume: Path | None = None,
    body_model: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Train "autoencoder", "stage1", "stage2", "stage3", or "compact", which is all of it.

    Args:
        config: see RunOptions. data: see core/train/sources. runs: checkpoints and logs.
        out: model folder to write (of the autoencoder: a file); default RUNS/model.
        start: a model folder or the autoencoder's file to go on from; stages need one.
        body_model: the SMPL-X or SMPL+H model that AMASS motion needs.
        resume: a checkpoint of this very step, if not the newest one in `runs`.
    Returns:
        Where the result is.
    """
    options = options_from(config)
    if options.stored not in FORMS:
        choices = f"Choose {', '.join(FORMS)}."
        raise CoreError("config_wrong", f"Weights cannot be stored as '{options.stored}'.", choices)
    where = pick_device(device)
    torch.manual_seed(seed)
    if resume is not None:
        with main_first() as first:
            if first:
                put_back(resume, runs / what)
    cfg = model_config(options)
    cfg.data = ", ".join(p.name.removesuffix("_joints.npz") for p in data)
    found = load_data(data, options.data, seed, runs, official=not cfg.vae.linear_frames, body_model=body_model)
    print(f"{len(found.train)} training clips, {len(found.parts)} parts, {len(found.val)} to validate on", flush=True)
    if what == "autoencoder":
        vae, cfg = _autoencoder(cfg, options, found, runs, where, seed)
        out = out or runs / "autoencoder.pt"
        torch.save(vae.state_dict(), out)
        cfg.save(out.with_suffix(".json"))
        return out
    if what == "compact":
        vae, cfg = _autoencoder(cfg, options, found, runs, where, seed)
        model = _new_model(cfg, vae, options, found, runs).to(where)
        stages: tuple[str, ...] = ("text", *STAGES) if options.text_branch == "own" else STAGES
    else:
        model = _started(start, cfg, options, found, runs, where)
        stages = (what,)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters", flush=True)
    latents, held_out = Latents(model.vae, found.train, 2, seed), Latents(model.vae, found.val, 1, seed)
    for stage in stages:
        finished = runs / f"{stage}.pt"
        if what == "compact" and finished.exists():
            model.load_state_dict(torch.load(finished, map_location=where, weights_only=True))
            continue
        chosen: StageOptions = dataclasses.replace(getattr(options, stage), seed=seed)
        train_stage(model, stage, latents, held_out, runs / stage, chosen, checks=retrieval_checks(model, found.val))
        if is_main():
            torch.save(model.state_dict(), finished)
    if what == "compact" and options.polish.steps:
        polish(model, latents, found.val, runs / "polish", steps=options.polish.steps, batch=options.polish.batch,
               seed=seed, stop_at=options.polish.minutes and 60 * options.polish.minutes)  # fmt: skip
    out = out or runs / "model"
    store(model, out, options.stored)
    from core.language.known import captions_of, write_known

    write_known(out, captions_of(found.train))
    if cfg.vae.features == 263:
        print(json.dumps(prompt_checks(load_model(out, str(where)), 8)), flush=True)
    print(f"written to {out}", flush=True)
    return out


WATCHED = 128
"""Validation clips that motions are drawn for in each validation."""


def retrieval_checks(model: MotionGPT3, val: list[Clip]) -> Callable[[], dict[str, float]] | None:
    """What a validation measures with the bundled matcher: R@3, FID and slide of motions drawn for validation captions.
    None where there is nothing to measure."""
    from core.evaluate.matcher import BUNDLED, load_matcher
    from core.evaluate.measure import measure

    clips = [val[i] for i in np.random.default_rng(0).permutation(len(val))[:WATCHED] if val[i].captions]
    if len(clips) < 2 or not BUNDLED.is_dir() or model.cfg.vae.features != 263:
        return None
    matcher = load_matcher(device=str(model.device))

    def figures() -> dict[str, float]:
        found = measure(model, matcher, clips, parts={"t2m", "physical"}, repeats=1)["figures"]
        group = ALL if ALL in found["t2m"] else next(iter(found["t2m"]), "")
        rows = {**found["t2m"].get(group, {}).get("generated", {})}
        rows |= found["physical"].get(group, {}).get("generated", {})
        return {k: float(rows[k][0]) for k in ("r3", "fid", "slide_mm", "jerk") if k in rows}

    return figures


def _autoencoder(
    cfg: ModelConfig, options: RunOptions, data: Data, runs: Path, device: torch.device, seed: int
) -> tuple[MotionVAE, ModelConfig]:
    """The trained autoencoder, from RUNS/autoencoder.pt where it is done, and the config with its latent scale."""
    finished = runs / "autoencoder.pt"
    if finished.exists():
        vae = MotionVAE(cfg.vae).to(device)
        vae.load_state_dict(torch.load(finished, map_location=device, weights_only=True))
        beside = finished.with_suffix(".json")
        if beside.exists():
            cfg.vae.latent_scale = ModelConfig.load(beside).vae.latent_scale
    else:
        o = options.autoencoder
        vae = train_autoencoder(
            cfg.vae, data.train + data.parts, data.val, data.bones, runs / "autoencoder", steps=o.steps, batch=o.batch,
            lr=o.lr, matrix_lr=o.matrix_lr, decay=o.decay, every=o.every, seed=seed,
            stop_at=o.minutes and 60 * o.minutes, device=device,
        )  # fmt: skip
        if is_main():
            torch.save(vae.state_dict(), finished)
            cfg.save(finished.with_suffix(".json"))
    vae.eval()
    if data.val:
        print("reconstruction:", json.dumps(reconstruction(vae, data.val)), flush=True)
    return vae, cfg


def _new_model(cfg: ModelConfig, vae: MotionVAE, options: RunOptions, data: Data, runs: Path) -> MotionGPT3:
    """A model around an autoencoder, with its tokenizer and, where it is to be GPT-2's, its text branch."""
    if options.text_branch == "own":
        captions = [t for c in data.train for t in c.captions]
        with main_first():
            model = MotionGPT3(cfg, train_tokenizer(captions, runs / "tokenizer.json"))
    else:
        from core.train.textbranch import from_gpt2, gpt2_folder

        model = MotionGPT3(cfg, Tokenizer(gpt2_folder(options.text_branch)))
        from_gpt2(model, options.text_branch)
    model.vae = vae
    return model


def _started(
    start: Path | None, cfg: ModelConfig, options: RunOptions, data: Data, runs: Path, device: torch.device
) -> MotionGPT3:
    """The model a stage begins with."""
    if start is None:
        raise CoreError(
            "start_missing", "A stage goes on from something, and nothing was named.",
            "Pass --start with a model folder, or with the autoencoder's .pt for a first stage.",
        )  # fmt: skip
    if start.is_dir():
        model = load_model(start, str(device))
        model.precision = torch.float32
        return model
    if not start.is_file():
        raise CoreError("start_missing", f"There is no '{start}' to start from.", "Train the autoencoder first.")
    beside = start.with_suffix(".json")
    if beside.exists():
        cfg.vae = ModelConfig.load(beside).vae
    vae = MotionVAE(cfg.vae)
    try:
        vae.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, ValueError) as error:
        raise CoreError("start_missing", f"'{start}' is not an autoencoder of these sizes ({error}).",
                        "Train it with the same config.") from error  # fmt: skip
    vae.eval()
    return _new_model(cfg, vae, options, data, runs).to(device)
