"""Clips and arrays that a training has worked out, kept in its folder of runs: one .npz of numbers and a JSON text.

Nothing in such a file is run when it is read, wherever it came from. One that is of something else, or was not written
to its end, is as good as none.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from core.train.data import Clip

MOTION = ("joints", "features")
"""What of a clip is an array."""

Clips = dict[str, list[Clip]]
Arrays = dict[str, np.ndarray]


def keep(file: Path, key: str, clips: Clips, arrays: Arrays) -> None:
    """Write lists of clips and arrays, each under its name, whole or not at all. key: what they were made from."""
    content: Arrays = {f"array {name}": array for name, array in arrays.items()}
    about: dict[str, Any] = {"key": key, "clips": {}}
    for name, some in clips.items():
        rows = [{f.name: getattr(c, f.name) for f in dataclasses.fields(Clip) if f.name not in MOTION} for c in some]
        about["clips"][name] = rows
        for part in MOTION:
            there = [getattr(c, part) for c in some]
            for row, array in zip(rows, there, strict=True):
                row[part] = None if array is None else [array.dtype.str, *array.shape]
            flat = [array.ravel() for array in there if array is not None]
            content[f"{part} {name}"] = np.concatenate(flat) if flat else np.empty(0, np.float32)
    content["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"next_{file.name}")
    with beside.open("wb") as out:
        np.savez(out, **content)  # type: ignore[arg-type]
    beside.replace(file)


def kept(file: Path, key: str | None = None) -> tuple[Clips, Arrays] | None:
    """What was kept in a file; None where there is nothing, or it was made from something else than `key`."""
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(content["about"].tobytes())
            if key is not None and about["key"] != key:
                return None
            clips = {name: _clips(rows, name, content) for name, rows in about["clips"].items()}
            return clips, {n.partition(" ")[2]: content[n] for n in content.files if n.startswith("array ")}
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _clips(rows: list[dict[str, Any]], name: str, content: Any) -> list[Clip]:
    for part in MOTION:
        flat, at = content[f"{part} {name}"], 0
        for row in rows:
            if row[part] is not None:
                dtype, *shape = row[part]
                size = int(np.prod(shape))
                row[part] = flat[at : at + size].reshape(shape).astype(dtype, copy=False)
                at += size
    return [Clip(**row) for row in rows]
