"""What figures come from: the machine, and the memory a process has used."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, cores, threads, GPU, PyTorch, system."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"processor": name, "cores": os.cpu_count() or 0, "threads": torch.get_num_threads(), "gpu": gpu,
            "torch": str(torch.__version__), "system": f"{platform.system()} {platform.machine()}"}  # fmt: skip


def peak_memory() -> float | None:
    """The most memory this process has had resident, MB (10^6 bytes); weights mapped from their file count too. None
    where the system does not tell (Windows)."""
    status = Path("/proc/self/status")  # on Linux ru_maxrss also counts what the parent had before it started this one
    if status.exists():
        return int(status.read_text(encoding="ascii", errors="replace").split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
