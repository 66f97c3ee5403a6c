"""`build.py test --window`: the add-on in real windows, driven by mouse and keyboard, in every Blender to be had.

Without a Blender of the user's own (`--blender PROGRAM`) the Blenders are those of two Debian suites, in chroots that
are made once under .envs/ (window_place.py says how, and that it takes root). The steps are tests/test_window.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from testrun import closing, run_pytest
from window_place import ROOT, SUITES, PlaceError, places

OUT = ROOT / "out" / "window"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `build.py test` that are the window test's."""
    parser.add_argument(
        "--window", action="store_true", help="only the window test: mouse and keyboard in real windows"
    )
    parser.add_argument(
        "--blender",
        action="append",
        metavar="PROGRAM",
        help=f"with --window: a Blender of your own, or {' or '.join(SUITES)} of Debian (default: both of these)",
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, help="with --window: folder for the pictures (default out/window)"
    )


def run(wanted: list[str] | None, out: Path, core: Path, environment: dict[str, str], arguments: list[str]) -> int:
    """Run the window test in each Blender, and print the closing table; the exit code.

    Args:
        wanted: programs, or series of Debian's Blender; None: all of these.
        out: a folder for each Blender's pictures is made in it.
        core: the Python that runs the core, and these tests; environment: that of its process.
        arguments: for pytest, beside the file.
    """
    outcomes = []
    try:
        for place in places(wanted):
            described = {"name": place.name, "program": place.program, "root": str(place.root) if place.root else ""}
            pictures = out.resolve() / place.name.split()[0]
            told = {"MGPT3_WINDOW": json.dumps(described), "MGPT3_WINDOW_OUT": str(pictures)}
            words = ["-s", "tests/test_window.py", *arguments]
            outcomes.append(run_pytest(f"window {place.name}", core, {**environment, **told}, words))
            print(f"pictures: {pictures}", flush=True)
    except PlaceError as error:
        print(f"error: {error}")
        return 1
    return closing(outcomes)
