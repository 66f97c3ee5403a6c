"""`build.py measure model`, `python -m core evaluate`: what a model does on clips it was not trained on.

Says data, split, protocol, seed, repeats and machine. CMU and ACCAD are reported together, every other source apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.evaluate.measure import PARTS


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    if args.repeats < 1:
        raise CoreError("repeats_out_of_range", f"{args.repeats} repeats cannot be made.", "Choose 1 or more.")
    from core.evaluate.report import report, wanted_text
    from core.evaluate.study import read_clips
    from core.evaluate.wanted import checks

    started = time.perf_counter()
    clips, train, notes = read_clips(args.data, args.split, args.body_model)  # first: wrong data is told at once
    study = prepared(args, clips, train)
    study.notes[:0] = notes
    from core.evaluate.measure import result, run

    run(study, args.parts, _progress if sys.stderr.isatty() else None)
    out = {"made_with": made_with(args, study)} | result(study)
    held = checks(out["figures"], list(out["clips"]))
    out["wanted"] = [vars(c) | {"holds": c.holds} for c in held]
    print(report(out["figures"], out["clips"]))
    if held:
        print(wanted_text(held))
    print("\nNotes" + "".join(f"\n    {note}" for note in out["notes"]) if out["notes"] else "")
    if args.pictures is not None:
        from core.evaluate.pictures import write_pictures

        for path in write_pictures(study, args.pictures):
            print(f"picture: {path}")
    out["made_with"]["seconds"] = round(time.perf_counter() - started, 1)
    print("\nmade with: " + ", ".join(f"{k} {_said(v)}" for k, v in out["made_with"].items()))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return int(args.bounds and not all(c.holds for c in held))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core evaluate", description="Measure a model.")
    parser.add_argument("--model", type=Path, help="a bundled model's name or a folder (default: the bundled one)")
    parser.add_argument("--matcher", type=Path, metavar="DIR", help="the judge of text and motion (default: bundled)")
    sources = "NAME_joints.npz files, or folders of HumanML3D's layout, of .bvh or of AMASS files"
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="BUNDLE", help=sources)
    parser.add_argument(
        "--body-model", type=Path, metavar="FILE", help="SMPL-X or SMPL+H model, which AMASS files need"
    )
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--repeats", type=int, default=20, help="draws of every motion, for intervals (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    parser.add_argument("--guidance", type=float, metavar="G", help="how strictly a caption counts (default: its own)")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: the model's own)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of matrix products")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write strips of the worst and median clips here")
    parser.add_argument("--bounds", action="store_true", help="exit code 1 where a wanted figure does not hold")
    return parser


def prepared(args: argparse.Namespace, clips: list[Any], train: list[Any]) -> Any:
    """The study of the command line's arguments, with everything loaded."""
    from core.evaluate.measure import NEED_MATCHER, new_study
    from core.evaluate.study import ready_for
    from core.model.checkpoint import load_model

    model = load_model(args.model, args.device, args.precision)
    missing: list[str] = []
    matcher = encoder = None
    if set(args.parts) & set(NEED_MATCHER):
        from core.evaluate.matcher import BUNDLED, load_matcher

        if args.matcher is None and not BUNDLED.is_dir():
            missing.append("no matcher comes with this version: nothing that needs one was measured")
        else:
            matcher = load_matcher(args.matcher, str(model.device))
    if set(args.parts) & {"t2m", "captions"}:
        from core.language.sentence import load_sentence

        encoder = load_sentence()
    ready = ready_for(model, clips)
    return new_study(model, matcher, ready, train, encoder=encoder, repeats=args.repeats, seed=args.seed,
                     guidance=args.guidance, steps=args.steps, notes=missing)  # fmt: skip


def made_with(args: argparse.Namespace, study: Any) -> dict[str, Any]:
    """Everything a reader needs to make the figures again."""
    from core.machine import machine

    model, diffusion = study.model, study.model.cfg.diffusion
    return {
        "model": model.info["name"], "parameters": model.info["parameters"], "trained_on": model.info.get("data", ""),
        "data": [p.name for p in args.data], "split": args.split, "clips": len(study.clips),
        "protocol": "each clip's captions and own length; groups of 32 clips no two of which share a caption",
        "repeats": args.repeats, "seed": args.seed,
        "guidance": diffusion.guidance if args.guidance is None else args.guidance,
        "sampler": f"{diffusion.sampler}, {args.steps or diffusion.steps} steps", "matcher": _matcher_name(args, study),
        "device": str(model.device), "precision": args.precision, "machine": machine(),
    }  # fmt: skip


def _matcher_name(args: argparse.Namespace, study: Any) -> str:
    if study.matcher is None:
        return "none"
    return "bundled" if args.matcher is None else args.matcher.name


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {v}" for k, v in value.items()) + ")"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _progress(what: str) -> None:
    print(f"\r{what:<60}", end="", file=sys.stderr, flush=True)
