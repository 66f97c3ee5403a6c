"""build.py: the zip is what Blender accepts, the same every time, and no test file is left unvisited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
import testrun

import build
import core.protocol
import mgpt3_blender

MANIFEST = tomllib.loads((build.ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))


def test_zip_holds_the_add_on_at_its_root_and_the_core_beside_it(extension_zip: Path) -> None:
    with zipfile.ZipFile(extension_zip) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "core/__main__.py", "core/requirements.txt"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/." in name]
    assert not [name for name in names if name.startswith(("tests/", "mgpt3_blender/", "shared/"))]


def test_zip_is_small_enough_and_reproducible(extension_zip: Path, tmp_path: Path) -> None:
    assert extension_zip.stat().st_size < build.ZIP_LIMIT_MB * 1e6
    assert build.build_zip(tmp_path).read_bytes() == extension_zip.read_bytes()


def test_zip_carries_all_bundled_weights_and_no_others(extension_zip: Path) -> None:
    with zipfile.ZipFile(extension_zip) as archive:
        weights = {name for name in archive.namelist() if name.startswith("core/weights/")}
    assert "core/weights/compact/model.safetensors" in weights
    there = [build.ROOT / "core" / "weights" / name for name in build.WEIGHTS]
    files = {f.relative_to(build.ROOT).as_posix() for folder in there for f in folder.rglob("*") if f.is_file()}
    assert weights == files


def test_blenders_own_validator_accepts_the_zip(extension_zip: Path) -> None:
    python = build.blender_environment("4.5").python
    if not python.exists():
        pytest.skip("needs the environment bpy-4.5: run `python3.11 build.py test`")
    command = [str(python), str(build.validator(python)), "validate", str(extension_zip)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_one_version_everywhere() -> None:
    project = tomllib.loads((build.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert MANIFEST["version"] == project["version"] == mgpt3_blender.VERSION == core.protocol.VERSION


def test_manifest_keeps_to_the_platforms_rules() -> None:
    assert len(MANIFEST["tagline"]) <= 64
    assert MANIFEST["tagline"][-1].isalnum()
    assert "blender" not in MANIFEST["name"].lower()
    assert "SPDX:GPL-3.0-or-later" in MANIFEST["license"]
    for reason in MANIFEST["permissions"].values():
        assert len(reason) <= 64
        assert reason[-1].isalnum()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import bpy\n", True),
        ("from mathutils import Vector\n", True),
        ("def f():\n    from bpy.types import Object\n", True),
        ('bpy = pytest.importorskip("bpy")\n', True),
        ('CODE = """\nimport bpy\n"""\n', False),
        ("import bpyx\n", False),
        ("from . import bpy\n", False),
    ],
)
def test_files_are_sorted_by_whether_they_import_bpy(tmp_path: Path, source: str, expected: bool) -> None:
    file = tmp_path / "file.py"
    file.write_text(source, encoding="utf-8")
    assert build.imports_bpy(file) is expected


def test_pins_are_exact_and_torch_is_installed_by_itself() -> None:
    assert build.pin("torch") == "torch==2.13.0"
    assert build.core_environment().installs[0] == ("torch==2.13.0",)
    for file in ("core/requirements.txt", "tests/requirements.txt"):
        for line in (build.ROOT / file).read_text(encoding="utf-8").splitlines():
            pin, _, why = line.partition("#")
            assert not pin or ("==" in pin and why), f"{file}: {line!r} needs an exact version and a reason"


def test_an_environment_knows_when_its_pins_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a==1\n", encoding="utf-8")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    environment = build.Environment("x", (("-r", "requirements.txt"),), "import a")
    before = environment.stamp()
    assert environment.stamp() == before
    requirements.write_text("a==2\n", encoding="utf-8")
    assert environment.stamp() != before


def test_an_interrupted_environment_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    environment = build.Environment("x", (), "import json")
    python = environment.ensure()
    assert python.exists()
    assert (environment.folder / ".stamp").exists()
    (environment.folder / ".making").touch()
    (environment.folder / "half").touch()
    environment.ensure()
    assert not (environment.folder / "half").exists()
    assert not (environment.folder / ".making").exists()


def test_a_failed_import_names_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for output, word in {
        "ImportError: libXi.so.6: cannot open shared object file": "libxi6",
        "NewConnectionError: Failed to establish a new connection": "network",
        "ERROR: No matching distribution found for torch==2.13.0": "no build",
        "(from versions: none)": "network",
        "The virtual environment was not created: ensurepip is not available": "python3.11-venv",
        "OSError: [Errno 28] No space left on device": "disk",
    }.items():
        assert word in build.remedy(output)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    with pytest.raises(build.BuildError, match="could not be made"):
        build.Environment("x", (), "import no_such_module_anywhere").ensure()


def test_help_explains_every_command() -> None:
    for arguments in (["--help"], ["demo", "--help"], ["test", "--help"], ["zip", "--help"], ["measure", "--help"]):
        command = [sys.executable, str(build.ROOT / "build.py"), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0
        assert "usage" in result.stdout


def test_a_hanging_run_is_ended_at_its_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert testrun.run_limited(command, 0.01, {}) is None
    assert testrun.run_limited([sys.executable, "-c", "raise SystemExit(3)"], 1, {}) == 3


def test_named_files_run_together_where_they_belong_and_all_others_apart(tmp_path: Path) -> None:
    files = [build.ROOT / "tests" / f"test_{name}.py" for name in ("action", "pauses", "addon")]
    core, blenders = tmp_path / "core", {"Blender 4.5": tmp_path / "4.5", "Blender 5.0": tmp_path / "5.0"}

    def queue(*arguments: str) -> list[tuple[str, str]]:
        return [(part.environment, part.file) for part in testrun.parts(core, blenders, files, list(arguments))]

    apart = [(name, file) for file in ("pauses", "addon", "action") for name in blenders]  # the long one first
    everything = [("core", ""), *((name, f"test_{file}.py") for name, file in apart)]
    assert queue() == queue("-k", "core") == queue("-x", "-k", "tests/nothing.py") == everything
    assert testrun.parts(core, blenders, files, ["-x"])[1].arguments == ["-x", "tests/test_pauses.py"]
    assert queue("tests/test_build.py::test_x") == [("core", "")]
    assert queue("-x", "tests/test_action.py", "tests/test_addon.py") == [(name, "") for name in blenders]
    assert (
        queue("tests") == queue("tests/test_build.py", "tests/test_action.py") == [("core", ""), *queue(str(files[0]))]
    )


def suite(folder: Path, **bodies: str) -> list[testrun.Part]:
    """Test files of one line each, to be run by this Python in the environments "a" and "b" by turns."""
    found = []
    for number, (name, body) in enumerate(bodies.items()):
        file = folder / f"test_{name}.py"
        file.write_text(f"import time\ndef test_it():\n    {body}\n", encoding="utf-8")
        words = ["-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(file)]
        found.append(testrun.Part("ab"[number % 2], Path(sys.executable), words, file.name))
    return found


def test_parts_run_side_by_side_and_are_summed_by_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meet = "__import__('pathlib').Path({mine!r}).touch(); until = time.monotonic() + 60\n    while not __import__"
    meet += "('pathlib').Path({other!r}).exists(): assert time.monotonic() < until; time.sleep(0.01)"
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    bodies = {"one": meet.format(mine=one, other=two), "two": meet.format(mine=two, other=one), "bad": "assert 0"}
    rows = testrun.run_parts(suite(tmp_path, **bodies), dict(os.environ))
    assert [(row.name, row.passed, row.failed) for row in rows] == [("a", 1, 1), ("b", 1, 0)]
    assert testrun.closing(rows) == 1
    assert "2 passed, 1 failed, 0 skipped" in capsys.readouterr().out


def test_after_a_failure_none_is_begun_where_that_was_asked_for(tmp_path: Path) -> None:
    queue = suite(tmp_path, bad="assert 0", good="pass")
    stopped = testrun.run_parts(queue, dict(os.environ), first=True, lanes=1)
    assert [(row.passed, row.failed, row.note) for row in stopped] == [(0, 1, ""), (0, 0, "not all of it was run")]
    every = testrun.run_parts(queue, dict(os.environ), lanes=1)
    assert [(row.passed, row.failed) for row in every] == [(0, 1), (1, 0)]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interruption_ends_everything_under_way(tmp_path: Path) -> None:
    body = "open({!r}, 'w').write(str(__import__('os').getpid())); time.sleep(60)"
    notes = [tmp_path / name for name in ("one", "two")]
    suite(tmp_path, **{note.name: body.format(str(note)) for note in notes})
    code = (
        "import os, signal, sys, testrun; from pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a run in the background ignores
        "words = ['-p', 'no:cacheprovider', '--rootdir=' + sys.argv[1]]\n"
        "files = [os.path.join(sys.argv[1], f'test_{n}.py') for n in ('one', 'two', 'one')]\n"
        "queue = [testrun.Part('a', Path(sys.executable), [*words, f], 'x') for f in files]\n"
        "testrun.run_parts(queue, dict(os.environ))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(testrun.__file__).parent)}
    started = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not all(note.exists() and note.read_text() for note in notes):
        assert time.monotonic() < until
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    assert started.wait(30) != 0
    for note in notes:
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.read_text()), 0)
