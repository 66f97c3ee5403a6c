"""`python -m core …`: the core without Blender.

    python -m core generate "a person walks forward" --seconds 4 --seed 7 -o walk.bvh
    python -m core generate "a person waves" -o wave.npz --format smplx --body-model SMPLX_NEUTRAL.npz
    python -m core sequence "a person walks forward" "a person waves" --seconds 4 3 -o both.bvh
    python -m core predict walk.bvh --seconds 3 -o longer.bvh
    python -m core inbetween clip.bvh --first 40 --last 60 -o filled.bvh
    python -m core caption clip.bvh
    python -m core caption FOLDER --report captions.csv --jobs 2
    python -m core serve

Exit code 2 and one line on stderr for what a person can put right; --verbose adds the traceback.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import CoreError

PROGRAMS = {
    "train": "core.train.cli",
    "evaluate": "core.evaluate.cli",
    "convert": "core.convert",
    "download": "core.download",
    "parity": "core.parity.cli",
    "joints": "core.joints",
    "captions": "core.evaluate.captions",
    "gaps": "core.evaluate.gaps",
    "speed": "core.speed",
    "sampling": "core.evaluate.sampling",
    "weights": "core.model.repack",
}
"""Commands that are programs of their own: a module with main(argv) -> exit code."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in PROGRAMS or argv[0] == "captions":
        # Threads that spin while they wait cost 8 ms less for one motion on an idle machine, and ten times as long
        # on one whose cores are busy, as Blender's are. Read when torch is loaded; the user's own setting counts.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    verbose = "--verbose" in argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console that lacks a character is no reason to fail
    try:
        if argv and argv[0] in PROGRAMS:
            return _program(argv[0], [word for word in argv[1:] if word != "--verbose"])
        args = _parser().parse_args(argv)
        return int(args.run(args))
    except CoreError as error:
        return _fail(f"{error.message} {error.remedy}".strip(), verbose)
    except ImportError as error:
        return _fail(f"A package is missing: {error}. Install core/requirements.txt into this Python.", verbose)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except Exception as error:
        return _fail(f"The core failed: {type(error).__name__}: {error}. Try again with --verbose for more.", verbose)


def _fail(line: str, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"error: {line}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core",
        description="Motion from words and words from motion.",
        epilog="Those from train on have options of their own: python -m core train --help",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", type=Path, metavar="DIR", help="a model's folder, or a bundled one's name: compact")
    common.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    kinds = ["float32", "bfloat16"]
    common.add_argument("--precision", choices=kinds, default="float32", help="of products; float32 is exact (default)")
    common.add_argument("--verbose", action="store_true", help="show tracebacks")

    generate = commands.add_parser("generate", parents=[common], help="a motion for a prompt")
    generate.add_argument("prompt", help="what the character does, in English")
    generate.add_argument("--seconds", type=float, default=4.0, help="1 to 9.8 (default: 4)")
    generate.add_argument("--seed", type=int, help="the same seed gives the same motion (default: a random one)")
    generate.add_argument("-o", "--out", type=Path, required=True, help="file to write: .bvh, .npz or .json")
    generate.add_argument("--variations", type=int, default=1, metavar="N", help="write N files, NAME_1 to NAME_N")
    generate.add_argument("--guidance", type=float, help="how strictly the prompt counts (default: the model's)")
    generate.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    generate.add_argument("--fast", action="store_true", help="the model's quick recipe instead of its exact one")
    literal = "let the model read unknown words as they are, instead of the nearest prompt it knows"
    generate.add_argument("--literal", action="store_true", help=literal)
    body = generate.add_argument_group("SMPL-X", "pose parameters of your own body model, in an .npz as AMASS has them")
    body.add_argument("--format", choices=["smplx"], help="write SMPL-X poses instead of joints (needs --body-model)")
    body.add_argument("--body-model", type=Path, metavar="FILE", help="SMPLX_NEUTRAL.npz, or the folder it is in")
    body.add_argument("--mean-shape", action="store_true", help="the model's mean body, not one of the motion's size")
    body.add_argument("--fps", type=float, help="frames a second to write (default: 30)")
    generate.set_defaults(run=_generate)

    from core.captions import cli as captions
    from core.tasks import cli as tasks

    tasks.add_to(commands, common, _progress)
    captions.add_to(commands, common)
    serve = commands.add_parser("serve", parents=[common], help="work for the add-on, over stdin and stdout")
    serve.set_defaults(run=_serve)
    for name, what in (
        ("train", "train a model"),
        ("evaluate", "measure a model"),
        ("convert", "the official motiongpt3.ckpt -> a model folder"),
        ("download", "the official model, its tokenizer, or both"),
        ("parity", "compare with recorded outputs of the official code"),
        ("joints", "motion files as plain arrays"),
        ("captions", "measure captions"),
        ("gaps", "measure filled gaps"),
        ("speed", "time the model"),
        ("sampling", "what fewer sampling steps cost"),
        ("weights", "store a model's weights in another form: float32, float16, int8"),
    ):
        commands.add_parser(name, help=what)  # listed here, handled before
    return parser


def _generate(args: argparse.Namespace) -> int:
    from core.motionfile import check_type

    check_type(args.out)  # before a minute of work, not after it
    if not args.out.parent.is_dir():
        raise CoreError("file_not_written", f"There is no folder '{args.out.parent}'.", "Make it, or choose another.")
    write = _writer(args)
    seed = random.randrange(2**31) if args.seed is None else args.seed
    from core.model.checkpoint import load_model
    from core.tasks.generate import generate
    from core.tasks.understand import Understood

    model = load_model(args.model, args.device, args.precision)
    read: list[Understood] = []
    started = time.perf_counter()
    motions = generate(
        model,
        args.prompt,
        args.seconds,
        seed,
        variations=args.variations,
        guidance=args.guidance,
        steps=args.steps,
        fast=args.fast,
        literal=args.literal,
        told=read.append,
        progress=_progress if sys.stderr.isatty() else None,
    )
    took = time.perf_counter() - started
    usual = model.cfg.diffusion.fast_steps if args.fast else model.cfg.diffusion.steps
    for number, joints in enumerate(motions):
        path = args.out
        if len(motions) > 1:
            path = path.with_name(f"{path.stem}_{number + 1}{path.suffix}")
        made_with = {
            "prompt": args.prompt,
            "prompt_used": read[0].prompt_used,
            "seconds": args.seconds,
            "seed": (seed + number) % 2**31,
            "guidance": args.guidance if args.guidance is not None else model.cfg.diffusion.guidance,
            "steps": args.steps if args.steps is not None else usual,
            "model": model.info["name"],
            "licence": model.info["licence"],
        }
        written = write(path, joints, made_with)
        print(f"{path}  {written}  seed {made_with['seed']}  {model.info['name']}")
    if read[0].note:
        print(read[0].note)
    print(f"{took:.1f} s on {model.device}", file=sys.stderr)
    return 0


def _writer(args: argparse.Namespace) -> Callable[[Path, Any, dict[str, Any]], str]:
    """How one motion becomes a file: a function that writes it and says in some words what it wrote."""
    if args.format == "smplx":
        from core.body import amass

        if args.out.suffix.lower() != ".npz":
            raise CoreError("file_type_unknown", "SMPL-X poses are written as .npz.", "Let the file's name end in it.")
        fps = amass.check_fps(amass.WRITTEN_FPS if args.fps is None else args.fps)
        body_model = amass.smplx_model(args.body_model)

        def as_body(path: Path, joints: Any, info: dict[str, Any]) -> str:
            fit = amass.write_as_body(path, body_model, joints, info, fps=fps, fit_shape=not args.mean_shape)
            return f"{len(fit.trans)} frames at {fps:g} fps of SMPL-X, {amass.describe_fit(fit)}"

        return as_body
    if args.body_model is not None or args.mean_shape or args.fps is not None:
        raise CoreError(
            "format_missing",
            "--body-model, --mean-shape and --fps are about SMPL-X.",
            "Add --format smplx, or drop them.",
        )
    from core.motionfile import write_motion

    def as_joints(path: Path, joints: Any, info: dict[str, Any]) -> str:
        write_motion(path, joints, info)
        return f"{len(joints)} frames"

    return as_joints


def _serve(args: argparse.Namespace) -> int:
    from core.serve import serve

    serve(args.model, args.device, args.precision)
    return 0


def _program(command: str, argv: list[str]) -> int:
    name = PROGRAMS[command]
    if importlib.util.find_spec(name) is None:
        raise CoreError(
            f"{command}_missing", f"This version of the core cannot {command} yet.", "Use a later version for it."
        )
    module: Any = importlib.import_module(name)
    return int(module.main(argv) or 0)


def _progress(fraction: float, message: str) -> None:
    print(f"\r{fraction:4.0%}  {message:<40}", end="\n" if fraction >= 1 else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
