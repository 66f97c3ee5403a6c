"""Where training's motion comes from: one file for each layout, one function that finds out which it is.

NAME_joints.npz, or a folder of them        our bundles                       bundle.py
a folder with new_joint_vecs and texts      HumanML3D, KIT-ML                 humanml.py
a folder of .bvh and a captions file        anybody's motion capture          bvhfolder.py, captions.py
a folder of .npz and a captions file        AMASS, with a body model          amassfolder.py, captions.py
"""

from __future__ import annotations

from pathlib import Path

from core.errors import CoreError
from core.train.sources.bundle import load_bundle
from core.train.sources.checks import check_split
from core.train.sources.clip import SPLITS, Clip

_REMEDY = (
    "Give NAME_joints.npz, the folder of HumanML3D or KIT-ML, or one of .bvh or AMASS .npz files with a captions file."
)


def load_data_source(path: Path, *, split: str | None = None, body_model: Path | None = None) -> list[Clip]:
    """Read and check captioned motion, whatever of the above lies at `path`.

    Args:
        split: only the clips of train, val or test; None for all.
        body_model: the user's SMPL-X or SMPL+H model (a file or folder), which AMASS motion needs.
    Returns:
        Clips at their natural length up to 9.8 seconds. HumanML3D's and KIT-ML's have their features; `prepare` and
        `featured` of core/train/data.py make the rest.
    Raises:
        CoreError: data_missing, data_broken (names the file and line), body_model_needed and the body model's errors.
    """
    path = Path(path)
    check_split(split, str(path))
    if path.is_file():
        clips = load_bundle(path)
    elif not path.is_dir():
        raise CoreError("data_missing", f"There is no motion data at '{path}'.", _REMEDY)
    elif (path / "new_joint_vecs").is_dir():
        from core.train.sources.humanml import load_humanml

        return load_humanml(path, split=split)
    elif bundles := sorted(path.glob("*_joints.npz")):
        clips = [clip for bundle in bundles for clip in load_bundle(bundle)]
    elif next(path.rglob("*.bvh"), None):
        from core.train.sources.bvhfolder import load_bvh_folder

        return load_bvh_folder(path, split=split)
    elif next(path.rglob("*.npz"), None):
        from core.train.sources.amassfolder import load_amass_folder

        return load_amass_folder(path, body_model=body_model, split=split)
    else:
        raise CoreError("data_missing", f"The folder '{path}' has no motion that is known here.", _REMEDY)
    return [c for c in clips if split is None or c.split == split]


def describe(clips: list[Clip]) -> str:
    """A table of what there is: for each source and split, clips, minutes, captions, and how many of them differ."""
    sources = sorted({c.source for c in clips})
    rows = [("source", "split", "clips", "minutes", "captions", "different")]
    for source in [*sources, "all"] if len(sources) != 1 else sources:
        for split in (*SPLITS, "all"):
            part = [c for c in clips if source in (c.source, "all") and split in (c.split, "all")]
            texts = [t for c in part for t in c.captions]
            minutes = sum(c.frames / c.fps for c in part) / 60
            if part:
                rows.append((source, split, str(len(part)), f"{minutes:.1f}", str(len(texts)), str(len(set(texts)))))
    wide = [max(len(row[i]) for row in rows) for i in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in rows
    )
