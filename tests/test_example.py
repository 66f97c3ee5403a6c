"""The example file of docs/: it opens in every Blender, and what its text says can be done, can be done."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

import bpy
import numpy as np
import pytest
import zstandard
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import action, results
from mgpt3_blender.gaps import body_bones, find_gaps
from mgpt3_blender.rig.mapping import map_armature

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "example.blend"


@pytest.fixture(autouse=True)
def _opened(registered: None) -> None:  # noqa: F811 - the fixture taken over above
    bpy.ops.wm.open_mainfile(filepath=str(EXAMPLE))


def test_the_first_figure_moves_and_has_two_takes() -> None:
    settings = bpy.context.scene.mgpt3
    walker = settings.character
    assert settings.prompt == walker.name == bpy.context.view_layer.objects.active.name
    takes = results.results_of(walker)
    assert len(takes) == 2
    assert walker.animation_data.action in takes
    places = []
    for frame in (1, 48):
        bpy.context.scene.frame_set(frame)
        places.append(np.array(walker.pose.bones[0].matrix.translation))
    assert np.linalg.norm(places[1] - places[0]) > 0.5


def test_between_the_two_poses_there_is_one_gap_to_fill() -> None:
    poser = bpy.data.objects["Two Poses"]
    made = poser.animation_data.action
    frames = {float(point.co.x) for curve in action.fcurves(made, poser) for point in curve.keyframe_points}
    assert len(frames) == 2
    assert not [name for name in made.keys() if name.startswith("mgpt3")]  # noqa: SIM118 - a Blender type, no dict
    found = find_gaps(made, poser, bpy.context.scene, selected=False, bones=body_bones(map_armature(poser)))
    assert [(gap.first, gap.last) for gap in found] == [(min(frames), max(frames))]
    assert f"frames {min(frames):.0f} and {max(frames):.0f}" in bpy.data.texts["Read Me"].as_string()


def test_it_fills_and_generates(tiny: Path) -> None:  # noqa: F811
    scene = bpy.context.scene
    scene.mgpt3.character = bpy.data.objects["Two Poses"]
    bpy.context.view_layer.objects.active = scene.mgpt3.character
    assert bpy.ops.mgpt3.fill_between() == {"FINISHED"}
    scene.mgpt3.character = bpy.data.objects[scene.mgpt3.prompt]
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}


FOLDERS = (rb"/home/", rb"/root/", rb"/Users/", rb"\\Users\\")


def saved(path: Path) -> bytes:
    """The open file, as a copy without compression."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=False, relative_remap=False)
    return path.read_bytes()


def named(data: bytes, patterns: tuple[bytes, ...]) -> dict[bytes, int]:
    """How often each pattern stands in a file."""
    return {pattern: len(re.findall(pattern, data)) for pattern in patterns}


def test_nobody_is_named_in_it(tmp_path: Path) -> None:
    """As it lies in docs/ it holds no folder of a user's; saved again it holds none of who did that but those that
    Blender itself writes into an empty file."""
    for screen in bpy.data.screens:
        for space in (space for area in screen.areas for space in area.spaces if space.type == "FILE_BROWSER"):
            assert space.params is None or space.params.directory == b"//"
    for text in bpy.data.texts:
        assert not text.filepath
    with (
        EXAMPLE.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader,
    ):
        raw = reader.read()
    assert b"MotionGPT3: an example" in raw  # all of it was unpacked
    assert set(named(raw, FOLDERS).values()) == {0}
    user = re.escape(getpass.getuser().encode())  # as a part of a path or a text of its own: "root" is a word, too
    home = re.escape(str(Path.home()).encode())
    mine = (*FOLDERS, *([home] if len(home) > 3 else []), rb"(?<![^/\\\0 ])" + user + rb"(?![^/\\\0 ])")
    data = saved(tmp_path / "copy.blend")
    assert b"MotionGPT3: an example" in data
    bpy.ops.wm.read_factory_settings(use_empty=True)
    empty = named(saved(tmp_path / "copy.blend"), mine)
    assert [(mark, count) for mark, count in named(data, mine).items() if count > empty[mark]] == []
    bpy.context.scene["control"] = f"{Path.home()}/x /root/ /home/ /Users/ \\Users\\ {getpass.getuser()}"
    told = named(saved(tmp_path / "copy.blend"), mine)
    assert [mark for mark in mine if told[mark] <= empty[mark]] == []  # each would be found
