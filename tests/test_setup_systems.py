"""Command lines and choices of other systems, which this one cannot run: only their words are looked at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mgpt3_blender import setupbuild, setupfetch
from mgpt3_blender.errors import UserError
from mgpt3_blender.pythons import candidates, environment_python


def test_the_command_lines_of_windows_and_macos() -> None:
    windows = Path("C:/Users/Zoë Müller/environment/Scripts/python.exe")
    command = setupfetch.uv_command(windows, "torch==2.13.0", backend="cu130")
    assert Path(command[0]) == windows.with_name("uv.exe")
    assert command[command.index("--python") + 1] == str(windows)
    assert command[-3:] == ["--torch-backend", "cu130", "torch==2.13.0"]
    mac = Path("/Users/zoë/Library/Application Support/Blender/5.2/extensions/environment/bin/python")
    command = setupfetch.uv_command(mac, "torch==2.13.0", backend=None)
    assert Path(command[0]) == mac.with_name("uv")
    assert "--torch-backend" not in command
    for alone in (True, False):
        command = setupfetch.pip_command(windows, "torch==2.13.0", alone=alone)
        assert command[:4] == [str(windows), "-I", "-m", "pip"]
        assert ("--isolated" in command) is alone
        assert command[command.index("--only-binary") + 1] == ":all:"  # nothing is built here


@pytest.mark.parametrize(
    ("choice", "system", "found", "backend"),
    [
        ("auto", "Linux", "cuda", "auto"),
        ("auto", "Linux", "rocm", "auto"),
        ("auto", "Linux", "", "cpu"),
        ("cpu", "Linux", "cuda", "cpu"),
        ("cuda", "Linux", "cuda", "auto"),
        ("cuda", "Linux", "", None),
        ("rocm", "Linux", "", "auto"),
        ("auto", "Windows", "cuda", "auto"),
        ("auto", "Windows", "", None),
        ("cpu", "Windows", "cuda", None),
        ("cuda", "Windows", "", "cu130"),
        ("auto", "Darwin", "", None),
        ("cpu", "Darwin", "", None),
    ],
)
def test_the_build_goes_by_the_machine(choice: str, system: str, found: str, backend: str | None) -> None:
    assert setupbuild.backend(choice, system, found) == backend


def test_a_driver_is_seen_by_its_files(tmp_path: Path) -> None:
    assert setupbuild.graphics("Linux", tmp_path) == ""
    assert setupbuild.likely("auto", "Linux", "") == "cpu"
    for name, system, kind in (("proc/driver/nvidia/version", "Linux", "cuda"), ("dev/kfd", "Linux", "rocm"),
                               ("System32/nvcuda.dll", "Windows", "cuda")):  # fmt: skip
        root = tmp_path / kind / system
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
        assert setupbuild.graphics(system, root) == kind
        assert setupbuild.graphics("Darwin", root) == ""


def test_a_build_that_is_another_than_asked_for_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("__version__: str = '2.13.0+cpu'\n", encoding="utf-8")
    version = setupbuild.installed(tmp_path)
    assert version == "2.13.0+cpu"
    for choice in ("auto", "cpu"):
        setupbuild.check_installed(choice, version)
    for choice in ("cuda", "rocm"):
        with pytest.raises(UserError) as caught:
            setupbuild.check_installed(choice, version)
        assert caught.value.code == "build_unavailable"
    setupbuild.check_installed("cuda", "2.13.0+cu130")


def test_machines_that_pytorch_is_not_made_for() -> None:
    with pytest.raises(UserError) as caught:
        setupbuild.check_machine("Darwin", "x86_64")
    assert caught.value.code == "machine_unsupported"
    for system, machine in (("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "x86_64"), ("Linux", "aarch64")):
        setupbuild.check_machine(system, machine)


def test_the_environments_python_of_this_system(tmp_path: Path) -> None:
    assert environment_python(tmp_path).parent.name == ("Scripts" if os.name == "nt" else "bin")
    assert next(candidates([Path(sys.executable)])) == Path(sys.executable)
