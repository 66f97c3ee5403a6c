"""`python -m core train ablation`: the paper's comparisons at equal data, parameters, optimiser, batch and steps.

Unified and bimodal, codes and one latent; attention shared in the last 1 to all layers; with and without stages 1, 2
and 3. A run that is done is not done again; one that was cut off goes on. core/train/ablation_report.py makes the
table and the plots from whatever is there.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import torch

from core.errors import CoreError
from core.model.checkpoint import pick_device
from core.model.config import VAEConfig, compact
from core.model.vae import MotionVAE
from core.prompts import Tokenizer
from core.train import ablation_report, ablation_score
from core.train.ablation_data import encoded, prepared, write_json
from core.train.ablation_speed import step_seconds
from core.train.ablation_systems import LONG, MAIN, STAGED, Sizes, System, sharing
from core.train.ablation_train import Budget, Run, World
from core.train.ablation_vq import load_or_train
from core.train.autoencoder import train_autoencoder
from core.train.data import Clip
from core.train.tokenizer import train_tokenizer

GROUPS = ("systems", "sharing", "stages")
VQ_STEPS, VAE_STEPS = 2200, 3000
"""Steps of the two tokenizers of motion, where they are not given."""


def run(
    data: list[Path],
    runs: Path,
    out: Path,
    *,
    steps: int = 640,
    minutes: float | None = None,
    seeds: list[int],
    device: str = "auto",
    only: list[str] | None = None,
    autoencoder: Path | None = None,
    sizes: Sizes | None = None,
    budget: Budget | None = None,
    tokenizer_steps: tuple[int, int] = (VQ_STEPS, VAE_STEPS),
    vae_cfg: VAEConfig | None = None,
) -> None:
    """Everything, as far as the time goes, then scores, table and plots.

    Args:
        data: joint bundles. runs: checkpoints, logs and figures go there. out: ablation.md and ablation/*.png.
        steps: of each run. minutes: stop (to go on later) after this long in all.
        seeds: the main systems are run with all of them before the other comparisons begin with the first.
        only: of "systems", "sharing", "stages"; None for all.
        autoencoder: a trained motion VAE (state dict of the compact model's sizes); None to train one here.
        sizes, budget, tokenizer_steps, vae_cfg: for tests; other sizes than the published ones.
    Raises:
        CoreError("ablation_unknown"): a name in `only` that is none of these; and those of the bundles' reader.
    """
    groups = only or list(GROUPS)
    if unknown := sorted(set(groups) - set(GROUPS)):
        raise CoreError("ablation_unknown", f"There is no ablation '{unknown[0]}'.", f"Choose of {', '.join(GROUPS)}.")
    started = time.monotonic()
    stop_at = None if minutes is None else started + 60 * minutes
    sizes, budget = sizes or Sizes(), budget or Budget(steps=steps)
    world = make_world(data, runs, pick_device(device), autoencoder, tokenizer_steps, vae_cfg)
    for system, seed in plan(groups, seeds, sizes):
        folder = runs / "runs" / run_name(system, seed)
        if (folder / "result.json").exists():
            continue
        print(f"{run_name(system, seed)}: begins {time.monotonic() - started:.0f} s in", flush=True)
        one = Run(world, system, seed, budget.times(system.times), sizes, folder, runs)
        if not one.train(stop_at):
            print("The time is up; the same command goes on from here.", flush=True)
            break
        ablation_report.main([str(runs), str(out)])
    if not (runs / "speed.json").exists():
        write_json(runs / "speed.json", step_seconds(world, MAIN, sizes, budget))
    ablation_score.score(runs, world.motions, world.vae.cfg)
    ablation_report.main([str(runs), str(out)])


def run_name(system: System, seed: int) -> str:
    longer = f"x{system.times:g}_" if system.times > 1 else ""
    return f"{system.name}_{system.shared}_{system.stages}_{longer}{seed}".lower().replace("+", "_")


def plan(groups: list[str], seeds: list[int], sizes: Sizes) -> list[tuple[System, int]]:
    """What to run in which order, so that whatever is done when the time is up makes a table: the main systems with
    two seeds, then the other comparisons with one, then more seeds of everything."""
    main = MAIN if "systems" in groups else []
    others = (STAGED if "stages" in groups else []) + (sharing(sizes) if "sharing" in groups else [])
    longer = LONG if main else LONG[:1]  # the others' reference in any case
    rounds = [(main, s) for s in seeds[:2]] + [(longer + others, s) for s in seeds[:1]]
    rounds += [(longer, s) for s in seeds[1:2]] + [(main, s) for s in seeds[2:]]
    rounds += [(others, s) for s in seeds[1:]] + [(longer, s) for s in seeds[2:]]
    return [(system, seed) for systems, seed in rounds for system in systems]


def make_world(
    data: list[Path],
    runs: Path,
    device: torch.device | str,
    autoencoder: Path | None,
    tokenizer_steps: tuple[int, int] = (VQ_STEPS, VAE_STEPS),
    vae_cfg: VAEConfig | None = None,
) -> World:
    """Data, text tokenizer, VAE and VQ-VAE; what is already in `runs` is taken from there."""
    splits, bones = prepared(data, runs)
    file = runs / "tokenizer.json"
    if file.exists():
        tokenizer = Tokenizer(file)
    else:
        tokenizer = train_tokenizer([t for c in splits["train"] for t in c.captions], file)
    vae = _autoencoder(splits, bones, runs, device, autoencoder, tokenizer_steps[1], vae_cfg or compact().vae)
    vq = load_or_train(splits["train"], splits["val"], runs, steps=tokenizer_steps[0], device=device)
    key = f"{[p.name for p in data]} {float(vae.latent_std.sum()):.6f} {float(vq.book.vectors.sum()):.6f}"
    return World(encoded(splits, vae, vq, runs, key), tokenizer, vae, vq)


def _autoencoder(
    splits: dict[str, list[Clip]],
    bones: np.ndarray,
    runs: Path,
    device: torch.device | str,
    given: Path | None,
    steps: int,
    cfg: VAEConfig,
) -> MotionVAE:
    vae = MotionVAE(cfg).to(device)
    file = runs / "autoencoder.pt"
    if given is not None and not file.exists():
        if not given.exists():
            raise CoreError("file_missing", f"There is no autoencoder {given}.", "Train one: core train autoencoder.")
        shutil.copyfile(given, file)  # these runs keep the one they began with
    if file.exists():
        vae.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    else:
        vae = train_autoencoder(cfg, splits["train"], splits["val"], bones, runs / "autoencoder", steps=steps,
                                device=torch.device(device))  # fmt: skip
        torch.save(vae.state_dict(), file)
    vae.requires_grad_(False)
    return vae.eval()
