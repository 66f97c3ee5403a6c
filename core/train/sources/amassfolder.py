"""A folder of AMASS .npz files (SMPL+H or SMPL-X) with a captions file (core/train/sources/captions.py).

The rotations become joints through the user's own body model; nothing of it is kept.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from core.body.amass import BodyMotion, body_arrays, joints_of, read_body_motion
from core.body.model import KIND_NAMES, WHERE, BodyModel, load_body_model
from core.errors import CoreError
from core.skeleton import FPS
from core.train.sources.clip import Clip
from core.train.sources.folder import load_folder


def load_amass_folder(folder: Path, *, body_model: Path | None, split: str | None = None) -> list[Clip]:
    """Clips of an AMASS folder at 20 fps.

    Args:
        body_model: the user's SMPL-X or SMPL+H model, or the folder of such models.
    Raises:
        CoreError: body_model_needed; as `load_folder` and `core.body.model.load_body_model`.
    """
    if body_model is None:
        raise CoreError(
            "body_model_needed",
            f"'{folder}' holds AMASS motion: rotations, which need a body model to become joints.",
            WHERE,
        )
    model_of = lru_cache(maxsize=8)(lambda gender, kind: load_body_model(body_model, gender=gender, kind=kind))

    def read(path: Path) -> np.ndarray:
        motion = _motion(path)
        model: BodyModel = model_of(motion.gender, motion.kind)
        # Shape parameters of one kind of body mean nothing to the other; the mean shape it is, then.
        betas = motion.betas if (motion.kind == "smplx") == (model.kind == "smplx") else np.zeros(0)
        return joints_of(motion, model, betas, FPS)

    return load_folder(folder, ".npz", read, split=split)


def _motion(path: Path) -> BodyMotion:
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = body_arrays(content)
    except Exception as error:  # a damaged archive can fail in any way
        raise CoreError("file_broken", "It holds no arrays of numbers.", "Get it again.") from error
    if arrays is None:
        raise CoreError("file_broken", f"It is no motion of {' or '.join(KIND_NAMES.values())}.", "Get it again.")
    return read_body_motion(arrays, path.name)
