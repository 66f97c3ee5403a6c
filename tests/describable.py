"""What the tests of Describe share: the bundled model in one warm worker, characters that play clips, what is said of
a clip itself.

A test file takes the fixtures over by importing them: `from describable import registered, worker  # noqa: F401`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import bpy
import numpy as np
import pytest
import rigs
from motions import walk, wave

import mgpt3_blender
from mgpt3_blender import jobs, wire
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.options import Options

SLOTS = "slots" in bpy.types.Action.bl_rna.properties


@pytest.fixture(scope="module", autouse=True)
def worker() -> Iterator[None]:
    yield
    jobs.stop_worker()


@pytest.fixture(autouse=True)
def registered(core_python: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_PYTHON", str(core_python))
    monkeypatch.delenv("MGPT3_MODEL", raising=False)  # the bundled model: what it says must make sense
    monkeypatch.setattr(jobs, "stop_worker", lambda: None)  # one warm worker for all tests
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def playing(clip: np.ndarray, make: str = "mannequin", name: str = "Clip", **options: object) -> bpy.types.Object:
    """A character that plays a clip from frame 1 on."""
    rig = create_mannequin(bpy.context) if make == "mannequin" else getattr(rigs, make)()
    apply_motion(rig, clip, scene=bpy.context.scene, name=name, start_frame=1.0,
                 options=Options(**options))  # fmt: skip
    bpy.context.view_layer.objects.active = rig
    return rig


def mirrored(clip: np.ndarray) -> np.ndarray:
    """The same motion in a mirror: what the left did, the right does."""
    from core.skeleton import JOINTS

    other = [{"l": "r", "r": "l"}[name[0]] + name[1:] if name[1] == "_" else name for name in JOINTS]
    return clip[:, [JOINTS.index(name) for name in other]] * np.float32([-1, 1, 1])


@cache
def _said(data: bytes) -> str:
    clip = np.frombuffer(data, np.float32).reshape(-1, 22, 3)
    ask = {"motions": [{"joints": wire.encode_array(clip)}], "embed": False}
    answer = jobs.worker().wait(jobs.worker().request("describe", ask))
    return answer["descriptions"][0]["sentence"]


def said_of(clip: np.ndarray) -> str:
    """What the model says of the clip itself, without any character."""
    return _said(np.ascontiguousarray(clip, np.float32).tobytes())


def walk_then_wave() -> np.ndarray:
    """A walk of 6 s, a pause of 1 s, then the right hand waves for 5 s: (240, 22, 3), more than the model reads."""
    first, second = walk(6.0), wave(5.0)
    still = np.repeat(first[-1:], 20, 0)
    place = np.float32([first[-1, 0, 0], 0.0, first[-1, 0, 2]])
    return np.concatenate([first, still, second + place])
