"""`blender --command mgpt3 describe`: the actions of .blend files as sentences, without a window."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from . import rows
from .errors import UserError

COMMANDS = ("describe", "describe-child")


def add_to(commands: Any) -> None:
    """Add the commands to those of `blender --command mgpt3`."""
    from .describe import MAX_ALTERNATIVES
    from .libraryrun import JOBS, MAX_JOBS

    one = commands.add_parser("describe", help="describe the actions of .blend files: a dry run, or into the files")
    one.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=".blend files, or folders of them")
    how = one.add_mutually_exclusive_group()
    how.add_argument("--write", action="store_true", help="write the descriptions into the files")
    how.add_argument("--dry-run", action="store_true", help="only say what would be written (default)")
    one.add_argument("--overwrite", action="store_true", help="also replace descriptions that a person wrote")
    one.add_argument("--mark", action="store_true", help="mark each described action as an asset")
    alternatives = f"further sentences in the report, 0 to {MAX_ALTERNATIVES} (default 0)"
    one.add_argument("--alternatives", type=int, default=0, metavar="N", help=alternatives)
    one.add_argument("--fast", action="store_true", help="the model's quick recipe instead of its exact one")
    one.add_argument("--no-recursive", action="store_true", help="leave out folders in folders")
    workers = f"background Blenders at once, 1 to {MAX_JOBS} (default {JOBS}); each takes about 1 GB of memory"
    one.add_argument("--jobs", type=int, default=JOBS, metavar="N", help=workers)
    one.add_argument("--report", type=Path, metavar="FILE", help="write FILE.csv and FILE.json")
    one.add_argument("--resume", action="store_true", help="go on where the last run was stopped")
    one.add_argument("--ray", metavar="ADDRESS", help="spread the files over a Ray cluster; needs --report")
    one.add_argument("--rows", choices=["-"], help="describe in this process and print the rows as JSON, last line")
    commands.add_parser(COMMANDS[1])  # what a run starts in the background: librarychild


def main(options: argparse.Namespace) -> int:
    """Run the command; the exit code: 0, 1 where something failed. Raises UserError."""
    if options.command == COMMANDS[1]:
        from .librarychild import serve

        return serve()
    from .describe import MAX_ALTERNATIVES
    from .described import Options
    from .libraryrun import MAX_JOBS

    if not 0 <= options.alternatives <= MAX_ALTERNATIVES:
        raise UserError(
            "alternatives_out_of_range",
            f"{options.alternatives} alternatives cannot be made.",
            f"Choose 0 to {MAX_ALTERNATIVES}.",
        )
    if not 1 <= options.jobs <= MAX_JOBS:
        raise UserError("jobs_out_of_range", f"{options.jobs} jobs are not possible.", f"Choose 1 to {MAX_JOBS}.")
    chosen = Options(options.write, options.overwrite, options.mark, options.alternatives, options.fast)
    if options.rows:
        return _print_rows(options, chosen)
    if options.ray:
        return _on_ray(options)
    from .libraryrun import LibraryRun
    from .operators.running import print_progress

    run = LibraryRun(
        options.paths,
        chosen,
        jobs=options.jobs,
        report=options.report,
        resume=options.resume,
        recursive=not options.no_recursive,
    )
    told = run.finish(print_progress)
    _print_table(told)
    if options.report is not None:
        print(f"Report: {' and '.join(str(path) for path in rows.report_paths(options.report)[:2])}", flush=True)
    if not options.write:
        print("Nothing was changed. With --write the descriptions go into the files.", flush=True)
    return 1 if any(entry["status"] == rows.FAILED for entry in told) else 0


def _print_table(told: list[rows.Row]) -> None:
    file = None
    for entry in told:
        if entry["file"] != file:
            file = entry["file"]
            print(file)
        said = entry["description_after"] if entry["status"] in (rows.KEPT, rows.UNCHANGED) else entry["sentence"]
        words = entry["message"]
        if entry["sentence"] and entry["status"] != rows.SKIPPED:
            words = f"{said} ({words})" if words else said
        print(f"  {entry['status']:<10} {entry['action'] or '-'}: {words}")
    print(f"{rows.counted(told)}.", flush=True)


def _print_rows(options: argparse.Namespace, chosen: Any) -> int:
    """Describe here and now, one file after the other: what a batch on other machines starts for each file."""
    from . import blendfiles, openfiles, preferences
    from .librarychild import describe_file

    openfiles.pause()
    preferences.check_licence()
    told: list[rows.Row] = []
    for path in blendfiles.find(options.paths, recursive=not options.no_recursive):
        told += describe_file(path, blendfiles.shown(path), chosen)
    print(json.dumps({"rows": told}, ensure_ascii=True), flush=True)
    return 1 if any(entry["status"] == rows.FAILED for entry in told) else 0


def _on_ray(options: argparse.Namespace) -> int:
    """Have the core's batch spread the files over a Ray cluster; each task is a background Blender."""
    from . import blendfiles, preferences
    from .child import child_environment
    from .libraryrun import blender_command

    if options.report is None:
        raise UserError("report_missing", "A run on Ray needs a report.", "Name one: --report out.csv")
    preferences.check_licence()
    core = preferences.core()
    files = blendfiles.find(options.paths, recursive=not options.no_recursive)
    if not files:
        raise UserError("no_files", "There is no .blend file to describe.", "Choose a folder that has some.")
    words = ["describe", *(f"--{name}" for name in ("write", "overwrite", "mark", "fast") if getattr(options, name))]
    words += ["--alternatives", str(options.alternatives)]
    command = [str(core.python), "-m", "core", "caption", *map(str, files), "--report", str(options.report)]
    command += ["--ray", options.ray, "--blender", json.dumps(blender_command(*words))]
    command += ["--resume"] if options.resume else []
    env = child_environment(os.environ, core.cache) | {"PYTHONPATH": str(core.core_parent)}
    env.setdefault("MGPT3_PYTHON", str(core.python))
    return subprocess.run(command, stdin=subprocess.DEVNULL, env=env).returncode
