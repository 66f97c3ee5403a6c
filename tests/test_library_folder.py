"""A folder of .blend files, described by real Blenders in the background: written whole, resumed after a kill."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
from libraries import blend, character, load, newer, save

from mgpt3_blender import blendfiles, cli, finding, jobs, metadata, preferences, rows
from mgpt3_blender.described import Options
from mgpt3_blender.librarychild import describe_file
from mgpt3_blender.libraryrun import LibraryRun, default_fleet
from mgpt3_blender.motionindex import file_name, stamp_of

WRITE = Options(write=True, mark=True)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def worker(core_python: Path) -> Iterator[None]:
    """The tests' own core; each background Blender has its own, too."""
    yield
    jobs.stop_worker()


@pytest.fixture(scope="module")
def worker_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' own core writes its log and bytecode."""
    return tmp_path_factory.mktemp("worker")


@pytest.fixture(autouse=True)
def user(tmp_path: Path, worker_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user folder without what other tests found out, for the background Blenders, too.

    The tests' own core does not start anew for it: what it finds out it does not keep.
    """
    folder = tmp_path / "user"
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(folder))
    monkeypatch.setattr(preferences, "user_folder", lambda: _made(folder / "datafiles" / "mgpt3_blender"))
    usual, files = preferences.launch, {"log": worker_files / "worker.log", "cache": worker_files / "bytecode"}
    monkeypatch.setattr(preferences, "launch", lambda: replace(usual(), **files))
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def statuses(told: list[rows.Row]) -> dict[tuple[str, str], str]:
    return {(Path(row["file"]).name, row["action"]): row["status"] for row in told}


def words(told: list[rows.Row], name: str) -> str:
    return " ".join(row["message"] for row in told if Path(row["file"]).name == name)


def described_in(path: Path, action: str = "Walk") -> str:
    load(path)
    made = bpy.data.actions[action]
    return made.asset_data.description if made.asset_data is not None else ""


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if blendfiles.PART in p.name)


def test_a_good_a_broken_a_locked_and_a_newer_file(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    good = blend(lib / "good é.blend", compress=True, Walk=3.0)
    packed = good.read_bytes()
    (lib / "broken.blend").write_bytes(packed[: len(packed) // 2])
    (lib / "junk.blend").write_bytes(b"no blend file")
    newer(lib / "newer.blend")
    blend(lib / "protected.blend", Walk=3.0).chmod(0o444)
    held = blend(lib / "held.blend", Walk=3.0)
    blend(lib / "noted.blend", Walk=3.0)
    (lib / "noted.blend.lock").touch()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    character(Walk=3.0)
    mine = save(lib / "mine.blend")  # and it stays open, in this Blender
    before = {path.name: path.read_bytes() for path in lib.iterdir()}
    with held.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = LibraryRun([lib], WRITE, jobs=2, report=tmp_path / "out.csv").finish()
    assert statuses(told) == {
        ("broken.blend", ""): "failed", ("good é.blend", "Walk"): "described", ("held.blend", ""): "skipped",
        ("junk.blend", ""): "failed", ("mine.blend", ""): "skipped", ("newer.blend", ""): "skipped",
        ("noted.blend", ""): "skipped", ("protected.blend", ""): "skipped",
    }  # fmt: skip
    for name, reason in (("mine", "open in Blender"), ("held", "locked"), ("protected", "write-protected"),
                         ("noted", "lock file"), ("newer", " saved this file; this is Blender ")):  # fmt: skip
        assert reason in words(told, f"{name}.blend"), name
    after = {path.name: path.read_bytes() for path in lib.iterdir()}
    assert {name for name in before if after[name] != before[name]} == {good.name}
    assert set(after) == set(before)  # and nothing lies beside them
    assert good.read_bytes()[:4] == blendfiles.ZSTD  # as packed as it was
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == [row["status"] for row in told]
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report["rows"] == told
    assert bpy.data.filepath == str(mine)
    sentence = next(row["sentence"] for row in told if row["sentence"])
    assert described_in(good) == sentence
    assert sorted(tag.name for tag in bpy.data.actions["Walk"].asset_data.tags) == told[1]["tags"]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    again = LibraryRun([good], WRITE, jobs=1).finish()
    assert statuses(again) == {("good é.blend", "Walk"): "unchanged"}


def test_a_dry_run_writes_nothing_and_says_what_would_be(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    a = blend(lib / "a.blend", Walk=3.0)
    protected = blend(lib / "b.blend", Walk=3.0)
    protected.chmod(0o444)
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in (a, protected)]
    told = LibraryRun([lib], Options(mark=True), jobs=1).finish()
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in (a, protected)] == before
    assert statuses(told) == {("a.blend", "Walk"): "described", ("b.blend", "Walk"): "skipped"}
    assert told[0]["description_after"] == told[0]["sentence"] != ""
    assert told[1]["sentence"] == told[0]["sentence"]  # said all the same: it can be searched
    assert "write-protected" in told[1]["message"]
    index = finding.index()
    assert {place.action for place in index.places([a, protected])} == {"Walk"}
    assert index.stamp(a) == stamp_of(a)


def descendants(process: int) -> list[int]:
    """The processes that one has started, and those that these have."""
    found = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="ascii").split()):
            found += [child, *descendants(child)]
    return found


def test_resumed_after_a_kill(tmp_path: Path) -> None:
    """The whole command is killed when the first file is done; with --resume it goes on and the report is whole."""
    lib, report = tmp_path / "lib", tmp_path / "out.csv"
    files = [blend(lib / f"{n}.blend", Walk=2.0 + 0.5 * n) for n in range(3)]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mgpt3_blender import cli; import os\n"
    script += "code = cli.main(sys.argv[1:]); sys.stdout.flush(); os._exit(code)"
    command = [sys.executable, "-c", script, "describe", str(lib), "--write", "--mark", "--jobs", "1"]
    command += ["--report", str(report)]
    journal = tmp_path / "out.journal.jsonl"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    while time.monotonic() < until and first.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.02)
    while time.monotonic() < until and first.poll() is None and len(journal.read_text().splitlines()) < 2:
        time.sleep(0.02)
    begun = descendants(first.pid)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert not report.exists()
    stopped = [json.loads(line)["file"] for line in journal.read_text(encoding="utf-8").splitlines()[1:]]
    assert stopped
    assert stopped == [blendfiles.shown(file) for file in files[: len(stopped)]]
    done = files[0].stat()
    while any(map(blendfiles.alive, begun)):  # what it started sees that it is gone
        assert time.monotonic() < until
        time.sleep(0.05)
    for path in files:
        assert blendfiles.read_header(path).version is not None  # each is whole
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    assert files[0].stat().st_mtime_ns == done.st_mtime_ns  # not opened again
    told = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"]
    assert list(statuses(told)) == [(f"{n}.blend", "Walk") for n in range(3)]
    assert told[0]["status"] == "described"
    assert {row["status"] for row in told} <= {"described", "unchanged"}  # the second may just have been written
    assert not leftovers(lib)
    for row, path in zip(told, files, strict=True):
        assert described_in(path) == row["description_after"] != ""


def test_a_blender_that_crashes_costs_its_file_only(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    for name in "abc":
        blend(lib / f"{name}.blend", Walk=2.0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    fleet = default_fleet(1)
    # The real child, which falls over whenever it is given the second file.
    crash = "import bpy; fall = lambda *a: 'b.blend' in bpy.data.filepath and os.abort(); "
    crash += "bpy.app.handlers.load_post.append(bpy.app.handlers.persistent(fall)); runpy.run_module("
    wrap = fleet.command[2].replace("runpy.run_module(", crash)
    fleet = replace(fleet, command=(*fleet.command[:2], wrap, *fleet.command[3:]))
    told = LibraryRun([lib], WRITE, jobs=1, fleet=fleet).finish()
    assert statuses(told) == {
        ("a.blend", "Walk"): "described", ("b.blend", ""): "failed", ("c.blend", "Walk"): "described",
    }  # fmt: skip
    assert "ended unexpectedly, 2 times" in words(told, "b.blend")
    assert not leftovers(lib)


def test_cancelled_the_files_are_whole_and_the_next_run_goes_on(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    files = [blend(lib / f"{n}.blend", Walk=2.0) for n in range(3)]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    run = LibraryRun([lib], WRITE, jobs=1)
    while not run.rows and not run.step():
        time.sleep(0.02)
    processes = run.processes
    run.cancel()
    assert run.error is not None
    assert (run.error.code, bool(run.error.remedy)) == ("cancelled", True)
    assert processes
    assert not any(blendfiles.alive(process) for process in processes)
    assert [blendfiles.read_header(path).version for path in files] == [tuple(bpy.app.version[:2])] * 3
    stamp = files[0].stat().st_mtime_ns
    told = LibraryRun([lib], WRITE, jobs=1, resume=True).finish()
    assert len(told) == 3
    assert files[0].stat().st_mtime_ns == stamp
    assert not leftovers(lib)


def test_changed_while_it_was_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blend(tmp_path / "a.blend", Walk=2.0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    saved = path.read_bytes() + b"somebody else's"

    def meanwhile(fraction: float, message: str) -> None:
        path.write_bytes(saved)

    told = describe_file(path, "a.blend", WRITE, progress=meanwhile)
    assert [row["status"] for row in told] == ["skipped"]
    assert "changed while" in told[0]["message"]
    assert path.read_bytes() == saved
    assert not leftovers(tmp_path)


def test_windows_of_the_file_and_everything_else_stay(tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings()
    bpy.data.workspaces[0].name = "Mine"
    character(Walk=2.0)
    bpy.context.scene.frame_current = 33
    bpy.data.texts.new("note").write("keep me")
    path = save(tmp_path / "a.blend")
    names = {kind: sorted(getattr(bpy.data, kind).keys()) for kind in ("objects", "workspaces", "scenes", "actions")}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert describe_file(path, "a.blend", WRITE)[0]["status"] == "described"
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=True)
    assert {kind: sorted(getattr(bpy.data, kind).keys()) for kind in names} == names
    assert bpy.context.scene.frame_current == 33
    assert bpy.data.texts["note"].as_string() == "keep me"
    assert bpy.data.use_autopack is False
    assert not [p.name for p in tmp_path.iterdir() if p.suffix == ".blend1"]


def test_scripts_of_a_file_do_not_run(tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    character(Walk=2.0)
    text = bpy.data.texts.new("evil.py")
    text.write(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text.use_module = True
    path = save(tmp_path / "a.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert LibraryRun([path], jobs=1).finish()[0]["status"] == "described"
    assert not (tmp_path / "ran").exists()


def test_only_what_is_ticked(tmp_path: Path) -> None:
    a, b = blend(tmp_path / "a.blend", Walk=2.0, Wave=2.0), blend(tmp_path / "b.blend", Walk=2.0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    stamp = b.stat().st_mtime_ns
    told = LibraryRun([tmp_path], WRITE, jobs=1, only={blendfiles.shown(a): ["Wave"]}).finish()
    assert statuses(told) == {("a.blend", "Wave"): "described"}
    assert described_in(a) == ""
    assert described_in(a, "Wave") == told[0]["sentence"]
    assert b.stat().st_mtime_ns == stamp


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = blend(tmp_path / "lib" / "a.blend", Walk=2.0)
    (tmp_path / "lib" / "broken.blend").write_bytes(b"junk")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    before = path.read_bytes()
    assert cli.main(["describe", str(tmp_path / "lib"), "--jobs", "1", "--report", str(tmp_path / "out.csv")]) == 1
    said = capsys.readouterr().out
    assert "described  Walk: " in said
    assert "1 described, 1 failed." in said
    assert "Nothing was changed" in said
    assert path.read_bytes() == before
    assert cli.main(["describe", str(path), "--write", "--mark", "--rows", "-"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [tuple(row) for row in told] == [rows.COLUMNS]
    assert described_in(path) == told[0]["sentence"]
    for wrong, code in ((["--jobs", "0"], 1), (["--alternatives", "99"], 1), (["--write", "--dry-run"], 2)):
        assert cli.main(["describe", str(path), *wrong]) == code
    assert cli.main(["describe", str(tmp_path / "nothing")]) == 1
    assert "There is no file or folder" in capsys.readouterr().err


def test_a_file_that_another_blender_has_open(tmp_path: Path, user: Path) -> None:
    """Another Blender, with the add-on registered, has loaded the file; when it is gone, the file is free."""
    path = blend(tmp_path / "a.blend", Walk=2.0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bpy, mgpt3_blender\n"
    script += "mgpt3_blender.register(); bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); print('OPEN', flush=True)\n"
    script += "input()\nimport os; os._exit(0)"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert any(line.strip() == "OPEN" for line in other.stdout)
        told = describe_file(path, "a.blend", WRITE)
        assert [(row["status"], row["action"]) for row in told] == [("skipped", "")]
        assert "open in Blender" in told[0]["message"]
        os.kill(other.pid, signal.SIGKILL)  # its note stays behind, and counts for nothing
    finally:
        other.kill()
        other.communicate()
    assert describe_file(path, "a.blend", WRITE)[0]["status"] == "described"


def test_names_in_the_index_are_those_of_the_written_file(tmp_path: Path) -> None:
    path = blend(tmp_path / "a.blend", Walk=2.0)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    describe_file(path, "a.blend", WRITE)
    index = finding.index()
    assert index.stamp(path) == stamp_of(path)  # what is there now, not what was read
    assert [(p.file, p.action) for p in index.places([path])] == [(file_name(path), "Walk")]
    entries = index.entries([path])
    load(path)
    assert entries.sentences == [metadata.current(bpy.data.actions["Walk"]).description]


@pytest.mark.skipif(bpy.app.version[:2] != (4, 5), reason="Ray is the core's: one Blender is enough")
def test_on_ray_the_report_is_the_same(tmp_path: Path, core_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of this machine: each file is a task, a Blender of its own; byte for byte the local run's report."""
    if subprocess.run([str(core_python), "-c", "import ray"], capture_output=True, timeout=120).returncode:
        pytest.skip("needs Ray in the core's environment (core/requirements-ray.txt)")
    lib = tmp_path / "lib"
    files = [blend(lib / f"{name}.blend", Walk=2.0, Blink=0.3) for name in "ab"]
    (lib / "junk.blend").write_bytes(b"junk")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["describe", str(lib), "--mark", "--report"]
    before = [path.read_bytes() for path in files]
    assert cli.main([*words, str(tmp_path / "local.csv")]) == 1  # a dry run: what it says is what is written then
    assert [path.read_bytes() for path in files] == before
    assert cli.main([*words, str(tmp_path / "ray.csv"), "--write", "--ray", "local"]) == 1
    for ending in ("csv", "json"):
        local, ray = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("local", "ray"))
        assert local == ray
    told = json.loads((tmp_path / "ray.json").read_text(encoding="utf-8"))["rows"]
    for path in files:
        assert described_in(path) == next(r["sentence"] for r in told if r["file"] == str(path) and r["sentence"])
