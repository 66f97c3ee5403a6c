"""`blender --command mgpt3 …`: the add-on without a window."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import bpy

from . import cli_describe, cli_fill, cli_models, cli_motion, jobs
from .errors import UserError
from .operators.running import print_progress
from .rig.options import HIPS, ROOT, Options

COMMAND = "mgpt3"


def parser() -> argparse.ArgumentParser:
    """What `blender --command mgpt3` understands."""
    from .generate import MAX_SECONDS, MAX_SEED, MAX_VARIATIONS, MIN_SECONDS

    top = argparse.ArgumentParser(prog=f"blender --command {COMMAND}", description="MotionGPT3: motion from prompts.")
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser("generate", help="a motion from a prompt, as an action on a character")
    one.add_argument("--prompt", required=True, help="what the character does")
    who = one.add_mutually_exclusive_group()
    who.add_argument("--character", metavar="NAME", help="the armature object; default: the active or only one")
    who.add_argument("--mannequin", action="store_true", help="add the built-in mannequin and use it")
    one.add_argument("--blend", metavar="FILE", type=Path, help="open this file first")
    one.add_argument("--blend-out", metavar="FILE", type=Path, help="save the result to this file")
    one.add_argument("--seconds", type=float, default=4.0, help=f"{MIN_SECONDS:g} to {MAX_SECONDS:g} (default 4)")
    one.add_argument("--seed", type=int, default=0, help=f"0 to {MAX_SEED} (default 0)")
    one.add_argument("--variations", type=int, default=1, help=f"1 to {MAX_VARIATIONS} (default 1)")
    one.add_argument("--guidance", type=float, help="how closely to follow the prompt (default: the model's)")
    one.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    one.add_argument("--fast", action="store_true", help="the model's quick recipe instead of its exact one")
    literal = "let the model read unknown words, instead of the nearest prompt it knows"
    one.add_argument("--literal", action="store_true", help=literal)
    one.add_argument("--no-clean-feet", action="store_true", help="leave the feet as the model gave them")
    one.add_argument("--controls", choices=["FK", "IK"], default="FK", help="which controls of a control rig are keyed")
    one.add_argument(
        "--reach", nargs="+", choices=["hands", "feet"], default=[], help="these reach the motion's places"
    )
    one.add_argument("--root-motion", action="store_true", help="the bone on the ground carries the way travelled")
    one.add_argument("--in-place", action="store_true", help="stay on the spot")
    one.add_argument("--loop", action="store_true", help="make the end flow into the beginning")
    one.add_argument("--relaxed-hands", action="store_true", help="also key the fingers to a relaxed curl")
    one.add_argument("--start-frame", type=float, help="default: the scene's current frame")
    one.add_argument("--json", action="store_true", help="print what was made as JSON")
    cli_fill.add_to(commands)
    cli_motion.add_to(commands)
    cli_models.add_to(commands)
    cli_describe.add_to(commands)
    return top


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0 done, 1 an error that was printed, 2 wrong arguments."""
    try:
        options = parser().parse_args(list(arguments))
    except SystemExit as end:  # argparse has printed why; Blender is to end by itself
        return int(end.code or 0)
    try:
        if options.command == "models":
            return cli_models.main(options)
        if options.command == "fill":
            return cli_fill.main(options)
        if options.command in cli_describe.COMMANDS:
            return cli_describe.main(options)
        return cli_motion.main(options) if options.command in cli_motion.COMMANDS else _generate(options)
    except UserError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        if error.remedy:
            print(error.remedy, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return 1
    finally:
        jobs.stop_worker()


def _generate(options: argparse.Namespace) -> int:
    from .generate import generate_for_character

    open_file(options)
    scene = bpy.context.scene
    outcome = generate_for_character(
        find_named(options, scene),
        options.prompt,
        scene=scene,
        seconds=options.seconds,
        seed=options.seed,
        variations=options.variations,
        guidance=options.guidance,
        steps=options.steps,
        clean_feet=not options.no_clean_feet,
        fast=options.fast,
        literal=options.literal,
        retarget=_retarget(options),
        start_frame=options.start_frame,
        progress=print_progress,
    )
    save_file(options)
    for warning in outcome.warnings:
        print(f"Note: {warning}", file=sys.stderr)
    if options.json:
        made = [{"action": a.name, "frames": list(a.frame_range), "seed": a["mgpt3_seed"]} for a in outcome.actions]
        answer = {"character": outcome.armature.name, "actions": made, "note": outcome.note}
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    else:
        if outcome.note:
            print(f"{outcome.note}.", flush=True)
        print(outcome.line, flush=True)
    return 0


def _retarget(options: argparse.Namespace) -> Options:
    return Options(
        limbs=options.controls,
        hands="hands" in options.reach,
        feet="feet" in options.reach,
        root=ROOT if options.root_motion else HIPS,
        in_place=options.in_place,
        loop=options.loop,
        relaxed_hands=options.relaxed_hands,
    )


def open_file(options: argparse.Namespace) -> None:
    """Open the file that was named, if one was. Raises UserError("file_missing")."""
    if options.blend is not None:
        if not options.blend.is_file():
            raise UserError("file_missing", f"There is no file {options.blend}.", "Check its name.")
        bpy.ops.wm.open_mainfile(filepath=str(options.blend.resolve()), load_ui=False)


def save_file(options: argparse.Namespace) -> None:
    """Save to the file that was named, if one was."""
    if options.blend_out is not None:
        options.blend_out.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(options.blend_out.resolve()), check_existing=False)


def find_named(options: argparse.Namespace, scene: bpy.types.Scene) -> bpy.types.Object | None:
    """The character that was named, or a new mannequin; None where none was. Raises UserError("no_character")."""
    if getattr(options, "mannequin", False):
        from .generate import mannequin_in

        return mannequin_in(scene)
    if options.character is None:
        return None
    found = scene.objects.get(options.character)
    if found is None or found.type != "ARMATURE":
        armatures = ", ".join(f'"{o.name}"' for o in scene.objects if o.type == "ARMATURE")
        raise UserError(
            "no_character",
            f'There is no armature "{options.character}" in the scene.',
            f"Armatures there are: {armatures}." if armatures else "Use --mannequin to add the built-in one.",
        )
    return found


_handle: object = None


def register() -> None:
    global _handle
    _handle = bpy.utils.register_cli_command(COMMAND, main)


def unregister() -> None:
    # One that stays registered crashes Blender when it quits.
    global _handle
    if _handle is not None:
        bpy.utils.unregister_cli_command(_handle)
        _handle = None
