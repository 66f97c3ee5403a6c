"""The demo: the camera sees the whole character in every frame, and film and contact sheet are real pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests import motions

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from mathutils import Vector  # noqa: E402

from mgpt3_blender import demo  # noqa: E402
from mgpt3_blender.mannequin import create_mannequin  # noqa: E402
from mgpt3_blender.rig.apply import apply_motion  # noqa: E402


def staged(joints: np.ndarray, title: str = "a person walks") -> tuple[bpy.types.Scene, demo.Shot]:
    scene = bpy.context.scene
    armature = create_mannequin(bpy.context)
    apply_motion(armature, joints, scene=scene, name=title, start_frame=1.0)
    return scene, demo.add_stage(scene, armature, title)


@pytest.mark.parametrize(
    "motion", [motions.walk, motions.run, motions.lie_down, motions.jump], ids=lambda m: m.__name__
)
def test_the_camera_sees_every_bone_in_every_frame(motion) -> None:
    scene, shot = staged(motion())
    for frame, points in zip(shot.frames, shot.points, strict=True):
        scene.frame_set(frame)
        for point in points:
            x, y, depth = world_to_camera_view(scene, scene.camera, Vector(point))
            assert 0.0 < x < 1.0
            assert 0.0 < y < 1.0
            assert depth > 0.0


def test_the_camera_follows_a_walk_and_does_not_bob() -> None:
    scene, shot = staged(motions.walk(4.0))
    places = []
    for frame in shot.frames:
        scene.frame_set(frame)
        places.append(scene.camera.matrix_world.translation.copy())
    places = np.array(places)
    walked = np.linalg.norm(shot.centre(scene.render.fps)[-1] - shot.centre(scene.render.fps)[0])
    assert walked > 1.0
    assert np.linalg.norm(places[-1] - places[0]) == pytest.approx(walked, abs=0.05)
    assert np.ptp(places[:, 2]) < 1e-4


def test_film_and_contact_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TILE", (160, 90))
    scene, shot = staged(motions.walk(1.0))
    scene.frame_end = scene.frame_start + 2
    scene.render.resolution_percentage = 25
    demo.set_film(scene, str(tmp_path / "film.mp4"))
    demo.render_film(scene)
    assert b"avc1" in (tmp_path / "film.mp4").read_bytes()  # H.264
    film = bpy.data.movieclips.load(str(tmp_path / "film.mp4"))
    assert (film.frame_duration, tuple(film.size)) == (3, (160, 90))
    scenes, images, worlds = len(bpy.data.scenes), len(bpy.data.images), len(bpy.data.worlds)
    scene.render.resolution_percentage = 100
    demo.contact_sheet(scene, shot, tmp_path / "sheet.png", "a person walks", "seed 7")
    assert (len(bpy.data.scenes), len(bpy.data.images), len(bpy.data.worlds)) == (scenes, images, worlds)
    sheet = bpy.data.images.load(str(tmp_path / "sheet.png"))
    width, height = sheet.size
    pixels = np.array(sheet.pixels[:]).reshape(height, width, 4)
    assert width >= 4 * 160
    assert np.all(pixels[..., 3] == 1.0)
    assert pixels[-84:, :, :3].min() < 0.5, "the title is not there"
    first = pixels[94:184, :160, :3]  # the upper left picture
    assert first.std() > 0.03, "the picture shows nothing"
    last = pixels[:90, -160:, :3]
    assert np.abs(first - last).mean() > 0.005, "the character does not move"


def test_what_blender_prints_while_rendering_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with demo.rendering_log(tmp_path / "render.log"):
        os.write(1, b"Saved: a picture\n")  # as Blender does, past Python's own stdout
    os.write(1, b"after\n")
    assert (tmp_path / "render.log").read_text() == "Saved: a picture\n"
    assert capfd.readouterr().out == "after\n"
