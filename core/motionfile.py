"""Motion in files: .bvh for other programs, .npz for NumPy, .json for everything else.

An .npz holds `joints` (T, 22, 3) float32 metres, `names`, `fps` and `info`, a JSON text saying how the motion was made;
a .json holds the same under the same names. An .npz of AMASS or SMPL-X (core/body/amass.py) is read too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from core.bvh import read_bvh, resample, write_bvh
from core.errors import CoreError
from core.features import canonicalise, check_joints, retarget
from core.restpose import REST_OFFSETS
from core.skeleton import FPS, JOINTS

TYPES = (".bvh", ".npz", ".json")


def check_type(path: Path) -> str:
    """The file's type, lower case. Raises CoreError("file_type_unknown")."""
    kind = path.suffix.lower()
    if kind not in TYPES:
        raise CoreError(
            "file_type_unknown", f"'{path.name}' is not a kind of motion file known here.", f"Use {', '.join(TYPES)}."
        )
    return kind


def write_motion(path: Path, joints: np.ndarray, info: dict[str, Any] | None = None) -> None:
    """Write a motion of 20 fps, by the file name's ending.

    Args:
        path: .bvh, .npz or .json; overwritten.
        joints: (T, 22, 3) metres, Y up.
        info: how it was made; a .bvh has no place for it.
    Raises:
        CoreError: file_type_unknown, file_not_written, joints_invalid.
    """
    kind, joints = check_type(path), check_joints(joints)
    try:
        if kind == ".bvh":
            write_bvh(path, joints)
        elif kind == ".npz":
            with path.open("wb") as file:
                np.savez(file, joints=joints, names=np.array(JOINTS), fps=FPS, info=json.dumps(info or {}))
        else:
            numbers = joints.astype(np.float64).round(5).tolist()
            content = {"fps": FPS, "names": JOINTS, "info": info or {}, "joints": numbers}
            text = json.dumps(content, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CoreError(
            "file_not_written", f"'{path}' cannot be written: {error.strerror}.", "Choose another folder."
        ) from error


def read_motion(path: Path, *, uniform: bool = False, body_model: Path | None = None) -> np.ndarray:
    """Read a motion: our own files, anybody's BVH, or the .npz of AMASS and SMPL-X.

    Args:
        uniform: give a body from elsewhere (BVH, SMPL-X) the canonical lengths.
        body_model: the user's SMPL-X or SMPL+H model, which motion of that kind needs.
    Returns:
        (T, 22, 3) float32, metres, Y up, 20 fps, canonical place.
    Raises:
        CoreError: file_type_unknown, file_missing, file_broken, bvh_broken, bvh_unknown_skeleton, and what
            `core.body.amass.read_joints` raises.
    """
    kind, body = check_type(path), None
    if kind == ".bvh":
        return read_bvh(path, uniform=uniform)
    try:
        if kind == ".npz":
            from core.body import amass  # only here: writing files needs none of it

            with np.load(path, allow_pickle=False) as content:
                body = amass.body_arrays(content)
                if body is None:
                    joints, fps = content["joints"], float(content.get("fps", FPS))
        else:
            raw = json.loads(path.read_text(encoding="utf-8"))
            joints, fps = np.array(raw["joints"], np.float32), float(raw.get("fps", FPS))
    except OSError as error:
        raise CoreError(
            "file_missing", f"'{path}' cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    except Exception as error:  # a damaged archive can fail in any way: zip, header, numbers
        raise CoreError("file_broken", f"'{path}' holds no motion ({error}).", "Export it again.") from error
    if body is not None:
        joints = amass.read_joints(body, path.name, body_model)
        return canonicalise(retarget(joints, REST_OFFSETS) if uniform else joints)
    if not (np.isfinite(fps) and 0.1 <= fps <= 10000):
        raise CoreError("file_broken", f"'{path}' has an impossible frame rate.", "Export it again.")
    return canonicalise(resample(check_joints(joints), fps))
