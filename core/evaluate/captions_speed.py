"""How long a library takes: 1,000 motions of five seconds described, once the model is loaded."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from core.errors import CoreError
from core.features import canonicalise
from core.skeleton import FPS
from core.train.data import Clip, mirrored

COUNT, SECONDS = 1000, 5.0
REQUEST = 256
"""Motions given to `describe` at a time: what the worker takes in one request."""


def five_seconds(clips: list[Clip], count: int = COUNT) -> list[np.ndarray]:
    """Motions of five seconds, (100, 22, 3) each, no two of them the same array of numbers.

    Cut from the clips at other places each time round, every other round from the mirrored clip, each turned by another
    angle; a clip that is shorter goes back and forth.
    """
    frames = round(SECONDS * FPS)
    out: list[np.ndarray] = []
    turn = 0
    while len(out) < count:
        for clip in clips[: count - len(out)]:
            joints = (mirrored(clip) if turn % 2 else clip).joints
            room = len(joints) - frames
            if room > 0:
                start = (turn // 2 * 17) % (room + 1)  # another place each round, whatever the clip's length
                joints = joints[start : start + frames]
            else:
                there = np.arange(len(joints))
                joints = joints[np.resize(np.concatenate([there, there[-2:0:-1]]), frames)]
            out.append(_turned(canonicalise(joints), 0.37 * len(out)))
        turn += 1
    return out


def _turned(joints: np.ndarray, angle: float) -> np.ndarray:
    """The motion turned about the vertical, radians."""
    x, z = joints[..., 0], joints[..., 2]
    sin, cos = np.sin(angle), np.cos(angle)
    return np.stack([cos * x + sin * z, joints[..., 1], cos * z - sin * x], -1).astype(np.float32)


def throughput(model: Any, motions: list[np.ndarray]) -> dict[str, Any]:
    """Time of describing all motions, facts, tags and vectors included, once everything is loaded.

    Returns:
        "motions", "described", "seconds", "cpu_seconds": of all cores of this process, which a busy machine does not
        stretch much, and "stages": seconds spent in each thing `describe` says it does.
    """
    from core.captions.describe import describe

    describe(model, motions[:2])  # loads the matcher
    stages: dict[str, float] = {}
    last: list[Any] = ["", time.perf_counter()]

    def progress(_: float, what: str) -> None:
        now = time.perf_counter()
        if last[0]:
            stages[last[0]] = stages.get(last[0], 0.0) + now - last[1]
        last[:] = [what, now]

    described = 0
    started, used = time.perf_counter(), time.process_time()
    for start in range(0, len(motions), REQUEST):
        last[0] = ""
        found = describe(model, motions[start : start + REQUEST], progress=progress)
        described += sum(not isinstance(d, CoreError) for d in found)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return {"motions": len(motions), "seconds": seconds, "cpu_seconds": used, "described": described,
            "stages": {k: round(v, 2) for k, v in stages.items()}}  # fmt: skip
