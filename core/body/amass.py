"""Body motion in .npz as AMASS writes it: read into joints, and written so that SMPL-X programs read it.

Two layouts are read, told apart by their keys (https://amass.is.tue.mpg.de):
    SMPL+H: `poses` (T, 156), `trans` (T, 3), `betas` (16,), `gender`, `mocap_framerate`;
    SMPL-X: `root_orient` (T, 3), `pose_body` (T, 63), `pose_jaw`, `pose_eye`, `pose_hand` (T, 90), and all of them in
        this order as `poses` (T, 165); `trans`, `betas`, `num_betas`, `gender`, `surface_model_type`,
        `mocap_frame_rate`.
Rotations are axis-angle relative to the parent, lengths metres, and Z is up. Our files are of the second layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.body import rotation as rot
from core.body.fit import BodyFit, fit_body
from core.body.model import GENDERS, KIND_NAMES, MAX_BETAS, WHERE, BodyModel, load_body_model
from core.errors import CoreError
from core.skeleton import FPS, JOINTS

WRITTEN_FPS = 30.0
"""Frames a second of the files we write unless told otherwise: the SMPL-X add-on for Blender refuses files below the 30
that it plays by default."""

_RATES = ("mocap_frame_rate", "mocap_framerate")
_NUMBERS = ("poses", "pose_body", "root_orient", "trans", "betas", *_RATES)
_WORDS = ("surface_model_type", "gender")
_KINDS = {72: "smpl", 156: "smplh", 165: "smplx"}
_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Takes vectors of Y-up axes to Z-up ones, so that who faced +Z faces -Y, Blender's front; transposed, back."""


@dataclass(frozen=True)
class BodyMotion:
    """What a file says about a body's motion, Z up.

    Attributes:
        turns: (T, 22, 3) axis-angle, radians, relative to the parent; the first is the root's.
        trans: (T, 3) metres.
        betas: (n,) shape.
        kind, gender: of the body model that it was made with.
        fps: frames a second.
    """

    turns: np.ndarray
    trans: np.ndarray
    betas: np.ndarray
    kind: str
    gender: str
    fps: float


def body_arrays(content: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """What counts of an opened .npz of the SMPL family; None if it is of another kind. Nothing pickled is opened."""
    if "joints" in content or not any(key in content for key in ("poses", "pose_body", "betas", *_RATES)):
        return None
    found = {key: content[key] for key in _NUMBERS if key in content}
    for key in _WORDS:
        try:
            found[key] = content[key]
        except (KeyError, ValueError):  # missing, or pickled, as in old files
            continue
    return found


def read_joints(content: Mapping[str, np.ndarray], name: str, body_model: Path | None) -> np.ndarray:
    """Joints of a body motion at 20 fps.

    Rotations are brought to 20 fps by splines on the rotations themselves, so bones keep their lengths. A motion made
    with another kind of body (SMPL+H with an SMPL-X model, or the reverse) gets the mean shape: shape parameters of one
    mean nothing to the other, rotations do.

    Args:
        content: from `body_arrays`.
        name: what to call the file in errors.
        body_model: the user's file, or the folder of such files.
    Returns:
        (T, 22, 3) float32 metres, Y up.
    Raises:
        CoreError: body_motion_broken, body_model_needed, smplx_missing, body_model_missing, body_model_pickle,
            body_model_broken.
    """
    motion = read_body_motion(content, name)
    if body_model is None:
        raise CoreError(
            "body_model_needed",
            f"'{name}' is {KIND_NAMES[motion.kind]} motion: rotations, which need a body model to become joints.",
            WHERE,
        )
    model = load_body_model(body_model, gender=motion.gender, kind=motion.kind)
    betas = motion.betas if (motion.kind == "smplx") == (model.kind == "smplx") else np.zeros(0)
    return joints_of(motion, model, betas, FPS)


def joints_of(motion: BodyMotion, model: BodyModel, betas: np.ndarray, fps: float | None = None) -> np.ndarray:
    """A body motion's joints at `fps` frames a second, or at its own: (T', 22, 3) float32 metres, Y up."""
    turns, trans = rot.exp(motion.turns), motion.trans
    if fps is not None and len(trans) > 1 and abs(motion.fps / fps - 1) > 1e-3:
        from core.bvh import resample

        trans = resample(trans, motion.fps, fps)
        turns = rot.at_times(turns, np.minimum(np.arange(len(trans)) * (motion.fps / fps), len(turns) - 1))
    return (model.joints(turns, trans, betas) @ _UP).astype(np.float32)


def read_body_motion(content: Mapping[str, np.ndarray], name: str) -> BodyMotion:
    """The rotations of an AMASS file, checked. Raises CoreError("body_motion_broken")."""
    try:
        if "pose_body" in content and "root_orient" in content:
            body = np.concatenate([_frames(content["root_orient"], 3), _frames(content["pose_body"], 63)], axis=1)
            width = 165
        elif "poses" in content:
            poses = _frames(content["poses"], 66)
            body, width = poses[:, :66], poses.shape[1]
        else:
            raise ValueError("it has a body's shape, but no poses")
        if "trans" not in content:
            raise ValueError("it lacks 'trans', where the body is")
        trans = _frames(content["trans"], 3)
        if trans.shape != (len(body), 3):
            raise ValueError(f"{len(body)} poses and {len(trans)} places do not fit together")
        rates = [key for key in _RATES if key in content]
        if not rates:
            raise ValueError("it does not say its frame rate (mocap_frame_rate)")
        fps = float(np.asarray(content[rates[0]], np.float64).reshape(-1)[0])
        if not 0.1 <= fps <= 10000:
            raise ValueError(f"a frame rate of {fps:g} is impossible")
        betas = np.atleast_2d(np.asarray(content["betas"] if "betas" in content else np.zeros(0), np.float64))[0]
        if not all(np.isfinite(part).all() for part in (body, trans, betas)):
            raise ValueError("it has values that are not numbers")
        if np.abs(trans).max() > 1e5 or np.abs(betas).max(initial=0) > 100:
            raise ValueError("its values are not of this world")
    except (ValueError, TypeError, IndexError) as error:
        raise CoreError(
            "body_motion_broken", f"'{name}' holds no body motion: {error}.", "Get or export it again."
        ) from error
    kind = _word(content, "surface_model_type")
    gender = _word(content, "gender")
    return BodyMotion(
        turns=body.reshape(-1, 22, 3),
        trans=trans,
        betas=betas[:MAX_BETAS],
        kind=kind if kind in KIND_NAMES else _KINDS.get(width, "smplx"),
        gender=gender if gender in GENDERS else "neutral",
        fps=fps,
    )


def smplx_model(path: Path | None) -> BodyModel:
    """The body model that motion is to be written for. Raises CoreError: body_model_kind, and as `load_body_model`."""
    if path is None:
        raise CoreError("body_model_needed", "SMPL-X poses can only be found for a body model.", WHERE)
    model = load_body_model(path)
    if model.kind != "smplx":
        raise CoreError("body_model_kind", f"'{path}' is a body of {KIND_NAMES[model.kind]}, not of SMPL-X.", WHERE)
    return model


def check_fps(fps: float) -> float:
    """A frame rate to write. Raises CoreError("fps_out_of_range")."""
    if not 1 <= fps <= 240:
        raise CoreError("fps_out_of_range", f"{fps:g} frames a second cannot be written.", "Choose 1 to 240.")
    return fps


def write_as_body(
    path: Path,
    model: BodyModel,
    joints: np.ndarray,
    info: dict[str, Any] | None = None,
    *,
    fps: float = WRITTEN_FPS,
    fit_shape: bool = True,
) -> BodyFit:
    """Fit a body to a motion of 20 fps and write it at `fps`; see `fit_body` and `write_body_motion`."""
    from core.bvh import resample

    fit = fit_body(model, resample(joints, FPS, check_fps(fps)), fps, fit_shape=fit_shape)
    write_body_motion(path, model, fit, info)
    return fit


def write_body_motion(path: Path, model: BodyModel, fit: BodyFit, info: dict[str, Any] | None = None) -> None:
    """Write a fitted motion as SMPL-X parameters. Hands, jaw and eyes rest: joints say nothing about them.

    Beyond AMASS's keys: `fit_error_mean_mm` and `fit_error_max_mm` (22,), a number for each of `fit_joints`;
    `fit_scale`, what the motion was scaled by (see `BodyFit`); `info`, a JSON text of how the motion was made.

    Raises:
        CoreError: file_not_written.
    """
    frames = len(fit.turns)
    turns = rot.exp(fit.turns[:, 0])
    root = rot.without_jumps(rot.log(_UP @ turns))
    at_rest = model.rest_joints(fit.betas)[0]
    trans = (fit.trans + at_rest) @ _UP.T - at_rest  # a body turns about its root joint, which is not at its origin
    body = fit.turns[:, 1:].reshape(frames, 63)
    face, hands = np.zeros((frames, 9)), np.zeros((frames, 90))
    betas = np.zeros(MAX_BETAS)
    betas[: len(fit.betas)] = fit.betas
    millimetres = fit.errors * 1000
    try:
        with path.open("wb") as file:
            np.savez(
                file,
                surface_model_type=model.kind,
                gender=model.gender,
                mocap_frame_rate=fit.fps,
                mocap_time_length=frames / fit.fps,
                trans=trans,
                poses=np.concatenate([root, body, face, hands], axis=1),
                root_orient=root,
                pose_body=body,
                pose_jaw=face[:, :3],
                pose_eye=face[:, 3:],
                pose_hand=hands,
                betas=betas,
                num_betas=MAX_BETAS,
                fit_joints=np.array(JOINTS),
                fit_error_mean_mm=millimetres.mean(0),
                fit_error_max_mm=millimetres.max(0),
                fit_scale=fit.scale,
                info=json.dumps(info or {}),
            )
    except OSError as error:
        raise CoreError(
            "file_not_written", f"'{path}' cannot be written: {error.strerror}.", "Choose another folder."
        ) from error


def describe_fit(fit: BodyFit) -> str:
    """The fit in a line: how far the body's joints are from the motion's."""
    millimetres = fit.errors * 1000
    worst = int(millimetres.max(0).argmax())
    line = f"fit: {millimetres.mean():.1f} mm on average, {millimetres.max():.1f} mm at most ({JOINTS[worst]})"
    return line if fit.scale == 1 else f"{line}, motion scaled by {fit.scale:.3f}"


def _frames(array: np.ndarray, least: int) -> np.ndarray:
    """(T, n >= least) float64, T >= 1. Raises ValueError."""
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] < least:
        raise ValueError(f"an array of {array.shape} where there should be (frames, {least})")
    return array


def _word(content: Mapping[str, np.ndarray], key: str) -> str:
    """A word of the file, lower case; "" where it is missing."""
    words = np.asarray(content.get(key, "")).reshape(-1)
    word = words[0] if len(words) else ""
    return (word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)).lower()
