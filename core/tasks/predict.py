"""Prediction: a motion and how many frames to go on -> what comes next."""

from __future__ import annotations

import numpy as np
import torch

from core import prompts
from core.errors import CoreError
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks.caption import encode_motion
from core.tasks.generate import check_seed
from core.tasks.place import heading, turn_and_shift

LEAST_GIVEN = 4
"""Frames that are the least a motion can be continued from."""


def check_given(joints: np.ndarray, what: str) -> np.ndarray:
    """(T, 22, 3) float32. Raises CoreError(motion_shape, motion_not_finite, motion_too_short)."""
    joints = np.asarray(joints, dtype=np.float32)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3):
        raise CoreError("motion_shape", f"A motion is (frames, 22, 3) joint positions; {what} is {joints.shape}.",
                        "Pass 22 joints.")  # fmt: skip
    if not np.isfinite(joints).all():
        raise CoreError("motion_not_finite", f"{what} has values that are not numbers.", "Check the animation.")
    if len(joints) < LEAST_GIVEN:
        raise CoreError("motion_too_short", f"{what} has {len(joints)} frames at 20 fps; {LEAST_GIVEN} are the least.",
                        "Give more frames.")  # fmt: skip
    return joints


def sample_motion(model: MotionGPT3, text: str, codes: torch.Tensor, frames: int, seed: int) -> np.ndarray:
    """One motion (frames, 22, 3) for a prompt with input motions (1, k, C), in its own canonical place."""
    with torch.inference_mode(), model.computing():
        drawn = model.sample_codes(model.condition(model.prompt(text), codes), [check_seed(seed)])
        lengths = torch.tensor([frames], device=model.device)
        return model.vae.decode_joints(model.vae.from_code(drawn), lengths)[0].float().cpu().numpy()


def predict(model: MotionGPT3, joints: np.ndarray, frames: int, seed: int = 0, prompt: str | None = None) -> np.ndarray:
    """Go on from a motion.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps; the last 196 frames are read.
        frames: how many more, 4 to 196. prompt: what should come next, where it is to be said.
    Returns:
        (frames, 22, 3): frame 0 comes one frame after the last given one, in its place and heading. Joined rigidly: the
        pose may differ a little at the joint. The proportions are the model's.
    Raises:
        CoreError: motion_shape, motion_not_finite, motion_too_short, duration_out_of_range, seed_out_of_range.
    """
    joints = check_given(joints, "The motion to go on from")[-196:]
    if not 4 <= frames <= 196:
        raise CoreError("duration_out_of_range", f"{frames} frames cannot be predicted at once.", "Ask for 4 to 196.")
    seconds = frames / FPS if model.cfg.reads_duration else None
    with torch.inference_mode():
        code = encode_motion(model, joints)[:, None]
    out = sample_motion(model, prompts.predict_motion(seconds, prompt or ""), code, frames, seed)
    last, velocity = joints[-1], joints[-1, 0] - joints[-2, 0]
    turn = heading(last) - heading(out[0])
    turned = turn_and_shift(out, turn, np.zeros(2))
    return turn_and_shift(turned, 0.0, (last[0] + velocity - turned[0, 0])[[0, 2]]).astype(np.float32)
