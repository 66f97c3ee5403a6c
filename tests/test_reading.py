"""Reading actions back: the same motion from every character, at every frame rate, from any range."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender import measure
from mgpt3_blender.playedby import bones_named
from mgpt3_blender.reading import retargeted
from mgpt3_blender.rig.canon import LENGTHS, mirrored, placed
from mgpt3_blender.rig.skeleton22 import INDEX as J
from mgpt3_blender.rig.skeleton22 import NEUTRAL, PARENTS
from tests import motions, rigs
from tests.readable import put, read

LIMBS = [J[f"{s}_{name}"] for s in "lr" for name in ("knee", "ankle", "elbow", "wrist")]


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
