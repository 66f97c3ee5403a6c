"""`python -m core caption`: the sentence of one motion, or a table and a report of many.

python -m core caption clip.bvh --alternatives 2
python -m core caption animations --report captions.csv --jobs 2
python -m core caption animations --report captions.csv --resume
python -m core caption library --report captions.csv --ray auto
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import CoreError

if TYPE_CHECKING:
    from core.captions.batch import Outcome
    from core.captions.report import Row
    from core.captions.work import Options

WIDTH = 38
"""Characters of a file's and motion's name in the table; of a longer one the end is shown."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to those of `python -m core`."""
    what = "sentences for motions"
    parser = commands.add_parser("caption", parents=[common], help=what, description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    kinds = "files or folders: .bvh, .json, .npz (our own, AMASS, SMPL-X or a bundle of clips), .blend"
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help=kinds)
    parser.add_argument("--body-model", type=Path, metavar="FILE", help="your SMPL-X or SMPL+H .npz, or its folder")
    parser.add_argument("--fast", action="store_true", help="8-bit weights where the model is large")
    parser.add_argument("--alternatives", type=int, default=0, metavar="N", help="up to N further sentences")
    many = parser.add_argument_group("many files")
    many.add_argument("--report", type=Path, metavar="FILE", help="write NAME.csv and NAME.json, whichever is named")
    many.add_argument("--resume", action="store_true", help="go on where an earlier run with this report stopped")
    many.add_argument("--jobs", type=int, metavar="N", help="processes, each with the model in its memory (default: 1)")
    many.add_argument("--ray", metavar="ADDRESS", help='a Ray cluster: HOST:PORT, "auto", or "local" to start one here')
    blends = many.add_argument("--blender", metavar="JSON", help="list of words: the command that describes a .blend")
    blends.type = _words
    group = many.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help=".blend files: write what was found into them")
    group.add_argument("--dry-run", action="store_true", help=".blend files: change nothing")
    parser.set_defaults(run=run)


def _words(text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not (isinstance(words, list) and words and all(isinstance(word, str) and word for word in words)):
        raise argparse.ArgumentTypeError('not a list of words, like ["blender", "--background"]')
    return tuple(words)


def run(args: argparse.Namespace) -> int:
    """The command. 0: all went well; 1: some files failed. Raises CoreError for what stops all of it."""
    if args.alternatives < 0:
        raise CoreError("alternatives_out_of_range", "Less than no alternatives cannot be given.", "Choose 0 or more.")
    if args.jobs is not None and args.ray is not None:
        raise CoreError("options_contradict", "--jobs is about this machine, --ray about others.", "Give one of them.")
    if (args.write or args.dry_run) and not args.blender:
        raise CoreError(
            "blender_needed", "--write and --dry-run are about .blend files.", "Add --blender, or leave it out."
        )
    if not _many(args) and _is_motion(args.paths[0]):
        return _one(args)
    from core.captions.batch import describe_files
    from core.captions.files import find
    from core.captions.report import paths_of

    jobs = 1 if args.jobs is None else args.jobs
    found = find(args.paths, paths_of(args.report)[:2] if args.report else ())
    bar = _Bar(len(found.tasks))
    try:
        outcome = describe_files(
            found, _options(args), report=args.report, resume=args.resume, jobs=jobs, ray=args.ray, told=bar.at
        )  # fmt: skip
    except KeyboardInterrupt:
        bar.close()
        kept = "; --resume goes on with the rest" if args.report else ""
        print(f"{bar.done} of {len(found.tasks)} files are done{kept}.", file=sys.stderr)
        raise
    finally:
        bar.close()
    _show(outcome)
    return int(outcome.failed > 0)


def _many(args: argparse.Namespace) -> bool:
    """Whether the options, or how many paths there are, ask for a table."""
    spread = args.report or args.resume or args.ray or args.blender or args.jobs is not None
    return bool(spread) or len(args.paths) != 1


def _is_motion(path: Path) -> bool:
    """Whether a path is to be one motion; if there is nothing at it, reading it will say so."""
    from core.captions.files import clips_in
    from core.motionfile import TYPES

    return path.suffix.lower() in TYPES and not path.is_dir() and not clips_in(path)


def _options(args: argparse.Namespace) -> Options:
    from core.captions.work import Options

    body = "" if args.body_model is None else str(args.body_model.absolute())
    asked = () if not args.blender else ("--write",) if args.write else ("--dry-run",) if args.dry_run else ()
    return Options(
        model=None if args.model is None else str(args.model), device=args.device, precision=args.precision,
        alternatives=args.alternatives, fast=args.fast, body_model=body, blender=(*(args.blender or ()), *asked),
    )  # fmt: skip


def _one(args: argparse.Namespace) -> int:
    """Sentences of one motion, one a line, nothing else."""
    from core.motionfile import read_motion

    joints = read_motion(args.paths[0], uniform=True, body_model=args.body_model)  # first: a wrong file is told at once
    from core.captions.describe import describe
    from core.model.checkpoint import load_model

    model = load_model(args.model, args.device, args.precision)
    (found,) = describe(model, [joints], alternatives=args.alternatives, fast=args.fast, embed=False)
    if isinstance(found, CoreError):
        raise found
    for sentence in (found.sentence, *found.alternatives):
        print(sentence)
    return 0


class _Bar:
    """How many files are done, in a terminal; elsewhere silent."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.done = 0
        self._bar: Any = tqdm(total=total, unit=" files", leave=False, disable=None, file=sys.stderr)

    def at(self, done: int) -> None:
        self._bar.update(done - self.done)
        self.done = done

    def close(self) -> None:
        self._bar.close()


def _show(outcome: Outcome) -> None:
    from core.captions.report import counts

    for row in outcome.rows:
        print(_line(row))
    how = ", ".join(f"{count} {status}" for status, count in counts(outcome.rows).items()) or "nothing to describe"
    taken = f" (files taken from the earlier run: {outcome.resumed})" if outcome.resumed else ""
    print(f"{how}{taken}")
    for path in outcome.written:
        print(path)


def _line(row: Row) -> str:
    """A row of the table: name, seconds, sentence; or what happened instead."""
    stem = Path(row["file"]).stem
    name = row["file"] if row["action"] in ("", stem) else f"{row['file']}: {row['action']}"
    if len(name) > WIDTH:
        name = "…" + name[-WIDTH + 1 :]
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
    said = row["sentence"] if row["status"] == "described" else f"{row['status']}: {row['message'] or row['sentence']}"
    return f"{name:<{WIDTH}} {seconds:>8}  {said}"
