"""Continue: going on with an action from its last keys, with the real core and without a pop."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
import rigs
from motions import walk
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import action as actions
from mgpt3_blender import cli, extend, jobs, wire
from mgpt3_blender.errors import UserError
from mgpt3_blender.extend import Request
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.poses import read_poses


def walking(make: str = "mannequin", seconds: float = 2.0, **options: object) -> bpy.types.Object:
    """A character that walks from frame 1 on."""
    rig = create_mannequin(bpy.context) if make == "mannequin" else getattr(rigs, make)()
    scene = bpy.context.scene
    apply_motion(rig, walk(4.0)[: round(seconds * 20) + 1], scene=scene, name="Walk", start_frame=1.0,
                 options=Options(foot_lock=False, **options))  # fmt: skip
    bpy.context.view_layer.objects.active = rig
    return rig


def everything(armature: bpy.types.Object) -> dict:
    """All keys of the action: (path, index) -> co, handles, kinds."""
    out = {}
    for curve in actions.fcurves(armature.animation_data.action, armature):
        points = [
            (*p.co, *p.handle_left, *p.handle_right, p.interpolation, p.handle_left_type) for p in curve.keyframe_points
        ]
        out[curve.data_path, curve.array_index] = points
    return out


def going_on(make: str = "mannequin", seconds: float = 1.5) -> np.ndarray:
    """How a character like `walking` walks on after 2 seconds, as a model at its best would have it: (n + 1, 22, 3)."""
    scene = bpy.context.scene
    other = walking(make, 4.0)
    fps = scene.render.fps
    times = 1.0 + 2.0 * fps + np.linspace(0.0, seconds * fps, round(seconds * 20) + 1)
    joints = read_poses(other, scene, map_armature(other), times).joints
    bpy.data.objects.remove(other)
    return joints


def given(job: jobs.Job) -> np.ndarray:
    """The motion that the worker was given."""
    import base64

    told = job.params["before"]
    return np.frombuffer(base64.b64decode(told["data"]), "<f4").reshape(told["shape"])


def answer(joints: np.ndarray) -> dict:
    return {
        "motions": [{"joints": wire.encode_array(joints.astype(np.float32)), "seed": 0, "report": {}}],
        "fps": 20.0,
        "model": {},
    }


@pytest.mark.parametrize("make", ["mannequin", "mixamo", "rigify"])
@pytest.mark.parametrize("fps", [24, 60])
def test_a_walk_goes_on_without_a_pop(make: str, fps: int) -> None:
    """Given the walk's own continuation, the last key shows neither in position nor in speed."""
    scene = bpy.context.scene
    scene.render.fps = fps
    joints = going_on(make)
    hero = walking(make)
    before = everything(hero)
    last = extend.last_key(hero.animation_data.action, hero, map_armature(hero))
    job = extend.extend_job(Request(1.5), scene, hero)
    read = given(job)
    shown = read_poses(hero, scene, map_armature(hero), [last]).joints[0]
    assert np.abs(read[-1] - shown).max() < 1e-5
    joints = joints + (read[-1, 0] - joints[0, 0])  # a longer walk stands elsewhere by some centimetres
    assert np.abs(joints[0] - read[-1]).max() < 0.005
    job.apply(answer(joints))
    after = everything(hero)
    assert set(before) <= set(after)
    for key, points in before.items():  # what was there is there, to the bit
        assert after[key][: len(points)] == points
    end = hero.animation_data.action.frame_range[1]
    assert end == last + round(1.5 * fps)
    joints = read_poses(hero, scene, map_armature(hero), np.arange(1.0, end + 0.5)).joints
    speed = np.diff(joints, axis=0) * fps
    change = np.linalg.norm(np.diff(speed, axis=0), axis=-1).max(1)  # m/s from frame to frame
    at = int(last) - 1
    usual = np.percentile(change[: at - 2], 95)
    assert change[at - 1 : at + 1].max() < 1.3 * usual + 0.05
    step = np.linalg.norm(np.diff(joints, axis=0), axis=-1).max(1)
    assert step[at - 1 : at + 1].max() <= 1.1 * step[: at - 1].max()
    assert joints[-1, 0, 2] - joints[at, 0, 2] > 0.5  # it walks on


def test_with_the_model(tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.frame_current, scene.frame_end = 7, 60
    hero = walking()
    settings = scene.mgpt3_extend
    settings.seconds, settings.prompt, settings.seed = 2.0, "a person waves", 5
    made, (_, last) = hero.animation_data.action, hero.animation_data.action.frame_range
    assert bpy.ops.mgpt3.extend() == {"FINISHED"}
    assert hero.animation_data.action == made
    assert made.frame_range[1] == last + 48
    assert (scene.frame_current, scene.frame_end) == (7, 60)
    assert "to frame 97" in jobs.view.line
    assert "plays frames 1 to 60 only" in jobs.view.line
    told = json.loads(made[extend.EXTENDED])
    assert [(t["first"], t["last"], t["prompt"], t["seed"]) for t in told] == [(49.0, 97.0, "a person waves", 5)]
    assert bpy.ops.mgpt3.extend() == {"FINISHED"}  # and on from there
    assert made.frame_range[1] == last + 96
    assert len(json.loads(made[extend.EXTENDED])) == 2
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    settings = bpy.context.scene.mgpt3_extend
    assert (settings.seconds, settings.prompt, settings.seed) == (2.0, "a person waves", 5)


def test_one_undo_takes_it_back() -> None:
    hero = walking()
    name, before = hero.name, everything(hero)
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.extend("EXEC_DEFAULT", True)
    assert everything(hero) != before
    bpy.ops.ed.undo()
    assert everything(bpy.data.objects[name]) == before
    assert extend.EXTENDED not in bpy.data.objects[name].animation_data.action
    bpy.ops.ed.redo()
    assert everything(bpy.data.objects[name]) != before


def test_ik_goes_on_in_ik() -> None:
    hero = walking("rigify", limbs="IK")
    before = everything(hero)
    bpy.ops.mgpt3.extend()
    after = everything(hero)
    longer = {key[0].split('"')[1] for key, points in after.items() if len(points) > len(before.get(key, ()))}
    assert {"foot_ik.L", "hand_ik.R"} <= longer
    assert not {"thigh_fk.L", "forearm_fk.R"} & longer


def test_a_single_pose_goes_on() -> None:
    hero = create_mannequin(bpy.context)
    for bone in hero.pose.bones:
        bone.keyframe_insert("rotation_quaternion", frame=10)
        bone.keyframe_insert("location", frame=10)
    bpy.context.view_layer.objects.active = hero
    bpy.ops.mgpt3.extend()
    assert hero.animation_data.action.frame_range[1] == 58


def test_what_cannot_go_on_says_so() -> None:
    scene = bpy.context.scene
    with pytest.raises(UserError) as caught:
        extend.continue_character(None, Request())
    assert caught.value.code == "no_character"
    hero = create_mannequin(bpy.context)
    with pytest.raises(UserError) as caught:
        extend.continue_character(hero, Request())
    assert caught.value.code == "no_keys"
    hero.animation_data_create().action = bpy.data.actions.new("Object")
    hero.keyframe_insert("location", frame=3)
    with pytest.raises(UserError) as caught:
        extend.continue_character(hero, Request())
    assert caught.value.code == "no_keys"
    for wrong in (Request(0.1), Request(20.0), Request(float("nan")), Request(prompt="x" * 1001), Request(seed=-1)):
        with pytest.raises(UserError) as caught:
            extend.extend_job(wrong, scene, hero)
        assert caught.value.remedy


def test_an_action_changed_meanwhile_is_left_alone() -> None:
    joints = going_on()
    hero = walking()
    job = extend.extend_job(Request(1.5), bpy.context.scene, hero)
    hips = map_armature(hero).bones["pelvis"]
    hero.pose.bones[hips].keyframe_insert("location", frame=70)
    before = everything(hero)
    with pytest.raises(UserError) as caught:
        job.apply(answer(joints))
    assert caught.value.code == "action_changed"
    assert everything(hero) == before


@pytest.mark.parametrize("wrong", [None, {}, {"motions": []}, {"motions": [7]}, {"motions": [{"joints": {}}]}])
def test_an_answer_that_is_none_changes_nothing(wrong: object) -> None:
    hero = walking()
    before = everything(hero)
    with pytest.raises(UserError) as caught:
        extend.extend_job(Request(), bpy.context.scene, hero).apply(wrong)
    assert caught.value.code == "bad_answer"
    assert everything(hero) == before


def test_on_the_command_line(capsys: pytest.CaptureFixture) -> None:
    walking()
    assert cli.main(["continue", "--seconds", "1", "--prompt", "a person waves", "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["frames"] == [1.0, 73.0]
    assert cli.main(["continue", "--seconds", "60"]) == 1
    assert "Choose between" in capsys.readouterr().err
