"""The motions to measure with: from files, read by the core in a process of its own, and generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import jobs, motionfiles
from .errors import UserError
from .rig.canon import placed
from .wire import decode_array

FPS = 20.0
MOST = 200  # frames; longer motions are cut to their middle
PROMPTS = ("a person walks forward", "a person waves with the right hand")
SECONDS, SEED = 6.0, 7


@dataclass(frozen=True)
class Motion:
    """A motion by name: `joints` (T, 22, 3) float32 metres, Y up, facing +Z at frame 0, 20 fps."""

    name: str
    joints: np.ndarray


def middle(joints: np.ndarray, most: int = MOST) -> np.ndarray:
    """The middle `most` frames, moved and turned so that they begin over the origin facing +Z."""
    start = max(0, (len(joints) - most) // 2)
    return placed(np.asarray(joints, np.float64)[start : start + most]).astype(np.float32)


def from_files(files: list[Path], python: Path) -> list[Motion]:
    """Read .bvh, .npz and .json files with the core's own reader. Raises UserError (bad_motion)."""
    if not files:
        return []
    remedy = "Give .bvh files, or .npz or .json files of joints."
    gone = [str(file) for file in files if not file.is_file()]
    if gone:
        raise UserError("bad_motion", f"There is no motion file {', '.join(gone)}.", remedy)
    read = motionfiles.read(files, python, code="bad_motion", remedy=remedy)
    short = [one.id or one.file for one in read if len(one.joints) < 10]
    if short:
        raise UserError("bad_motion", f"These motions are shorter than half a second: {', '.join(short)}.", remedy)
    return [Motion(one.id or one.file, middle(one.joints)) for one in read]


def from_prompts(prompts: list[str], seconds: float = SECONDS, seed: int = SEED) -> list[Motion]:
    """Motions of the model in use, made through the worker. Raises UserError."""
    out = []
    for prompt in prompts:
        worker = jobs.worker()
        wanted = {"prompt": prompt, "seconds": seconds, "seed": seed, "variations": 1, "guidance": None, "steps": None}
        reply: Any = worker.wait(worker.request("generate", wanted))
        out.append(Motion(prompt, middle(decode_array(reply["motions"][0]["joints"]))))
    return out
