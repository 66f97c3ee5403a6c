"""Fetches the pinned packages into an environment: by uv, by pip where uv cannot, or from a folder of wheels.

uv is taken because it finds PyTorch's build for the machine, fetches several packages at a time, keeps what it fetched
unpacked and links it into the environment: a set-up that goes on, or is made anew, takes seconds instead of minutes.
pip is the way back: it knows the settings of pip (a studio's own index, for one), which uv does not read, and it is all
that a folder of wheels needs. Whoever takes the way back says so at the end. Knows nothing of Blender.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from . import setupbuild
from .errors import UserError
from .pythons import environment_python, probe
from .setupbuild import gigabytes
from .setuperrors import FINAL, NETWORK
from .setupstep import Runner, size

UV = "uv==0.13.8"


def pip_command(python: Path, *arguments: str, alone: bool = False) -> list[str]:
    """pip's command line.

    Args:
        alone: nothing of the user's settings counts: what is not given is not looked up.
    """
    pip = [str(python), "-I", "-m", "pip", *(["--isolated"] if alone else []), "install", "--no-input"]
    # Wheels only: what is built here would need compilers, and would run programs of strangers.
    pip += ["--disable-pip-version-check", "--progress-bar", "off", "--only-binary", ":all:", "--no-user"]
    return [*pip, *arguments]


def uv_command(python: Path, *arguments: str, backend: str | None = None) -> list[str]:
    """uv's command line; uv is in the environment that it works on.

    Args:
        python: the environment's.
        backend: which build of PyTorch, None for the package index's own.
    """
    program = python.with_name("uv.exe" if python.suffix == ".exe" else "uv")
    uv = [str(program), "pip", "install", "--python", str(python), "--no-config", "--no-progress", "--no-build"]
    return [*uv, *(["--torch-backend", backend] if backend else []), *arguments]


def small_command(python: Path, torch: str) -> list[str]:
    """pip's command line for PyTorch's small build, where the package index has the one with CUDA.

    Args:
        torch: its pin. It comes alone and by its build's own name: what it needs comes from the user's index with the
            other packages, and an index that the user's settings add cannot put its large build in the place.
    """
    return pip_command(python, "--no-deps", "--index-url", setupbuild.CPU_INDEX, f"{torch}+cpu")


def check_room(folder: Path, downloads: Path, need: int) -> None:
    """Raises UserError("disk_full") where an environment and its downloads cannot grow to `need` bytes."""
    missing = need - size(downloads) - size(folder) - shutil.disk_usage(folder).free
    if missing > 0:
        raise UserError(
            "disk_full",
            f"Setting up needs about {gigabytes(need)} of disk, of which {gigabytes(missing)} are missing.",
            "Free some space, then press the button again.",
        )


def fetch(runner: Runner, requirements: Path, pinned: list[str], wheels: Path | None, build: str) -> list[str]:
    """Install the pinned packages. Blocks for minutes.

    Args:
        requirements: the file.
        pinned: its lines.
        wheels: a folder to take them from; None for the network.
        build: a key of setupbuild.NAMES; a folder of wheels holds what it holds.

    Returns what came another way than it should have, a sentence each. Raises UserError.
    """
    python, steps = environment_python(runner.folder), Steps(runner)
    if wheels is not None:
        _from_wheels(runner, python, requirements, wheels, steps)
        return []
    notes: list[str] = []
    by_uv = _get_uv(runner, python, notes)
    torch = [pin for pin in pinned if pin.startswith("torch==")]
    if torch:  # first and by itself: no other package can pull in another build of it then
        backend = setupbuild.backend(build)
        why = "" if by_uv else "uv is missing"
        if by_uv:
            why = _tried(runner, uv_command(python, *torch, backend=backend), steps)
        if why and backend == "cpu":
            runner.log.note(f"PyTorch comes by pip from its own index: {why}")
            why = _tried(runner, small_command(python, torch[0]), steps)
        if why:
            runner.log.note(f"PyTorch comes by pip: {why}")
            if backend == "cpu":  # the package index's own build for Linux is the one with CUDA
                check_room(runner.folder, runner.downloads, setupbuild.NEEDED_BYTES["cuda"])
            runner.run(pip_command(python, *torch), steps.line)
            if backend is not None:
                notes.append("PyTorch came by pip from the package index, since its own index could not be used.")
        setupbuild.check_installed(build, setupbuild.installed(site_packages(runner.folder)))
    steps.limit = 0.9
    why = _tried(runner, uv_command(python, "-r", str(requirements)), steps) if by_uv else "uv is missing"
    if why:
        runner.log.note(f"the other packages come by pip: {why}")
        if by_uv:
            notes.append("The other packages came by pip, since uv could not fetch them.")
        runner.run(pip_command(python, "-r", str(requirements)), steps.line)
    return notes


def site_packages(folder: Path) -> Path:
    """Where an environment keeps its packages."""
    if (folder / "Lib" / "site-packages").is_dir():
        return folder / "Lib" / "site-packages"
    return next(iter(sorted(folder.glob("lib/python3*/site-packages"))), folder / "lib")


def _get_uv(runner: Runner, python: Path, notes: list[str]) -> bool:
    """Whether uv could be had. Raises UserError where pip would not fare better."""
    try:
        runner.run(pip_command(python, UV))
    except UserError as error:
        if error.code in FINAL | NETWORK:
            raise
        runner.log.note(f"there is no uv to be had: {error}")
        notes.append("Everything came by pip, since uv could not be had: that is slower.")
        return False
    return True


def _tried(runner: Runner, command: list[str], steps: Steps) -> str:
    """Run a step for which there is another way; why it failed, "" where it did not. Raises what ends a set-up."""
    try:
        runner.run(command, steps.line)
    except UserError as error:
        if error.code in FINAL:
            raise
        return f"{error.code}, {error.message}"
    return ""


def _from_wheels(runner: Runner, python: Path, requirements: Path, wheels: Path, steps: Steps) -> None:
    steps.limit = 0.9
    command = pip_command(python, "--no-index", "--find-links", str(wheels), "-r", str(requirements), alone=True)
    try:
        runner.run(command, steps.line)
    except UserError as error:
        if error.code != "package_missing":
            raise
        found = re.search(r"There is no (\S+) for", error.message)
        version = ".".join(str(number) for number in probe(python))
        system = {"win32": "Windows", "darwin": "macOS"}.get(sys.platform, "Linux")
        raise UserError(
            "wheels_incomplete",
            f"The folder of wheels has no {found.group(1) if found else 'package'} that fits this computer.",
            f"Fill it with pip download -r core/requirements.txt, under {system} and Python {version}.",
        ) from error


class Steps:
    """Turns what pip and uv say into progress. How many packages there will be is not known: it nears `limit`."""

    _LINE: re.Pattern[str] = re.compile(
        r"(Collecting|Downloading|Processing|Installing collected|Prepared|Installed)\s+(\S+)(?:.*\((.+)\))?"
    )

    def __init__(self, runner: Runner) -> None:
        self.say: Callable[[float, str], None] = runner.say
        self.fraction = 0.05
        self.limit = 0.5

    def line(self, line: str) -> None:
        found = self._LINE.match(line.strip())
        if found is None:
            return
        what, name, large = found.groups()
        name = re.split(r"[^\w.-]|-\d", Path(name).name)[0].replace("_", "-")
        if what in ("Collecting", "Processing"):
            self.fraction += (self.limit - self.fraction) * 0.06
            self.say(self.fraction, f"Fetching {name}")
        elif what == "Downloading":
            self.fraction += (self.limit - self.fraction) * 0.06
            self.say(self.fraction, f"Downloading {name} ({large})" if large else f"Downloading {name}")
        else:
            self.fraction += (self.limit - self.fraction) * 0.4
            self.say(self.fraction, "Installing the packages (a few minutes)")
