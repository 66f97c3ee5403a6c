"""A motion on real armatures, judged by what Blender evaluates.

Compared are the directions from one mapped bone's head to the next one's, limbs, feet, spine and neck: the joints in
solve.COMPARED. Not compared are the pelvis's and the chest's offsets to hips and collars and the collarbones, whose
rest directions differ from skeleton to skeleton by construction, and bones of no length.
"""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender.errors import RigError
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.apply import apply_motion, remove_motion
from mgpt3_blender.rig.mapping import Mapping, map_armature
from mgpt3_blender.rig.report import Report
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEXT
from mgpt3_blender.rig.solve import COMPARED, leg_length, resample
from tests import motions, rigs

MADE = {
    "mannequin": rigs.mannequin,
    "mixamo": rigs.mixamo,
    "mixamo without prefix": lambda: rigs.mixamo(""),
    "rigify basic meta-rig": rigs.metarig,
    "rigify human meta-rig": lambda: rigs.metarig(full=True),
    "rigify generated": rigs.rigify,
    "cmu": rigs.cmu,
    "accad": rigs.accad,
}
BVH = ("cmu_02_01_walk__cgspeed_mb", "cmu_131_03_hop__cgspeed_max", "cmu_60_10_salsa__cgspeed_daz",
       "accad_Male1_A8_crouch_to_lie_down", "accad_Male2_E3_boxing_cross_left", "accad_Male2_G8_roundhouse_left",
       "cmu_02_03_run__iclone_cc", "cmu_02_04_jump_balance__iclone_cc")  # fmt: skip


def put(rig: Any, motion: np.ndarray, start: float = 1.0, fps: int = 20, **options: Any) -> Any:
    scene = bpy.context.scene
    scene.render.fps = fps
    return apply_motion(rig, motion, scene=scene, name="test", start_frame=start, **options)


def next_bone(joint: int, mapping: Mapping) -> int | None:
    other = NEXT.get(joint)
    while other is not None and JOINTS[other] not in mapping.deform:
        other = NEXT.get(other)
    return other if JOINTS[joint] in mapping.deform else None


def watch(rig: Any, mapping: Mapping, frames: int, start: int = 1) -> np.ndarray:
    """Joints in the world as Blender evaluates them. (T, 22, 3), NaN where there is no bone."""
    out = np.full((frames, 22, 3), np.nan)
    for t in range(frames):
        bpy.context.scene.frame_set(start + t)
        for joint, place in rigs.world_heads(rig, mapping.deform).items():
            out[t, INDEX[joint]] = place
    return out


def direction_errors(heads: np.ndarray, motion: np.ndarray, axes: np.ndarray, mapping: Mapping) -> np.ndarray:
    """(T, n) degrees."""
    size = (
        np.nanmax(np.ptp(heads[0], axis=0)) if np.isfinite(heads).all() else np.nanmax(heads[0]) - np.nanmin(heads[0])
    )
    columns = []
    for j in COMPARED:
        k = next_bone(j, mapping)
        if (
            JOINTS[j][2:] == "ankle"
        ):  # as flat as the motion's, not at the slope of another body's ankle: see test_solve
            continue
        if k is None or np.linalg.norm(heads[0, k] - heads[0, j]) < 1e-4 * size:
            continue
        wanted = (motion[:, k] - motion[:, j]) @ axes.T
        columns.append(np.degrees(rot.angle_between(heads[:, k] - heads[:, j], wanted)))
    return np.stack(columns, 1)


def check_directions(rig: Any, motion: np.ndarray) -> np.ndarray:
    """Put a motion on a character and assert the bounds. Returns the joints watched."""
    mapping = map_armature(rig)
    axes = rigs.rest_axes(rig, mapping.deform)
    result = put(rig, motion)
    heads = watch(rig, mapping, len(motion))
    errors = direction_errors(heads, motion, axes, mapping)
    assert errors.shape[1] >= 9
    assert errors.mean() < 3.0
    assert np.percentile(errors, 95) < 8.0
    feet = {mapping.bones[f"{side}_ankle"] for side in "lr"}
    told = [row[0] for bone, row in result.report.bones.items() if bone not in feet]
    assert np.mean(told) == pytest.approx(errors.mean(), abs=0.3)  # what is told is what is seen
    assert not [text for text in result.warnings if "Constraints" in text]
    return heads


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("motion", [motions.walk, motions.wave, motions.squat], ids=lambda m: m.__name__)
def test_bones_point_where_the_motions_do(name, motion):
    if name == "rigify human meta-rig" and motion != motions.walk:
        pytest.skip("one motion is enough on 159 bones")
    check_directions(MADE[name](), motion())


@pytest.mark.parametrize("name", MADE)
def test_only_mapped_bones_are_keyed_and_lengths_stay(name):
    rig = MADE[name]()
    mapping = map_armature(rig)
    motion = motions.run(1.5)
    length = {bone.name: bone.length for bone in rig.data.bones}
    result = put(rig, motion)
    paths = {curve.data_path for curve in actions.fcurves(result.action, rig)}
    allowed = {*mapping.bones.values(), *mapping.spine, *mapping.neck, *mapping.also, *mapping.hold}
    rotations = {path.split('"')[1] for path in paths if path.rpartition(".")[2].startswith("rotation")}
    assert rotations == allowed
    assert {path for path in paths if path.endswith("location")} == {
        f'pose.bones["{mapping.bones["pelvis"]}"].location'
    }
    assert not [path for path in paths if path.endswith("scale")]
    switches = {f'pose.bones["{s.bone}"]["{s.property}"]' for s in mapping.switches}
    rest = {path for path in paths if not path.rpartition(".")[2].startswith(("rotation", "location"))}
    assert rest == switches
    for frame in (1, 9, 20):
        bpy.context.scene.frame_set(frame)
        for bone in mapping.deform.values():
            posed = rig.pose.bones[bone]
            assert (posed.tail - posed.head).length == pytest.approx(length[bone], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_a_walk_goes_where_the_character_faces_at_its_own_size_on_its_floor(name):
    rig = MADE[name]()
    if name == "mannequin":
        rig.rotation_euler.z = 1.0
        rig.location = (3.0, -2.0, 0.5)
        bpy.context.view_layer.update()
    mapping = map_armature(rig)
    axes = rigs.rest_axes(rig, mapping.deform)
    motion = motions.walk(4.0)
    result = put(rig, motion)
    heads = watch(rig, mapping, len(motion))
    hips = heads[:, [INDEX["l_hip"], INDEX["r_hip"]]].mean(1)
    way = axes.T @ (hips[-1] - hips[0])
    scale = leg_length(heads[:1]) / leg_length(motion)
    expected = np.linalg.norm((motion[-1, 0] - motion[0, 0])[[0, 2]]) * scale
    assert way[2] == pytest.approx(expected, rel=0.06)
    assert abs(way[0]) < 0.05 * expected
    feet = heads[:, [INDEX[n] for n in ("l_foot", "r_foot", "l_ankle", "r_ankle")], 2]
    floor = rig.matrix_world.translation.z
    assert np.nanmin(feet) - floor == pytest.approx(0.03 * scale, abs=0.03 * scale)
    assert (result.report.slide_after_mm or 0.0) < 1.0
    sides = np.einsum("ti,i->t", heads[:, INDEX["l_hip"]] - heads[:, INDEX["r_hip"]], axes[:, 0])
    assert (sides > 0).all()  # left stays left


def test_the_rigify_rig_is_switched_to_fk_and_back():
    rig = rigs.rigify()
    bone = rig.pose.bones["upper_arm_parent.L"]
    assert bone["IK_FK"] == 0.0
    first = put(rig, motions.wave(1.0)).action
    assert bone["IK_FK"] == 1.0
    second = put(rig, motions.walk(1.0)).action
    key = actions.read_fcurves(second, rig)['pose.bones["upper_arm_parent.L"]["IK_FK"]', 0]
    assert key[1].tolist() == [1.0]
    remove_motion(rig, first)
    assert bone["IK_FK"] == 1.0  # it was not the one playing
    remove_motion(rig, second)
    bpy.context.scene.frame_set(2)
    assert bone["IK_FK"] == 0.0
    assert len(bpy.data.actions) == 0


def test_posed_hips_and_chest_controls_do_not_bend_the_result():
    rig = rigs.rigify()
    for name in ("hips", "chest"):
        rig.pose.bones[name].rotation_quaternion = (0.92, 0.39, 0.0, 0.0)
    bpy.context.view_layer.update()
    check_directions(rig, motions.walk(1.5))


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "ZYX", "YXZ", "AXIS_ANGLE"])
def test_rotation_modes_are_honoured_and_curves_do_not_jump(mode):
    rig = rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0), modes=mode, rolls=8, root="root")
    motion = motions.raise_left_hand(2.0)
    check_directions(rig, motion)
    assert {bone.rotation_mode for bone in rig.pose.bones} == {mode}
    keys = actions.read_fcurves(rig.animation_data.action, rig)
    turns = {key: values for key, (_, values) in keys.items() if "rotation" in key[0]}
    expected = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(mode, "rotation_euler")
    assert {path.rpartition(".")[2] for path, _ in turns} == {expected}
    if mode != "AXIS_ANGLE":
        assert max(np.abs(np.diff(values)).max(initial=0.0) for values in turns.values()) < 1.5


def test_quaternions_keep_their_sign():
    rig = rigs.mixamo()
    put(rig, motions.run(3.0))
    keys = actions.read_fcurves(rig.animation_data.action, rig)
    for bone in map_armature(rig).bones.values():
        q = np.stack([keys[f'pose.bones["{bone}"].rotation_quaternion', i][1] for i in range(4)], -1)
        assert ((q[1:] * q[:-1]).sum(-1) > 0.0).all()
        np.testing.assert_allclose(np.linalg.norm(q, axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("fps", [12, 24, 30, 60])
def test_any_frame_rate_with_the_scene_left_alone(fps):
    rig, scene = rigs.mannequin(), bpy.context.scene
    scene.render.fps, scene.frame_start, scene.frame_end = fps, 3, 77
    scene.frame_set(40)
    other = bpy.data.objects.new("Other", None)
    bpy.context.collection.objects.link(other)
    mine = actions.write_keys(other, "Mine", np.array([1.0]), {"location": np.zeros((1, 3))})
    motion = motions.walk(3.0)
    result = put(rig, motion, start=40.0, fps=fps)
    assert (scene.render.fps, scene.frame_start, scene.frame_end, scene.frame_current) == (fps, 3, 77, 40)
    assert bpy.context.view_layer.objects.active == rig
    assert bpy.context.selected_objects == [rig]
    assert rig.mode == "OBJECT"
    assert other.animation_data.action == mine
    start, end = result.action.frame_range
    assert start == 40.0
    assert end == 40.0 + np.floor(59 * fps / 20 + 1e-6)
    mapping = map_armature(rig)
    expected = resample(motion, 20.0, fps)
    heads = watch(rig, mapping, len(expected), start=40)
    errors = direction_errors(heads, expected, rigs.rest_axes(rig, mapping.deform), mapping)
    assert errors.mean() < 1.0


def test_the_second_motion_plays_and_the_first_is_kept():
    rig = rigs.mannequin()
    first = put(rig, motions.wave(1.0)).action
    heads = check_directions(rig, motions.walk(1.5))
    assert np.linalg.norm(heads[-1, 0] - heads[0, 0]) > 0.5
    assert rig.animation_data.action != first
    assert first.use_fake_user
    assert first.name in bpy.data.actions


def test_a_moved_root_control_carries_the_motion_along():
    rig = rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0), root="root")
    mapping, motion = map_armature(rig), motions.walk(2.0)
    put(rig, motion)
    plain = watch(rig, mapping, len(motion))
    rig.animation_data_clear()
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
    rig.pose.bones["root"].location = (0.0, 0.0, 2.0)
    rig.pose.bones["root"].rotation_quaternion = (np.cos(0.6), 0.0, 0.0, np.sin(0.6))
    bpy.context.view_layer.update()
    put(rig, motion)
    moved = watch(rig, mapping, len(motion))
    root = np.array(rig.pose.bones["root"].matrix @ rig.data.bones["root"].matrix_local.inverted())
    seen = [INDEX[joint] for joint in mapping.bones]
    assert abs(root[2, 2]) > 0.999  # turned about the vertical: the whole motion turns with it
    np.testing.assert_allclose(moved[:, seen], plain[:, seen] @ root[:3, :3].T + root[:3, 3], atol=2e-3)


def test_metadata_and_errors_are_on_the_action():
    rig = rigs.mannequin()
    result = put(rig, motions.walk(1.0), metadata={"mgpt3_prompt": "a person walks", "mgpt3_seed": 7})
    assert result.action["mgpt3_prompt"] == "a person walks"
    assert result.action["mgpt3_seed"] == 7
    told = Report.from_json(result.action["mgpt3_report"])
    assert told.mean_deg == pytest.approx(result.report.mean_deg, abs=1e-3)
    assert told.slide_after_mm is not None
    assert (told.family, told.source) == ("MotionGPT3 mannequin", "names")


def test_one_undo_takes_it_all_back():
    rig = rigs.rigify()
    bpy.context.view_layer.objects.active = rig
    name = rig.name
    bpy.ops.ed.undo_push(message="before")
    put(rig, motions.walk(1.0))
    bpy.ops.ed.undo_push(message="motion")
    bpy.ops.ed.undo()
    rig = bpy.data.objects[name]
    assert rig.animation_data is None or rig.animation_data.action is None
    assert rig.pose.bones["thigh_parent.R"]["IK_FK"] == 0.0
    assert len(bpy.data.actions) == 0


def snapshot(rig: Any) -> str:
    data = rig.animation_data
    poses = [[round(v, 5) for row in bone.matrix_basis for v in row] for bone in rig.pose.bones]
    return json.dumps([str(data and data.action), poses, len(bpy.data.actions), len(bpy.data.objects)])


BAD = {
    "shape": (lambda: np.zeros((10, 21, 3)), "bad_motion"),
    "words": (lambda: "walk", "bad_motion"),
    "nan": (lambda: np.where(np.arange(22 * 3).reshape(22, 3) == 5, np.nan, motions.walk(1.0)), "bad_motion"),
    "short": (lambda: motions.walk(1.0)[:1], "motion_too_short"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_motion_is_refused_before_anything_changes(kind):
    make, code = BAD[kind]
    rig = rigs.mannequin()
    before = snapshot(rig)
    with pytest.raises(RigError) as error:
        put(rig, make())
    assert error.value.code == code
    assert error.value.remedy
    assert snapshot(rig) == before


def test_characters_that_cannot_take_a_motion_are_refused_before_anything_changes():
    motion = motions.walk(1.0)
    rig = rigs.mannequin()

    def refused(code: str, thing: Any) -> None:
        before = snapshot(rig)
        with pytest.raises(RigError) as error:
            put(thing, motion)
        assert error.value.code == code
        assert error.value.remedy
        assert snapshot(rig) == before

    refused("no_armature", rig.children[0])
    refused("no_armature", None)
    rig.scale = (1.0, 1.0, 1.3)
    bpy.context.view_layer.update()
    refused("non_uniform_scale", rig)
    rig.scale = (-1.0, -1.0, -1.0)
    bpy.context.view_layer.update()
    refused("mirrored_scale", rig)
    rig.scale = (1.0, 1.0, 1.0)
    bpy.context.view_layer.update()
    bpy.ops.object.mode_set(mode="EDIT")
    refused("edit_mode", rig)
    bpy.ops.object.mode_set(mode="OBJECT")
    remove_bones(rig, ["forearm.L", "hand.L", "forearm.R", "hand.R", "upper_arm.L", "upper_arm.R"])
    refused("missing_bones", rig)
    remove_bones(rig, [bone.name for bone in rig.data.bones if bone.name not in ("hips", "spine_low", "chest")])
    refused("unknown_rig", rig)


def remove_bones(rig: Any, names: list[str]) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    for name in names:
        if name in rig.data.edit_bones:
            rig.data.edit_bones.remove(rig.data.edit_bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")


def test_bones_with_names_of_no_meaning_are_found_by_their_shape():
    rig = rigs.mannequin()
    known = map_armature(rig).bones
    for i, bone in enumerate(rig.data.bones):
        known = {joint: f"b{i}" if name == bone.name else name for joint, name in known.items()}
        bone.name = f"b{i}"
    mapping = map_armature(rig)
    assert mapping.source == "shape"
    assert mapping.bones == known
    check_directions(rig, motions.walk(1.5))


def test_a_linked_character_is_refused(tmp_path):
    rig = rigs.mannequin()
    bpy.data.libraries.write(str(tmp_path / "lib.blend"), {rig}, fake_user=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "lib.blend"), link=True) as (there, here):
        here.objects = [name for name in there.objects if name == "Mannequin"]
    linked = here.objects[0]
    bpy.context.collection.objects.link(linked)
    with pytest.raises(RigError) as error:
        put(linked, motions.walk(1.0))
    assert error.value.code == "linked_armature"
    assert not bpy.data.actions


@pytest.mark.parametrize("entry", rigs.shared_rigs() or [None], ids=lambda e: e["file"] if e else "none")
def test_shared_rigs(entry):
    if entry is None:
        pytest.skip("needs the shared/ folder with rigs beside the checkout")
    rig = rigs.load_file(rigs.SHARED / "rigs" / entry["file"], entry["armature_object"])
    mapping = map_armature(rig)
    for joint, bone in entry["mapping"].items():
        assert mapping.bones.get(joint) in (bone, *entry["mapping_alt"].get(joint, ()))
    if "mapping_deform" in entry:
        assert mapping.deform == {joint: bone for joint, bone in entry["mapping_deform"].items() if bone}
    axes = rigs.rest_axes(rig, mapping.deform)
    facing = {"-Y": [0, -1, 0], "+Y": [0, 1, 0]}.get(entry["facing"])
    if facing:
        assert axes[:, 2] @ facing > 0.99
    check_directions(rig, motions.walk(1.5))


@pytest.mark.parametrize("name", BVH)
def test_shared_bvh_skeletons(name):
    path = rigs.SHARED / "bvh" / f"{name}.bvh"
    if not path.exists():
        pytest.skip("needs the shared/ folder with BVH files beside the checkout")
    rig = rigs.load_file(path)
    own = rig.animation_data.action
    check = check_directions if "iclone" not in name else None
    if check:
        check(rig, motions.walk(1.5))
    else:  # the root holds the pose's turn: compare in the axes that its hips have then
        result = put(rig, motions.walk(1.5))
        assert result.report.mean_deg < 3.0
        assert not [text for text in result.warnings if "Constraints" in text]
    assert own.name in bpy.data.actions


def test_real_clips_on_a_character_and_a_control_rig(shared):
    folder = shared / "data" / "permissive"
    if not (folder / "cmu_joints.npz").exists():
        pytest.skip("needs the captioned motion in shared/data")
    with np.load(folder / "cmu_joints.npz") as bundle:
        offsets, local, root = bundle["offsets"], bundle["local"], bundle["root_xz"]
    make = rigs.rigify
    for n in (3, 40, 200, 330):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        clip = local[offsets[n] : offsets[n + 1]].astype(np.float32) * 1e-4
        clip[..., [0, 2]] += root[offsets[n] : offsets[n + 1], None]
        check_directions(make(), clip[:80])
        make = rigs.mixamo if make == rigs.rigify else rigs.rigify
