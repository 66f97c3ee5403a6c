"""Folders of motion files for the tests of batches, and a program that stands where a Blender would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from motions import jump, run, stand, walk, wave
from test_train import write_bundle
from tiny_model import ROOT

from core.motionfile import write_motion

PROGRAM = '''
"""Stands where a Blender with the add-on would: python PROGRAM [--write | --dry-run] FILE --rows -

What it does goes by the file's name: waits (until waits.go is there), kills (whoever started it), crashes, fails.
"""
import json, os, signal, sys, time
from pathlib import Path
assert sys.argv[-2:] == ["--rows", "-"]
file = Path(sys.argv[-3])
how = file.stem
with file.with_suffix(".begun").open("a") as log:
    log.write(f"{os.getpid()} {os.getppid()} {os.environ.get('RAY_USAGE_STATS_ENABLED')}\\n")
if how == "waits" and not file.with_suffix(".go").exists():
    time.sleep(300)
if how == "kills":
    os.kill(os.getppid(), signal.SIGKILL)
if how == "crashes":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "fails":
    sys.exit("Error: this file is from the future")
if "--write" in sys.argv:
    file.write_bytes(file.read_bytes() + b"written")
row = {"file": "elsewhere", "action": "Walk", "status": "described", "sentence": "a person walks", "tags": ["walk"]}
print("Blender says hello")
print(json.dumps({"rows": [row]}))
'''


def make_blend(path: Path) -> Path:
    """A file that the program describes, as its name says."""
    path.write_bytes(b"BLENDER")
    return path


def make_folder(folder: Path) -> Path:
    """Every kind of motion file, and everything that is none: .bvh, .npz, .json, a bundle, broken, short, still."""
    (folder / "deep" / "deeper").mkdir(parents=True)
    write_motion(folder / "walk.bvh", walk(4.0))
    write_motion(folder / "deep" / "wave.npz", wave())
    write_motion(folder / "deep" / "deeper" / "jump, high.json", jump())
    write_bundle(folder / "deep", {"b": run(2.0), "a": walk(4.0), "c": walk(0.3)}, dict.fromkeys("abc", "-"))
    write_motion(folder / "short.npz", walk(0.3))
    write_motion(folder / "pose.json", stand())
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT", encoding="utf-8")
    (folder / "cut.npz").write_bytes((folder / "deep" / "wave.npz").read_bytes()[:900])
    (folder / "settings.json").write_text('{"theme": "dark"}', encoding="utf-8")
    np.savez(folder / "shape.npz", betas=np.zeros(16), gender="neutral")
    (folder / "._walk.bvh").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves on foreign disks
    (folder / "notes.txt").write_text("walk on Monday", encoding="utf-8")
    return folder


def blender(folder: Path) -> list[str]:
    """--blender and the words of the program, which is written into the folder."""
    program = folder / "blender.py"
    program.write_text(PROGRAM, encoding="utf-8")
    return ["--blender", json.dumps([sys.executable, str(program)])]


def begun(blend: Path) -> list[tuple[int, int, str]]:
    """Each time the program was started on a file: its process, the one that started it, Ray's usage statistics."""
    log = blend.with_suffix(".begun")
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(a), int(b), c) for a, b, c in (line.split() for line in lines)]


def start(*words: object, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """`python -m core caption …` as a process of its own, below `cwd`."""
    return subprocess.Popen(
        [sys.executable, "-m", "core", "caption", *map(str, words)], cwd=cwd, text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
        preexec_fn=_heard if os.name == "posix" else None,
    )  # fmt: skip


def _heard() -> None:
    """Ctrl-C is heard, also where the tests themselves run behind a shell's `&`, which has its jobs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    """Wait for something that a process does."""
    end = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"it never came: exit code {process.returncode}\n{out}\n{err}")
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked about does not."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    except (ProcessLookupError, FileNotFoundError):
        return False


def ends(process: int, seconds: float = 20.0) -> bool:
    """Whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while alive(process):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
