"""`build.py measure captions`: how good captions of real motion are, whether they survive a rig, how fast they come.

Three parts. Words: clips of a split are described with what ships and compared with their own captions. Blender: the
same clips are put on rigs, read back and described (a program of the add-on, which is asked for it; the core knows no
Blender). Speed: 1,000 motions of five seconds. Says data, split, protocol, seed and machine; exit code 1 where a bound
does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.evaluate.captions_speed import COUNT

PARTS = ("words", "blender", "speed")
PROTOCOL = (
    "greedy: the likeliest sentence; as told: core.captions.describe; references: all captions of a clip; retrieval in "
    "groups of 32 clips no two of which share a caption"
)


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    if args.repeats < 1 or args.motions < 1:
        raise CoreError("repeats_out_of_range", "Nothing can be measured less than once.", "Choose 1 or more.")
    from core.evaluate.study import read_clips
    from core.machine import machine
    from core.model.checkpoint import load_model

    started = time.perf_counter()
    failed: CoreError | None = None
    sources = find_sources(args.data)
    clips, _, notes = read_clips(sources, args.split, args.body_model)
    model = load_model(args.model, args.device, args.precision)
    made = {
        "model": model.info["name"], "parameters": model.info["parameters"], "trained_on": model.info.get("data", ""),
        "data": sorted(p.name for p in sources), "split": args.split, "clips": len(clips), "protocol": PROTOCOL,
        "repeats": args.repeats, "seed": args.seed, "device": str(model.device), "precision": args.precision,
        "machine": machine(),
    }  # fmt: skip
    out: dict[str, Any] = {"measure": "captions", "made_with": made, "notes": notes}
    if "words" in args.parts:
        out |= words(args, model, clips, made, notes)
    if "speed" in args.parts:  # before Blender: this process has the machine for itself
        out["speed"] = speed(model, clips, args.motions)
    if "blender" in args.parts:
        bundles = [p for p in sources if p.is_file()]
        if args.blender is None:
            notes.append("Blender: not measured here; build.py measure captions does it")
        elif not bundles:
            notes.append("Blender: not measured, it reads NAME_joints.npz bundles and there is none")
        else:
            try:
                out["blender"] = blender(args, bundles)
                print(blender_table(out["blender"]))
            except CoreError as error:  # what was measured before is still told
                failed = error
                notes.append(f"Blender: {error.message}")
    from core.evaluate.wanted import captions_checks

    held = captions_checks(out, list(out.get("clips", {})), compact=model.vae.linear is not None)
    out["wanted"] = [vars(c) | {"holds": c.holds} for c in held]
    if held:
        from core.evaluate.report import wanted_text

        print(wanted_text(held, "Bounds"))
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    made["seconds"] = round(time.perf_counter() - started, 1)
    print("made with: " + ", ".join(f"{k} {_said(v)}" for k, v in made.items()))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    if failed is not None:
        raise failed
    return int(not all(c.holds for c in held))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build.py measure captions", description="How good captions are.")
    known = (
        "folders, searched at any depth for NAME_joints.npz bundles, HumanML3D's layout, and captioned .bvh or AMASS"
    )
    parser.add_argument("data", type=Path, nargs="+", metavar="BUNDLE_DIR", help=known)
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--rigs", type=Path, metavar="DIR", help="rigs to put the clips on: a folder with a rigs.json")
    parser.add_argument("--limit", type=int, metavar="N", help="put at most N clips on each rig")
    parser.add_argument("--model", type=Path, help="a bundled model's name or a folder (default: the bundled one)")
    parser.add_argument("--matcher", type=Path, metavar="DIR", help="the judge of text and motion (default: bundled)")
    judge = "a model's folder for BERTScore, as roberta-large (default: the bundled sentence encoder judges)"
    parser.add_argument("--bert", type=Path, metavar="DIR", help=judge)
    parser.add_argument("--bert-layers", type=int, metavar="N", help="layers of it to run (default: the package's)")
    parser.add_argument("--body-model", type=Path, metavar="FILE", help="SMPL-X or SMPL+H model, which AMASS needs")
    parser.add_argument("--repeats", type=int, default=20, help="draws of the retrieval groups (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the groups (default: 0)")
    parser.add_argument("--motions", type=int, default=COUNT, metavar="N", help=argparse.SUPPRESS)  # of the part speed
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of matrix products")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--blender", type=json.loads, metavar="JSON", help=argparse.SUPPRESS)
    return parser


def find_sources(paths: list[Path]) -> list[Path]:
    """Folders -> everything in them that `load_data_source` reads, at any depth.

    Raises:
        CoreError: data_missing.
    """
    from core.train.sources.captions import NAMES

    out: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CoreError("data_missing", f'There is no "{path.name}".', "Give a folder of captioned motion.")
        inside = sorted(path.rglob("*_joints.npz")) if path.is_dir() else []
        if path.is_dir():
            inside += sorted(p.parent for p in path.rglob("new_joint_vecs") if p.is_dir())
            inside += sorted({p.parent for name in NAMES for p in path.rglob(name) if _has_motion(p.parent)})
        out += inside or [path]
    return out


def _has_motion(folder: Path) -> bool:
    """Whether captions in a folder can be those of motion files: a report may have the same name."""
    named = (p for kind in ("*.bvh", "*.npz") for p in folder.rglob(kind))
    return any(not p.name.endswith("_joints.npz") for p in named)


def words(args: argparse.Namespace, model: Any, clips: list[Any], made: dict[str, Any], notes: list[str]) -> Any:
    """The part of the sentences: {"figures", "clips", "captions"}; printed."""
    from core.evaluate import captions_bert
    from core.evaluate.captions_figures import measure
    from core.evaluate.captions_told import CHOSEN, CORRECTED, GREEDY, TOLD, tell
    from core.evaluate.matcher import load_matcher
    from core.evaluate.study import Study
    from core.language.sentence import load_sentence

    judge = (captions_bert.bundled(load_sentence()) if args.bert is None
             else captions_bert.BertScore(args.bert, args.bert_layers))  # fmt: skip
    told = tell(model, clips)
    matcher = load_matcher(args.matcher, str(model.device))
    study = Study(model, told.clips, matcher, repeats=args.repeats, seed=args.seed, notes=notes)
    if len(told.clips) + len(told.refused) < len(clips):
        study.say(f"left out: {len(clips) - len(told.clips) - len(told.refused)} clips without a caption")
    for code in sorted({code for _, code in told.refused}):
        study.say(f"refused by describe, {code}: {sum(c == code for _, c in told.refused)} clips")
    study.say(
        f"of {len(told.clips)} greedy sentences {told.changed(GREEDY, CORRECTED)} have a side corrected; describe "
        f"takes another draft for {told.changed(GREEDY, CHOSEN)}, and tells {told.unsure} from what was measured"
    )
    if told.changed(GREEDY, CHOSEN):
        study.say("drafts are chosen by the matcher, which then also judges them: R@k and MM-Dist flatter "
                  f"'{CHOSEN}' and '{TOLD}'")  # fmt: skip
    made |= {"described": len(told.clips), "bertscore": judge.name, "bleu": "sacrebleu", "rouge_l": "rouge-score",
             "cider": "pycocoevalcap"}  # fmt: skip
    measure(study, told, judge)
    counts = {group: len(rows) for group, rows in study.groups.items()}
    figures = study.figures()
    print(words_text(figures, counts))
    said = [{"clip": c.id, **{row: texts[i] for row, texts in told.rows.items()}, "references": c.captions}
            for i, c in enumerate(told.clips)]  # fmt: skip
    return {"figures": figures, "clips": counts, "captions": said}


def words_text(figures: dict[str, Any], clips: dict[str, int]) -> str:
    """All tables of the sentences; the three forms of a wording figure stand below each other."""
    from core.evaluate.captions_told import GREEDY, TOLD
    from core.evaluate.report import table
    from core.evaluate.wording import FIGURES, FORMS

    named = {"": "raw", "_tok": "tokenised", "_cross": "raw against tokenised"}
    shown: dict[str, Any] = {}
    for group, rows in figures["wording"].items():
        shown[group] = {}
        for row, cells in rows.items():
            for form in FORMS if row in (GREEDY, TOLD) else FORMS[:1]:
                one = {n: cells[n + form] for n in FIGURES if n + form in cells}
                shown[group][f"{row}, {named[form]}"] = one | ({"exact": cells["exact"]} if not form else {})
    rest = [table(part, {g: figures[part][g] for g in clips if g in figures[part]}, clips)
            for part in ("matching", "named sides", "sides", "actions") if part in figures]  # fmt: skip
    return "\n".join([table("wording", shown, clips), *rest])


def speed(model: Any, clips: list[Any], count: int) -> dict[str, Any]:
    """The part of the time; printed."""
    from core.evaluate.captions_speed import SECONDS, five_seconds, throughput

    found = throughput(model, five_seconds(clips, count))
    print(f"\nSpeed\n  {found['motions']} motions of {SECONDS:g} s described in {found['seconds']:.1f} s, "
          f"{1000 * found['seconds'] / found['motions']:.1f} ms each ({found['cpu_seconds']:.1f} s of processor time): "
          + ", ".join(f"{k.lower()} {v:.1f} s" for k, v in found["stages"].items()))  # fmt: skip
    return found


def blender(args: argparse.Namespace, bundles: list[Path]) -> dict[str, Any]:
    """What the add-on's half found: {"rows": [...], "made_with": {...}, "holds": bool}.

    Raises:
        CoreError: blender_failed, where it ends without figures.
    """
    with tempfile.TemporaryDirectory(prefix="mgpt3-captions-") as folder:
        target = Path(folder) / "blender.json"
        command = [*args.blender, *map(str, bundles), "--split", args.split, "--json", str(target)]
        for name in ("limit", "rigs", "model"):
            value = getattr(args, name)
            command += [f"--{name}", str(value)] if value is not None else []
        done = subprocess.run(command, stdout=sys.stderr)  # its own table; ours follows from its figures
        try:
            found = json.loads(target.read_text(encoding="utf-8"))
            found["rows"][0]["same"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise CoreError(
                "blender_failed", f"Blender's part ended with exit code {done.returncode} and no figures.",
                "See what it printed above; --parts words speed leaves it out.",
            ) from error  # fmt: skip
    return dict(found)


def blender_table(found: dict[str, Any]) -> str:
    """One line a rig, with every number and word that the rows have."""
    rows = [{k: v for k, v in row.items() if isinstance(v, (str, int, float)) and v != ""} for row in found["rows"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    wide = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = [
        "",
        "Through Blender",
        "  the clips on rigs, read back and described; same: share with the clip's sentence",
    ]
    for line in cells:
        lines.append("  " + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                                      for i, (cell, w) in enumerate(zip(line, wide, strict=True))))  # fmt: skip
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {v}" for k, v in value.items()) + ")"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CoreError as error:
        print(f"error: {error.message} {error.remedy}", file=sys.stderr)
        sys.exit(2)
