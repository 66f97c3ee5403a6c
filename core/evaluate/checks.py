"""Does the motion show what the prompt says? Rules on joints for prompts whose meaning can be measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.evaluate.physical import foot_slide, jerk
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import FPS
from core.tasks.generate import generate

L_SHOULDER, R_SHOULDER = 16, 17


def travelled(joints: np.ndarray) -> np.ndarray:
    """Where the root ends, from where it began: left, up, forward in metres (3,)."""
    return joints[-1, 0] - joints[0, 0]


def speed(joints: np.ndarray) -> float:
    """Mean horizontal speed of the root over the path, metres a second."""
    return float(np.linalg.norm(np.diff(joints[:, 0][:, [0, 2]], axis=0), axis=-1).mean() * FPS)


def raised(joints: np.ndarray, wrist: int) -> float:
    """How far the wrist rises above its shoulder at the highest, metres."""
    return float((joints[:, wrist, 1] - joints[:, wrist - 4, 1]).max())


def turned(joints: np.ndarray) -> float:
    """How far the body turns to its left from first to last frame, degrees."""
    across = joints[:, L_SHOULDER] - joints[:, R_SHOULDER]
    heading = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
    return float(np.degrees(heading[-1] - heading[0]))


def swings(joints: np.ndarray) -> float:
    """How far the ankles pass each other along the way, metres: a walk has steps, a sliding statue none."""
    forward = joints[:, 7] - joints[:, 8]
    return float(np.ptp(np.linalg.norm(forward[:, [0, 2]], axis=-1)))


CHECKS: dict[str, tuple[str, float, Callable[[np.ndarray], bool]]] = {
    "walk": ("a person walks forward", 4, lambda j: 0.5 < speed(j) < 2.2 and travelled(j)[2] > 1.5 and swings(j) > 0.2),
    "run": ("a person runs forward", 3, lambda j: speed(j) > 2.0 and travelled(j)[2] > 4 and swings(j) > 0.3),
    "raise_left": ("a person raises the left hand up", 3, lambda j: raised(j, 20) > 0.15 > raised(j, 21) + 0.2),
    "raise_right": ("a person raises the right hand up", 3, lambda j: raised(j, 21) > 0.15 > raised(j, 20) + 0.2),
    "raise_both": ("a person raises both hands up", 3, lambda j: min(raised(j, 20), raised(j, 21)) > 0.15),
    "wave_right": ("a person waves the right hand", 4, lambda j: raised(j, 21) > -0.1 > raised(j, 20)),
    "turn_left": ("a person walks and turns left", 4, lambda j: turned(j) > 30),
    "turn_right": ("a person walks and turns right", 4, lambda j: turned(j) < -30),
    "walk_wave": ("a person walks forward and waves", 5,
                  lambda j: speed(j) > 0.4 and max(raised(j, 20), raised(j, 21)) > -0.1),
    "jump": ("a person jumps up", 3, lambda j: j[:, [7, 8, 10, 11], 1].min(-1).max() > 0.15),
    "stand": ("a person stands still", 4, lambda j: speed(j) < 0.15),
}  # fmt: skip
"""Name -> prompt, seconds, rule."""


def prompt_checks(model: MotionGPT3, seeds: int = 8, guidance: float | None = None) -> dict[str, float]:
    """Share of motions that keep each rule, foot slide (mm a frame) and jerk of the walks."""
    out: dict[str, float] = {}
    for name, (prompt, seconds, rule) in CHECKS.items():
        motions = generate(model, prompt, seconds, 0, variations=seeds, guidance=guidance)
        out[name] = float(np.mean([rule(j) for j in motions]))
        if name == "walk":
            slides = [s for j in motions if np.isfinite(s := foot_slide(j))]
            out["walk_slide_mm"] = float(np.mean(slides)) if slides else float("nan")
            out["walk_jerk"] = float(np.mean([jerk(j) for j in motions]))
    return out
