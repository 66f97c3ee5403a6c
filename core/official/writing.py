"""Writing safetensors piece by piece: a gigabyte of weights passes through a few megabytes of memory.

Format: 8 bytes length, a JSON table of names, kinds and places, then the numbers. github.com/huggingface/safetensors
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from core.errors import CoreError

DTYPES = {"float32": (torch.float32, "F32"), "float16": (torch.float16, "F16"), "bfloat16": (torch.bfloat16, "BF16")}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a full disk, a full quota and a file system without large files answer."""


@dataclass
class Entry:
    """A tensor to write.

    Args:
        blocks: its numbers in order, in flat pieces.
        dtype: name in DTYPES.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    blocks: Callable[[], Iterator[torch.Tensor]]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype][0].itemsize


def write_safetensors(
    path: Path, entries: Iterable[Entry], metadata: dict[str, str], progress: Callable[[float], None] | None = None
) -> int:
    """Write a file and return its size.

    Raises:
        CoreError: weights_not_finite where a number is not finite (also: too large for its dtype), disk_full.
    """
    entries = sorted(entries, key=lambda e: (-DTYPES[e.dtype][0].itemsize, e.name))  # wide first: all stay aligned
    table: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for entry in entries:
        table[entry.name] = {
            "dtype": DTYPES[entry.dtype][1],
            "shape": list(entry.shape),
            "data_offsets": [end, end + entry.nbytes],
        }
        end += entry.nbytes
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    total = 8 + len(header) + end
    require_space(path.parent, total)
    with full_disk(path.parent, total), path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for entry in entries:
            dtype = DTYPES[entry.dtype][0]
            for block in entry.blocks():
                numbers = block.to(dtype)
                if not torch.isfinite(numbers).all():
                    raise _not_finite(entry, bool(torch.isfinite(block).all()))
                file.write(numbers.contiguous().view(torch.uint8).numpy().data)
                if progress is not None:
                    progress(file.tell() / total)
        file.flush()
        os.fsync(file.fileno())
    return total


def _not_finite(entry: Entry, converted: bool) -> CoreError:
    if converted:
        return CoreError(
            "weights_not_finite",
            f"The weights '{entry.name}' have numbers too large for {entry.dtype}.",
            "Convert with --dtype bfloat16 or float32.",
        )
    return CoreError(
        "weights_not_finite",
        f"The weights '{entry.name}' have values that are not numbers: the training of this checkpoint failed.",
        "Choose another checkpoint.",
    )


def require_space(folder: Path, nbytes: int) -> None:
    """Raises CoreError("disk_full") where the disk has no room for `nbytes` more."""
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise _disk_full(folder, nbytes, f", {free / 1e9:.2f} GB are free")


class full_disk:  # noqa: N801 - reads as what it is for: with full_disk(...)
    """Turns the system's "no space left" into CoreError("disk_full")."""

    def __init__(self, folder: Path, nbytes: int) -> None:
        self.folder, self.nbytes = folder, nbytes

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            raise _disk_full(self.folder, self.nbytes, "") from error


def _disk_full(folder: Path, nbytes: int, free: str) -> CoreError:
    needed = f": {nbytes / 1e9:.2f} GB are needed" if nbytes else ""
    return CoreError(
        "disk_full",
        f"The disk of '{folder}' is full{needed}{free}.",
        "Free some space, or choose a folder on another disk.",
    )
