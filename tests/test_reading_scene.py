"""What counts when an action is read (constraints, drivers, the NLA), and that nothing of the file is changed by it."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender.errors import UserError
from mgpt3_blender.playedby import playing_range, slot_for
from mgpt3_blender.reading import Stage
from mgpt3_blender.rig.skeleton22 import INDEX as J
from tests import motions, rigs
from tests.readable import SLOTS, arm_raised, put, read


def test_constraints_and_drivers_count():
    rig = rigs.mannequin()
    action = put(rig, motions.walk(2.0))
    low = arm_raised(read(rig, action).joints)
    target = bpy.data.objects.new("Target", None)
    bpy.context.collection.objects.link(target)
    target.location = (0.5, 0.0, 10.0)
    upper, fore = (bone for bone in ("upper_arm.L", "forearm.L"))
    assert {upper, fore} <= {bone.name for bone in rig.pose.bones}
    for name in (upper, fore):
        aim = rig.pose.bones[name].constraints.new("DAMPED_TRACK")
        aim.target, aim.track_axis = target, "TRACK_Y"
    assert low < 0.0
    assert arm_raised(read(rig, action).joints) > 0.4
    assert arm_raised(read(rig).joints) > 0.4
    for name in (upper, fore):
        curve = rig.pose.bones[name].constraints[0].driver_add("influence")
        curve.driver.expression = "0.0"
    assert abs(arm_raised(read(rig, action).joints) - low) < 0.01


def test_a_constraint_to_the_characters_own_bones_follows_the_action_read():
    rig = rigs.mannequin()
    standing, waving = put(rig, motions.walk(2.0), name="Stand"), put(rig, motions.raise_left_hand(2.0), name="Up")
    for name in ("upper_arm", "forearm"):
        copy = rig.pose.bones[f"{name}.R"].constraints.new("COPY_ROTATION")
        copy.target, copy.subtarget = rig, f"{name}.L"
    actions.bind_action(rig, standing)
    found = read(rig, waving).joints
    seen = found[-1, [J["l_wrist"], J["r_wrist"]], 1]
    assert seen.min() > 1.5  # both up: the copy of the left arm is that of the action that is read, not of the other


def test_the_nla_counts_as_it_is_animated_and_not_where_one_action_is_asked_for():
    rig = rigs.mannequin()
    standing, waving = put(rig, motions.walk(2.0), name="Stand"), put(rig, motions.raise_left_hand(2.0), name="Up")
    data = rig.animation_data
    data.action = None
    track = data.nla_tracks.new()
    strip = track.strips.new("Up", 31, waving)
    if SLOTS:
        strip.action_slot = waving.slots[0]
    assert playing_range(rig) == (31.0, strip.frame_end)
    assert arm_raised(read(rig).joints) > 0.3
    assert read(rig).first == 31.0
    track.is_solo = True
    assert arm_raised(read(rig, standing).joints) < 0.0
    assert track.is_solo
    assert data.use_nla
    data.use_nla = False
    with pytest.raises(UserError) as error:
        read(rig)
    assert error.value.code == "no_animation"


def test_one_action_leaves_nothing_behind_for_the_next():
    rig = rigs.mannequin()
    waving = put(rig, motions.raise_left_hand(2.0), name="Up")
    rig.pose.bones["hips"]["switch"] = 0.0
    curve = actions.Curve('pose.bones["hips"]["switch"]', 0, np.array([1.0, 40.0]), np.array([1.0, 1.0]))
    actions.write_fcurves(waving, rig, [curve])
    legs = actions.new_action("Legs")
    kick = [np.array([1.0, 40.0]), np.array([0.0, 0.9])]
    actions.write_fcurves(legs, rig, [actions.Curve('pose.bones["thigh.L"].rotation_quaternion', 1, *kick),
                                      actions.Curve('pose.bones["thigh.L"].rotation_quaternion', 0, kick[0],
                                                    np.array([1.0, 0.44]))])  # fmt: skip
    follow = rig.pose.bones["upper_arm.R"].constraints.new("COPY_ROTATION")
    follow.target, follow.subtarget = rig, "upper_arm.L"
    driver = follow.driver_add("influence").driver
    variable = driver.variables.new()
    variable.name, variable.targets[0].id = "on", rig
    variable.targets[0].data_path = 'pose.bones["hips"]["switch"]'
    driver.expression = "on"
    with Stage(rig, bpy.context.scene) as stage:
        alone = stage.read(legs).joints
        up = stage.read(waving).joints
        after = stage.read(legs).joints
    assert arm_raised(up) > 0.3
    assert arm_raised(alone) < 0.0
    np.testing.assert_allclose(after, alone, atol=1e-5)
    np.testing.assert_allclose(read(rig, legs).joints, alone, atol=1e-5)


def state(rig: Any) -> dict[str, Any]:
    """Everything that reading could have changed."""
    scene, data = bpy.context.scene, rig.animation_data
    return {
        "counts": {kind: len(getattr(bpy.data, kind)) for kind in ("objects", "scenes", "actions", "armatures")},
        "users": {action.name: action.users for action in bpy.data.actions},
        "scene": (bpy.context.scene.name, scene.frame_current, scene.frame_subframe, rig.users, rig.data.users),
        "selected": [item.name for item in bpy.context.view_layer.objects if item.select_get()],
        "active": bpy.context.view_layer.objects.active,
        "plays": (data.action, data.action_slot if SLOTS else None, data.use_nla, data.action_influence),
        "tracks": [(t.name, t.mute, t.is_solo, [s.name for s in t.strips]) for t in data.nla_tracks],
        "pose": [[v for row in bone.matrix_basis for v in row] for bone in rig.pose.bones],
        "shown": [[v for row in bone.matrix for v in row] for bone in rig.pose.bones],
        "properties": {key: rig.pose.bones["hips"][key] for key in list(rig.pose.bones["hips"].keys())},
        "object": [v for row in rig.matrix_world for v in row],
        "hidden": (rig.hide_viewport, rig.data.pose_position),
    }


def with_unkeyed_poses() -> tuple[Any, Any, Any]:
    """A character that plays one action, has another, and poses that are not keyed yet, on keyed and other bones."""
    rig = rigs.mannequin()
    other = put(rig, motions.raise_left_hand(2.0), name="Up")
    playing = put(rig, motions.walk(2.0), name="Walk")
    rig.animation_data.nla_tracks.new().strips.new("Up", 100, other)
    bpy.context.scene.frame_set(13)
    rig.pose.bones["hips"]["switch"] = 0.25
    rig.pose.bones["hips"].location = (0.1, 0.2, 0.3)
    rig.pose.bones["forearm.R"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    rig.select_set(False)
    bpy.context.view_layer.update()
    return rig, playing, other


def test_reading_changes_nothing():
    rig, playing, other = with_unkeyed_poses()
    before = state(rig)
    for action in (None, other, playing):
        read(rig, action)
        assert state(rig) == before
    rig.hide_viewport = True
    rig.data.pose_position = "REST"
    before = state(rig)
    assert arm_raised(read(rig, other).joints) > 0.3
    assert state(rig) == before


def test_a_window_that_is_drawn_afterwards_still_shows_the_unkeyed_pose():
    rig, _, other = with_unkeyed_poses()
    before = state(rig)
    read(rig, other)
    bpy.context.view_layer.update()
    bpy.context.evaluated_depsgraph_get()
    assert state(rig) == before


def test_reading_that_fails_changes_nothing():
    rig, _, other = with_unkeyed_poses()
    before = state(rig)
    empty = actions.new_action("Empty")
    before["counts"]["actions"] += 1
    before["users"]["Empty"] = empty.users

    class Broken(Exception):
        pass

    with pytest.raises(Broken), Stage(rig, bpy.context.scene) as stage, stage._playing(other, slot_for(other, rig)):
        raise Broken
    assert state(rig) == before
    for call in (
        lambda: read(rig, empty),
        lambda: read(rig, other, first=5, last=5.5),
        lambda: read(rig, other, first=9, last=2),
    ):
        with pytest.raises(UserError):
            call()
        assert state(rig) == before
