"""The Python environment the core runs in: create it, look at it, check it, remove it.

The environment lives in a folder of the user's, never in the add-on's own, and counts as made only when its
marker file is there, which is written last: a set-up that was interrupted is seen as such. Knows nothing of Blender.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .child import LogFile, child_environment, popen_options
from .errors import UserError
from .failure import WorkerError
from .pythons import environment_python, find_python, probe
from .worker import HELLO_SILENCE, Launch, Worker

MARKER = "ready.json"
UV = "uv==0.13.8"  # taken because it knows where PyTorch keeps the builds for each kind of machine; pip does not
NEEDED_BYTES = {"cpu": 3 * 1024**3, "cuda": 9 * 1024**3}  # packages and the room to unpack them
SILENCE = 600.0  # seconds without a line from pip: a large wheel is unpacked in silence

ProgressFunction = Callable[[float, str], None]
CancelFunction = Callable[[], bool]


@dataclass(frozen=True)
class State:
    """Where an environment stands. name: "missing", "incomplete", "outdated" or "ready"; line: that for people."""

    name: str
    line: str


def state(folder: Path, requirements: Path) -> State:
    """Look at an environment without starting anything: a few small files are read."""
    if not folder.is_dir():
        return State("missing", "Not set up yet")
    marker = _read_marker(folder)
    if not marker or not environment_python(folder).exists():
        return State("incomplete", "The last set-up did not finish")
    if marker.get("requirements") != _fingerprint(requirements):
        return State("outdated", "Set up for another version of the add-on")
    return State("ready", f"Set up (Python {marker.get('python', '?')})")


def set_up(
    folder: Path,
    requirements: Path,
    *,
    pythons: Iterable[Path] = (),
    online: bool,
    wheels: Path | None = None,
    build: str = "cpu",
    log: Path,
    progress: ProgressFunction | None = None,
    cancelled: CancelFunction | None = None,
) -> Path:
    """Make the environment and install the core's packages into it. Blocks for minutes: run it in a thread.

    Args:
        folder: of the environment; what is in it is replaced.
        requirements: the core's requirements.txt.
        pythons: tried before others, e.g. Blender's own.
        online: whether the user allows Blender to use the network.
        wheels: a folder of wheels to install from instead.
        build: "cpu" or "cuda".
        log: what pip says goes there.

    Returns the environment's interpreter. Raises UserError; code "cancelled" where `cancelled()` turned true.
    """
    tell = progress or (lambda fraction, message: None)
    stop = cancelled or (lambda: False)
    if wheels is None and not online:
        raise UserError(
            "offline",
            "Setting up fetches packages, and Blender is not allowed to use the network.",
            'Switch "Allow Online Access" on in Preferences > System, or choose a folder of wheels.',
        )
    if wheels is not None and not wheels.is_dir():
        raise UserError("wheels_missing", f"There is no folder {wheels}.", "Choose the folder that holds the wheels.")
    tell(0.0, "Looking for a Python")
    python = find_python(pythons)
    try:
        remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise UserError(
            "folder_unwritable",
            f"The folder {folder.parent} cannot be written to ({error.strerror}).",
            "Give yourself the right to write there, or choose an existing Python instead.",
        ) from error
    if free < NEEDED_BYTES[build]:
        raise UserError(
            "disk_full",
            f"Setting up needs {NEEDED_BYTES[build] / 1024**3:.0f} GB of disk, {free / 1024**3:.1f} GB are free.",
            "Free some space and press Set Up again.",
        )
    file = LogFile(log)
    file.note(f"set-up of the {build} build on {platform.system()} {platform.machine()}")
    tell(0.02, "Creating the environment")
    _run([str(python), "-I", "-m", "venv", str(folder)], file, stop, lambda line: None)
    _install(folder, requirements, wheels, build, file, stop, _PipSteps(tell))
    tell(0.97, "Finishing")
    version = ".".join(str(n) for n in probe(environment_python(folder)))
    marker = {"requirements": _fingerprint(requirements), "python": version, "build": build}
    (folder / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    tell(1.0, "Set up")
    return environment_python(folder)


def _install(
    folder: Path,
    requirements: Path,
    wheels: Path | None,
    build: str,
    log: LogFile,
    stop: CancelFunction,
    steps: _PipSteps,
) -> None:
    """Fetch the pinned packages. torch goes first and by itself: no other package can pull in another build then."""
    pip = [str(environment_python(folder)), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    pip += ["--progress-bar", "off"]
    if wheels is not None:
        pip += ["--no-index", "--find-links", str(wheels)]
    torch = [pin for pin in _pins(requirements) if pin.startswith("torch==")]
    if torch and wheels is None and build == "cpu" and platform.system() == "Linux":
        # On Linux the package index's torch brings 3 GB of CUDA libraries; elsewhere it is the CPU's or Metal's build.
        try:
            _run([*pip, UV], log, stop, steps.line)
            python = str(environment_python(folder))
            uv = [python, "-I", "-m", "uv", "pip", "install", "--python", python, "--torch-backend", "cpu"]
            _run([*uv, "--no-config", "--no-progress", *torch], log, stop, steps.line)
        except UserError as error:
            if error.code in ("cancelled", "disk_full"):
                raise
            log.note("PyTorch's CPU builds are out of reach: its larger build is taken from the package index")
    if torch:
        _run([*pip, *torch], log, stop, steps.line)  # nothing is left to do where it is there already
    steps.limit = 0.95
    _run([*pip, "-r", str(requirements)], log, stop, steps.line)


def remove(folder: Path) -> None:
    """Delete an environment; the marker goes first, so that half of one never looks whole. Raises OSError."""
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def size(folder: Path) -> int:
    """Bytes on disk of an environment. Walks the whole folder: not for drawing code."""
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())


def check(launch: Launch, *, timeout: float = HELLO_SILENCE, cancelled: CancelFunction | None = None) -> dict:
    """Start a core only to hear its hello, and end it again. Blocks; raises WorkerError.

    Returns the hello: versions, device, model.
    """
    stop = cancelled or (lambda: False)
    worker = Worker(launch)
    deadline = time.monotonic() + timeout
    try:
        request_id = worker.request("hello", silence=timeout)
        info = worker.wait(request_id, cancelled=lambda: time.monotonic() > deadline or stop())
    except WorkerError as error:
        if error.code == "cancelled" and not stop():
            raise WorkerError(
                "worker_silent",
                f"The motion model did not start within {timeout:.0f} seconds.",
                "Try again; the first start is the slowest. If it happens again, open the log.",
                log=launch.log,
            ) from None
        raise
    finally:
        worker.stop()
    assert isinstance(info, dict)
    return info


def ready_line(info: dict) -> str:
    """A hello in one line for people, e.g. "Ready: MotionGPT3 compact on cpu (torch 2.13.0)"."""
    model = info.get("model")
    model = model if isinstance(model, dict) else {}
    return f"Ready: {model.get('name', 'model')} on {info.get('device', '?')} (torch {info.get('torch', '?')})"


def core_parent(package: Path) -> Path:
    """The folder that holds `core/`: the add-on's own when installed, the repository's when developing."""
    return package if (package / "core" / "__main__.py").is_file() else package.parent


class _PipSteps:
    """Turns pip's lines into progress. How many packages there will be is not known before: it nears `limit`."""

    def __init__(self, tell: ProgressFunction) -> None:
        self.tell = tell
        self.fraction = 0.05
        self.limit = 0.5

    def line(self, line: str) -> None:
        found = re.match(r"(Collecting|Downloading|Installing collected)[ ]+(\S+)(?:.*\((.+)\))?", line)
        if found is None:
            return
        what, name, size = found.groups()
        name = re.split(r"[^\w.-]|-\d", Path(name).name)[0].replace("_", "-")
        if what == "Collecting":
            self.fraction += (self.limit - self.fraction) * 0.06
            self.tell(self.fraction, f"Fetching {name}")
        elif what == "Downloading":
            self.tell(self.fraction, f"Downloading {name}" + (f" ({size})" if size else ""))
        else:
            self.fraction += (self.limit - self.fraction) * 0.5
            self.tell(self.fraction, "Installing the packages (a few minutes)")


def _run(command: Sequence[str], log: LogFile, stop: CancelFunction, heard: Callable[[str], None]) -> None:
    """Run a step of the set-up with its output in the log. Raises UserError with the last words where it fails."""
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(os.environ),
            **popen_options(),
        )
    except OSError as error:
        raise UserError("python_broken", f"{command[0]} cannot be started ({error.strerror}).", "") from error
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    assert process.stdout is not None
    pipe = process.stdout

    def read() -> None:
        for line in pipe:
            lines.put(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    last: list[str] = []
    since = time.monotonic()
    try:
        while thread.is_alive() or not lines.empty():
            if stop():
                raise UserError("cancelled", "The set-up was cancelled.", "Press Set Up to begin again.")
            try:
                raw = lines.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() - since > SILENCE:
                    raise UserError(
                        "setup_stalled", "The set-up has stopped making progress.", "Check the network and try again."
                    ) from None
                continue
            since = time.monotonic()
            log.write(raw)
            text = raw.decode("utf-8", "replace").strip()
            if text:
                last = [*last[-30:], text]
                heard(text)
    finally:
        if process.poll() is None and thread.is_alive():
            process.kill()
        process.wait()
        thread.join(2.0)
    if process.returncode != 0:
        raise _install_error(last)


def _install_error(last: Sequence[str]) -> UserError:
    """The error for a failed step, from what was said last."""
    text = "\n".join(last)
    said = next((line for line in reversed(last) if "ERROR" in line or "Error" in line), last[-1] if last else "")
    if "No space left" in text:
        return UserError("disk_full", "The disk is full.", "Free some space and press Set Up again.")
    if any(words in text for words in ("Temporary failure in name", "getaddrinfo", "Max retries", "ConnectionError")):
        return UserError(
            "network_failed", "The packages cannot be reached over the network.", "Check the connection and try again."
        )
    if "ensurepip" in text:
        return UserError(
            "venv_missing",
            "The Python that was found cannot make environments.",
            "Install its venv package (python3-venv on Debian and Ubuntu), or Python 3.13 from python.org.",
        )
    return UserError("setup_failed", f"The set-up failed: {said[:300]}", "Open the log for the whole story.")


def _read_marker(folder: Path) -> dict:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _pins(requirements: Path) -> list[str]:
    """The lines of a requirements file without comments; none where it cannot be read."""
    try:
        lines = requirements.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [pin for line in lines if (pin := line.split("#")[0].strip())]


def _fingerprint(requirements: Path) -> str:
    """What the pins are, apart from comments, order and blank lines."""
    return hashlib.sha256("\n".join(sorted(_pins(requirements))).encode()).hexdigest()
