"""Several prompts in a row: the list, the action, its markers, the path; with the real core."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
import rigs
from motions import walk
from recorder import Recorder
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import cli, compose, curvepath, jobs, markers, panels_compose, results, segments, wire
from mgpt3_blender.compose import Request, Segment
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.standing import standing_space

WALK, WAVE, TURN = "a person walks forward", "a person waves", "a person turns around"


@pytest.fixture
def hero() -> bpy.types.Object:
    return create_mannequin(bpy.context)


def fill_list(*lines: tuple[str, float]) -> bpy.types.PropertyGroup:
    """Write the scene's list."""
    settings = bpy.context.scene.mgpt3_sequence
    settings.segments.clear()
    for prompt, seconds in lines:
        item = settings.segments.add()
        item.prompt, item.seconds = prompt, seconds
    return settings


def listed() -> list[tuple[str, float]]:
    return [(s.prompt, s.seconds) for s in bpy.context.scene.mgpt3_sequence.segments]


def marked() -> list[tuple[int, str]]:
    return sorted((marker.frame, marker.name) for marker in bpy.context.scene.timeline_markers)


def reply(joints: np.ndarray, borders: list[int], **more: object) -> dict:
    """An answer as the worker gives it."""
    return {
        "joints": wire.encode_array(np.asarray(joints, np.float32)),
        "borders": borders,
        "seeds": list(range(len(borders))),
        "notes": [],
        "path_error_mm": None,
        "fps": 20.0,
        "model": {"name": "test", "licence": "none"},
        **more,
    }


def circle(radius: float = 2.0) -> bpy.types.Object:
    """A Bezier circle on the floor, from +X to +Y."""
    bpy.ops.curve.primitive_bezier_circle_add(radius=radius)
    return bpy.context.object


def hips(armature: bpy.types.Object, first: int, last: int) -> np.ndarray:
    """(N, 2) where the middle of the hips is on the floor at each scene frame."""
    scene, before = bpy.context.scene, bpy.context.scene.frame_current
    bones = [map_armature(armature).deform[f"{side}_hip"] for side in "lr"]
    out = []
    for frame in range(first, last + 1):
        scene.frame_set(frame)
        out.append(np.mean([(armature.matrix_world @ armature.pose.bones[b].head)[:2] for b in bones], axis=0))
    scene.frame_set(before)
    return np.array(out)


def test_a_sequence_is_one_action_with_a_marker_for_each_prompt(hero: bpy.types.Object) -> None:
    scene = bpy.context.scene
    scene.frame_current, scene.frame_end, scene.render.fps = 11, 20, 30
    mine = scene.timeline_markers.new("mine", frame=11)
    fill_list((WALK, 2.0), (WAVE, 1.5), (TURN, 3.0)).seed = 5
    assert bpy.ops.mgpt3.sequence() == {"FINISHED"}
    made = hero.animation_data.action
    assert made.frame_range[0] == 11
    assert 203 <= made.frame_range[1] <= 206  # 6.5 seconds at 30 a second, less the last frame
    assert marked() == [(11, WALK), (11, "mine"), (71, WAVE), (116, TURN)]
    assert mine.name == "mine"
    told = compose.stored(made)
    assert [segment.prompt for segment in told["segments"]] == [WALK, WAVE, TURN]
    assert [s["seed"] for s in json.loads(made[compose.SEQUENCE])["segments"]] == [5, 6, 7]
    assert made["mgpt3_model"] == "tiny random"
    assert made["mgpt3_seconds"] == pytest.approx(6.5)
    assert results.results_of(hero) == [made]
    assert (scene.frame_current, scene.frame_end, scene.render.fps) == (11, 20, 30)
    assert "3 segments" in jobs.view.line
    assert "plays frames 1 to 20 only" in jobs.view.line


def test_a_new_run_replaces_its_markers_and_no_others(hero: bpy.types.Object) -> None:
    scene = bpy.context.scene
    fill_list((WALK, 1.0), (WAVE, 1.0))
    bpy.ops.mgpt3.sequence()
    scene.timeline_markers.new("mine", frame=5)
    moved = next(m for m in scene.timeline_markers if m.name == WAVE)
    moved.frame = 99  # by hand: it is the animator's now
    fill_list((TURN, 1.0), (WALK, 1.0))
    bpy.ops.mgpt3.sequence()
    fps = scene.render.fps
    assert marked() == sorted([(1, TURN), (1 + fps, WALK), (5, "mine"), (99, WAVE)])


def test_markers_of_two_characters_live_side_by_side(hero: bpy.types.Object) -> None:
    other = create_mannequin(bpy.context)
    scene = bpy.context.scene
    for armature, prompt in ((hero, WALK), (other, WAVE), (hero, TURN)):
        compose.sequence_job(Request((Segment(prompt, 1.0),)), scene, armature).apply(reply(walk(1.0), [0]))
    assert marked() == sorted([(1, TURN), (1, WAVE)])


def test_long_prompts_make_whole_marker_names(hero: bpy.types.Object) -> None:
    scene, long = bpy.context.scene, "歩く" * 60
    for _ in range(2):
        compose.sequence_job(Request((Segment(long, 1.0),)), scene, hero).apply(reply(walk(1.0), [0]))
    assert len(marked()) == 1
    assert len(marked()[0][1].encode()) <= 63
    scene.mgpt3_sequence.markers = "broken"
    assert len(markers.replace(scene, "uid", [(3, "x")])) == 1


def test_one_undo_takes_all_of_it_back(hero: bpy.types.Object) -> None:
    name = hero.name
    fill_list((WALK, 1.0), (WAVE, 1.0))
    bpy.ops.mgpt3.sequence("EXEC_DEFAULT", True)
    first, before = bpy.data.objects[name].animation_data.action.name, marked()
    segment = bpy.context.scene.mgpt3_sequence.segments.add()
    segment.prompt, segment.seconds = TURN, 1.0
    bpy.ops.ed.undo_push(message="list")
    bpy.ops.mgpt3.sequence("EXEC_DEFAULT", True)
    after = marked()
    assert len(after) == 3
    bpy.ops.ed.undo()
    assert bpy.data.objects[name].animation_data.action.name == first
    assert marked() == before
    assert [action.name for action in bpy.data.actions] == [first]
    bpy.ops.ed.redo()
    assert marked() == after
    assert len(bpy.data.actions) == 2
    bpy.ops.mgpt3.sequence("EXEC_DEFAULT", True)  # what is ours is still known after undo and redo
    assert marked() == after


def test_the_list_is_edited_and_kept_in_the_file(tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.mgpt3.prompt, scene.mgpt3.seconds = WALK, 2.0
    bpy.ops.mgpt3.segment_add()
    scene.mgpt3.prompt = WAVE
    bpy.ops.mgpt3.segment_add()
    assert listed() == [(WALK, 2.0), (WAVE, 2.0)]
    scene.mgpt3_sequence.active = 0
    scene.mgpt3.prompt = TURN
    bpy.ops.mgpt3.segment_add()
    assert [prompt for prompt, _ in listed()] == [WALK, TURN, WAVE]
    assert scene.mgpt3_sequence.active == 1
    bpy.ops.mgpt3.segment_move(direction="DOWN")
    assert bpy.ops.mgpt3.segment_move(direction="DOWN") == {"CANCELLED"}
    assert [prompt for prompt, _ in listed()] == [WALK, WAVE, TURN]
    bpy.ops.mgpt3.segment_move(direction="UP")
    bpy.ops.mgpt3.segment_duplicate()
    assert [prompt for prompt, _ in listed()] == [WALK, TURN, TURN, WAVE]
    bpy.ops.mgpt3.segment_remove()
    assert [prompt for prompt, _ in listed()] == [WALK, TURN, WAVE]
    scene.mgpt3_sequence.transition, scene.mgpt3_sequence.seed = 1.5, 9
    scene.mgpt3_sequence.path = circle()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    settings = bpy.context.scene.mgpt3_sequence
    assert [prompt for prompt, _ in listed()] == [WALK, TURN, WAVE]
    assert (settings.transition, settings.seed) == (1.5, 9)
    assert settings.path.type == "CURVE"
    for _ in range(3):
        bpy.ops.mgpt3.segment_remove()
    assert listed() == []
    assert not bpy.ops.mgpt3.segment_remove.poll()
    with pytest.raises(RuntimeError, match="no segment"):
        bpy.ops.mgpt3.sequence(create_mannequin=True)
    assert not bpy.data.armatures


def test_the_list_of_a_motion_is_taken_over(hero: bpy.types.Object) -> None:
    lines = [(WALK, 1.0), (WAVE, 2.5)]
    settings = fill_list(*lines)
    settings.seed, settings.transition = 3, 0.5
    bpy.ops.mgpt3.sequence()
    fill_list((TURN, 9.0))
    settings.seed, settings.transition = 0, 1.0
    assert bpy.ops.mgpt3.sequence_reuse() == {"FINISHED"}
    assert listed() == lines
    assert (settings.seed, settings.transition) == (3, 0.5)
    with pytest.raises(UserError, match="not made from a list"):
        segments.reuse(bpy.context.scene, bpy.data.actions.new("other"))


def test_guidance_and_words_are_those_of_the_panel_above() -> None:
    scene = bpy.context.scene
    fill_list((WALK, 1.0))
    scene.mgpt3.use_guidance, scene.mgpt3.guidance, scene.mgpt3.literal = True, 3.0, True
    scene.mgpt3.clean_feet, scene.mgpt3_rig.in_place = False, True
    request = scene.mgpt3_sequence.request()
    assert request.params()["guidance"] == 3.0
    assert request.params()["literal"] is True
    assert not request.clean_feet
    assert request.retarget.in_place


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"segments": ()}, "segments_empty"),
        ({"segments": (Segment(WALK, 1.0),) * 65}, "segments_many"),
        ({"segments": (Segment(" ", 1.0),)}, "prompt_empty"),
        ({"segments": (Segment("x" * 1001, 1.0),)}, "prompt_too_long"),
        ({"segments": (Segment(WALK, 0.5),)}, "duration_out_of_range"),
        ({"segments": (Segment(WALK, float("nan")),)}, "duration_out_of_range"),
        ({"segments": (Segment(WALK, 120.0),) * 31}, "sequence_too_long"),
        ({"transition": 0.0}, "transition_out_of_range"),
        ({"transition": float("inf")}, "transition_out_of_range"),
        ({"seed": -1}, "seed_out_of_range"),
    ],
)
def test_requests_that_cannot_be_made_are_refused_before_anything_starts(change: dict, code: str) -> None:
    with pytest.raises(UserError) as caught:
        compose.compose_for_character(
            None, Request(**{"segments": (Segment(WALK, 1.0),), **change}), create_mannequin=True
        )
    assert caught.value.code == code
    assert caught.value.remedy
    assert not bpy.data.objects


@pytest.mark.parametrize(
    "change",
    [{"borders": [0]}, {"borders": [0, 400]}, {"borders": [9, 0]}, {"borders": None}, {"seeds": []}, {"joints": 7}],
)
def test_an_answer_that_is_none_changes_nothing(hero: bpy.types.Object, change: dict) -> None:
    job = compose.sequence_job(Request((Segment(WALK, 1.0), Segment(WAVE, 1.0))), bpy.context.scene, hero)
    with pytest.raises(UserError) as caught:
        job.apply(reply(walk(2.0), [0, 20]) | change)
    assert caught.value.code == "bad_answer"
    assert not bpy.data.actions
    assert not marked()


def test_a_character_deleted_meanwhile_is_a_clear_error(hero: bpy.types.Object) -> None:
    job = compose.sequence_job(Request((Segment(WALK, 1.0),)), bpy.context.scene, hero)
    bpy.data.objects.remove(hero)
    with pytest.raises(UserError) as caught:
        job.apply(reply(walk(1.0), [0]))
    assert caught.value.code == "character_gone"
    assert not bpy.data.actions


def test_without_a_character_the_mannequin_is_added() -> None:
    fill_list((WALK, 1.0))
    with pytest.raises(RuntimeError, match="no character"):
        bpy.ops.mgpt3.sequence()
    assert bpy.ops.mgpt3.sequence(create_mannequin=True) == {"FINISHED"}
    assert len(bpy.data.armatures) == 1
    assert marked() == [(1, WALK)]


def test_a_loop_takes_its_markers_along(hero: bpy.types.Object) -> None:
    """Where a loop leaves out the beginning, the segments begin earlier in it."""
    scene = bpy.context.scene
    scene.render.fps = 20
    still = np.repeat(walk(4.0)[:1], 12, 0)
    joints = np.concatenate([still + np.array([0, 0.3, 0]), walk(4.0)])  # a start that no cycle comes back to
    request = Request((Segment(WALK, 2.0), Segment(WAVE, 2.0)), retarget=Options(loop=True))
    made = compose.sequence_job(request, scene, hero).apply(reply(joints, [0, 52])).actions[0]
    assert made.frame_range[1] - made.frame_range[0] < len(joints) - 12
    frames = [frame for frame, _ in marked()]
    assert frames[0] == 1
    assert 1 + 52 - 40 <= frames[1] <= 1 + 52 - 8


def test_curves_become_points_in_the_world() -> None:
    ring = circle(2.0)
    ring.location, ring.scale = (1.0, 0.0, 5.0), (2.0, 2.0, 2.0)
    ring.data.bevel_depth = 0.1  # thickness does not count
    bpy.context.view_layer.update()
    points = curvepath.curve_points(ring)
    assert np.allclose(points[0], points[-1])
    assert np.allclose(np.linalg.norm(points[:, :2] - [1.0, 0.0], axis=-1), 4.0, atol=0.01)
    assert np.allclose(points[:, 2], 5.0)
    assert len(bpy.data.curves) == 1  # the copy is gone
    assert len(bpy.data.objects) == 1
    assert not bpy.data.meshes

    data = bpy.data.curves.new("line", "CURVE")
    data.dimensions = "3D"
    spline = data.splines.new("POLY")
    spline.points.add(2)
    for point, at in zip(spline.points, [(0, 0, 0), (2, 0, 0), (8, 0, 0)], strict=True):
        point.co = (*at, 1.0)
    line = bpy.data.objects.new("line", data)
    bpy.context.collection.objects.link(line)
    assert np.allclose(curvepath.curve_points(line), [[0, 0, 0], [2, 0, 0], [8, 0, 0]])
    evenly = curvepath.timed_points(line, np.array([1.0, 11.0, 21.0]))
    assert np.allclose(evenly[:, 0], [0, 4, 8])
    data.path_duration = 100
    data.eval_time = 0
    data.keyframe_insert("eval_time", frame=1)
    data.eval_time = 50
    data.keyframe_insert("eval_time", frame=11)
    keyed = curvepath.timed_points(line, np.array([1.0, 11.0, 21.0]))
    assert np.allclose(keyed[:, 0], [0, 4, 4], atol=1e-4)  # half way by its keys, and there it stays
    spline.points[0].co = spline.points[1].co = spline.points[2].co = (1, 1, 1, 1)
    for wrong in (line, None, create_mannequin(bpy.context)):
        with pytest.raises(UserError, match=r"no curve|no length"):
            curvepath.curve_points(wrong)


@pytest.mark.parametrize("make", ["mannequin", "mixamo", "rigify"])
def test_the_path_is_where_the_curve_is(make: str) -> None:
    """The worker gets the curve in its own space; put on the character, what goes along it there goes along the curve,
    but for where standing feet hold it back."""
    hero = getattr(rigs, make)()
    hero.location = hero.location.copy() + type(hero.location)((0.7, -0.4, 0.0))
    bpy.context.view_layer.update()
    ring = circle(2.0)
    ring.location = (3.0, 1.0, 0.0)
    bpy.context.view_layer.update()
    scene = bpy.context.scene
    request = Request((Segment(WALK, 4.0),), clean_feet=False, path=ring)
    job = compose.sequence_job(request, scene, hero)
    points = _points(job.params["path"])
    space = standing_space(hero, map_armature(hero))
    world = space.world(points)
    assert np.allclose(np.linalg.norm(world[:, :2] - [3.0, 1.0], axis=-1), 2.0, atol=0.01)
    along = walk(4.0)
    along = along - along[:, :1] * [1.0, 0.0, 1.0]  # a walk on the spot, carried along the curve
    at = points[np.linspace(0, len(points) - 1, len(along)).astype(int)]
    job.apply(reply(along + (at * [1.0, 0.0, 1.0])[:, None], [0], path_error_mm=4.0))
    first, last = (int(frame) for frame in hero.animation_data.action.frame_range)
    way = hips(hero, first, last)
    assert np.abs(np.linalg.norm(way - [3.0, 1.0], axis=-1) - 2.0).max() < 0.12
    assert np.linalg.norm(way[0] - way[-1]) < 0.5


def _points(encoded: dict) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(encoded["data"]), "<f4").reshape(encoded["shape"])[:, 0].astype(np.float64)


def test_a_path_goes_the_whole_way(hero: bpy.types.Object) -> None:
    settings = fill_list((WALK, 2.0), (WALK, 2.0))
    settings.path, settings.timed = circle(2.0), True
    bpy.context.view_layer.objects.active = hero
    assert bpy.ops.mgpt3.sequence() == {"FINISHED"}
    made = hero.animation_data.action
    told = compose.stored(made)
    assert (told["path"], told["timed"]) == (settings.path.name, True)
    assert told["path_error_mm"] >= 0.0
    assert "cm of the path" in jobs.view.line
    way = hips(hero, *(int(frame) for frame in made.frame_range))
    angle = np.unwrap(np.arctan2(way[:, 1], way[:, 0]))
    assert abs(angle[-1] - angle[0]) == pytest.approx(2 * np.pi, abs=0.3)  # once round


def drawn(panel: type) -> Recorder:
    """What a panel draws now."""
    layout = Recorder()
    panel.draw(SimpleNamespace(layout=layout), bpy.context)
    return layout


def test_the_panels_draw_what_there_is() -> None:
    sequence, further = panels_compose.MGPT3_PT_sequence, panels_compose.MGPT3_PT_extend
    assert not further.poll(bpy.context)  # no character
    empty = drawn(sequence)
    assert any("Add a segment" in text for text in empty.texts)
    assert "mgpt3.sequence_reuse" not in empty.operators
    hero = create_mannequin(bpy.context)
    hero.animation_data_create()
    bpy.context.view_layer.objects.active = hero
    assert any("plays no action" in text for text in drawn(further).texts)
    fill_list((WALK, 1.0), (WAVE, 1.5))
    bpy.ops.mgpt3.sequence()
    full = drawn(sequence)
    assert {"mgpt3.sequence", "mgpt3.segment_move", "mgpt3.sequence_reuse"} <= set(full.operators)
    assert {"mgpt3.extend", "mgpt3.make_loop"} <= set(drawn(further).operators)
    flags, order = panels_compose.MGPT3_UL_segments.filter_items(
        SimpleNamespace(filter_name="WAV", bitflag_filter_item=1, searched="prompt"),
        bpy.context,
        bpy.context.scene.mgpt3_sequence,
        "segments",
    )
    assert (flags, order) == ([0, 1], [])


def test_every_property_has_a_tooltip() -> None:
    scene = bpy.context.scene
    groups = [scene.mgpt3_sequence, scene.mgpt3_extend, scene.mgpt3_sequence.segments.add()]
    for group in groups:
        for prop in group.bl_rna.properties:
            if prop.identifier not in ("rna_type", "name"):
                assert prop.description, prop.identifier
    with pytest.raises(TypeError):  # settings are no motion
        scene.keyframe_insert("mgpt3_sequence.transition")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "out.blend"
    arguments = ["sequence", "--mannequin", "--prompt", WALK, "--prompt", WAVE, "--seconds", "1.5", "1"]
    assert cli.main([*arguments, "--seed", "4", "--json", "--blend-out", str(target)]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [segment["seed"] for segment in made["segments"]] == [4, 5]
    bpy.ops.wm.open_mainfile(filepath=str(target))
    assert made["action"] in bpy.data.actions
    assert [name for _, name in marked()] == [WALK, WAVE]
    for wrong, words in (
        (["--prompt", WALK, "--prompt", WAVE, "--seconds", "1", "1", "1"], "2 prompts and 3 durations"),
        (["--prompt", WALK, "--path", "nothing"], "no curve"),
        (["--prompt", WALK, "--transition", "9"], "transition"),
    ):
        assert cli.main(["sequence", *wrong]) == 1
        assert words in capsys.readouterr().err
