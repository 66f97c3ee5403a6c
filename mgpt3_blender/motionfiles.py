"""Motion from files, read by the core in a process of its own: measures know as little of such files as the add-on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import command, runtime
from .errors import UserError


@dataclass(frozen=True)
class Recorded:
    """A motion of a file; `id` is the clip's where the file is a bundle. joints (T, 22, 3) metres, Y up, 20 fps."""

    file: str
    id: str
    joints: np.ndarray


def read(files: list[Path], python: Path, *, code: str, remedy: str, split: str = "") -> list[Recorded]:
    """The motions of files, a bundle's clips one by one (`python -m core joints`).

    Args:
        python: that can run the core.
        code, remedy: of the error where they cannot be read.
        split: only the clips of this split, of bundles.

    Raises UserError.
    """
    with tempfile.TemporaryDirectory(prefix="mgpt3-motions-") as folder:
        out = Path(folder) / "joints.npz"
        core = command.Core(python, runtime.core_parent(Path(__file__).parent), Path(folder) / "log.txt")
        words = ["joints", *(str(file.resolve()) for file in files), "--out", str(out)]
        try:
            command.run(core, words + (["--split", split] if split else []))
        except UserError as error:
            raise UserError(code, error.message, error.remedy or remedy) from error
        with np.load(out, allow_pickle=False) as z:
            parts = np.split(z["joints"], np.cumsum(z["lengths"])[:-1])
            return [Recorded(str(f), str(i), j) for f, i, j in zip(z["files"], z["ids"], parts, strict=False)]
