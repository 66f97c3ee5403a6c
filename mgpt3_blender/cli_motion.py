"""`blender --command mgpt3 sequence | continue`: several prompts in a row, and going on with an action."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import bpy

from .errors import UserError
from .operators.running import print_progress

COMMANDS = ("sequence", "continue")


def add_to(commands: Any) -> None:
    """Add the commands to those of `blender --command mgpt3`."""
    from .compose import MAX_SEGMENT_SECONDS, MAX_TRANSITION, MIN_TRANSITION
    from .extend import MAX_SECONDS, MIN_SECONDS

    row = commands.add_parser("sequence", help="several prompts in a row as one motion, with a marker at each")
    row.add_argument("--prompt", action="append", required=True, metavar="TEXT", help="once for each segment, in order")
    seconds = f"of each segment, or one number for all (1 to {MAX_SEGMENT_SECONDS:g}, default 4)"
    row.add_argument("--seconds", type=float, nargs="+", default=[4.0], help=seconds)
    transition = f"seconds from one segment to the next, {MIN_TRANSITION:g} to {MAX_TRANSITION:g} (default 0.8)"
    row.add_argument("--transition", type=float, default=0.8, help=transition)
    row.add_argument("--path", metavar="NAME", help="curve object to go along")
    row.add_argument("--timed", action="store_true", help="be where the curve's Evaluation Time says")
    row.add_argument("--guidance", type=float, help="how closely to follow the prompts (default: the model's)")
    row.add_argument("--literal", action="store_true", help="let the model read unknown words")
    row.add_argument("--in-place", action="store_true", help="stay on the spot")
    row.add_argument("--loop", action="store_true", help="make the end flow into the beginning")
    row.add_argument("--start-frame", type=float, help="default: the scene's current frame")
    row.add_argument("--mannequin", action="store_true", help="add the built-in mannequin and use it")
    _common(row)

    further = commands.add_parser("continue", help="go on with a character's action after its last keys")
    further.add_argument("--prompt", default="", help="what comes next (default: what follows from the motion)")
    further.add_argument("--seconds", type=float, default=2.0, help=f"{MIN_SECONDS:g} to {MAX_SECONDS:g} (default 2)")
    _common(further)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--character", metavar="NAME", help="the armature object; default: the active or only one")
    parser.add_argument("--blend", metavar="FILE", type=Path, help="open this file first")
    parser.add_argument("--blend-out", metavar="FILE", type=Path, help="save the result to this file")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same motion (default 0)")
    parser.add_argument("--no-clean-feet", action="store_true", help="leave the feet as the model gave them")
    parser.add_argument(
        "--controls", choices=["FK", "IK"], default="FK", help="which controls of a control rig are keyed"
    )
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")


def main(options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code. Raises UserError."""
    from .cli import find_named, open_file, save_file
    from .rig.options import Options

    open_file(options)
    scene = bpy.context.scene
    retarget = Options(
        limbs=options.controls,
        in_place=getattr(options, "in_place", False),
        loop=getattr(options, "loop", False),
    )
    if options.command == "sequence":
        from .compose import Request, Segment, compose_for_character

        request = Request(
            tuple(Segment(prompt, seconds) for prompt, seconds in _segments(options)),
            options.transition,
            options.seed,
            options.guidance,
            options.literal,
            not options.no_clean_feet,
            retarget,
            _curve(options, scene),
            options.timed,
        )
        request.check()
        outcome = compose_for_character(
            find_named(options, scene), request, scene=scene, start_frame=options.start_frame, progress=print_progress
        )
    else:
        from .extend import Request as Further
        from .extend import continue_character

        further = Further(options.seconds, options.prompt, options.seed, not options.no_clean_feet, retarget)
        outcome = continue_character(find_named(options, scene), further, scene=scene, progress=print_progress)
    save_file(options)
    for warning in outcome.warnings:
        print(f"Note: {warning}", file=sys.stderr)
    if options.json:
        action = outcome.actions[0]
        first, last = action.curve_frame_range
        answer = {"character": outcome.armature.name, "action": action.name, "frames": [first, last]}
        if options.command == "sequence":
            answer["segments"] = json.loads(action["mgpt3_sequence"])["segments"]
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    else:
        print(outcome.line, flush=True)
    return 0


def _segments(options: argparse.Namespace) -> list[tuple[str, float]]:
    seconds = options.seconds * len(options.prompt) if len(options.seconds) == 1 else options.seconds
    if len(seconds) != len(options.prompt):
        raise UserError(
            "durations_count",
            f"There are {len(options.prompt)} prompts and {len(seconds)} durations.",
            "Give --seconds one number, or one for each prompt.",
        )
    return list(zip(options.prompt, seconds, strict=True))


def _curve(options: argparse.Namespace, scene: bpy.types.Scene) -> bpy.types.Object | None:
    if options.path is None:
        return None
    found = scene.objects.get(options.path)
    if found is None or found.type != "CURVE":
        raise UserError("no_path", f'There is no curve "{options.path}" in the scene.', "Check the object's name.")
    return found
