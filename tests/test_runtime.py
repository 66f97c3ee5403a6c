"""runtime.py: the private environment is made, seen as half-made when it is, checked and refused with a remedy."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from tiny_model import ROOT, make_tiny_model

from mgpt3_blender import pythons, runtime, upkeep
from mgpt3_blender.errors import UserError
from mgpt3_blender.failure import WorkerError
from mgpt3_blender.worker import Launch


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one wheel of one line: offline set-up without the size of torch."""
    folder = tmp_path / "räder mit leer"
    folder.mkdir()
    files = {
        "tiny_wheel.py": b"ANSWER = 42\n",
        "tiny_wheel-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n",
        "tiny_wheel-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    record += "tiny_wheel-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / "tiny_wheel-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in {**files, "tiny_wheel-1.0.dist-info/RECORD": record.encode()}.items():
            wheel.writestr(name, data)
    return folder


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("# pins\ntiny-wheel==1.0  # the only one\n", encoding="utf-8")
    return path


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the real packages is not asked for by these."""
    monkeypatch.setattr(runtime, "NEEDED_BYTES", {"cpu": 1000, "cuda": 1000})


def set_up(folder: Path, requirements: Path, tmp_path: Path, **options: object) -> Path:
    options = {"online": False, "log": tmp_path / "setup.log", "pythons": [Path(sys.executable)], **options}
    return runtime.set_up(folder, requirements, **options)


@pytest.mark.usefixtures("room")
def test_an_environment_is_made_offline_and_known_for_what_it_is(
    wheels: Path, requirements: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "Zoë's folder" / "environment"
    assert runtime.state(folder, requirements).name == "missing"
    told: list[float] = []
    python = set_up(
        folder, requirements, tmp_path, wheels=wheels, progress=lambda fraction, message: told.append(fraction)
    )
    assert python == pythons.environment_python(folder)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert pythons.probe(python)[0] == 3
    assert runtime.state(folder, requirements).name == "ready"
    assert "tiny" in (tmp_path / "setup.log").read_text(encoding="utf-8")
    assert pythons.validate_python(folder) == python
    assert runtime.size(folder) > 1000

    requirements.write_text("# other words, same pins\n\ntiny-wheel==1.0\n", encoding="utf-8")
    assert runtime.state(folder, requirements).name == "ready"
    requirements.write_text("tiny-wheel==2.0\n", encoding="utf-8")
    assert runtime.state(folder, requirements).name == "outdated"

    with pytest.raises(UserError) as caught:  # there is no such wheel: what is left is no environment
        set_up(folder, requirements, tmp_path, wheels=wheels)
    assert caught.value.code == "setup_failed"
    assert "tiny-wheel" in caught.value.message
    assert runtime.state(folder, requirements).name == "incomplete"

    runtime.remove(folder)
    assert runtime.state(folder, requirements).name == "missing"


@pytest.mark.usefixtures("room")
def test_a_cancelled_set_up_leaves_nothing_that_looks_whole(wheels: Path, requirements: Path, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    begun = threading.Event()
    with pytest.raises(UserError) as caught:
        set_up(
            folder,
            requirements,
            tmp_path,
            wheels=wheels,
            progress=lambda fraction, message: begun.set() if fraction >= 0.02 else None,
            cancelled=begun.is_set,
        )
    assert caught.value.code == "cancelled"
    assert runtime.state(folder, requirements).name in ("missing", "incomplete")


def test_no_network_without_leave(requirements: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        set_up(tmp_path / "environment", requirements, tmp_path)
    assert caught.value.code == "offline"
    assert "Online Access" in caught.value.remedy
    assert not (tmp_path / "environment").exists()
    with pytest.raises(UserError) as caught:
        set_up(tmp_path / "environment", requirements, tmp_path, wheels=tmp_path / "nowhere")
    assert caught.value.code == "wheels_missing"


def test_a_full_disk_is_seen_before_anything_is_fetched(
    requirements: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "NEEDED_BYTES", {"cpu": 1 << 60})
    with pytest.raises(UserError) as caught:
        set_up(tmp_path / "environment", requirements, tmp_path, wheels=wheels)
    assert caught.value.code == "disk_full"


def test_pythons_that_do_not_fit_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, old, bare = tmp_path / "broken", tmp_path / "old", tmp_path / "bare"
    broken.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    old.write_text("#!/bin/sh\necho '[[3, 8], 8, true]'\n", encoding="utf-8")
    bare.write_text("#!/bin/sh\necho '[[3, 12], 8, false]'\n", encoding="utf-8")
    for script in (broken, old, bare):
        script.chmod(0o755)
    for path, code in ((broken, "python_broken"), (old, "python_unsuitable"), (tmp_path / "none", "python_missing")):
        with pytest.raises(UserError) as caught:
            pythons.validate_python(path)
        assert caught.value.code == code
        assert caught.value.remedy
    assert pythons.validate_python(bare) == bare  # good enough where the packages are there already
    assert pythons.find_python([broken, old, bare, Path(sys.executable)]) == Path(sys.executable)
    monkeypatch.setattr(pythons, "candidates", lambda first: iter([broken, old]))
    with pytest.raises(UserError) as caught:
        pythons.find_python()
    assert caught.value.code == "python_missing"
    monkeypatch.setattr(pythons, "candidates", lambda first: iter([bare, broken]))
    with pytest.raises(UserError) as caught:
        pythons.find_python()
    assert caught.value.code == "venv_missing"


def test_pythons_are_found_though_the_path_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert next(iter(pythons.candidates([Path(sys.executable)]))) == Path(sys.executable)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("Temporary failure in name resolution", "network_failed"),
        ("The virtual environment was not created because ensurepip is not available", "venv_missing"),
        ("ERROR: No matching distribution found for torch", "setup_failed"),
    ],
)
def test_failures_of_the_set_up_name_their_remedy(said: str, code: str) -> None:
    error = runtime._install_error(["Collecting torch", said])
    assert error.code == code
    assert error.message
    assert error.remedy


def test_what_pip_says_becomes_progress() -> None:
    told: list[tuple[float, str]] = []
    steps = runtime._PipSteps(lambda fraction, message: told.append((fraction, message)))
    for line in (
        "Looking in links: /x",
        "Collecting torch==2.13.0",
        "  Using cached x",
        "Downloading torch-2.13.0+cpu-cp311-manylinux_2_28_x86_64.whl (180.5 MB)",
        "Installing collected packages: mpmath, torch",
        "Collecting huggingface-hub<3.0,>=1.0 (from transformers)",
        "Downloading huggingface_hub-1.2-py3-none-any.whl (512 kB)",
    ):
        steps.line(line)
    assert [message for _, message in told] == [
        "Fetching torch",
        "Downloading torch (180.5 MB)",
        "Installing the packages (a few minutes)",
        "Fetching huggingface-hub",
        "Downloading huggingface-hub (512 kB)",
    ]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] < steps.limit


def test_check_says_in_one_line_what_works(core_python: Path, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model", core_python)
    launch = Launch(core_python, ROOT, tmp_path / "worker.log", model, "cpu")
    line = runtime.ready_line(runtime.check(launch))
    assert line.startswith("Ready: tiny random on cpu (torch ")
    with pytest.raises(WorkerError) as caught:
        runtime.check(Launch(core_python, ROOT, tmp_path / "worker.log", tmp_path / "nowhere", "cpu"))
    assert caught.value.code == "model_missing"


def test_check_of_a_python_without_the_packages_names_the_remedy(
    wheels: Path, requirements: Path, tmp_path: Path, room: None
) -> None:
    python = set_up(tmp_path / "environment", requirements, tmp_path, wheels=wheels)
    with pytest.raises(WorkerError) as caught:
        runtime.check(Launch(python, ROOT, tmp_path / "worker.log"))
    assert caught.value.code == "packages_missing"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_check_does_not_wait_for_ever(tmp_path: Path) -> None:
    launch = Launch(Path("-"), tmp_path, tmp_path / "worker.log", command=("sleep", "60"))
    started = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        runtime.check(launch, timeout=0.5)
    assert caught.value.code == "worker_silent"
    assert time.monotonic() - started < 10


def test_tasks_work_in_a_thread_and_tell_their_end() -> None:
    go = threading.Event()

    def work(progress, cancelled) -> str:
        progress(0.5, "half")
        assert go.wait(5)
        if cancelled():
            raise UserError("cancelled", "Stopped.")
        return "Ready"

    task = upkeep.start("Check", work)
    with pytest.raises(UserError, match="under way"):
        upkeep.start("Check", work)
    assert not upkeep.finish()
    go.set()
    assert task.done.wait(5)
    assert upkeep.finish()
    assert (upkeep.view.line, upkeep.view.error, upkeep.busy()) == ("Ready", None, False)

    go.clear()
    task = upkeep.start("Check", work)
    upkeep.cancel()
    go.set()
    assert task.done.wait(5)
    assert upkeep.finish()
    assert upkeep.view.error.code == "cancelled"

    def broken(progress, cancelled) -> str:
        raise ZeroDivisionError("a bug")

    with pytest.raises(UserError, match="a bug"):
        upkeep.run("Check", broken)
    upkeep.reset()
    assert upkeep.view.error is None
