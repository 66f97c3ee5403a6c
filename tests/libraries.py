"""Characters with several actions, and folders of .blend files with them, for tests of the library.

A test file takes the fixtures over by importing them: `from libraries import index, registered, worker  # noqa: F401`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from motions import walk

import mgpt3_blender
from mgpt3_blender import finding, jobs, metadata
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.motionindex import Index
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.options import Options

DESCRIPTION = {
    "sentence": "a person walks forward",
    "alternatives": ["someone walks"],
    "tags": ["forward", "walk"],
    "facts": {"seconds": 3.0, "in_place": False},
    "segments": [{"first": 1, "last": 73, "sentence": "a person walks forward", "raw": "a person walks forward"}],
    "corrections": [],
}
MODEL = {"name": "MotionGPT3 compact", "licence": "CC BY-NC 4.0"}


@pytest.fixture(scope="module", autouse=True)
def worker(core_python: Path) -> Iterator[None]:
    """One warm worker with the bundled model for all tests."""
    yield
    jobs.stop_worker()


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index.sqlite")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, index: Index) -> Iterator[None]:
    monkeypatch.setattr(jobs, "stop_worker", lambda: None)
    monkeypatch.setattr(finding, "index", lambda: index)  # nothing that another test found out
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def texts() -> dict[str, tuple]:
    return {a.name: (metadata.current(a), a.get(metadata.DESCRIBED), a.asset_data is None) for a in bpy.data.actions}


def wave(seconds: float) -> np.ndarray:
    """Somebody who stands and moves the right hand up and down."""
    joints = np.repeat(walk(1.0)[:1], round(seconds * 20) + 1, axis=0).copy()
    swing = 0.25 * np.sin(np.arange(len(joints)) * 0.6)
    joints[:, 21, 1] += swing
    joints[:, 19, 1] += 0.5 * swing
    return joints


def character(**actions: float) -> bpy.types.Object:
    """The mannequin with actions of so many seconds each: a walk, or where the name says so a wave."""
    rig = create_mannequin(bpy.context)
    for name, seconds in actions.items():
        joints = wave(seconds) if name.startswith("Wave") else walk(seconds + 1.0)[: round(seconds * 20) + 1]
        apply_motion(rig, joints, scene=bpy.context.scene, name=name, start_frame=1.0, options=Options(foot_lock=False))
    for action in bpy.data.actions:
        action.use_fake_user = True
    bpy.context.view_layer.objects.active = rig
    return rig


def save(path: Path, *, compress: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=compress)
    return path


def blend(path: Path, *, compress: bool = False, **actions: float) -> Path:
    """A file with a character and its actions. The file that was open is left."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    character(**actions)
    return save(path, compress=compress)


def load(path: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False)


def newer(path: Path) -> Path:
    """A file that only a later Blender can open: saved by 5.0 where that is here and later than this one, else a file
    that says in its header that a later Blender than any wrote it."""
    python = Path(__file__).parents[1] / ".envs" / "bpy-5.0" / "bin" / "python"
    if bpy.app.version < (5, 0) and python.exists():
        script = "import bpy, os, sys; bpy.data.actions.new('Walk').use_fake_user = True; "
        script += "bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1], compress=True); os._exit(0)"
        subprocess.run([str(python), "-c", script, str(path)], check=True, capture_output=True, timeout=120)
    else:
        path.write_bytes(b"BLENDER17-01v9901" + bytes(4096))
    return path
