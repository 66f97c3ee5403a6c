"""The Python environment the core runs in: look at it, make it, go on where making it ended, remove it.

The environment lives in a folder of the user's, never in the add-on's own. It counts as made only when its marker file
is there, which is written last, after it has made a motion; what a set-up that did not come to its end had reached
stands in another. One set-up at a time: a lock, which the system frees when its Blender is killed. Knows nothing of
Blender.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import setupbuild, setuperrors
from .child import LogFile
from .errors import UserError
from .pythons import environment_python, find_python, probe
from .setupbuild import gigabytes
from .setupfetch import check_room, fetch, site_packages
from .setuplock import Lock, held
from .setupstep import CancelFunction, ProgressFunction, Runner, size

MARKER = "ready.json"
RECORD = "setup.json"  # how far a set-up has come, and how its test motion failed

Verify = Callable[[Path, CancelFunction], str]
"""Makes a motion with an environment's Python; returns the line that says with what. May raise UserError."""

PACKAGES, VERIFY = "packages", "verify"
_TRY_AGAIN = {"out_of_memory", "worker_silent", "device_missing", "cancelled"}
"""Failures of the test motion that new packages would not mend."""


@dataclass(frozen=True)
class State:
    """Where an environment stands.

    Args:
        name: "missing", "working", "interrupted", "broken", "outdated" or "ready".
        line: that for people.
        problem: why no motion can be made, and what to press; None where one can.
        build: which was chosen when it was made.
        size: its bytes on disk when it was made.
    """

    name: str
    line: str
    problem: UserError | None = None
    build: str = ""
    size: int = 0


def state(folder: Path, requirements: Path) -> State:
    """Look at an environment without starting anything: a few small files and one folder's names are read."""
    if held(lock_path(folder)):
        return _state("working", UserError(
            "setup_elsewhere", "The environment is being set up now.", "Wait for it: another Blender may be at it."
        ))  # fmt: skip
    if not folder.is_dir():
        return _state("missing", UserError("not_set_up", "Not set up yet.", "Press Set Up: it fetches packages, once."))
    marker = _read(folder / MARKER)
    if not marker:
        failed = _read(folder / RECORD).get("failed")
        if isinstance(failed, dict) and failed.get("code") != "cancelled":
            return _state("broken", UserError(
                "environment_unproven",
                f"The packages are there, but the test motion failed: {failed.get('message')}",
                "Press Repair. If it fails again, open the log.",
            ))  # fmt: skip
        return _state("interrupted", UserError(
            "setup_interrupted", "The last set-up did not come to its end.", "Press Continue: it goes on where it was."
        ))  # fmt: skip
    base = _base_python(folder)
    if not environment_python(folder).exists() or not base.exists():
        return _state("broken", UserError(
            "environment_broken",
            f"The Python that the environment was made with is gone ({base}).",
            "Press Repair: what was fetched is kept.",
        ))  # fmt: skip
    lacking = _lacking(folder, _pins(requirements), marker)
    if lacking:
        return _state("broken", UserError(
            "environment_broken", f"The environment lacks {lacking}.", "Press Repair: what was fetched is kept."
        ))  # fmt: skip
    if marker.get("requirements") != _fingerprint(requirements):
        return _state("outdated", UserError(
            "environment_outdated",
            "The environment is of another version of the add-on.",
            "Press Update: only what has changed is fetched.",
        ))  # fmt: skip
    used = marker.get("bytes")
    used = used if isinstance(used, int) else 0
    line = f"Set up (Python {marker.get('python', '?')}" + (f", {gigabytes(used)} on disk)" if used else ")")
    return State("ready", line, None, str(marker.get("build", "")), used)


def lock_path(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def downloads_folder(folder: Path) -> Path:
    """Where an environment's set-up keeps what it fetched."""
    return folder.with_name(folder.name + "-downloads")


def set_up(
    folder: Path,
    requirements: Path,
    *,
    verify: Verify,
    pythons: Iterable[Path] = (),
    online: bool,
    wheels: Path | None = None,
    build: str = "auto",
    log: Path,
    progress: ProgressFunction | None = None,
    cancelled: CancelFunction | None = None,
) -> str:
    """Make the environment, install the core's packages into it and make a motion with it. Blocks for minutes: run it
    in a thread. What an interrupted one had fetched is not fetched again.

    Args:
        folder: of the environment; what is in it is replaced.
        requirements: the core's requirements.txt.
        verify: makes the motion; what it returns is the first part of the answer.
        pythons: tried before others, e.g. Blender's own.
        online: whether the user allows Blender to use the network.
        wheels: a folder of wheels to install from instead.
        build: which build of PyTorch, a key of setupbuild.NAMES.
        log: what pip and uv say goes there.

    Returns a line for people. Raises UserError; code "cancelled" where `cancelled()` turned true.
    """
    if wheels is None and not online:
        raise UserError(
            "offline",
            "Setting up fetches packages, and Blender is not allowed to use the network.",
            'Switch "Allow Online Access" on in Preferences > System, or choose a folder of wheels.',
        )
    if wheels is not None and not wheels.is_dir():
        raise UserError("wheels_missing", f"There is no folder {wheels}.", "Choose the folder that holds the wheels.")
    setupbuild.check_machine()
    lock = _locked(folder)
    try:
        stop = cancelled or (lambda: False)
        tell = progress or (lambda fraction, message: None)
        return _set_up(folder, requirements, verify, pythons, wheels, build, LogFile(log), tell, stop)
    except OSError as error:
        raise setuperrors.of_system(error, folder.parent) from error
    finally:
        lock.free()


def _set_up(
    folder: Path,
    requirements: Path,
    verify: Verify,
    pythons: Iterable[Path],
    wheels: Path | None,
    build: str,
    log: LogFile,
    tell: ProgressFunction,
    stop: CancelFunction,
) -> str:
    """The work itself, with the lock held. Raises UserError and OSError."""
    log.note(f"set-up, build: {build}, on {platform.system()} {platform.machine()}")
    record = _read(folder / RECORD)
    want = {"requirements": _fingerprint(requirements), "build": build, "wheels": str(wheels or "")}
    python = environment_python(folder)
    failed = record.get("failed")
    again = not failed or (isinstance(failed, dict) and failed.get("code") in _TRY_AGAIN)
    notes: list[str] = []
    whole = record.get("phase") == VERIFY and all(record.get(key) == value for key, value in want.items())
    if whole and again and python.exists() and not _lacking(folder, _pins(requirements), record):
        log.note("the packages are all there: only the test motion is left")
        notes = [str(note) for note in record.get("notes", [])]
    else:
        notes = _packages(folder, requirements, pythons, wheels, build, want, log, tell, stop)
    version = ".".join(str(number) for number in probe(python))
    done = {**want, "phase": VERIFY, "python": version, "packages": _packages_of(folder), "notes": notes}
    _write(folder / RECORD, done)
    tell(0.92, "Making a test motion")
    try:
        line = verify(python, stop)
    except UserError as error:
        _write(folder / RECORD, {**done, "failed": {"code": error.code, "message": error.message}})
        raise
    tell(0.98, "Measuring")
    shutil.rmtree(downloads_folder(folder) / "unfinished", ignore_errors=True)
    used = size(folder)
    _write(folder / MARKER, {**done, "bytes": used})
    (folder / RECORD).unlink()
    tell(1.0, "Set up")
    log.note(f"set up: {line}")
    return " ".join([f"{line}, {gigabytes(used)} on disk.", *notes])


def _packages(
    folder: Path,
    requirements: Path,
    pythons: Iterable[Path],
    wheels: Path | None,
    build: str,
    want: dict[str, str],
    log: LogFile,
    tell: ProgressFunction,
    stop: CancelFunction,
) -> list[str]:
    """Make the environment anew with all packages in it; what came another way than planned. Raises UserError, OSError.

    Anew also where one was begun: a package that was being unpacked when its Blender was killed looks whole to pip.
    What was fetched comes from the downloads, so that costs seconds.
    """
    tell(0.0, "Looking for a Python")
    base = find_python(pythons)
    remove_environment(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / RECORD, {**want, "phase": PACKAGES})
    downloads = downloads_folder(folder)
    shutil.rmtree(downloads / "unfinished", ignore_errors=True)
    for left in downloads.glob("uv/.tmp*"):
        shutil.rmtree(left, ignore_errors=True)
    check_room(folder, downloads, needed(build, wheels))
    runner = Runner(base, folder, downloads, log, stop, tell)
    runner.say(0.02, "Creating the environment")
    runner.run([str(base), "-I", "-m", "venv", str(folder)])
    return fetch(runner, requirements, _pins(requirements), wheels, build)


def needed(build: str, wheels: Path | None = None) -> int:
    """Bytes of disk that a set-up takes at its peak.

    Args:
        build: a key of setupbuild.NAMES.
        wheels: what a folder of wheels unpacks to is guessed from their size.
    """
    if wheels is not None:
        return 4 * sum(file.stat().st_size for file in wheels.glob("*.whl"))
    return setupbuild.NEEDED_BYTES[setupbuild.likely(build)]


def remove_environment(folder: Path) -> None:
    """Delete an environment; the marker goes first, so that half of one never looks whole. Raises OSError."""
    (folder / MARKER).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def remove(folder: Path, *, environment: bool = True) -> int:
    """Delete what a set-up fetched, and unless told otherwise the environment too. Blocks for seconds.

    Returns the bytes that are free now. Raises UserError.
    """
    lock = _locked(folder)
    try:
        before = size(downloads_folder(folder)) + (size(folder) if environment else 0)
        if environment:
            remove_environment(folder)
        if downloads_folder(folder).exists():
            shutil.rmtree(downloads_folder(folder))
    except OSError as error:
        raise setuperrors.of_system(error, folder) from error
    finally:
        lock.free()
    return before


def distrust(folder: Path, error: UserError) -> None:
    """Take an environment for broken: a check of it failed. It is seen so until it is repaired. Raises OSError."""
    marker = _read(folder / MARKER)
    if marker:
        _write(folder / RECORD, {**marker, "failed": {"code": error.code, "message": error.message}})
        (folder / MARKER).unlink()


def core_parent(package: Path) -> Path:
    """The folder that holds `core/`: the add-on's own when installed, the repository's when developing."""
    return package if (package / "core" / "__main__.py").is_file() else package.parent


def _locked(folder: Path) -> Lock:
    """The lock on an environment. Raises UserError where somebody has it, or the folder cannot be written to."""
    lock = Lock(lock_path(folder))
    try:
        taken = lock.take()
    except OSError as error:
        raise setuperrors.of_system(error, folder.parent) from error
    if not taken:
        raise UserError(
            "setup_elsewhere", "Another Blender is setting up the same environment.", "Wait for it, then press Check."
        )
    return lock


def _state(name: str, problem: UserError) -> State:
    return State(name, problem.message, problem)


def _base_python(folder: Path) -> Path:
    """The Python that an environment was made with; it needs it as long as it lives."""
    try:
        text = (folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return environment_python(folder)
    named = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    if "executable" in named:
        return Path(named["executable"])
    return Path(named["home"]) if "home" in named else environment_python(folder)


def _packages_of(folder: Path) -> list[str]:
    """The names of the packages' own folders, e.g. "numpy-2.4.6.dist-info"."""
    return sorted(path.name for path in site_packages(folder).glob("*.dist-info"))


def _lacking(folder: Path, pinned: list[str], marker: dict) -> str:
    """The first package that was there when the environment was made, or is asked for by name, and is not there now."""
    there = {_plain(name.split("-")[0]) for name in _packages_of(folder)}
    wanted = [str(name).split("-")[0] for name in marker.get("packages", ())]
    wanted = wanted or [re.split(r"[=<>!~;\[ ]", pin)[0] for pin in pinned]
    return next((name for name in wanted if _plain(name) not in there), "")


def _plain(name: str) -> str:
    """A package's name in one of its spellings."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: dict) -> None:
    """All of it or nothing: half a file must not be read after its Blender was killed. Raises OSError."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(path)


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
