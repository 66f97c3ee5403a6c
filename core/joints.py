"""`python -m core joints FILE... --out ALL.npz`: motion files and joint bundles as plain arrays.

For programs that read arrays but none of these files: the add-on's measures among them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CoreError
from core.reporting import report


@dataclass(frozen=True)
class Recorded:
    """A motion of a file; `id` and `split` are a bundle clip's. joints (T, 22, 3) float32 metres, Y up, 20 fps."""

    file: str
    id: str
    split: str
    joints: np.ndarray


def read(files: Iterable[Path], split: str = "") -> list[Recorded]:
    """The motions of files, a bundle's clips (the first 9.8 seconds of each) one by one.

    Args:
        split: only the clips of this split, of bundles.

    Raises:
        CoreError: those of `core.motionfile.read_motion` and `core.train.sources.bundle.load_bundle`.
    """
    from core.captions.files import clips_in
    from core.motionfile import read_motion
    from core.train.sources.bundle import load_bundle

    out = []
    for file in files:
        if clips_in(file):
            name = file.name.removesuffix("_joints.npz")
            out += [Recorded(name, c.id, c.split, c.joints) for c in load_bundle(file) if split in ("", c.split)]
        else:
            out.append(Recorded(file.stem, "", "", read_motion(file)))
    return out


def write(path: Path, motions: list[Recorded]) -> None:
    """An .npz: files, ids, splits and lengths (N,), and joints (sum of lengths, 22, 3), one motion after the other."""
    rows = np.concatenate([m.joints for m in motions]) if motions else np.zeros((0, 22, 3), np.float32)
    try:
        np.savez(
            path, files=[m.file for m in motions], ids=[m.id for m in motions], splits=[m.split for m in motions],
            lengths=[len(m.joints) for m in motions], joints=rows.astype(np.float32),
        )  # fmt: skip
    except OSError as error:
        words = f"'{path}' cannot be written: {error.strerror}."
        raise CoreError("file_not_written", words, "Check the path.") from error


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core joints", description="Motion files as plain arrays.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".bvh, .json, .npz or NAME_joints.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .npz to write")
    parser.add_argument("--split", default="", help="only clips of this split, of bundles")
    parser.add_argument("--json", action="store_true", help="speak JSON, one object a line")
    args = parser.parse_args(argv)

    def work(progress: Callable[[float, str], None]) -> dict[str, Any]:
        motions = read(args.files, args.split)
        write(args.out, motions)
        return {"motions": len(motions), "lines": [f"{args.out}: {len(motions)} motions"]}

    return report(args.json, work)
