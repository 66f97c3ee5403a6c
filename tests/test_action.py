"""Actions through every version's way of keeping curves: slots, layers, channelbags, or none of them."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender.action import Curve


@pytest.fixture
def thing() -> bpy.types.Object:
    thing = bpy.data.objects.new("Thing", None)
    bpy.context.collection.objects.link(thing)
    return thing


def curve(values, start=1.0, path="location", index=0, **kind) -> Curve:
    return Curve(path, index, start + np.arange(len(values)), np.asarray(values, float), "Group", **kind)


def test_keys_come_back_as_written(thing):
    action = actions.new_action("A")
    actions.write_fcurves(action, thing, [curve([1, 2, 4]), curve([5, 6], 3.5, index=2, interpolation="CONSTANT")])
    keys = actions.read_fcurves(action, thing)
    np.testing.assert_allclose(keys["location", 0], ([1, 2, 3], [1, 2, 4]))
    np.testing.assert_allclose(keys["location", 2], ([3.5, 4.5], [5, 6]))
    kinds = {c.array_index: {k.interpolation for k in c.keyframe_points} for c in actions.fcurves(action, thing)}
    assert kinds == {0: {"LINEAR"}, 2: {"CONSTANT"}}
    assert all(c.group.name == "Group" for c in actions.fcurves(action, thing))
    assert action.use_fake_user


def test_writing_again_replaces(thing):
    action = actions.new_action("A")
    actions.write_fcurves(action, thing, [curve([1, 2, 4])])
    actions.write_fcurves(action, thing, [curve([7, 8])])
    assert len(actions.fcurves(action, thing)) == 1
    np.testing.assert_allclose(actions.read_fcurves(action, thing)["location", 0][1], [7, 8])


def test_a_bound_action_moves_the_object_and_so_does_the_second_one(thing):
    """From 4.4 on an action whose slot is not assigned plays nothing, without an error."""
    scene = bpy.context.scene
    for name, values in (("first", [1, 2, 3]), ("second", [10, 20, 30]), ("third", [5, 6, 7])):
        action = actions.new_action(name)
        actions.write_fcurves(action, thing, [curve(values)])
        actions.bind_action(thing, action)
        scene.frame_set(3)
        assert thing.location.x == pytest.approx(values[2])
    assert len(bpy.data.actions) == 3


def test_an_action_made_for_another_object_can_be_bound(thing):
    other = bpy.data.objects.new("Other", None)
    bpy.context.collection.objects.link(other)
    action = actions.new_action("A")
    actions.write_fcurves(action, other, [curve([1, 2, 3])])
    actions.bind_action(other, action)
    actions.bind_action(thing, action)
    bpy.context.scene.frame_set(2)
    assert thing.location.x == other.location.x == pytest.approx(2)


def test_write_keys_makes_a_moving_object_from_plain_arrays(thing):
    where = np.array([[0, 0, 0], [1, 2, 3.0]])
    action = actions.write_keys(thing, "Moves", np.array([1.0, 5.0]), {"location": where})
    assert thing.animation_data.action == action
    bpy.context.scene.frame_set(5)
    np.testing.assert_allclose(thing.location, [1, 2, 3])


def test_the_users_action_survives_saving_and_comes_back(thing, tmp_path):
    mine = actions.write_keys(thing, "Mine", np.array([1.0, 2.0]), {"location": np.array([[9, 9, 9], [9, 9, 9.0]])})
    mine.use_fake_user = False
    for name in ("first", "second"):
        action = actions.new_action(name)
        action[actions.GENERATED] = "0"
        actions.write_fcurves(action, thing, [curve([1, 2, 3])])
        actions.remember(thing, action)
        actions.bind_action(thing, action)
    assert not mine.use_fake_user  # it was not touched
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    thing = bpy.data.objects["Thing"]
    assert {"Mine", "first", "second"} <= set(bpy.data.actions.keys())
    actions.release(thing, bpy.data.actions["second"])
    assert thing.animation_data.action == bpy.data.actions["Mine"]
    bpy.context.scene.frame_set(2)
    assert thing.location.x == pytest.approx(9)


def test_releasing_the_only_action_leaves_none(thing):
    action = actions.new_action("A")
    actions.write_fcurves(action, thing, [curve([1, 2, 3])])
    actions.remember(thing, action)
    actions.bind_action(thing, action)
    actions.release(thing, action)
    assert thing.animation_data.action is None
    assert actions.fcurves(action, thing)
