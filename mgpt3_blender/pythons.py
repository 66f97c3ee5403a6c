"""Which Pythons there are on this computer, and whether one fits. Knows nothing of Blender."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from .child import child_environment, popen_options
from .errors import UserError

MINIMUM, MAXIMUM = (3, 11), (3, 14)
"""The pinned NumPy and SciPy ask for 3.11; all pins have wheels for 3.11 to 3.14 on Linux, Windows and Apple Silicon,
and torch, NumPy and SciPy have none for 3.15. So Blender's own Python
always fits: 3.11 up to Blender 5.0, then 3.13."""


def environment_python(folder: Path) -> Path:
    """Where a virtual environment has its interpreter."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def locate_python(path: Path) -> Path:
    """The interpreter a user means by a path: itself, or the one of an environment's folder. Starts nothing.

    Raises UserError("python_missing") where there is none.
    """
    if path.is_dir():
        candidates = [environment_python(path), path / "bin" / "python3", path / "python.exe", path / "python"]
    else:
        candidates = [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(
        "python_missing",
        f"There is no Python at {path}.",
        "Choose a Python program, or the folder of a virtual environment.",
    )


def validate_python(path: Path) -> Path:
    """As locate_python, but also starts it: raises UserError where it does not work or is of a wrong version."""
    found = locate_python(path)
    probe(found)
    return found


_PROBE = """
import json, struct, sys
from importlib.util import find_spec
makes_environments = bool(find_spec("venv") and find_spec("ensurepip"))
print(json.dumps([list(sys.version_info[:2]), struct.calcsize("P"), makes_environments]))
"""


def probe(python: Path, *, makes_environments: bool = False) -> tuple[int, int]:
    """The version of an interpreter, by starting it.

    Args:
        makes_environments: whether it must be able to make virtual environments, too.

    Raises UserError where it does not start or does not fit.
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            env=child_environment(os.environ),
            **popen_options(),
        )
        (major, minor), pointer, environments = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UserError("python_broken", f"{python} does not work as a Python.", "Choose another one.") from error
    if not MINIMUM <= (major, minor) <= MAXIMUM or pointer != 8:
        raise UserError(
            "python_unsuitable",
            f"{python} is Python {major}.{minor}{'' if pointer == 8 else ' for 32 bit'}, "
            f"needed is {_dotted(MINIMUM)} to {_dotted(MAXIMUM)}.",
            "Choose another one, or install Python 3.13 from python.org.",
        )
    if makes_environments and not environments:
        raise UserError(
            "venv_missing",
            f"{python} cannot make environments: its venv package is not installed.",
            "Install it (python3-venv on Debian and Ubuntu), or Python 3.13 from python.org.",
        )
    return major, minor


def candidates(first: Iterable[Path] = ()) -> Iterator[Path]:
    """Where a Python may be: the given ones (Blender's own), then PATH and the places installers use.

    A Blender started from a desktop has a PATH without what shells add, hence the places.
    """
    names = [f"python3.{minor}" for minor in (13, 12, 11, 14)] + ["python3", "python"]
    seen: set[Path] = set()
    folders = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    folders += [Path(p) for p in ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")]
    found: list[Path] = list(first)
    for name in names:
        found += [folder / (name + (".exe" if os.name == "nt" else "")) for folder in folders]
    if os.name == "nt":
        local = Path(os.environ.get("LOCALAPPDATA", "")) / "Programs" / "Python"
        found += [local / f"Python3{minor}" / "python.exe" for minor in (13, 12, 11, 14)]
    else:
        versions = Path("/Library/Frameworks/Python.framework/Versions")
        found += [versions / f"3.{minor}" / "bin" / f"python3.{minor}" for minor in (13, 12, 11, 14)]
    for path in found:
        # The Windows Store's stub is a file of no size that opens the shop instead of running.
        if path not in seen and path.is_file() and "WindowsApps" not in path.parts:
            seen.add(path)
            yield path


def find_python(first: Iterable[Path] = ()) -> Path:
    """The first Python that fits and can make environments.

    Raises UserError: "python_missing" where none fits, "venv_missing" where those that do cannot make environments.
    """
    almost: UserError | None = None
    for path in candidates(first):
        try:
            probe(path, makes_environments=True)
        except UserError as error:
            almost = error if error.code == "venv_missing" else almost
        else:
            return path
    raise almost or UserError(
        "python_missing",
        f"No Python {_dotted(MINIMUM)} to {_dotted(MAXIMUM)} was found on this computer.",
        "Install Python 3.13 from python.org and press Set Up again.",
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(n) for n in version)
