"""What the tests of Search share: an index of their own, characters and library files with actions, the panel drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import bpy
import motions
import numpy as np
import pytest
import rigs
from describable import SLOTS, registered  # noqa: F401 - a fixture
from test_panels_rig import Layout

from mgpt3_blender import finding, panels_search, search
from mgpt3_blender.finding import content_key
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.motionindex import Index
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.options import Options
from mgpt3_blender.searching import Query, Search
from mgpt3_blender.thisfile import census

CLIPS = {"Take 1": "walk", "Take 2": "wave", "Take 3": "jump", "Take 4": "run"}
"""Names that say nothing."""
INDEX = finding.index


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: None) -> Iterator[Index]:  # noqa: F811
    """An index of the test's own."""
    own = Index(tmp_path / "index" / "index.sqlite")
    monkeypatch.setattr(finding, "index", lambda: own)
    census.reset()
    search.reset()
    yield own
    own.close()


def character(clips: dict[str, str] = CLIPS, make: str = "mannequin") -> bpy.types.Object:
    """A character with an action for each clip."""
    rig = create_mannequin(bpy.context) if make == "mannequin" else getattr(rigs, make)()
    for name, clip in clips.items():
        joints = getattr(motions, clip)(3.0)
        apply_motion(rig, joints, scene=bpy.context.scene, name=name, start_frame=1.0, options=Options(foot_lock=False))
    for action in bpy.data.actions:
        action.use_fake_user = True
    bpy.context.view_layer.objects.active = rig
    return rig


def slot_of(action: bpy.types.Action) -> object:
    return action.slots[0] if SLOTS else None


def key_of(name: str, rig: bpy.types.Object) -> str:
    action = bpy.data.actions[name]
    return content_key(action, slot_of(action), rig)


def best(text: str, **where: object) -> list[str]:
    return [one.action for one in Search(Query(text, **where)).finish().found]


def library(folder: Path, name: str = "moves.blend", clips: dict[str, str] = CLIPS, **more: object) -> Path:
    """A file with actions; an empty one is open afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    character(clips, **more)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / name))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return folder / name


def described(path: Path) -> None:
    """Let the index know a file, as a background Blender would."""
    bpy.ops.wm.open_mainfile(filepath=str(path))
    search.Indexing(True, []).finish()
    census.step(60)
    census.note_saved()
    bpy.ops.wm.read_factory_settings(use_empty=True)


def assert_moves(rig: bpy.types.Object) -> None:
    """The character does move: its action and slot are both bound."""
    scene, bones = bpy.context.scene, rig.pose.bones
    shown = []
    for frame in (1, 30):
        scene.frame_set(frame)
        shown.append(np.array([bone.matrix for bone in bones]))
    assert np.abs(shown[0] - shown[1]).max() > 0.05


def draw() -> Layout:
    layout = Layout()
    panels_search.MGPT3_PT_search.draw(SimpleNamespace(layout=layout), bpy.context)  # type: ignore[arg-type]
    return layout
