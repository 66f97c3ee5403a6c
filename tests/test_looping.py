"""Make Loop: a cyclic action from the one that a character plays."""

from __future__ import annotations

import json
from collections.abc import Iterator

import bpy
import numpy as np
import pytest
import rigs
from motions import walk

import mgpt3_blender
from mgpt3_blender import action as actions
from mgpt3_blender import jobs, looping, results
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.poses import read_poses


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def walking(make: str = "mannequin", **options: object) -> bpy.types.Object:
    """A character that walks from frame 5 on, for something that is no whole number of steps."""
    rig = create_mannequin(bpy.context) if make == "mannequin" else getattr(rigs, make)()
    apply_motion(rig, walk(3.3), scene=bpy.context.scene, name="Walk", start_frame=5.0,
                 metadata={results.PROMPT: "a person walks", "mgpt3_seed": 3}, options=Options(**options))  # fmt: skip
    bpy.context.view_layer.objects.active = rig
    return rig


def shown(armature: bpy.types.Object, first: float, last: float) -> np.ndarray:
    scene = bpy.context.scene
    return read_poses(armature, scene, map_armature(armature), np.arange(first, last + 0.5)).joints


@pytest.mark.parametrize("make", ["mannequin", "mixamo", "rigify"])
@pytest.mark.parametrize("fps", [24, 30])
def test_the_end_flows_into_the_beginning(make: str, fps: int) -> None:
    scene = bpy.context.scene
    scene.render.fps = fps
    hero = walking(make)
    old = hero.animation_data.action
    keys = actions.read_fcurves(old, hero)
    usual = np.diff(shown(hero, *old.curve_frame_range), axis=0) * fps
    usual = np.percentile(np.linalg.norm(np.diff(usual, axis=0), axis=-1).max(1), 95)
    outcome = looping.make_loop(hero, scene)
    made = hero.animation_data.action
    assert made == outcome.actions[0] != old
    assert (made.frame_start, made.frame_end) == tuple(made.curve_frame_range)
    assert made.use_frame_range
    assert made.use_cyclic
    assert made.frame_start == 5
    assert 0.6 * 66 / 20 * fps - 2 <= made.frame_end - made.frame_start <= 66 / 20 * fps
    told = json.loads(made[looping.LOOP])
    assert told["seam_mm"] < 2.0
    assert told["speed_jump"] < usual  # no more than from frame to frame within the walk
    joints = shown(hero, made.frame_start, made.frame_end)
    assert np.abs(joints[-1, :, 1] - joints[0, :, 1]).max() < 0.002  # heights, so contacts, too
    assert joints[-1, 0, 2] - joints[0, 0, 2] > 1.0  # it still goes somewhere
    after = actions.read_fcurves(old, hero) if not actions.has_slots(old) else None
    if after is not None:
        assert all(np.array_equal(keys[key][1], after[key][1]) for key in keys)
    assert old.name in bpy.data.actions
    assert results.results_of(hero)[0] == made
    assert made[results.SEED] == 3


def test_in_place_stays_on_the_spot() -> None:
    scene = bpy.context.scene
    hero = walking()
    scene.mgpt3_extend.in_place = True
    assert bpy.ops.mgpt3.make_loop() == {"FINISHED"}
    made = hero.animation_data.action
    joints = shown(hero, made.frame_start, made.frame_end)
    assert np.abs(joints[-1] - joints[0]).max() < 0.002
    assert np.ptp(joints[:, 0, 2]) < 0.25
    assert json.loads(made[looping.LOOP])["in_place"] is True
    assert "the last one being the first again" in jobs.view.line


def test_the_rest_of_the_action_comes_along() -> None:
    """Fingers and properties are cut like the body, and smooth ones meet; a switch stays a switch."""
    scene = bpy.context.scene
    hero = walking("mixamo")
    old = hero.animation_data.action
    first, last = (int(frame) for frame in old.curve_frame_range)
    finger = hero.pose.bones["finger.l"]
    hero["glow"], hero["shown"] = 0.0, 0
    for part, angle in ((0.0, 0.0), (0.5, 1.0), (1.0, 0.4)):
        at = round(first + part * (last - first))
        finger.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        finger.keyframe_insert("rotation_quaternion", frame=at)
        hero["glow"] = angle
        hero.keyframe_insert('["glow"]', frame=at)
        hero["shown"] = int(part == 0.5)
        hero.keyframe_insert('["shown"]', frame=at)
    looping.make_loop(hero, scene)
    made = hero.animation_data.action
    curves = {(c.data_path, c.array_index): c for c in actions.fcurves(made, hero)}
    begin, end = made.frame_start, made.frame_end
    for key in (('pose.bones["finger.l"].rotation_quaternion', 1), ('["glow"]', 0)):
        curve = curves[key]
        assert curve.evaluate(begin) == pytest.approx(curve.evaluate(end), abs=1e-4)
        assert max(p.co[1] for p in curve.keyframe_points) > 0.4
    kinds = {point.interpolation for point in curves['["shown"]', 0].keyframe_points}
    assert kinds == {"CONSTANT"}
    assert {round(p.co[1], 3) for p in curves['["shown"]', 0].keyframe_points} == {0.0, 1.0}


def test_an_animated_root_control_counts() -> None:
    """What a control above the hips did is in the body's keys; the control itself stays where it is."""
    scene = bpy.context.scene
    hero = walking("rigify")
    root = hero.pose.bones["root"]
    old = hero.animation_data.action
    first, last = old.curve_frame_range
    for frame, x in ((first, 0.0), (last, 2.0)):
        root.location = (x, 0.0, 0.0)
        root.keyframe_insert("location", frame=frame)
    scene.frame_set(round(first + 20))
    before = shown(hero, first, last)
    here = root.location.copy()
    looping.make_loop(hero, scene)
    made = hero.animation_data.action
    assert (root.location - here).length < 1e-5
    joints = shown(hero, made.frame_start, made.frame_end)
    rate = (before[-1, 0] - before[0, 0]) / (last - first)
    assert np.allclose((joints[-1, 0] - joints[0, 0]) / (len(joints) - 1), rate, atol=0.012)
    assert np.linalg.norm(before[:, 0] - joints[0, 0], axis=-1).min() < 0.1  # and it begins on the way that it went
    assert json.loads(made[looping.LOOP])["seam_mm"] < 2.0


def test_ik_stays_ik() -> None:
    hero = walking("rigify", limbs="IK")
    looping.make_loop(hero, bpy.context.scene)
    keyed = {c.data_path for c in actions.fcurves(hero.animation_data.action, hero)}
    assert 'pose.bones["foot_ik.L"].location' in keyed
    assert json.loads(hero.animation_data.action[looping.LOOP])["seam_mm"] < 5.0


def test_one_undo_takes_it_back() -> None:
    hero = walking()
    name, old = hero.name, hero.animation_data.action.name
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.make_loop("EXEC_DEFAULT", True)
    assert bpy.data.objects[name].animation_data.action.name != old
    bpy.ops.ed.undo()
    assert bpy.data.objects[name].animation_data.action.name == old
    assert [action.name for action in bpy.data.actions] == [old]
    bpy.ops.ed.redo()
    assert bpy.data.objects[name].animation_data.action.use_cyclic


def test_what_cannot_be_repeated_says_so() -> None:
    scene = bpy.context.scene
    with pytest.raises(RuntimeError, match="no character"):
        bpy.ops.mgpt3.make_loop()
    hero = create_mannequin(bpy.context)
    with pytest.raises(UserError) as caught:
        looping.make_loop(hero, scene)
    assert caught.value.code == "no_keys"
    apply_motion(hero, walk(0.5), scene=scene, name="Short", start_frame=1.0)
    with pytest.raises(UserError) as caught:
        looping.make_loop(hero, scene)
    assert caught.value.code == "motion_too_short"
    assert len(bpy.data.actions) == 1
