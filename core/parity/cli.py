"""`python -m core parity DIR`: every group of recorded outputs against this project's model, one line each.

Exit code 0 when all bounds hold, 1 when one does not, 2 when the folder is no fixture folder or is damaged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from core.errors import CoreError
from core.machine import machine, peak_memory
from core.model.checkpoint import device_name, pick_device
from core.parity import bimodal, clip_features, full, motion_tasks, motion_vae, sampling, text_tasks, training
from core.parity.fixtures import Fixtures
from core.parity.report import RELATIVE, Check, Outcome, run_group

MAIN: dict[str, Check] = {
    "tokenizer": bimodal.tokenizer,
    "vae_encode": motion_vae.encode,
    "vae_decode": motion_vae.decode,
    "vae_loss": motion_vae.loss,
    "und_head": motion_vae.understanding_head,
    "backbone": bimodal.backbone,
    "cma": bimodal.cma,
    "schedule": sampling.schedule,
    "diffusion": sampling.teacher_forcing,
    "sample_cfg": sampling.guided,
    "sample_nocfg": sampling.unguided,
    "sample_ddim": sampling.ddim,
    "t2m_demo": motion_tasks.t2m_demo,
    "t2m_eval": motion_tasks.t2m_eval,
    "pred": motion_tasks.prediction,
    "inbetween": motion_tasks.inbetweening,
    "m2t": text_tasks.m2t,
    "t2t": text_tasks.t2t,
    "t2m_leftpad_quirk": motion_tasks.left_padding,
    "train": training.train,
    "train_gradients": training.gradients,
    "joints": motion_tasks.joints,
}
CLIP: dict[str, Check] = {"features_clip": clip_features.features_clip}
FULL: dict[str, Check] = {
    "full_weights": full.weights,
    "full_vae": full.vae,
    "full_t2m": full.t2m,
    "full_m2t": full.m2t,
}
GROUPS = (*MAIN, *CLIP, *FULL)
NOTES = {
    "backbone/text_logits_note_rows_valid",  # which rows count: the modalities and the padding say so, too
    "m2t/position_ids_prefill", "m2t/position_ids_step1", "m2t/raw_top2_margin_min",  # how it was recorded
    "train/cfg_drop_uniform",  # cfg_drop_rows is what came of it
}  # fmt: skip
"""Recorded for the reader, not outputs."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core parity", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the fixtures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--group", nargs="+", metavar="NAME", help=f"only these of: {', '.join(GROUPS)}")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.group or ()) - set(GROUPS))
    if unknown:
        raise CoreError(
            "parity_unknown_group", f"There is no group '{unknown[0]}'.", f"Choose from: {', '.join(GROUPS)}."
        )
    device = pick_device(args.device)
    fixtures = Fixtures(args.folder, device)
    print(f"Recorded outputs in {args.folder}, seed {fixtures.config.get('seed', 'unknown')}.")
    print(f"This machine: {machine()['processor']}, {machine()['threads']} threads; torch {torch.__version__}, "
          f"{device_name(device)}. Bound {RELATIVE:g} relative, tokens exact, where no other is named.\n")  # fmt: skip
    outcomes = run(fixtures, args.group)
    counts = {s: sum(o.status == s for o in outcomes) for s in ("ok", "FAILED", "absent")}
    extra = [] if args.group else unread(fixtures)
    print()
    for key in extra:
        print(f"not compared: {key} (no group knows it)")
    peak = peak_memory()
    used = "" if peak is None else f"; peak memory {peak / 1000:.2f} GB"
    print(f"{counts['ok']} ok, {counts['FAILED']} failed, {counts['absent']} absent{used}")
    if args.json:
        figures = {
            "measure": "parity",
            "folder": str(args.folder),
            "seed": fixtures.config.get("seed"),
            "device": device_name(device),
            "machine": machine(),
            "torch": torch.__version__,
            "bounds": {"relative": RELATIVE, "gradients": training.GRADIENTS, "tokens": 0},
            "groups": [o.to_dict() for o in outcomes],
            "not_compared": extra,
            "summary": {"ok": counts["ok"], "failed": counts["FAILED"], "absent": counts["absent"]},
            "peak_memory_mb": peak,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(counts["FAILED"] > 0)


def run(fixtures: Fixtures, names: list[str] | None = None) -> list[Outcome]:
    """Run the groups of these names (all where None), print a line each."""
    chosen = [name for name in GROUPS if not names or name in names]
    if fixtures.main and any(name in MAIN for name in chosen):
        fixtures.model  # noqa: B018 - a folder whose model cannot be built has no groups to run: CoreError
    outcomes = []
    print(f"{'group':<19}{'values':>6}  {'largest error':<22}{'bound':<9}{'':<8}of")
    for groups, archive in ((MAIN, fixtures.main), (CLIP, fixtures.clip), (FULL, fixtures.full)):
        for name, check in groups.items():
            if name not in chosen:
                continue
            outcome = run_group(name, check, fixtures, archive) if archive else Outcome(name, absent=[archive.name])
            print(line(outcome), flush=True)
            outcomes.append(outcome)
    return outcomes


def line(outcome: Outcome) -> str:
    """One row of the table: the group, how many values, the largest error, its bound, the verdict, where it was."""
    worst = outcome.worst
    error = bound = what = ""
    if worst is not None:
        counted = worst.unit.startswith("of")
        error = f"{worst.error:.0f} {worst.unit} differ" if counted else f"{worst.error:.1e} {worst.unit}"
        bound = "none" if counted else f"{worst.bound:g}"
        what = worst.name
    exact = [c for c in outcome.comparisons if c.unit.startswith("of") and c is not worst]
    if exact and all(c.holds for c in exact):
        what += f"; {sum(int(c.unit[3:]) for c in exact)} tokens and texts equal"
    if outcome.broke:
        what = outcome.broke
    elif outcome.absent:
        what += f"{'; ' if what else ''}absent: {', '.join(sorted(set(outcome.absent))[:3])}"
    return f"{outcome.name:<19}{len(outcome.comparisons):>6}  {error:<22}{bound:<9}{outcome.status:<8}{what}"


def unread(fixtures: Fixtures) -> list[str]:
    """Recorded arrays that no group read."""
    archives = (fixtures.main, fixtures.clip, fixtures.full)
    notes = NOTES | {key for key in fixtures.full.arrays if key.endswith("raw_top2_margin_min")}
    return [f"{a.name}: {key}" for a in archives for key in a.unread() if key not in notes]
