"""Which character an action is for, and which of its slots that character plays."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from mgpt3_blender import action as actions
from mgpt3_blender.playedby import find_character, playing_range, roles_of, slots_of, strips_of
from mgpt3_blender.reading import retargeted
from tests import motions, rigs
from tests.readable import SLOTS, arm_raised, code_of, needs_slots, put, read


def test_objects_empty_actions_poses_and_strangers_are_refused_in_words():
    rig, scene = rigs.mannequin(), bpy.context.scene
    cube = bpy.data.objects.new("Cube", None)
    scene.collection.objects.link(cube)
    frames = np.array([1.0, 20.0])
    moved = actions.write_keys(cube, "Slide", frames, {"location": np.array([[0.0, 0, 0], [1, 0, 0]])})
    empty = actions.new_action("Nothing")
    tentacle = actions.new_action("Tentacle")
    actions.write_fcurves(tentacle, rig, [actions.Curve('pose.bones["arm9"].location', 0, frames, frames)])
    pose = actions.new_action("Pose")
    actions.write_fcurves(pose, rig, [actions.Curve('pose.bones["hips"].location', 0, frames[:1], frames[:1])])
    assert code_of(lambda: find_character(moved, scene)) == "object_action"
    assert code_of(lambda: find_character(empty, scene)) == "empty_action"
    assert code_of(lambda: find_character(tentacle, scene)) == "no_character_for_action"
    assert find_character(pose, scene)[0] == rig
    assert code_of(lambda: read(rig, moved)) == "object_action"
    assert code_of(lambda: read(rig, empty)) == "empty_action"
    assert code_of(lambda: read(rig, tentacle)) == "no_character_for_action"
    assert code_of(lambda: read(rig, pose)) == "motion_static"


def test_what_is_no_humanoid_is_said_so():
    data = bpy.data.armatures.new("Snake")
    snake = bpy.data.objects.new("Snake", data)
    bpy.context.collection.objects.link(snake)
    bpy.context.view_layer.objects.active = snake
    bpy.ops.object.mode_set(mode="EDIT")
    for n in range(8):
        bone = data.edit_bones.new(f"link{n}")
        bone.head, bone.tail = (0.0, 0.1 * n, 0.0), (0.0, 0.1 * n + 0.1, 0.0)
        bone.parent = data.edit_bones[f"link{n - 1}"] if n else None
    bpy.ops.object.mode_set(mode="OBJECT")
    wriggle = actions.new_action("Wriggle")
    frames = np.array([1.0, 30.0])
    curves = [actions.Curve(f'pose.bones["link{n}"].location', 0, frames, frames / 30.0) for n in range(8)]
    actions.write_fcurves(wriggle, snake, curves)
    assert code_of(lambda: find_character(wriggle, bpy.context.scene)) == "not_humanoid"


def test_edit_mode_and_rest_position_are_refused():
    rig = rigs.mannequin()
    action = put(rig, motions.wave(1.0))
    rig.data.pose_position = "REST"
    assert code_of(lambda: read(rig)) == "rest_position"
    rig.data.pose_position = "POSE"
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    assert code_of(lambda: read(rig, action)) == "edit_mode"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_the_one_who_plays_an_action_is_its_character():
    first, second = rigs.mannequin(), rigs.mannequin()
    action = put(second, motions.wave(1.0))
    scene = bpy.context.scene
    assert find_character(action, scene)[0] == second
    second.animation_data.action = None
    track = second.animation_data.nla_tracks.new()
    strip = track.strips.new("Wave", 1, action)
    if SLOTS:
        strip.action_slot = action.slots[0]
    assert find_character(action, scene)[0] == second
    second.animation_data.nla_tracks.remove(track)
    assert find_character(action, [first])[0] == first


@needs_slots
def test_a_slot_that_belongs_to_another_object_is_played_all_the_same():
    made_for, rig = rigs.mannequin(), rigs.mannequin()
    action = put(made_for, motions.raise_left_hand(2.0))
    bpy.data.objects.remove(made_for)
    put(rig, motions.walk(2.0), name="Stand")
    assert action.slots[0].name_display != rig.name
    character, slot = find_character(action, bpy.context.scene)
    assert (character, slot) == (rig, action.slots[0])
    assert arm_raised(read(rig, action).joints) > 0.3


@needs_slots
def test_each_slot_of_an_action_is_a_motion_of_its_own():
    one, two = rigs.mannequin(), rigs.mannequin()
    cube = bpy.data.objects.new("Cube", None)
    bpy.context.collection.objects.link(cube)
    action = put(one, motions.walk(2.0), name="Duet")
    up = put(two, motions.raise_left_hand(2.0), name="Up")
    second = action.slots.new(id_type="OBJECT", name=two.name)
    third = action.slots.new(id_type="OBJECT", name="Cube")
    strip = action.layers[0].strips[0]
    for slot, source in ((second, actions.fcurves(up, two)), (third, [])):
        bag = strip.channelbag(slot, ensure=True)
        for curve in source:
            made = bag.fcurves.new(curve.data_path, index=curve.array_index)
            made.keyframe_points.add(len(curve.keyframe_points))
            co = np.empty(2 * len(curve.keyframe_points), np.float32)
            curve.keyframe_points.foreach_get("co", co)
            made.keyframe_points.foreach_set("co", co)
            made.update()
    named = slots_of(action)
    assert [playable.name for playable in named] == [f"Duet / {one.name}", f"Duet / {two.name}"]
    assert [playable.name for playable in slots_of(up)] == ["Up"]
    assert arm_raised(read(one, action).joints) < 0.0
    assert arm_raised(read(two, action).joints) > 0.3  # the slot with its name
    assert arm_raised(read(one, action, second).joints) > 0.3
    assert find_character(action, bpy.context.scene, second) == (two, second)


def test_only_strips_that_are_played_count():
    rig = rigs.mannequin()
    ours = put(rig, motions.wave(2.0))
    frames = np.arange(1.0, 31.0)
    theirs = actions.write_keys(rig, "Theirs", frames, {'pose.bones["hips"].location': np.zeros((30, 3))})
    data = rig.animation_data
    data.action = None
    tracks = [data.nla_tracks.new() for _ in range(2)]
    strips = [tracks[0].strips.new("Ours", 1, ours), tracks[1].strips.new("Theirs", 101, theirs)]
    assert strips_of(rig) == strips
    assert not retargeted(rig, None)
    for owner, switch in ((strips[1], "mute"), (tracks[1], "mute"), (tracks[0], "is_solo")):
        setattr(owner, switch, True)
        assert strips_of(rig) == strips[:1]
        assert playing_range(rig) == (1.0, 40.0)
        assert retargeted(rig, None)
        setattr(owner, switch, False)
    data.use_nla = False
    assert strips_of(rig) == []


def duet(one: Any, two: Any) -> tuple[Any, Any, Any]:
    """An action with a slot for each of two characters of the same bones, which neither of them plays."""
    action = put(one, motions.walk(2.0), name="Duet")
    first, second = action.slots[0], action.slots.new(id_type="OBJECT", name="Second")
    first.name_display = "First"
    bag = action.layers[0].strips[0].channelbag(second, ensure=True)
    for curve in actions.fcurves(action, one):
        bag.fcurves.new(curve.data_path, index=curve.array_index).keyframe_points.insert(1.0, 0.0)
    one.animation_data_clear()
    return action, first, second


@needs_slots
def test_each_slot_is_for_the_character_that_plays_it_in_its_nla():
    one, two = rigs.mannequin(), rigs.mannequin()
    action, first, second = duet(one, two)
    strip = two.animation_data_create().nla_tracks.new().strips.new("Duet", 1, action)
    for slot, other in ((first, second), (second, first)):
        strip.action_slot = slot
        found = {role.playable.slot: role.armature for role in roles_of(action, bpy.context.scene)}
        assert found == {slot: two, other: one}
    snake = bpy.data.objects.new("Cube", None)
    roles = roles_of(action, [snake])
    assert [role.armature for role in roles] == [None, None]
    assert [role.error.code for role in roles] == ["no_character_for_action"] * 2
    assert "Duet / Second" in roles[1].error.message
