"""A folder of .bvh files with a captions file (core/train/sources/captions.py): any skeleton that core/bvh.py reads."""

from __future__ import annotations

from pathlib import Path

from core.bvh import read_bvh
from core.train.sources.clip import Clip
from core.train.sources.folder import load_folder


def load_bvh_folder(folder: Path, *, split: str | None = None) -> list[Clip]:
    """Clips of a BVH folder, brought to the 22 joints, metres and 20 fps. Raises as `load_folder`."""
    return load_folder(folder, ".bvh", read_bvh, split=split)
