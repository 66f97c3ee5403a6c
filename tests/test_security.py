"""A file that is given away says nothing of who made it and where; a file from a stranger has nothing run."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
from describable import worker  # noqa: F401 - a fixture
from motions import walk
from searchable import census, character, described, library
from tiny_model import ROOT

import mgpt3_blender
from mgpt3_blender import finding, generate, jobs, search
from mgpt3_blender.motionindex import Index
from mgpt3_blender.wire import encode_array

PERSON = "annleexq"  # a user's name that stands nowhere by chance
TOKEN = "hf_qqsecretqqtokenqq"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that says whose it is."""
    folder = tmp_path / PERSON
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def registered(core_python: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The add-on of a user whose name, home, environment and token can be told in whatever is written."""
    python = home / "environment" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{core_python}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    for name, value in {"HOME": str(home), "USER": PERSON, "LOGNAME": PERSON, "HF_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MGPT3_PYTHON", str(python))
    monkeypatch.delenv("MGPT3_MODEL", raising=False)
    own = Index(home / "index.sqlite")
    monkeypatch.setattr(finding, "index", lambda: own)
    census.reset()
    search.reset()
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()
    own.close()


def marks() -> list[str]:
    """What tells on the user: none of it may be in anything that is given away."""
    user_folder = os.environ["BLENDER_USER_RESOURCES"]
    return [PERSON, TOKEN, user_folder, str(jobs.worker().launch.core_parent), str(Path(os.__file__).parent)]


def saved(path: Path) -> bytes:
    """The open file as it would be given away."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=False, relative_remap=False)
    return path.read_bytes()


def told(data: bytes, before: bytes) -> list[str]:
    """What tells on the user more often than before: Blender itself notes where its file browser looked last."""
    return [mark for mark in marks() if data.count(mark.encode()) > before.count(mark.encode())]


@pytest.mark.skipif(os.name == "nt", reason="the environment is a shell script here")
def test_a_saved_file_says_nothing_of_who_made_it_and_where(home: Path, tmp_path: Path) -> None:
    assert getpass.getuser() == PERSON
    described(library(home / "library"))
    character({"Mine": "squat"})
    bpy.ops.wm.save_as_mainfile(filepath=str(home / "here.blend"), compress=False)
    scene, manager = bpy.context.scene, bpy.context.window_manager
    before = saved(tmp_path / "before.blend")
    scene["control"] = str(home)
    assert told(saved(tmp_path / "control.blend"), before) == [PERSON]  # it would be found
    del scene["control"]
    scene.mgpt3.prompt, scene.mgpt3.seconds = "a person walks forward", 2.0
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    assert bpy.ops.mgpt3.describe() == {"FINISHED"}
    assert bpy.ops.mgpt3.description_apply() == {"FINISHED"}
    scene.mgpt3_library.scope, scene.mgpt3_library.folder = "FOLDER", "//library"
    assert bpy.ops.mgpt3.library_preview() == {"FINISHED"}
    assert len(manager.mgpt3_library_rows) == 4
    scene.mgpt3_search.query, scene.mgpt3_search.folder = "goodbye", "//library"
    assert bpy.ops.mgpt3.search() == {"FINISHED"}
    assert manager.mgpt3_found[0].action == "Take 2"
    assert bpy.ops.mgpt3.search_take("EXEC_DEFAULT", True) == {"FINISHED"}
    data = saved(tmp_path / "after.blend")
    assert b"a person walks forward" in data  # it is not compressed
    assert told(data, before) == []
    assert len(manager.mgpt3_found) > 0  # and what is shown is still there
    assert Path(manager.mgpt3_found[0].file).exists()


# --- a file from a stranger

STRANGER = Path(__file__).with_name("stranger.py")
STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "pty.")
CONNECTS = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.")
RUNS = ("exec", "compile")
LOADS = ("ctypes.", "sqlite3.", "pickle.")


def stranger(*arguments: object) -> object:
    """What a run of stranger.py prints at its end."""
    done = subprocess.run(
        [sys.executable, str(STRANGER), *map(str, arguments)],
        capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_file_from_a_stranger_has_nothing_run_opened_or_asked_for(tmp_path: Path) -> None:
    trap = tmp_path / "trapxqqx"
    trap.mkdir()
    for name in ("python", "python.exe", "index.json", "moves.blend"):
        (trap / name).write_text("#!/bin/sh\ntouch ran\n", encoding="utf-8")
        (trap / name).chmod(0o755)
    filled = stranger("make", tmp_path / "file.blend", trap)
    assert len(filled) > 80  # texts of ours that a file can hold
    found = stranger("load", tmp_path / "file.blend", trap)
    assert trap.name in found["prompt"]  # they arrived
    assert (found["drawn"] > 8, found["wrong"]) == (True, [])
    events = [(kind, what) for kind, what in found["events"] if "<bpy driver>" not in what]  # Blender's own refusal
    assert len(events) > 3  # it was watched: Blender's add-on keeps a note of what is open
    assert [event for event in events if trap.name in event[1] or "evil" in event[1]] == []
    assert [event for event in events if event[0].startswith(STARTS + CONNECTS + LOADS)] == []
    own = (str(ROOT), sys.prefix, sys.base_prefix, str(Path(bpy.__file__).parent))
    assert [e for e in events if e[0] in RUNS and not (e[1].startswith(own) or any(o in e[1] for o in own))] == []
    compiled = [sys.pycache_prefix] if sys.pycache_prefix else []  # of our own modules and Blender's
    kept = (*own, *compiled, os.environ["BLENDER_USER_RESOURCES"], str(tmp_path / "file.blend"), "/proc/")
    assert [e for e in events if e[0] in ("open", "os.listdir", "os.scandir") and not e[1].startswith(kept)] == []
    assert not (trap / "ran").exists()


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """The same watch, over things that must not happen."""
    code = (
        "import json, os, socket, subprocess, sys; sys.path[:0] = sys.argv[1:2]; import stranger\n"
        "witness = stranger.Witness(); witness.watching = True\n"
        "os.path.exists('trapxqqx'); subprocess.run([sys.executable, '-c', ''])\n"
        "exec('1', {}); open(os.devnull).close()\n"
        "try: socket.create_connection(('127.0.0.1', 9), 0.1)\n"
        "except OSError: pass\n"
        "witness.watching = False; print(json.dumps(witness.events)); sys.stdout.flush(); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(STRANGER.parent)],
        capture_output=True, text=True, encoding="utf-8", timeout=60, check=True,
    )  # fmt: skip
    kinds = {kind for kind, _ in json.loads(done.stdout.strip().splitlines()[-1])}
    assert {"os.stat", "subprocess.Popen", "exec", "open", "socket.connect"} <= kinds


# --- what is typed stays on this computer


def test_a_prompt_is_sent_nowhere(home: Path, core_python: Path, tmp_path: Path) -> None:
    """Neither Blender nor the worker opens a socket for a motion, a description or a search."""
    said = tmp_path / "worker sockets"
    code = (
        "import sys, runpy\n"
        f"file = open({str(said)!r}, 'a', encoding='utf-8', buffering=1)\n"
        "sys.addaudithook(lambda kind, args: print(kind, file=file) if kind.startswith('socket.') else None)\n"
        "print('watching', file=file)\n"
        "sys.argv = ['core', *sys.argv[1:]]\n"
        "runpy.run_module('core', run_name='__main__')\n"
    )
    usual = jobs.worker().launch
    launch = replace(usual, command=(str(core_python), "-u", "-c", code, *usual.arguments()[4:]))
    mine: list[str] = []
    watching = [True]
    sys.addaudithook(lambda kind, args: mine.append(kind) if watching[0] and kind.startswith("socket.") else None)
    hero = character({"Mine": "squat"})
    job = generate.character_job(generate.Request("a secret dance", 2.0, steps=2), bpy.context.scene, hero)
    jobs.run_blocking(job, launch)
    assert job.outcome.actions[0]["mgpt3_prompt"] == "a secret dance"
    asked = jobs.worker(launch)
    asked.wait(asked.request("embed_text", {"texts": ["a secret dance"]}))
    joints = encode_array(walk(2.0))
    assert asked.wait(asked.request("describe", {"motions": [{"joints": joints}], "embed": True}))
    watching[0] = False
    jobs._worker.stop()
    assert said.read_text(encoding="utf-8").split() == ["watching"]
    assert mine == []
