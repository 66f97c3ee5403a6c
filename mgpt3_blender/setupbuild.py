"""Which build of PyTorch a machine gets, and the room that takes. Knows nothing of Blender.

uv fetches PyTorch because it knows where PyTorch keeps its builds and which of CUDA's and ROCm's versions goes with the
driver that is installed; pip knows neither. Where the package index's own build is the right one, nobody else is asked:
that is Apple's (with Metal), Windows' for the CPU, and Linux's for NVIDIA's newest drivers.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from .errors import UserError

GIB = 1024**3
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch keeps its small builds: uv knows it, pip has to be told."""

NAMES = {"auto": "Automatic", "cpu": "CPU", "cuda": "NVIDIA GPU", "rocm": "AMD GPU"}
"""What a user can choose -> how it is called in the preferences."""

NEEDED_BYTES = {"cpu": 3 * GIB, "cuda": 12 * GIB, "rocm": 20 * GIB}
"""What a set-up takes at its peak: the packages, again the packages where uv's folder cannot share files with the
environment (it links them), and a download. The CPU's packages were measured (1.1 GB), the others are estimates from
the sizes of PyTorch's files."""

_INDEX_CUDA = (
    "cu130"  # what the package index's Linux build of the pinned torch is built for: its own requirements say so
)
_NVIDIA = {
    "Linux": ("/proc/driver/nvidia/version", "/sys/module/nvidia/version", "/dev/nvidiactl"),
    "Windows": (r"System32\nvcuda.dll",),
}
_AMD = {"Linux": ("/dev/kfd",)}
_VERSION = re.compile(r"__version__\s*(?::[^=]+)?=\s*['\"]([^'\"]+)['\"]")


def check_machine(system: str = "", machine: str = "") -> None:
    """Raises UserError("machine_unsupported") where PyTorch is not made for the machine.

    Args:
        system, machine: as `platform` says them; those of this computer where empty.
    """
    system, machine = system or platform.system(), (machine or platform.machine()).lower()
    if system == "Darwin" and machine != "arm64":
        raise UserError(
            "machine_unsupported",
            "PyTorch is no longer made for Macs with an Intel processor.",
            "On a Mac with an Apple processor, use Blender's build for Apple Silicon; else choose another computer.",
        )


def graphics(system: str = "", root: Path | None = None) -> str:
    """Whose driver for computing is installed, by the files it brings: "cuda", "rocm" or "" where neither's is.

    Intel's cards count as none: the core computes on CUDA, ROCm, Metal and CPUs, and the build for them is of no use.

    Args:
        root: where the system's files are looked for; for tests.
    """
    system = system or platform.system()
    base = root or (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) if system == "Windows" else Path("/"))
    for kind, files in (("cuda", _NVIDIA), ("rocm", _AMD)):
        if any((base / name.lstrip("/").replace("\\", "/")).exists() for name in files.get(system, ())):
            return kind
    return ""


def likely(choice: str, system: str = "", found: str | None = None) -> str:
    """The kind of build that a choice comes to on this machine: "cpu", "cuda" or "rocm"."""
    if choice != "auto":
        return choice
    return (graphics(system) if found is None else found) or "cpu"


def backend(choice: str, system: str = "", found: str | None = None) -> str | None:
    """uv's --torch-backend for a choice; None where the package index's own build is the one.

    Args:
        choice: a key of NAMES.
        system: as `platform.system()` says it.
        found: what `graphics` said.
    """
    system = system or platform.system()
    found = graphics(system) if found is None else found
    kind = likely(choice, system, found)
    if system == "Darwin":
        return None
    if kind == "cpu":
        return "cpu" if system == "Linux" else None
    if kind == found or kind == "rocm":
        return "auto"  # uv reads the driver's version, or which card it is
    return None if system == "Linux" else _INDEX_CUDA  # for another computer: there is no driver to ask


def installed(site_packages: Path) -> str:
    """The version that an installed torch calls itself by, e.g. "2.13.0+cu130"; "" where it cannot be read."""
    try:
        found = _VERSION.search((site_packages / "torch" / "version.py").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return found.group(1) if found else ""


def check_installed(choice: str, version: str) -> None:
    """Raises UserError("build_unavailable") where a GPU was asked for by name and torch is of another build."""
    wanted = {"cuda": "+cu", "rocm": "+rocm"}.get(choice)
    if wanted is not None and version and wanted not in version:
        raise UserError(
            "build_unavailable",
            f"PyTorch's build for an {NAMES[choice]} was not to be had: what came is {version}.",
            "Update the GPU's driver and the network's rights, or choose \"Automatic\" in Compute With.",
        )


def gigabytes(size: float) -> str:
    """A size for people, the same for environments, downloads and models: decimal, as disks are sold."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{max(size / 1e6, 0.1):.1f} MB" if size > 0 else "0 MB"
