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

LEAST_GIVEN = 4
"""Frames that are the least a motion can be continued from."""
MOST = 190
"""Frames that can be predicted at once."""
OVERLAP = 6
"""Given frames that the model sees as the beginning of what it makes."""
TRUST, TRUST_WORDS = 0.6, 0.8
"""How far the prior's mean is moved towards the model's proposal: nothing but the beginning holds the rest."""


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

    The model's answer is a proposal; the likeliest motion near it is looked for that begins as the given one ends
    (latentfit.py), and what is still missing there is put right smoothly: no jump in position or velocity.

    Args:
        joints: (T, 22, 3) metres, Y up, 20 fps, any body; the last 196 frames are read.
        frames: how many more, 4 to 190. prompt: what should come next, where it is to be said.
    Returns:
        (frames, 22, 3): frame 0 comes one frame after the last given one, in its place, heading and proportions.
    Raises:
        CoreError: motion_shape, motion_not_finite, motion_too_short, duration_out_of_range, seed_out_of_range.
    """
    from core.tasks import feet, gap, poses
    from core.tasks.joining import hold
    from core.tasks.latentfit import Known
    from core.tasks.stage import Stage
    from core.tasks.understand import understand

    joints = check_given(joints, "The motion to go on from")[-196:]
    if not 4 <= frames <= MOST:
        raise CoreError("duration_out_of_range", f"{frames} frames cannot be predicted at once.",
                        f"Ask for 4 to {MOST}.")  # fmt: skip
    check_seed(seed)
    given = joints[-OVERLAP:].astype(np.float64)
    stage = Stage(model, given[0], given[-1])
    length = max(len(given) + frames, gap.LEAST_FRAMES)
    seconds = length / FPS if model.cfg.reads_duration else None
    with torch.inference_mode(), model.computing():
        if prompt:
            text, codes = prompts.text_to_motion(understand(model, prompt).prompt_used, seconds), None
        else:
            text, codes = prompts.predict_motion(seconds), encode_motion(model, joints)[:, None]
        proposed = model.sample_codes(model.condition(model.prompt(text), codes), [seed]).double().cpu()
    prior = gap.prior_of(str(model.info.get("path", "")), model.cfg.vae.channels)
    fitter = gap.fitter_for(model, prior, length)
    around = fitter.mean + (TRUST_WORDS if prompt else TRUST) * (proposed - fitter.mean)
    known = Known.poses(np.arange(len(given)), stage.enter(given), gap.TOLERANCE)
    fit = stage.leave(fitter.fit(known, around)[0][0])[len(given) - 2 : len(given) + frames]
    motion = poses.from_joints(fit)  # the last two given frames, then what comes
    last = poses.from_joints(given[-2:])
    motion.offsets = np.broadcast_to(last.offsets[-1:], motion.offsets.shape).copy()
    beside, motion = motion[:1], motion[1:]
    off = poses.difference(motion[:1], last[1:])
    goal = poses.add(motion[-1:], poses.Difference(off.root * [1.0, 0.0, 1.0], np.zeros_like(off.turns), off.offsets))
    ends = poses.Poses(
        *(np.concatenate([getattr(last, n)[1:], getattr(goal, n)]) for n in ("root", "local", "offsets"))
    )
    out = poses.to_joints(hold(motion, np.array([0, len(motion) - 1]), ends, (last[:1], beside), None))
    whole = np.concatenate([given[:-1], out])
    fixed = np.arange(len(whole)) < len(given)
    whole = feet.above_floor(whole, fixed)
    return feet.pin(whole, feet.standing(whole, feet.floor_of(whole, fixed)), fixed)[len(given) :].astype(np.float32)
