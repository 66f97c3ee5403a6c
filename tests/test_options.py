"""What an animator may choose about a motion on a character: the way, the loop, the floor, hands and feet, fingers.

Each is judged by what Blender evaluates.
"""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender.rig.apply import OPTIONS, apply_motion
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import ROOT, Options
from mgpt3_blender.rig.skeleton22 import INDEX
from tests import motions, rigs


def character(**changes: Any) -> Any:
    return rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(40.0), root="root", rolls=4, **changes)


def play(rig: Any, motion: np.ndarray, **options: Any) -> tuple[Any, np.ndarray]:
    """The result, and the world's heads of all mapped joints at each frame, (T, 22, 3)."""
    scene = bpy.context.scene
    scene.render.fps = 20
    result = apply_motion(rig, motion, scene=scene, name="test", start_frame=1, options=Options(**options))
    mapping = map_armature(rig)
    frames = round(result.action.frame_range[1])
    heads = np.full((frames, 22, 3), np.nan)
    for t in range(frames):
        scene.frame_set(1 + t)
        for joint, place in rigs.world_heads(rig, mapping.bones).items():
            heads[t, INDEX[joint]] = place
    return result, heads


def hips(heads: np.ndarray) -> np.ndarray:
    return heads[:, [INDEX["l_hip"], INDEX["r_hip"]]].mean(1)


def test_the_root_bone_carries_the_way_and_the_character_moves_the_same():
    rig, motion = character(), motions.walk(3.0)
    _, plain = play(rig, motion)
    result, rooted = play(rig, motion, root=ROOT)
    np.testing.assert_allclose(rooted, plain, atol=2e-3)
    keys = actions.read_fcurves(result.action, rig)
    way = np.stack([keys['pose.bones["root"].location', i][1] for i in range(3)], -1)
    assert np.linalg.norm(way[-1] - way[0]) == pytest.approx(np.linalg.norm(hips(plain)[-1] - hips(plain)[0]), rel=0.1)
    local = np.stack([keys['pose.bones["pelvis"].location', i][1] for i in range(3)], -1)
    assert np.ptp(local, axis=0).max() < 0.25  # what is left to the hips is their sway
    assert json.loads(result.action[OPTIONS])["root"] == ROOT


def test_a_root_bone_that_is_not_there_is_said_and_the_hips_carry_the_way():
    rig = rigs.mannequin()
    if map_armature(rig).root is not None:
        pytest.skip("the mannequin has a root bone")
    result, heads = play(rig, motions.walk(2.0), root=ROOT)
    assert any("root bone" in text for text in result.warnings)
    assert np.linalg.norm(hips(heads)[-1] - hips(heads)[0]) > 0.5


@pytest.mark.parametrize("root", ["HIPS", ROOT])
def test_in_place_stays_on_the_spot_and_keeps_the_steps(root):
    rig, motion = character(), motions.walk(3.0)
    _, plain = play(rig, motion)
    _, still = play(rig, motion, in_place=True, root=root)
    assert np.ptp(hips(still)[:, :2], axis=0).max() < 0.2 < np.ptp(hips(plain)[:, :2], axis=0).max()
    for heads in (plain, still):
        heads -= hips(heads)[:, None]
    np.testing.assert_allclose(still, plain, atol=0.02)


def test_a_loop_ends_as_it_begins():
    rig = character()
    result, heads = play(rig, motions.walk(4.0), loop=True, in_place=True, foot_lock=True)
    seen = [INDEX[joint] for joint in result.mapping.bones]
    np.testing.assert_allclose(heads[-1, seen], heads[0, seen], atol=2e-3)
    step = np.linalg.norm(np.diff(heads[:, seen], axis=0), axis=-1).max(1)
    into, out = heads[-1, seen] - heads[-2, seen], heads[1, seen] - heads[0, seen]
    assert np.linalg.norm(out - into, axis=-1).max() < step.max()  # no jump in speed beyond those inside


def test_the_floor_may_be_elsewhere():
    rig = character(scale=0.01)
    _, plain = play(rig, motions.walk(2.0))
    _, raised = play(rig, motions.walk(2.0), floor=0.75)
    np.testing.assert_allclose(np.nanmin(raised[..., 2]) - np.nanmin(plain[..., 2]), 0.75, atol=5e-3)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_any_scale_of_the_object_gives_the_same_motion(scale):
    _, one = play(character(), motions.walk(2.0), foot_lock=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    _, other = play(character(scale=scale, data_axes=rigs.Y_UP), motions.walk(2.0), foot_lock=True)
    np.testing.assert_allclose(other, one, atol=3e-3)


def test_hands_that_reach_come_to_the_motions_places():
    def miss(**options: Any) -> float:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        positions = rigs.heads(40.0)
        for side, sign in (("l", 1.0), ("r", -1.0)):  # long forearms: directions alone end far from there
            positions[f"{side}_wrist"] += np.array([0.09 * sign, 0.0, -0.07])
        rig = rigs.armature(rigs.names_of("Unreal mannequin"), positions)
        motion = motions.wave(2.0)
        result, heads = play(rig, motion, **options)
        axes = rigs.rest_axes(rig, result.mapping.bones)
        middle = [at[:, [INDEX["l_shoulder"], INDEX["r_shoulder"]]].mean(1) for at in (motion, heads)]

        def length(joints: np.ndarray) -> float:
            limbs = [(f"{s}_{a}", f"{s}_{b}") for s in "lr" for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))]
            return float(sum(np.linalg.norm(joints[0, INDEX[b]] - joints[0, INDEX[a]]) for a, b in limbs))

        off = [
            (heads[:, INDEX[wrist]] - middle[1]) @ axes
            - (motion[:, INDEX[wrist]] - middle[0]) * length(heads) / length(motion)
            for wrist in ("l_wrist", "r_wrist")
        ]  # hands keep their place to the middle of the shoulders, at the size of the arms
        return float(np.linalg.norm(off, axis=-1).mean())

    assert miss(hands=True) < 0.5 * miss()


def test_fingers_keep_what_they_have_unless_relaxed_hands_are_asked_for():
    rig = rigs.metarig(full=True)
    finger = rig.pose.bones["f_index.02.L"]
    finger.rotation_mode = "QUATERNION"
    finger.rotation_quaternion = (0.9, 0.436, 0.0, 0.0)
    before = tuple(finger.rotation_quaternion)
    result, _ = play(rig, motions.walk(1.0))
    keyed = {path.split('"')[1] for path, _ in actions.read_fcurves(result.action, rig)}
    assert not [name for name in keyed if name.startswith(("f_", "thumb"))]
    assert tuple(finger.rotation_quaternion) == before
    result, _ = play(rig, motions.walk(1.0), relaxed_hands=True)
    keyed = {path.split('"')[1] for path, _ in actions.read_fcurves(result.action, rig)}
    assert {"f_index.02.L", "f_index.02.R"} <= keyed
    key = actions.read_fcurves(result.action, rig)['pose.bones["f_index.02.L"].rotation_quaternion', 0]
    assert len(key[0]) == 1


def test_relaxed_hands_without_known_fingers_are_said():
    result, _ = play(character(), motions.walk(1.0), relaxed_hands=True)
    assert any("finger" in text for text in result.warnings)
