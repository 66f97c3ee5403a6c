"""Reading actions back: the same motion from every character, and nothing of the file changed by it."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender import measure
from mgpt3_blender.errors import UserError
from mgpt3_blender.playedby import bones_named, playing_range, slot_for
from mgpt3_blender.reading import Reading, Stage, find_character, read_action, retargeted, slots_of
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.canon import LENGTHS, mirrored
from mgpt3_blender.rig.sample import placed
from mgpt3_blender.rig.skeleton22 import INDEX as J
from mgpt3_blender.rig.skeleton22 import NEUTRAL, PARENTS
from tests import motions, rigs

LIMBS = [J[f"{s}_{name}"] for s in "lr" for name in ("knee", "ankle", "elbow", "wrist")]
SLOTS = "slots" in bpy.types.Action.bl_rna.properties
needs_slots = pytest.mark.skipif(not SLOTS, reason="actions have slots from Blender 4.4 on")


def put(rig: Any, joints: np.ndarray, *, fps: float = 20.0, start: float = 1.0, name: str = "Motion") -> Any:
    """A motion as an action of the character, which plays it."""
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = int(np.ceil(fps)), float(np.ceil(fps) / fps)
    return apply_motion(rig, joints, scene=scene, name=name, start_frame=start, fps=20.0).action


def read(rig: Any, action: Any = None, slot: Any = None, **options: Any) -> Reading:
    return read_action(rig, bpy.context.scene, action, slot, **options)


def bones_apart(one: np.ndarray, other: np.ndarray, ends: list[int]) -> float:
    """Largest angle in degrees between bones that end in the given joints."""
    ways = [j[:, ends] - j[:, [PARENTS[k] for k in ends]] for j in (one, other)]
    ways = [w / np.linalg.norm(w, axis=-1, keepdims=True) for w in ways]
    return float(np.degrees(np.arccos(np.clip((ways[0] * ways[1]).sum(-1), -1.0, 1.0))).max())


def mean_mm(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of joints of two motions that stand on the same floor."""
    one, other = (joints - [0.0, joints[..., 1].min(), 0.0] for joints in (one, other))
    return 1000.0 * float(np.linalg.norm(one - other, axis=-1).mean())


def on_the_models_body(motion: np.ndarray) -> np.ndarray:
    """A test's motion on the body that readings are told on."""
    rig = rigs.mannequin()
    joints = read(rig, put(rig, motion)).joints
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return joints


CHARACTERS = {
    "mannequin": rigs.mannequin,
    "unreal": lambda: rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0, legs=0.7), rolls=8),
    "mixamo": rigs.mixamo,
    "cmu": rigs.cmu,
    "accad": rigs.accad,
    "metarig": rigs.metarig,
    "rigify": rigs.rigify,
}


@pytest.mark.parametrize("name", list(CHARACTERS))
@pytest.mark.parametrize("motion", [motions.wave, motions.turn], ids=lambda m: m.__name__)
def test_every_character_says_the_same_motion(name, motion):
    source = on_the_models_body(motion(2.0))
    rig = CHARACTERS[name]()
    found = read(rig, put(rig, source))
    assert found.joints.shape == source.shape
    assert found.joints.dtype == np.float32
    lengths = np.linalg.norm(found.joints[:, 1:] - found.joints[:, list(PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(LENGTHS[1:], lengths.shape), atol=1e-4)
    np.testing.assert_allclose(found.joints[0, 0, [0, 2]], 0.0, atol=1e-5)
    assert bones_apart(found.joints, source, LIMBS) < 1.5
    assert mean_mm(found.joints, source) < 8.0
    assert found.notes == ()


def test_a_way_walked_is_as_long_on_short_legs():
    source = on_the_models_body(motions.walk(3.0))
    rig = rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0, legs=0.6), rolls=1)
    found = read(rig, put(rig, source)).joints
    ways = [np.linalg.norm(j[-1, 0, [0, 2]] - j[0, 0, [0, 2]]) for j in (source, found)]
    assert ways[0] > 1.0
    assert abs(ways[1] / ways[0] - 1.0) < 0.03


@pytest.mark.parametrize("fps", [12.0, 20.0, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 60.0, 120.0])
def test_every_frame_rate_gives_the_frames_back(fps):
    source = on_the_models_body(motions.wave(2.0))
    rig = rigs.mannequin()
    found = read(rig, put(rig, source, fps=fps, start=7.0))
    assert len(found.joints) == len(source)
    assert found.fps == pytest.approx(fps, rel=1e-4)
    assert found.step == pytest.approx(fps / 20.0, rel=1e-4)
    assert found.first == 7.0
    apart = np.linalg.norm(found.joints - source, axis=-1)
    assert 1000.0 * apart.mean() < (6.0 if fps < 20.0 else 3.0)


def test_place_facing_and_size_of_the_object_do_not_matter():
    rig = rigs.mannequin()
    action = put(rig, motions.walk(2.0))
    plain = read(rig, action).joints
    rig.location, rig.rotation_euler, rig.scale = (5.0, -3.0, 1.0), (0.0, 0.0, 1.9), (3.0, 3.0, 3.0)
    bpy.context.view_layer.update()
    assert mean_mm(read(rig, action).joints, plain) < 1.0
    assert mean_mm(read(rig).joints, plain) < 1.0


def test_a_character_mirrored_by_its_object_is_read_as_it_is_seen():
    rig = rigs.mannequin()
    action = put(rig, motions.wave(2.0))
    plain = read(rig, action).joints
    rig.scale = (-1.0, 1.0, 1.0)
    bpy.context.view_layer.update()
    found = read(rig, action).joints
    raised = found[:, [J["l_wrist"], J["r_wrist"]], 1].max(0)
    assert raised[0] > raised[1] + 0.5  # the right hand waves, in the mirror it is the left
    assert mean_mm(found, mirrored(plain)) < 12.0  # the model's body is not quite symmetric


def test_bones_named_for_the_other_side_are_read_by_what_the_body_shows():
    other = {"l": "r", "r": "l"}
    names = {(other[j[0]] + j[1:] if j[1] == "_" else j): b for j, b in rigs.names_of("Unreal mannequin").items()}
    rig = rigs.armature(names, rigs.heads(30.0), rolls=4)
    found = read(rig, put(rig, motions.wave(2.0))).joints
    raised = found[:, [J["l_wrist"], J["r_wrist"]], 1].max(0)
    assert raised[1] > raised[0] + 0.5


def test_a_character_in_place_is_read_in_place():
    rig = rigs.mannequin()
    source = motions.walk(2.0)
    source[..., [0, 2]] -= source[:, :1, [0, 2]]
    found = read(rig, put(rig, source)).joints
    assert np.ptp(found[:, 0, [0, 2]], axis=0).max() < 0.1


def test_what_lacks_bones_is_read_and_said():
    gone = ("l_foot", "r_foot", "l_collar", "r_collar", "neck", "spine2")
    names = {j: b for j, b in rigs.names_of("Unreal mannequin").items() if j not in gone}
    source = on_the_models_body(motions.wave(2.0))
    rig = rigs.armature(names, rigs.heads(30.0), rolls=2)
    found = read(rig, put(rig, source))
    assert bones_apart(found.joints, source, LIMBS) < 1.5
    assert mean_mm(found.joints, source) < 30.0
    assert "neck" in found.notes[0]
    assert "left collarbone" in found.notes[0]


def test_what_others_animated_stands_straight_in_rest_as_the_models_body_does():
    rig = rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0), rolls=2)
    frames = np.arange(1.0, 31.0)
    bend = np.stack([np.cos(0.02 * frames), np.sin(0.02 * frames), 0.0 * frames, 0.0 * frames], -1)
    action = actions.write_keys(rig, "Theirs", frames, {'pose.bones["upperarm_l"].rotation_quaternion': bend})
    torso = [J[name] for name in ("spine1", "spine2", "spine3", "neck", "head")]
    straight = np.broadcast_to(NEUTRAL, (30, 22, 3))
    bpy.context.scene.render.fps = 20
    assert bones_apart(read(rig, action).joints, straight, torso) < 1.0
    assert not retargeted(rig, action)
    ours = put(rig, motions.wave(2.0))
    assert retargeted(rig, ours)
    assert retargeted(rig, None)
    track = rig.animation_data.nla_tracks.new()
    track.strips.new("Theirs", 1, action)
    assert not retargeted(rig, None)


def test_a_motion_far_below_the_characters_floor_has_a_floor_of_its_own():
    rig = rigs.mannequin()
    action = put(rig, motions.walk(2.0))
    plain = read(rig, action).joints
    for curve in actions.fcurves(action, rig):
        if curve.data_path == 'pose.bones["hips"].location':
            axis = np.array(rig.data.bones["hips"].matrix_local)[:3, :3][2, curve.array_index]
            co = np.empty(2 * len(curve.keyframe_points), np.float32)
            curve.keyframe_points.foreach_get("co", co)
            co[1::2] -= 0.9 * axis
            curve.keyframe_points.foreach_set("co", co)
            curve.update()
    found = read(rig, action).joints
    assert abs(found[..., 1].min()) < 0.05
    assert mean_mm(found, plain) < 3.0


# --- what counts


def arm_raised(joints: np.ndarray) -> float:
    """How high the left wrist gets over its shoulder, metres."""
    return float((joints[:, J["l_wrist"], 1] - joints[:, J["l_shoulder"], 1]).max())


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


# --- nothing is changed


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


# --- which character, which slot


def code_of(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert error.value.remedy
    return error.value.code


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


def test_a_range_set_by_hand_or_asked_for_is_the_one_read():
    rig = rigs.mannequin()
    action = put(rig, motions.walk(3.0))
    assert (read(rig, action).first, read(rig, action).last) == (1.0, 60.0)
    part = read(rig, action, first=11, last=30)
    assert len(part.joints) == 20
    whole = read(rig, action).joints
    np.testing.assert_allclose(placed(part.joints), placed(whole[10:30]), atol=0.03)
    action.use_frame_range, action.frame_start, action.frame_end = True, 5, 24
    assert len(read(rig, action).joints) == 20


def test_what_measure_speed_reads_is_a_character_of_sixty_keyed_bones():
    row = measure.read()
    assert (row.name, row.unit, row.bound) == ("read 200 frames, 60 bones", "ms", 60.0)
    assert row.value > 0.0
    (action,) = bpy.data.actions
    rig = next(item for item in bpy.data.objects if item.type == "ARMATURE")
    named = bones_named(actions.fcurves(action, rig))
    assert named == {bone.name for bone in rig.data.bones}
    assert len(named) == 60
