"""Recorded arrays of one .npz file, handed out as tensors; a key that is not there raises `Absent`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from core.errors import CoreError


class Absent(Exception):
    """A recorded array that this folder does not have; whoever needs it is reported as absent, not as failed."""


class Archive:
    """All arrays of a .npz file; empty where there is no file.

    Raises:
        CoreError: parity_damaged, when the file is not whole.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.name, self.device = path.name, device
        self.arrays: dict[str, np.ndarray] = {}
        self.read: set[str] = set()
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as stored:
                self.arrays = {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise CoreError(
                "parity_damaged", f"'{path}' is not a whole .npz file ({error}).", "Copy the fixture folder again."
            ) from error

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __bool__(self) -> bool:
        return bool(self.arrays)

    def raw(self, key: str) -> np.ndarray:
        """The array as it is stored. Raises Absent."""
        if key not in self.arrays:
            raise Absent(key)
        self.read.add(key)
        return self.arrays[key]

    def __getitem__(self, key: str) -> torch.Tensor:
        """As a tensor: float32, int64 or bool. Raises Absent."""
        array = self.raw(key)
        kind = {"f": torch.float32, "b": torch.bool}.get(array.dtype.kind, torch.int64)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, kind)

    def unread(self) -> list[str]:
        return sorted(self.arrays.keys() - self.read)
