"""`python -m core predict | inbetween | sequence`: motion that goes on, fills a gap, or follows several prompts.

python -m core predict walk.bvh --seconds 3 --prompt "a person sits down" -o longer.bvh
python -m core inbetween clip.bvh --first 40 --last 60 -o filled.bvh
python -m core sequence "a person walks forward" "a person waves" --seconds 4 3 -o both.bvh
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CoreError

MAX_SEED = 2**31 - 1
Progress = Callable[[float, str], None]


def add_to(commands: Any, common: argparse.ArgumentParser, progress: Progress) -> None:
    """Add the commands to those of `python -m core`. progress: shows (fraction, message) in a terminal."""

    def runs(work: Callable[[argparse.Namespace, Progress | None], int]) -> Callable[[argparse.Namespace], int]:
        return lambda args: work(args, progress if sys.stderr.isatty() else None)

    predict = commands.add_parser("predict", parents=[common], help="what comes after a motion")
    predict.add_argument("motion", type=Path, help=".bvh, .npz or .json")
    predict.add_argument("--seconds", type=float, default=2.0, help="how long it goes on, 0.2 to 9.6 (default: 2)")
    predict.add_argument("--prompt", default="", help="what comes next (default: what follows from the motion)")
    predict.add_argument("--only-new", action="store_true", help="write what comes after, without what was given")
    _written(predict)
    predict.set_defaults(run=runs(_predict))

    between = commands.add_parser("inbetween", parents=[common], help="new frames between two frames of a motion")
    between.add_argument("motion", type=Path, help=".bvh, .npz or .json")
    between.add_argument("--first", type=int, required=True, help="frame of the first key, from 0, 20 a second")
    between.add_argument("--last", type=int, required=True, help="frame of the second key")
    between.add_argument("--prompt", default="", help="what happens in between")
    between.add_argument("--keys-only", action="store_true", help="look at the two keys alone, not at what is around")
    between.add_argument("--strength", type=float, default=1.0, help="0 plain interpolation .. 1 the model (default)")
    _written(between)
    between.set_defaults(run=runs(_inbetween))

    row = commands.add_parser("sequence", parents=[common], help="one motion from several prompts in a row")
    row.add_argument("prompts", nargs="+", metavar="PROMPT", help="what the character does, one after the other")
    row.add_argument("--seconds", type=float, nargs="+", default=[4.0], help="of each, or one number for all (4)")
    row.add_argument("--transition", type=float, default=0.8, help="seconds from one to the next (default: 0.8)")
    row.add_argument("--guidance", type=float, help="how strictly the prompts count (default: the model's)")
    row.add_argument("--literal", action="store_true", help="let the model read unknown words as they are")
    row.add_argument("--path", type=Path, metavar="FILE", help="way to follow: a .json list of [x, z], metres")
    row.add_argument("--timed", action="store_true", help="the way's points are evenly spaced in time")
    row.add_argument("--after", type=Path, metavar="MOTION", help="go on from the last frame of this motion")
    _written(row)
    row.set_defaults(run=runs(_sequence))


def _written(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, help="the same seed gives the same motion (default: a random one)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write: .bvh, .npz or .json")


def _predict(args: argparse.Namespace, progress: Progress | None) -> int:
    given, seed = _begin(args, args.motion), _seed(args)
    from core.tasks.predict import predict

    model = _model(args)
    if not (np.isfinite(args.seconds) and 0.2 <= args.seconds <= 9.6):
        raise CoreError("duration_out_of_range", f"A motion cannot go on for {args.seconds:g} s.", "Choose 0.2 to 9.6.")
    new = predict(model, given, round(args.seconds * 20), seed, args.prompt.strip() or None)
    joints = new if args.only_new else np.concatenate([given, new])
    return _end(args, model, joints, seed, {"prompt": args.prompt, "given_frames": len(given)})


def _inbetween(args: argparse.Namespace, progress: Progress | None) -> int:
    given, seed = _begin(args, args.motion), _seed(args)
    a, b = args.first, args.last
    if not 0 <= a < b - 1 <= len(given) - 2:
        raise CoreError(
            "gap_out_of_range",
            f"There is no gap from frame {a} to {b} in a motion of {len(given)} frames.",
            f"Choose frames 0 to {len(given) - 1} with at least one between them.",
        )
    from core.tasks.inbetween import inbetween

    model = _model(args)
    before, after = (None, None) if args.keys_only else (given[:a], given[b + 1 :])
    filled = inbetween(
        model, given[a], given[b], b - a - 1, args.prompt.strip() or None, before, after, seed,
        strength=args.strength, progress=progress,
    )[0]  # fmt: skip
    joints = np.concatenate([given[:a], filled.joints, given[b + 1 :]])
    return _end(args, model, joints, seed, {"prompt": args.prompt, "gap": [a, b], "report": filled.report})


def _sequence(args: argparse.Namespace, progress: Progress | None) -> int:
    _check_out(args)
    seconds = args.seconds * len(args.prompts) if len(args.seconds) == 1 else args.seconds
    if len(seconds) != len(args.prompts):
        raise CoreError(
            "durations_count",
            f"There are {len(args.prompts)} prompts and {len(seconds)} durations.",
            "Give --seconds one number, or one for each prompt.",
        )
    from core.motionfile import read_motion
    from core.tasks.sequence import Segment, sequence

    path = None if args.path is None else _read_path(args.path)
    start = None if args.after is None else read_motion(args.after, uniform=True)
    seed, model = _seed(args), _model(args)
    segments = [Segment(*pair) for pair in zip(args.prompts, seconds, strict=True)]
    made = sequence(
        model, segments, args.transition, seed, guidance=args.guidance, literal=args.literal, path=path,
        timed=args.timed, start=start, progress=progress,
    )  # fmt: skip
    info: dict[str, Any] = {
        "segments": [
            {"prompt": segment.prompt, "seconds": segment.seconds, "seed": own, "frame": border}
            for segment, own, border in zip(segments, made.seeds, made.borders, strict=True)
        ],
        "transition": args.transition,
    }
    if made.path_error_mm is not None:
        info["path_error_mm"] = made.path_error_mm
    code = _end(args, model, made.joints, seed, info)
    for border, segment in zip(made.borders, segments, strict=True):
        print(f"  frame {border}: {segment.prompt}")
    for note in made.notes:
        print(note)
    return code


def _read_path(file: Path) -> np.ndarray:
    """[[x, z], …] or [[x, y, z], …] -> (N, 3). Raises CoreError("path_invalid")."""
    try:
        points = np.array(json.loads(file.read_text(encoding="utf-8")), np.float64)
    except OSError as error:
        raise CoreError("file_missing", f"'{file}' cannot be read: {error.strerror}.", "Check the path.") from error
    except ValueError as error:
        raise CoreError("path_invalid", f"'{file}' is no list of points ({error}).", "Write [[x, z], ...].") from error
    if points.ndim == 2 and points.shape[1] == 2:
        points = np.insert(points, 1, 0.0, axis=1)
    from core.tasks.path import check_path

    check_path(points)
    return points


def _check_out(args: argparse.Namespace) -> None:
    """Before a minute of work, not after it."""
    from core.motionfile import check_type

    check_type(args.out)
    if not args.out.parent.is_dir():
        raise CoreError("file_not_written", f"There is no folder '{args.out.parent}'.", "Make it, or choose another.")


def _begin(args: argparse.Namespace, motion: Path) -> np.ndarray:
    from core.motionfile import read_motion

    _check_out(args)
    return read_motion(motion, uniform=True)


def _seed(args: argparse.Namespace) -> int:
    return random.randrange(MAX_SEED + 1) if args.seed is None else args.seed


def _model(args: argparse.Namespace) -> Any:
    from core.model.checkpoint import load_model

    return load_model(args.model, args.device, args.precision)


def _end(args: argparse.Namespace, model: Any, joints: np.ndarray, seed: int, info: dict[str, Any]) -> int:
    from core.motionfile import write_motion

    made_with = {**info, "seed": seed, "model": model.info["name"], "licence": model.info["licence"]}
    write_motion(args.out, joints.astype(np.float32), made_with)
    print(f"{args.out}  {len(joints)} frames  seed {seed}  {model.info['name']}")
    return 0
