"""`blender --command mgpt3 fill`: the frames between keyed poses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import bpy

from .operators.running import print_progress


def add_to(commands: Any) -> None:
    """Add the command to those of `blender --command mgpt3`."""
    fill = commands.add_parser("fill", help="fill the frames between two keyed poses of a character")
    fill.add_argument("--character", metavar="NAME", help="the armature object; default: the active or only one")
    fill.add_argument("--blend", metavar="FILE", type=Path, help="open this file first")
    fill.add_argument("--blend-out", metavar="FILE", type=Path, help="save the result to this file")
    fill.add_argument("--start", type=float, metavar="FRAME", help="frame of the first keyed pose")
    second = "frame of the second keyed pose (default: the poses around the scene's current frame)"
    fill.add_argument("--end", type=float, metavar="FRAME", help=second)
    fill.add_argument("--prompt", default="", help="what happens in between (default: what the poses tell)")
    fill.add_argument("--no-context", action="store_true", help="take no account of the motion before and after")
    fill.add_argument("--strength", type=float, default=1.0, help="0 plain interpolation to 1 (default)")
    fill.add_argument("--seed", type=int, default=0, help="the same seed gives the same motion (default 0)")
    fill.add_argument("--takes", type=int, default=1, help="make so many and use the best one, 1 to 8 (default 1)")
    fill.add_argument("--bones", nargs="+", metavar="NAME", help="only these bones (default: the whole body)")
    fill.add_argument("--path", metavar="NAME", default="", help="curve object that the hips follow")
    fill.add_argument("--timed", action="store_true", help="be where the curve's Evaluation Time says")
    fill.add_argument("--json", action="store_true", help="print what was made as JSON")


def main(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Raises UserError."""
    from .between import Request, fill_between
    from .cli import find_named, open_file, save_file
    from .errors import UserError
    from .gaps import Gap
    from .generate import need_character

    if (options.start is None) != (options.end is None):
        raise UserError("no_gap", "Only one end of the gap is given.", "Give both --start and --end, or neither.")
    if options.start is not None and options.end <= options.start:
        raise UserError("no_gap", "The gap ends before it begins.", "Give a --start before the --end.")
    open_file(options)
    scene = bpy.context.scene
    armature = find_named(options, scene) or need_character(scene, None, bpy.context.view_layer.objects.active)
    request = Request(
        prompt=options.prompt,
        use_context=not options.no_context,
        strength=options.strength,
        seed=options.seed,
        variations=options.takes,
        bones=frozenset(options.bones) if options.bones else None,
        path=options.path,
        timed=options.timed,
        gaps=(Gap(options.start, options.end),) if options.start is not None else (),
    )
    outcome = fill_between(armature, request, scene=scene, progress=print_progress)
    save_file(options)
    for warning in outcome.warnings:
        print(f"Note: {warning}", file=sys.stderr)
    if options.json:
        made = {"character": armature.name, "action": outcome.action.name, "gaps": outcome.entries}
        print(json.dumps(made, ensure_ascii=False), flush=True)
    else:
        print(outcome.line, flush=True)
    return 0
