"""runtime.py: the private environment is made, seen as half-made when it is, checked and refused with a remedy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_model import ROOT, make_tiny_model
from tinywheels import make_wheel

from mgpt3_blender import pythons, runtime, setupbuild, setupcheck, setuperrors, setupfetch, setupstep, upkeep
from mgpt3_blender.child import LogFile
from mgpt3_blender.errors import UserError
from mgpt3_blender.failure import WorkerError
from mgpt3_blender.worker import Launch


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this computer's own pip settings."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one wheel of one line: offline set-up without the size of torch."""
    folder = tmp_path / "räder mit leer"
    make_wheel(folder, "tiny-wheel")
    return folder


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("# pins\ntiny-wheel==1.0  # the only one\n", encoding="utf-8")
    return path


def answers(python: Path, stop: runtime.CancelFunction) -> str:
    """Stands for the test motion, which these packages cannot make: the tiny package is really imported."""
    done = subprocess.run([str(python), "-I", "-c", "import tiny_wheel; print(tiny_wheel.ANSWER)"], capture_output=True)
    return f"It says {done.stdout.decode().strip()}"


def set_up(folder: Path, requirements: Path, tmp_path: Path, **options: object) -> str:
    options = {
        "verify": answers,
        "online": False,
        "log": tmp_path / "setup.log",
        "pythons": [Path(sys.executable)],
        **options,
    }
    return runtime.set_up(folder, requirements, **options)


def name_of(folder: Path, requirements: Path) -> str:
    return runtime.state(folder, requirements).name


def test_an_environment_is_made_offline_and_known_for_what_it_is(
    wheels: Path, requirements: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "Zoë's 歩く folder" / "environment"
    assert name_of(folder, requirements) == "missing"
    told: list[float] = []
    line = set_up(
        folder, requirements, tmp_path, wheels=wheels, progress=lambda fraction, message: told.append(fraction)
    )
    python = pythons.environment_python(folder)
    assert line.startswith("It says 42, ")
    assert line.endswith(" MB on disk.")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert pythons.probe(python)[0] == 3
    state = runtime.state(folder, requirements)
    assert (state.name, state.problem, state.build) == ("ready", None, "auto")
    assert "MB on disk" in state.line
    assert state.size == pytest.approx(setupstep.size(folder), rel=0.01)
    assert "tiny" in (tmp_path / "setup.log").read_text(encoding="utf-8")
    assert pythons.validate_python(folder) == python

    requirements.write_text("# other words, same pins\n\ntiny-wheel==1.0\n", encoding="utf-8")
    assert name_of(folder, requirements) == "ready"
    requirements.write_text("tiny-wheel==2.0\n", encoding="utf-8")
    assert name_of(folder, requirements) == "outdated"
    requirements.write_text("tiny-wheel==1.0\n", encoding="utf-8")

    info = next(folder.rglob("tiny_wheel-1.0.dist-info"))
    info.rename(tmp_path / "away")
    state = runtime.state(folder, requirements)
    assert (state.name, state.problem.code) == ("broken", "environment_broken")
    assert "tiny_wheel" in state.line
    (tmp_path / "away").rename(info)

    settings = folder / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8")
    gone = tmp_path / "removed" / "python3.11"
    settings.write_text("".join(
        f"executable = {gone}\n" if line.startswith("executable") else f"{line}\n" for line in text.splitlines()
    ), encoding="utf-8")  # fmt: skip
    state = runtime.state(folder, requirements)
    assert state.name == "broken"
    assert str(gone) in state.line
    settings.write_text(text, encoding="utf-8")
    assert name_of(folder, requirements) == "ready"

    runtime.distrust(folder, UserError("packages_missing", "It lacks torch."))  # a check has failed
    state = runtime.state(folder, requirements)
    assert (state.name, state.problem.code) == ("broken", "environment_unproven")
    assert "It lacks torch." in state.line

    make_wheel(runtime.downloads_folder(folder), "kept")
    freed = runtime.remove(folder, environment=False)
    assert 0 < freed < 10_000
    assert folder.exists()
    assert runtime.remove(folder) > 100_000
    assert name_of(folder, requirements) == "missing"
    assert not folder.exists()
    assert not runtime.downloads_folder(folder).exists()


def test_a_test_motion_that_fails_is_remembered(wheels: Path, requirements: Path, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    error = UserError("out_of_memory", "The memory is full.", "Close other programs.")

    def fails(python: Path, stop: runtime.CancelFunction) -> str:
        raise error

    with pytest.raises(UserError, match="memory"):
        set_up(folder, requirements, tmp_path, wheels=wheels, verify=fails)
    state = runtime.state(folder, requirements)
    assert (state.name, state.problem.code) == ("broken", "environment_unproven")
    made = (folder / "pyvenv.cfg").stat().st_mtime_ns
    set_up(folder, requirements, tmp_path, wheels=wheels)  # new packages would not have given it more memory
    assert name_of(folder, requirements) == "ready"
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns == made

    error = UserError("worker_crashed", "It crashed.")
    runtime.distrust(folder, error)
    set_up(folder, requirements, tmp_path, wheels=wheels)
    assert name_of(folder, requirements) == "ready"
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns != made  # made anew


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
    assert name_of(folder, requirements) == "interrupted"


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
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cpu", 1 << 60)
    with pytest.raises(UserError) as caught:
        set_up(tmp_path / "environment", requirements, tmp_path, online=True, build="cpu")
    assert caught.value.code == "disk_full"
    assert "1152921504.6 GB" in caught.value.message


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
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: 'x'", "folder_unwritable"),
        (
            "  HINT: This error might have occurred since this system does not have Windows Long Path support enabled.",
            "path_too_long",
        ),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 x'))", "proxy_refused"),
        ("  Caused by: invalid peer certificate: UnknownIssuer", "certificate_untrusted"),
        ("  Caused by: failed to lookup address information: Name or service not known", "network_failed"),
        ("  x No solution found: Because there is no version of torch==2.13.0", "package_missing"),
        ("Temporary failure in name resolution", "network_failed"),
        ("The virtual environment was not created because ensurepip is not available", "venv_missing"),
        ("thread 'main' panicked: an error nobody has seen", "setup_failed"),
        ("ERROR: No matching distribution found for torch==2.13.0", "package_missing"),
    ],
)
def test_failures_of_the_set_up_name_their_remedy(said: str, code: str) -> None:
    error = setuperrors.failure(["Collecting torch", said])
    assert error.code == code
    assert error.message
    assert error.remedy


def test_what_pip_and_uv_say_becomes_progress(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    log = LogFile(tmp_path / "log.txt")
    runner = setupstep.Runner(Path("-"), tmp_path, tmp_path, log, lambda: False, lambda *words: told.append(words))
    steps = setupfetch.Steps(runner)
    for line in (
        "Looking in links: /x",
        "Collecting torch==2.13.0",
        "  Using cached x",
        "Downloading torch-2.13.0+cpu-cp311-manylinux_2_28_x86_64.whl (180.5 MB)",
        "Installing collected packages: mpmath, torch",
        "Collecting huggingface-hub<3.0,>=1.0 (from transformers)",
        "Downloading huggingface_hub-1.2-py3-none-any.whl (512 kB)",
        "Resolved 21 packages in 137ms",
        "Downloading numpy (16.1MiB)",
        " Downloaded numpy",
        "Prepared 21 packages in 8s",
        " + numpy==2.4.6",
    ):
        steps.line(line)
    assert [message for _, message in told] == [
        "Fetching torch",
        "Downloading torch (180.5 MB)",
        "Installing the packages (a few minutes)",
        "Fetching huggingface-hub",
        "Downloading huggingface-hub (512 kB)",
        "Downloading numpy (16.1MiB)",
        "Installing the packages (a few minutes)",
    ]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] < steps.limit


def test_check_makes_a_motion_and_says_in_one_line_what_works(core_python: Path, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model", core_python)
    launch = Launch(core_python, ROOT, tmp_path / "worker.log", model, "cpu")
    for motion in (True, False):
        line = setupcheck.ready_line(setupcheck.check(launch, motion=motion))
        assert line.startswith("Ready: tiny random on cpu (torch ")
    line = setupcheck.ready_line(setupcheck.check(Launch(core_python, ROOT, tmp_path / "worker.log", None, "cpu")))
    assert line.startswith("Ready: MotionGPT3 compact on cpu (torch ")
    with pytest.raises(WorkerError) as caught:
        setupcheck.check(Launch(core_python, ROOT, tmp_path / "worker.log", tmp_path / "nowhere", "cpu"))
    assert caught.value.code == "model_missing"


WRONG = """
import base64, json, struct, sys
joints = {joints}
data = base64.b64encode(struct.pack(f"<{{len(joints)}}f", *joints)).decode()
motion = {{"joints": {{"dtype": "float32", "shape": [len(joints) // 66, 22, 3], "data": data}}}}
for line in sys.stdin:
    asked = json.loads(line)
    result = {{"protocol": 1}} if asked["method"] == "hello" else {{"motions": [motion]}}
    print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], "result": result}}), flush=True)
"""


@pytest.mark.parametrize(
    ("joints", "said"),
    [
        ("[float('nan')] * 66 * 20", "not finite"),
        ("[0.0] * 66 * 20", "0.00 m tall"),
        ("[i / 66 for i in range(66)] * 3", "3 frames"),
    ],
)
def test_a_motion_that_is_none_is_not_taken_for_one(joints: str, said: str, tmp_path: Path) -> None:
    command = (sys.executable, "-c", WRONG.format(joints=joints))  # stands for a core whose arithmetic is broken
    with pytest.raises(WorkerError) as caught:
        setupcheck.check(Launch(Path("-"), tmp_path, tmp_path / "worker.log", command=command))
    assert caught.value.code == "motion_wrong"
    assert said in caught.value.message


def test_check_of_a_python_without_the_packages_names_the_remedy(tmp_path: Path) -> None:
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(WorkerError) as caught:
        setupcheck.check(Launch(python, ROOT, tmp_path / "worker.log"))
    assert caught.value.code == "packages_missing"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_check_does_not_wait_for_ever(tmp_path: Path, within: Callable[..., None]) -> None:
    launch = Launch(Path("-"), tmp_path, tmp_path / "worker.log", command=("sleep", "60"))
    started = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        setupcheck.check(launch, timeout=0.5)
    assert caught.value.code == "worker_silent"
    within(time.monotonic() - started, 10.0)  # of its sixty


def test_tasks_work_in_a_thread_and_tell_their_end() -> None:
    go = threading.Event()

    def work(progress, cancelled) -> str:
        progress(0.5, "half")
        assert go.wait(30)
        if cancelled():
            raise UserError("cancelled", "Stopped.")
        return "Ready"

    task = upkeep.start("Check", work)
    with pytest.raises(UserError, match="under way"):
        upkeep.start("Check", work)
    assert not upkeep.finish()
    go.set()
    assert task.done.wait(30)
    assert upkeep.finish()
    assert (upkeep.view.line, upkeep.view.error, upkeep.busy()) == ("Ready", None, False)

    go.clear()
    task = upkeep.start("Check", work)
    upkeep.cancel()
    go.set()
    assert task.done.wait(30)
    assert upkeep.finish()
    assert upkeep.view.error.code == "cancelled"

    def broken(progress, cancelled) -> str:
        raise ZeroDivisionError("a bug")

    with pytest.raises(UserError, match="a bug"):
        upkeep.run("Check", broken)
    upkeep.reset()
    assert upkeep.view.error is None
