"""`python -m core train …`: one command a step, from data to a model.

python -m core train autoencoder --data BUNDLE… --runs DIR
python -m core train stage1 --start DIR/autoencoder.pt --data BUNDLE… --runs DIR1
python -m core train compact --data BUNDLE… --runs DIR --processes 2
accelerate launch --multi_gpu --num_processes 4 -m core train stage3 --start MODEL --data BUNDLE… --runs DIR
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.train.configfile import Table, keys, read_config, text_of, write_config

COMMANDS = {
    "autoencoder": "the motion VAE: one clip <-> one latent",
    "compact": "all of it: autoencoder, text branch, three stages, decoder",
    "stage1": "text to motion, text branch frozen (--start AUTOENCODER.pt)",
    "stage2": "every task, text branch frozen (--start STAGE1/model)",
    "stage3": "every task, everything trained (--start STAGE2/model)",
    "matcher": "the text-motion evaluator",
    "between": "how codes vary, for in-betweening (--start MODEL; writes between.safetensors beside it, or into --out)",
    "ablation": "unified and bimodal, VQ and VAE, shared layers, stages",
}
SECTIONS = {"compact": ("text", "stage1", "stage2", "stage3")}
"""Tables that --steps, --minutes and --batch are about; of other commands the table of their name."""


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<12} {what}" for name, what in COMMANDS.items())
    raw = argparse.RawDescriptionHelpFormatter
    rest = "Every entry of a config is an option too: --stage1-lr 1e-4, --check-seeds 2. See core/train/configs."
    p = argparse.ArgumentParser(prog="python -m core train", description=f"Train a model.\n\n{listed}",
                                epilog=rest, formatter_class=raw, allow_abbrev=False)  # fmt: skip
    p.add_argument("what", choices=list(COMMANDS), metavar="COMMAND", help="one of the above")
    sources = "NAME_joints.npz, a folder of HumanML3D or KIT-ML, of BVH or of AMASS .npz with captions"
    p.add_argument("--data", type=Path, nargs="+", required=True, metavar="SOURCE", help=sources)
    p.add_argument("--body-model", type=Path, metavar="FILE", help="your SMPL-X or SMPL+H model, which AMASS needs")
    p.add_argument("--runs", type=Path, metavar="DIR", help="checkpoints, logs, curves (default: .runs/COMMAND)")
    p.add_argument("--out", type=Path, metavar="DIR", help="model folder to write (default: in RUNS)")
    p.add_argument("--start", type=Path, metavar="MODEL", help="model folder or autoencoder.pt to begin with")
    newest = "checkpoint to go on from; without it RUNS' newest one, if there is one"
    p.add_argument("--resume", type=Path, metavar="FILE|DIR", help=newest)
    p.add_argument("--config", type=Path, metavar="FILE", help="TOML file with what differs from the defaults")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one entry of the config")
    p.add_argument("--steps", help="of the training, of compact each stage")
    p.add_argument("--minutes", help="stop each training after that long")
    p.add_argument("--batch", help="clips of a step, of all processes together")
    p.add_argument("--seed", help="the same seed, config and machine give the same model")
    p.add_argument("--device", help="auto (a CUDA GPU where there is one), cpu, cuda or mps")
    p.add_argument("--precision", help="of matrix products: bf16 or fp32")
    p.add_argument("--processes", type=int, default=1, metavar="N", help="train in N processes (accelerate) at once")
    return p


def main(argv: list[str]) -> int:
    """Run a training; exit code. Raises CoreError."""
    args, rest = parser().parse_known_args(argv)
    if args.what == "between":  # statistics, no training: no config, no checkpoints
        from core.train import between

        if rest:
            raise CoreError("config_wrong", f"There is no option '{rest[0]}'.", "train between has --start and --seed.")
        print(between.run(args.data, args.start, args.out, int(args.seed or 0)))
        return 0
    config = resolved(args, rest)
    if args.processes > 1 and "LOCAL_RANK" not in os.environ:
        return _launch(args.processes, argv)
    if "MASTER_PORT" in os.environ and "LOCAL_RANK" not in os.environ:
        print("One process only: accelerate launch --cpu starts more through MPI alone. Use --processes N instead.")
    runs = args.runs or Path(".runs") / args.what
    from core.train.processes import is_main, own_device  # torch is imported only now: --help is quick

    config["device"] = str(own_device(config["device"]))
    if is_main():
        sources = " ".join(map(str, args.data))
        write_config(config, runs / "config.toml", [f"core train {args.what} --data {sources}", *_made_by()])
        print(f"{args.what}, on {config['device']}:\n{text_of(config)}", flush=True)
        _run(args, config, runs)
    else:
        # One process speaks, and what each of them would write at the end is the same.
        with open(os.devnull, "w", encoding="utf-8") as nowhere, tempfile.TemporaryDirectory() as elsewhere:
            args.out = Path(elsewhere) / "model"
            with contextlib.redirect_stdout(nowhere):
                _run(args, config, runs)
    return 0


def resolved(args: argparse.Namespace, rest: list[str]) -> Table:
    """The command's config with every option put in. Raises CoreError("config_wrong"), also for unknown options."""
    config = read_config(args.what, args.config)
    changes = []
    for key in ("seed", "device", "precision"):
        if getattr(args, key) is not None:
            changes.append(f"{key}={_quoted(config.get(key), getattr(args, key))}")
    tables = [t for t in SECTIONS.get(args.what, (args.what,)) if t in config]
    for key in ("steps", "minutes", "batch"):
        if getattr(args, key) is not None:
            changes += [f"{t}.{key}={getattr(args, key)}" for t in tables] or [f"{key}={getattr(args, key)}"]
    changes += _other_options(config, tables, rest)
    return read_config(args.what, args.config, changes + args.set)


def _other_options(config: Table, tables: list[str], rest: list[str]) -> list[str]:
    """--check-seeds 2 -> stage1.check_seeds=2: options that are entries of the config."""
    known, changes = keys(config), []
    words = iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        here = [k for k in known if k == key or k.replace(".", "_") == key]
        here = here or [f"{t}.{key}" for t in tables if f"{t}.{key}" in known]
        here = here or [k for k in known if k.rpartition(".")[2] == key]
        if not word.startswith("--") or not here:
            raise CoreError("config_wrong", f"There is no option '{word}'.", f"The config has: {', '.join(known)}.")
        if not equals:
            value = next(words, "")
        changes += [f"{k}={_quoted(_entry(config, k), value)}" for k in here]
    return changes


def _entry(config: Table, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found[part]
    return found


def _quoted(allowed: Any, value: str) -> str:
    """A word of the command line as TOML: a text stays a text, even where it looks like a number."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(allowed, str) else value


def _run(args: argparse.Namespace, config: Table, runs: Path) -> None:
    from core.train.checkpoints import put_back
    from core.train.optimise import use_precision
    from core.train.processes import main_first

    config = dict(config)
    use_precision(config.pop("precision"))
    if args.what == "matcher":
        from core.train import matcher

        _refuse(args, "start")
        with main_first() as first:
            if first and args.resume is not None:
                put_back(args.resume, runs / "matcher")
        matcher.run(args.data, runs, args.out, **config)
    elif args.what == "ablation":
        from core.train import ablation

        _refuse(args, "resume")
        config["autoencoder"] = args.start or (Path(config["autoencoder"]) if config["autoencoder"] else None)
        config["minutes"] = config["minutes"] or None
        ablation.run(args.data, runs, args.out or Path("docs/results"), **config)
    else:
        from core.train import stages

        seed, device = config.pop("seed"), config.pop("device")
        stages.run(args.what, config, data=args.data, runs=runs, out=args.out, start=args.start,
                   resume=args.resume, body_model=args.body_model, seed=seed, device=device)  # fmt: skip


def _refuse(args: argparse.Namespace, option: str) -> None:
    if getattr(args, option) is not None:
        raise CoreError("config_wrong", f"train {args.what} has no --{option}.", "Leave it out.")


def _launch(count: int, argv: list[str]) -> int:
    """Start this command again, in `count` processes of one machine."""
    at = next(i for i, word in enumerate(argv) if word.partition("=")[0] == "--processes")
    own = argv[:at] + argv[at + (1 if "=" in argv[at] else 2) :]
    head = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    plain = ["--num_processes", str(count), "--mixed_precision", "no", "--dynamo_backend", "no"]
    return subprocess.call([*head, *plain, "--main_process_port", "0", "-m", "core", "train", *own])


def _made_by() -> list[str]:
    """What made a run, for its config: versions and the machine."""
    from importlib.metadata import version

    from core.machine import machine

    found = machine()
    return [f"torch {version('torch')}, {found if isinstance(found, str) else ', '.join(map(str, found.values()))}"]
