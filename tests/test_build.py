"""build.py: the zip is what Blender accepts, the same every time, and no test file is left unvisited."""

from __future__ import annotations

import subprocess
import sys
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
