"""A motion between keys on real rigs: the keys and all outside stay to the bit, the motion arrives in between."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
import rigs
from motions import squat, turn, walk
from splicing import (
    MAKERS,
    different,
    fill_straight,
    joints_at,
    keep_columns,
    key_motion,
    read_curves,
    read_frames,
    thin,
)

from mgpt3_blender import action
from mgpt3_blender.errors import UserError
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.poses import read_poses
from mgpt3_blender.rig.solve import at_times
from mgpt3_blender.rig.splice import splice

FIRST, LAST = 20, 50


@pytest.fixture(params=list(MAKERS))
def keyed(request: pytest.FixtureRequest) -> Any:
    """A character with a walk keyed on every frame."""
    make, limbs = MAKERS[request.param]
    rig = make()
    key_motion(rig, walk(4.0), limbs=limbs)
    return rig


def smooth(seconds: float = 4.0) -> np.ndarray:
    """A squat while turning: no kinks, so that what is sampled 20 times a second says all."""
    frames = round(20 * seconds)
    joints = np.concatenate([squat(seconds)] * 1).astype(np.float64)[:frames]
    angle = np.radians(60.0) * np.sin(np.linspace(0.0, np.pi, frames))
    c, s = np.cos(angle), np.sin(angle)
    out = joints.copy()
    out[..., 0] = c[:, None] * joints[..., 0] + s[:, None] * joints[..., 2]
    out[..., 2] = -s[:, None] * joints[..., 0] + c[:, None] * joints[..., 2]
    return out


def test_keys_and_everything_outside_stay_equal_to_the_bit(keyed: Any) -> None:
    keep_columns(keyed, [1, 5, FIRST, 27, 33, LAST, 60, 80])
    before = read_curves(keyed)
    result = fill_straight(keyed, FIRST, LAST)
    after = read_curves(keyed)
    assert different(before, after, FIRST, LAST) == []
    assert result.frames.tolist() == list(range(FIRST + 1, LAST))
    assert len(result.bones) >= 18
    assert result.warnings == []
    written = [key for key in after if len(after[key]["co"]) > len(before[key]["co"])]
    assert len(written) >= 3 * 18
    for key in written:
        inside = after[key]["co"][:, 0]
        assert inside[(inside > FIRST) & (inside < LAST)].tolist() == list(range(FIRST + 1, LAST))


def test_the_character_passes_through_both_poses(keyed: Any) -> None:
    keep_columns(keyed, [1, FIRST, LAST, 80])
    outside = [1, 7.5, 13, FIRST, LAST, 61.25, 80]
    before = joints_at(keyed, outside)
    fill_straight(keyed, FIRST, LAST)
    assert np.abs(joints_at(keyed, outside) - before).max() < 1e-5


@pytest.mark.parametrize("context", [True, False])
def test_a_motion_comes_back_where_its_keys_were_removed(keyed: Any, context: bool) -> None:
    key_motion(keyed, smooth(), limbs="IK" if "foot_ik.L" in keyed.pose.bones and _in_ik(keyed) else "FK")
    scene, mapping = bpy.context.scene, map_armature(keyed)
    step = (LAST - FIRST) / 25
    sampled = read_poses(keyed, scene, mapping, FIRST + step * np.arange(-10, 36)).joints
    whole = np.arange(FIRST - 6, LAST + 7)
    original = joints_at(keyed, whole)
    thin(keyed, FIRST, LAST)
    around = {"context_before": sampled[:10], "context_after": sampled[36:]} if context else {}
    splice(keyed, scene, sampled[10:36], FIRST, LAST, mapping=mapping, **around)
    made = joints_at(keyed, whole)
    apart = np.linalg.norm(made - original, axis=-1) * 1000.0
    assert apart.mean() < 1.5
    assert apart[:, [7, 8, 10, 11, 20, 21]].max() < 3.0  # feet and hands
    speed, was = np.diff(made, axis=0), np.diff(original, axis=0)
    for at in (6, len(whole) - 7):  # across both keys: no more of a jerk than the motion itself has
        jerk = np.linalg.norm(speed[at] - speed[at - 1], axis=-1).max()
        usual = np.linalg.norm(was[at] - was[at - 1], axis=-1).max()
        assert jerk < usual + (0.002 if context else 0.005)


def _in_ik(rig: Any) -> bool:
    return float(rig.pose.bones["thigh_parent.L"]["IK_FK"]) < 0.5


def test_feet_and_hands_are_where_the_motion_has_them(keyed: Any) -> None:
    scene, mapping = bpy.context.scene, map_armature(keyed)
    step = (LAST - FIRST) / 25
    sampled = read_poses(keyed, scene, mapping, FIRST + step * np.arange(26)).joints
    keep_columns(keyed, [1, FIRST, LAST, 80])
    splice(keyed, scene, sampled, FIRST, LAST, mapping=mapping)
    frames = np.arange(FIRST, LAST + 1.0)
    wanted, made = at_times(sampled, (frames - FIRST) / step), joints_at(keyed, frames)
    ends = [7, 8, 20, 21]
    assert np.linalg.norm(made - wanted, axis=-1)[:, ends].max() < 0.012


def test_other_bones_other_curves_and_other_actions_are_untouched() -> None:
    rig = rigs.mixamo("")
    rig.pose.bones["Head"]["mood"] = 0.5
    key_motion(rig, walk(4.0))
    other = action.write_keys(rig, "other", np.array([1.0, 30.0]), {"location": np.zeros((2, 3))})
    mine = bpy.data.actions["keys"]
    action.bind_action(rig, mine)
    kinds = {
        'pose.bones["finger.l"].rotation_euler': np.zeros((4, 3)),
        'pose.bones["Head"]["mood"]': np.arange(4.0),
        'pose.bones["Head"].scale': np.ones((4, 3)),
        "scale": np.ones((4, 3)),
    }
    frames = np.array([10.0, FIRST, 30.0, LAST])
    action.write_fcurves(
        mine,
        rig,
        [
            action.Curve(path, i, frames, column, interpolation="BEZIER")
            for path, values in kinds.items()
            for i, column in enumerate(values.reshape(4, -1).T)
        ],
    )
    before = read_curves(rig)
    fill_straight(rig, FIRST, LAST)
    after = read_curves(rig)
    foreign = [key for key in before if key[0] in kinds and "scale" not in key[0]]
    assert len(foreign) == 4
    assert different({k: before[k] for k in foreign}, {k: after[k] for k in foreign}) == []
    assert different(*({("s", i): c["scale", i] for i in range(3)} for c in (before, after))) == []
    head = [('pose.bones["Head"].scale', i) for i in range(3)]
    assert all(after[key]["co"][:, 0].tolist() == [10, FIRST, LAST] for key in head)  # a breakdown's goes with it
    assert len(action.fcurves(other, rig)) == 3


def test_partial_body() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    keep_columns(rig, [1, FIRST, 30, LAST, 80])
    mapping = map_armature(rig)
    arm = {mapping.bones[joint] for joint in ("l_shoulder", "l_elbow", "l_wrist")}
    before = read_curves(rig)
    result = fill_straight(rig, FIRST, LAST, bones=arm)
    after = read_curves(rig)
    assert set(result.bones) == arm
    rest = [key for key in before if not any(f'"{bone}"' in key[0] for bone in arm)]
    assert different({k: before[k] for k in rest}, {k: after[k] for k in rest}) == []
    assert different(before, after, FIRST, LAST) == []


@pytest.mark.parametrize("length", [2, 3])
def test_a_gap_of_one_or_two_frames(keyed: Any, length: int) -> None:
    keep_columns(keyed, [1, FIRST, FIRST + length, 80])
    before = read_curves(keyed)
    result = fill_straight(keyed, FIRST, FIRST + length)
    assert len(result.frames) == length - 1
    assert different(before, read_curves(keyed), FIRST, FIRST + length) == []
    ends = joints_at(keyed, [FIRST, FIRST + length])
    middle = joints_at(keyed, result.frames)
    assert np.abs(middle - ends.mean(0)).max() < np.abs(ends[1] - ends[0]).max() * 0.75 + 0.01


def test_no_frame_between_says_so() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(2.0))
    before = read_curves(rig)
    with pytest.raises(UserError) as error:
        fill_straight(rig, FIRST, FIRST + 1)
    assert error.value.code == "no_gap"
    assert different(before, read_curves(rig)) == []


def test_identical_keys_stand_still(keyed: Any) -> None:
    for curve in action.fcurves(keyed.animation_data.action, keyed):
        value = curve.evaluate(FIRST)
        curve.keyframe_points.clear()
        for frame in (FIRST, LAST):
            curve.keyframe_points.insert(frame, value, options={"FAST"})
    fill_straight(keyed, FIRST, LAST)
    made = joints_at(keyed, np.arange(FIRST, LAST + 1))
    assert np.abs(made - made[0]).max() < 1e-4


def test_keys_that_face_opposite_ways() -> None:
    rig = rigs.mannequin()
    key_motion(rig, turn(4.0, 180.0))
    scene, mapping = bpy.context.scene, map_armature(rig)
    step = 78 / 65
    sampled = read_poses(rig, scene, mapping, 2 + step * np.arange(66)).joints
    original = joints_at(rig, np.arange(2, 81))
    keep_columns(rig, [2, 80])
    before = read_curves(rig)
    splice(rig, scene, sampled, 2, 80, mapping=mapping)
    made = joints_at(rig, np.arange(2, 81))
    assert different(before, read_curves(rig), 2, 80) == []
    assert np.linalg.norm(made - original, axis=-1).mean() < 0.006
    left = made[:, 1] - made[:, 2]
    assert left[0, [0, 2]] @ left[-1, [0, 2]] < 0.0


@pytest.mark.parametrize("limbs", ["FK", "IK"])
def test_a_body_that_bends_and_turns_keeps_its_spine(limbs: str) -> None:
    rig = rigs.rigify()
    motion = smooth()
    lean = np.radians(50.0) * np.sin(np.linspace(0.0, np.pi, len(motion)))
    c, s = np.cos(lean)[:, None], np.sin(lean)[:, None]
    upper = [3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]
    y, z = (motion[:, upper, k] - motion[:, :1, k] for k in (1, 2))
    motion[:, upper, 1], motion[:, upper, 2] = motion[:, :1, 1] + c * y - s * z, motion[:, :1, 2] + s * y + c * z
    key_motion(rig, motion, limbs=limbs)
    scene, mapping = bpy.context.scene, map_armature(rig)
    step = (LAST - FIRST) / 25
    sampled = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    keep_columns(rig, [1, FIRST, LAST, 80])
    splice(rig, scene, sampled, FIRST, LAST, mapping=mapping)
    made = joints_at(rig, FIRST + step * np.arange(26))
    apart = np.linalg.norm(made - sampled, axis=-1)
    assert apart.mean() < 0.004
    assert apart[:, [7, 8, 15, 20, 21]].max() < 0.012  # feet, head, hands


def test_knees_that_the_rig_points_itself_are_left_to_it() -> None:
    rig = rigs.rigify()
    key_motion(rig, walk(4.0), limbs="IK")
    thin(rig, FIRST, LAST)
    for curve in action.fcurves(rig.animation_data.action, rig):
        if "pole_vector" in curve.data_path and "thigh" in curve.data_path:
            curve.keyframe_points[0].co[1] = 0.0
    before = read_curves(rig)
    result = fill_straight(rig, FIRST, LAST)
    assert {"foot_ik.L", "foot_ik.R", "upper_arm_ik_target.L"} <= set(result.bones)
    assert not any("thigh_ik" in bone for bone in result.bones)
    assert different(before, read_curves(rig), FIRST, LAST) == []


def test_a_root_control_that_the_animator_moves_counts() -> None:
    rig = rigs.rigify()
    key_motion(rig, walk(4.0))
    scene, mapping = bpy.context.scene, map_armature(rig)
    step = (LAST - FIRST) / 25
    wanted = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    frames = np.array([1.0, 100.0])
    path = 'pose.bones["root"].location'
    action.write_fcurves(
        rig.animation_data.action,
        rig,
        [action.Curve(path, i, frames, np.array([0.0, far])) for i, far in enumerate((0.7, 1.4, 0.2))],
    )
    moved = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    assert np.abs(moved - wanted).max() > 0.2
    keep = read_curves(rig)
    splice(rig, scene, moved, FIRST, LAST, mapping=mapping)
    assert different(*({k: v for k, v in c.items() if k[0] == path} for c in (keep, read_curves(rig)))) == []
    made = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    assert np.linalg.norm(made - moved, axis=-1).mean() < 0.006


def test_an_object_that_moves_carries_the_character() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    rig.animation_data.action.name = "walk"
    frames = np.array([1.0, 100.0])
    action.write_fcurves(
        rig.animation_data.action,
        rig,
        [action.Curve("location", i, frames, np.array([0.0, far])) for i, far in enumerate((1.0, 0.5, 0.0))]
        + [action.Curve("rotation_euler", 2, frames, np.array([0.0, 1.0]))],
    )
    scene, mapping = bpy.context.scene, map_armature(rig)
    step = (LAST - FIRST) / 25
    wanted = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    thin(rig, FIRST, LAST)
    splice(rig, scene, wanted, FIRST, LAST, mapping=mapping)
    made = read_poses(rig, scene, mapping, FIRST + step * np.arange(26)).joints
    assert np.linalg.norm(made - wanted, axis=-1).mean() < 0.006


def test_curves_without_keys_at_the_ends_keep_their_shape() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    keep_columns(rig, [1, 9, 31, 64, 80])
    played = rig.animation_data.action
    times = np.concatenate([np.arange(1, FIRST + 0.01, 0.25), np.arange(LAST, 80.01, 0.25)])
    seen = {(c.data_path, c.array_index): [c.evaluate(t) for t in times] for c in action.fcurves(played, rig)}
    whole = times == np.floor(times)
    eased = {k for k, t in read_curves(rig).items() if (t["interpolation"] > 2).any()}  # cannot be cut exactly
    result = fill_straight(rig, FIRST, LAST)
    assert any("keys were added" in text for text in result.warnings)
    for curve in action.fcurves(played, rig):
        key = (curve.data_path, curve.array_index)
        now = np.array([curve.evaluate(t) for t in times])
        off = np.abs(now - np.array(seen[key]))
        assert off[whole].max() < 1e-5, key
        assert key in eased or off.max() < 1e-5, key
    assert 0 < len(eased) < len(seen)


def test_bones_without_curves_get_keys_at_both_ends_and_stay_as_they_were_outside() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    mapping = map_armature(rig)
    bone = mapping.bones["l_shoulder"]
    for curve in action.fcurves(rig.animation_data.action, rig):
        if f'"{bone}"' in curve.data_path:
            action.container(rig.animation_data.action, rig, create=False).fcurves.remove(curve)
    rig.pose.bones[bone].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bpy.context.view_layer.update()
    outside = [1, 10, FIRST, LAST, 70]
    before = joints_at(rig, outside)
    fill_straight(rig, FIRST, LAST)
    assert np.abs(joints_at(rig, outside) - before).max() < 1e-5
    curve = next(c for c in action.fcurves(rig.animation_data.action, rig) if f'"{bone}"' in c.data_path)
    assert read_frames(curve).tolist() == list(range(FIRST, LAST + 1))
    assert curve.group.name == bone


@pytest.mark.parametrize("why", ["locked", "muted", "modifiers", "driven"])
def test_channels_that_are_not_to_be_touched_are_left_alone(why: str) -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    bone = map_armature(rig).bones["r_knee"]
    curves = [c for c in action.fcurves(rig.animation_data.action, rig) if f'"{bone}"' in c.data_path]
    if why == "locked":
        curves[0].lock = True
    elif why == "muted":
        curves[0].mute = True
    elif why == "modifiers":
        curves[0].modifiers.new("NOISE")
    else:
        rig.pose.bones[bone].driver_add("rotation_quaternion", 2)
    before = read_curves(rig)
    result = fill_straight(rig, FIRST, LAST)
    after = read_curves(rig)
    mine = [key for key in before if f'"{bone}"' in key[0]]
    assert different({k: before[k] for k in mine}, {k: after[k] for k in mine}) == []
    assert bone not in result.bones
    assert any(bone in text and why in text for text in result.warnings)


def test_a_full_turn_between_keys_is_not_spun_through_on_part_of_a_frame() -> None:
    rig = rigs.cmu()
    key_motion(rig, walk(4.0))
    keep_columns(rig, [1, FIRST, LAST, 80])
    bone = map_armature(rig).bones["pelvis"]
    path = f'pose.bones["{bone}"].rotation_euler'
    curve = next(c for c in action.fcurves(rig.animation_data.action, rig) if (c.data_path, c.array_index) == (path, 1))
    for point in curve.keyframe_points:
        if point.co[0] >= LAST:
            point.co[1] += 2 * np.pi
    before = joints_at(rig, [LAST])
    fill_straight(rig, FIRST, LAST)
    late = joints_at(rig, [LAST - 1, LAST - 0.5, LAST])
    assert np.abs(late[2] - before[0]).max() < 1e-5
    assert np.abs(late[1] - late[0]).max() < 0.1


def test_an_open_end_goes_on_from_the_last_key(keyed: Any) -> None:
    scene, mapping = bpy.context.scene, map_armature(keyed)
    step = 36 / 30
    sampled = read_poses(keyed, scene, mapping, 40 + step * np.arange(-10, 31)).joints
    thin(keyed, 40, 1000)
    before = read_curves(keyed)
    result = splice(keyed, scene, sampled[10:], 40, 76, mapping=mapping, context_before=sampled[:10], open_end=True)
    assert result.frames.tolist() == list(range(41, 77))
    assert different(before, read_curves(keyed), 40, np.inf) == []
    made = read_poses(keyed, scene, mapping, 40 + step * np.arange(31)).joints
    assert np.linalg.norm(made - sampled[10:], axis=-1).mean() < 0.01


def test_the_scene_stays_at_its_frame_with_poses_not_yet_keyed() -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    scene = bpy.context.scene
    scene.frame_set(33, subframe=0.25)
    rig.pose.bones["head"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    read_poses(rig, scene, map_armature(rig), [1, 2, 3.5])
    assert (scene.frame_current, scene.frame_subframe) == (33, 0.25)
    assert np.allclose(rig.pose.bones["head"].rotation_quaternion, (0.8, 0.6, 0.0, 0.0))


@pytest.mark.parametrize("bad", [np.zeros((5, 22, 3)) * np.nan, np.zeros((5, 21, 3)), np.zeros((1, 22, 3))])
def test_a_motion_that_cannot_be_read_changes_nothing(bad: np.ndarray) -> None:
    rig = rigs.mannequin()
    key_motion(rig, walk(2.0))
    before = read_curves(rig)
    with pytest.raises(UserError) as error:
        splice(rig, bpy.context.scene, bad, 10, 20, mapping=map_armature(rig))
    assert error.value.code == "bad_answer"
    assert different(before, read_curves(rig)) == []
