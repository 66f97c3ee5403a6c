"""What every data source must be before it is believed: readable, of the right shape, finite, of human size."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from core.errors import CoreError
from core.train.sources.clip import SPLITS
from core.train.sources.kit import SPINE_AND_LEG as KIT_SPINE_AND_LEG

_SPINE_AND_LEG = ((0, 3), (3, 6), (6, 9), (9, 12), (12, 15), (1, 4), (4, 7))
_HUMAN = (0.5, 3.0)  # metres that spine, neck and one leg are long together; of an adult about 1.4
_AGAIN = "Get or make the file again."
_STEADY = 0.25  # the most that this length may vary over a clip, as a share of itself
LEAST_FRAMES = 20
"""Frames of features below which a clip is of no use: one second."""


def broken(where: str, problem: str, remedy: str = "Correct it, or take the line or file out.") -> CoreError:
    """The error of all loaders. `where`: the file and, where there is one, the line."""
    return CoreError("data_broken", f"{where}: {problem}.", remedy)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file. Raises CoreError("data_broken") where it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise broken(path.name, f"the file cannot be read ({error.strerror or error})", "Check the folder.") from error
    lines = []
    for n, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise broken(f"{path.name}, line {n}", "it is not UTF-8 text", "Save the file as UTF-8.") from error
    return lines


def read_array(path: Path) -> np.ndarray:
    """A .npy file of numbers. Raises CoreError("data_broken"); nothing pickled is opened."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file can fail in any way
        raise broken(path.name, "it is not a NumPy array of numbers", _AGAIN) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise broken(path.name, "it is not a NumPy array of numbers", _AGAIN)
    return array


def check_split(split: str | None, where: str) -> None:
    if split is not None and split not in SPLITS:
        raise broken(where, f"the split '{split}' is none of {', '.join(SPLITS)}")


def stature(joints: np.ndarray) -> np.ndarray:
    """How long spine, neck and one leg are together, frame by frame: (T, 22 or 21, 3) -> (T,)."""
    bones = _SPINE_AND_LEG if joints.shape[1] == 22 else KIT_SPINE_AND_LEG
    return sum(np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in bones)


def check_body(joints: np.ndarray, where: str) -> None:
    """Finite positions of somebody of human size, whose limbs keep their lengths.

    Args:
        joints: (T, 22, 3) or (T, 21, 3), meant to be metres.
    Raises:
        CoreError: data_broken.
    """
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints).all((1, 2)))[0, 0])
        raise broken(where, f"frame {frame} has values that are not finite numbers")
    length = stature(joints.astype(np.float64))
    middle = float(np.median(length))
    if length.std() > _STEADY * max(middle, 1e-9):
        raise broken(where, "the limbs change their lengths from frame to frame",
                     "Positions must be those of a body; features must not be normalised.")  # fmt: skip
    if not _HUMAN[0] <= middle <= _HUMAN[1]:
        units = ((100, "centimetres"), (1000, "millimetres"), (39.37, "inches"))
        guess = next((f", and look like {name}" for factor, name in units if 0.8 <= middle / factor <= 2), "")
        raise broken(where, f"spine and leg are {middle:.3g} m long together, which no person's are",
                     f"Lengths must be metres{guess}.")  # fmt: skip


class Skipped:
    """Counts what is left out, and says so once, with the first example of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        self.first.setdefault(kind, example)

    def report(self, source: str) -> None:
        if self.counts:
            kinds = "; ".join(f"{n} {kind} (the first: {self.first[kind]})" for kind, n in self.counts.items())
            print(f"{source}: left out: {kinds}.", file=sys.stderr, flush=True)
