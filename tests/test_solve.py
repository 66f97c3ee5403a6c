"""The solve, without Blender: rest poses, rolls, proportions, flips, feet."""

from __future__ import annotations

import numpy as np
import pytest

from core.bvh import read_bvh
from mgpt3_blender.rig import body, ground
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.report import roll_flips
from mgpt3_blender.rig.rest import pose
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEEDED, NEXT
from mgpt3_blender.rig.solve import COMPARED, leg_length, resample, solve
from tests import motions, rigs

MOTIONS = {"walk": motions.walk, "run": motions.run, "wave": motions.wave, "squat": motions.squat,
           "raise": motions.raise_left_hand}  # fmt: skip


def solved_heads(rig, solution, frames: int) -> np.ndarray:
    """Joint positions after forward kinematics from the channels alone. (T, 22, 3) armature space."""
    targets: dict[int, np.ndarray] = {}
    for i, bone in enumerate(rig.bones):  # channels -> orientations, parents first
        rotations = pose(rig.bones[: i + 1], dict(targets)).rotations
        base = rotations[i] @ bone.pose_rotation.T if i not in targets else None
        if bone.name in solution.rotations:
            targets[i] = base @ solution.rotations[bone.name]
    located = {i: solution.locations[bone.name] for i, bone in enumerate(rig.bones) if bone.name in solution.locations}
    heads = pose(rig.bones, targets, located).heads
    out = np.full((frames, 22, 3), np.nan)
    for joint, i in rig.joint_bone.items():
        out[:, joint] = heads[i]
    return out


def direction_errors(rig, motion: np.ndarray, axes: np.ndarray = rigs.TO_BLENDER) -> np.ndarray:
    """(T, n) degrees, recomputed from the keyed channels."""
    solution = solve(rig, motion, 20.0)
    heads = solved_heads(rig, solution, len(motion))
    errors = []
    for j in COMPARED:
        k = NEXT[j]
        while not np.isfinite(heads[0, k]).all():
            k = NEXT[k]
        wanted = (motion[:, k] - motion[:, j]) @ axes.T
        errors.append(np.degrees(rot.angle_between(heads[:, k] - heads[:, j], wanted)))
    return np.stack(errors, 1)


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("rest", [(0.0, 0.0), (48.0, 30.0), (85.0, 5.0)], ids=["T", "A bent elbows", "arms down"])
@pytest.mark.parametrize("rolls", [None, 1, 2])
def test_bones_point_where_the_motion_points_whatever_rest_and_roll(name, rest, rolls):
    motion = MOTIONS[name]()
    errors = direction_errors(rigs.plain_rig(rigs.heads(*rest), rolls), motion)
    assert errors.mean() < 3.0
    assert np.percentile(errors, 95) < 8.0
    limbs = [i for i, j in enumerate(COMPARED) if JOINTS[j][2:] in ("hip", "knee", "shoulder", "elbow")]
    assert errors[:, limbs].max() < 0.01


def test_rest_pose_and_roll_do_not_change_the_pose():
    motion = motions.wave()
    posed = []
    for down, roll in ((0.0, None), (0.0, 4), (50.0, 5)):
        rig = rigs.plain_rig(rigs.heads(down), roll)
        posed.append(solved_heads(rig, solve(rig, motion, 20.0), len(motion)))
    np.testing.assert_allclose(posed[1], posed[0], atol=1e-9)
    np.testing.assert_allclose(posed[2], posed[0], atol=2e-3)


def test_the_solved_channels_give_back_the_errors_that_are_told():
    rig, motion = rigs.plain_rig(rigs.heads(30.0), 7), motions.walk()
    np.testing.assert_allclose(direction_errors(rig, motion), solve(rig, motion, 20.0).errors, atol=1e-4)


def test_bone_lengths_stay():
    rig, motion = rigs.plain_rig(rigs.heads(30.0), 7), motions.run()
    heads = solved_heads(rig, solve(rig, motion, 20.0), len(motion))
    for joint in ("l_knee", "r_ankle", "l_elbow", "r_wrist", "neck"):
        j = INDEX[joint]
        bone = rig.bones[rig.joint_bone[j]]
        rest = np.linalg.norm(bone.head - rig.bones[bone.parent].head)
        parent = INDEX[rig.bones[bone.parent].name]
        np.testing.assert_allclose(np.linalg.norm(heads[:, j] - heads[:, parent], axis=-1), rest, rtol=1e-9)


@pytest.mark.parametrize("legs", [0.6, 1.0, 1.5])
def test_travel_is_in_the_facing_direction_at_the_scale_of_the_legs(legs):
    positions = rigs.heads(20.0, legs=legs)
    motion = motions.walk(4.0)
    turned = rot.about(np.array([0.0, 0.0, 1.0]), np.array(0.7))
    rig = rigs.plain_rig({joint: turned @ place for joint, place in positions.items()}, 3)
    solution = solve(rig, motion, 20.0)
    heads = solved_heads(rig, solution, len(motion))
    hips = heads[:, [INDEX["l_hip"], INDEX["r_hip"]]].mean(1)
    forward = turned @ np.array([0.0, -1.0, 0.0])
    way = hips[-1] - hips[0]
    ours = leg_length(heads[:1])
    theirs = np.linalg.norm((motion[-1, 0] - motion[0, 0])[[0, 2]])
    assert way @ forward == pytest.approx(theirs * ours / leg_length(motion), rel=0.05)
    assert abs(way @ np.cross(forward, [0, 0, 1])) < 0.05 * abs(way @ forward)
    lowest = heads[:, [INDEX["l_foot"], INDEX["r_foot"], INDEX["l_ankle"], INDEX["r_ankle"]], 2].min(1)
    assert lowest.min() == pytest.approx(0.02, abs=0.015)  # as high as the ball of the foot is in rest


def test_standing_feet_slide_no_more_than_the_motions():
    motion = motions.walk(4.0)
    before = ground.slide(motion[:, ground.FEET].astype(float))
    for legs in (0.7, 1.3):
        solution = solve(rigs.plain_rig(rigs.heads(legs=legs)), motion, 20.0)
        assert solution.ground_after.slide_mm < before + 0.5


@pytest.mark.parametrize("name", MOTIONS)
def test_no_roll_flips(name):
    rig, motion = rigs.plain_rig(rigs.heads(40.0), 2), MOTIONS[name]()
    for channel in solve(rig, resample(motion, 20.0, 30.0), 30.0).rotations.values():
        steps = np.trace(rot.transposed(channel[:-1]) @ channel[1:], axis1=-2, axis2=-1)
        assert np.degrees(np.arccos(np.clip((steps - 1) / 2, -1, 1))).max() < 60.0


def test_a_straight_arm_that_noise_bends_to_and_fro_does_not_roll():
    rng = np.random.default_rng(0)
    motion = motions.stand(3.0).astype(np.float64)
    line = motion[:, INDEX["l_elbow"]] - motion[:, INDEX["l_shoulder"]]
    motion[:, INDEX["l_wrist"]] = motion[:, INDEX["l_elbow"]] + line + rng.normal(0, 0.004, (len(motion), 3))
    channel = solve(rigs.plain_rig(rigs.heads()), motion, 20.0).rotations["l_shoulder"]
    first = np.trace(channel[0].T @ channel, axis1=-2, axis2=-1)
    assert np.degrees(np.arccos(np.clip((first - 1) / 2, -1, 1))).max() < 8.0


def test_a_rest_pose_that_lies_down_still_stands_up():
    lying = rot.about(np.array([1.0, 0.0, 0.0]), np.array(np.pi / 2))
    positions = {joint: lying @ place for joint, place in rigs.heads(20.0).items()}
    rig, motion = rigs.plain_rig(positions, 1), motions.walk()
    solution = solve(rig, motion, 20.0)
    heads = solved_heads(rig, solution, len(motion))
    up = heads[:, INDEX["neck"]] - heads[:, INDEX["pelvis"]]
    assert (up[:, 2] / np.linalg.norm(up, axis=-1)).min() > 0.9
    assert any("upright" in warning for warning in solution.warnings)


def test_missing_joints_are_bridged():
    positions = rigs.heads(30.0)
    for joint in ("spine2", "neck", "l_collar", "r_collar", "l_foot", "r_foot"):
        del positions[joint]
    errors = solve(rigs.plain_rig(positions, 5), motions.walk(), 20.0).errors
    assert errors.mean() < 3.0
    assert np.percentile(errors, 95) < 8.0


@pytest.mark.parametrize(("fps", "count"), [(20.0, 60), (24.0, 71), (30.0, 89), (59.94, 177)])
def test_resampling_keeps_time_and_ends(fps, count):
    motion = motions.walk(3.0)
    out = resample(motion, 20.0, fps)
    assert len(out) == count
    np.testing.assert_allclose(out[0], motion[0], atol=1e-6)
    time = np.arange(count) / fps
    straight = np.stack([np.interp(time, np.arange(60) / 20.0, motion[:, 0, k]) for k in range(3)], -1)
    assert np.abs(out[:, 0] - straight).max() < 0.02


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_euler_curves_are_smooth_and_true(order):
    time = np.linspace(0.0, 1.0, 200)
    axis = rot.unit(np.stack([np.sin(3 * time), np.cos(2 * time), 0.3 + 0 * time], -1))
    R = rot.about(axis, 7.0 * time)
    curves = rot.smooth_euler(rot.to_euler(R, order))
    one = {"X": (1.0, 0.0, 0.0), "Y": (0.0, 1.0, 0.0), "Z": (0.0, 0.0, 1.0)}
    back = np.eye(3)
    for axis_name in order:
        back = rot.about(np.array(one[axis_name]), curves[:, "XYZ".index(axis_name)]) @ back
    np.testing.assert_allclose(back, R, atol=1e-9)
    smooth = np.abs(np.diff(curves, axis=0)).max(-1)
    assert np.median(smooth) < 0.2
    assert smooth.max() < np.pi  # never a whole turn


def test_quaternions():
    rng = np.random.default_rng(1)
    q = rot.unit(rng.normal(size=(300, 4)))
    R = rot.to_matrix(q)
    np.testing.assert_allclose(rot.to_matrix(rot.to_quaternion(R)), R, atol=1e-12)
    turning = rot.to_quaternion(rot.about(np.array([0.0, 1.0, 0.0]), np.linspace(0, 12, 100)))
    assert ((rot.continuous(turning)[1:] * rot.continuous(turning)[:-1]).sum(-1) > 0).all()
    half = rot.between(np.eye(3), rot.about(np.array([0.0, 0.0, 1.0]), np.array(1.0)), 0.5)
    np.testing.assert_allclose(half, rot.about(np.array([0.0, 0.0, 1.0]), np.array(0.5)), atol=1e-12)


def shared_motions() -> list:
    return sorted((rigs.SHARED / "bvh").glob("*.bvh")) or [None]


@pytest.mark.parametrize("path", shared_motions(), ids=lambda p: p.stem if p else "none")
def test_real_motion_neither_flips_nor_wrings_limbs(path):
    """Cartwheel, salsa, lying down, roundhouse kicks: whatever rest and roll, and with the feet pinned."""
    if path is None:
        pytest.skip("needs the shared/ folder with BVH files beside the checkout")
    motion = read_bvh(path)
    for n, (rest, options) in enumerate((((0.0, 0.0), Options()), ((60.0, 25.0), Options(foot_lock=True)))):
        rig = rigs.plain_rig(rigs.heads(*rest), n)
        solution = solve(rig, motion, 20.0, options)
        assert roll_flips(solution.orientations, solution.plays, solution.figure, 20.0) == {}
        if not options.foot_lock:
            assert solution.errors.mean() < 1.7
            assert np.percentile(solution.errors, 95) < 5.0
        chest = body.chest_rotation(motion)
        for side in "lr":  # the twist of the upper arm against the chest, from where a resting arm would be rolled
            limb = body.ARMS[side]
            upper = rot.turn(rot.transposed(chest), rot.unit(motion[:, limb.joints[1]] - motion[:, limb.joints[0]]))
            rest_upper = rig.joint_heads[limb.joints[1]] - rig.joint_heads[limb.joints[0]]
            rest_axis = body.rest_axis(limb, rot.unit(rest_upper @ rigs.TO_BLENDER))
            turn = rigs.TO_BLENDER.T @ solution.turns[limb.joints[0]] @ rigs.TO_BLENDER
            axis = rot.turn(rot.transposed(chest) @ turn, rest_axis)
            twist = np.degrees(body.angle_about(upper, body.carried_axis(limb, upper), axis))
            assert np.percentile(np.abs(twist), 95) < 90.0
            assert np.abs(twist).max() < 160.0


def test_captured_clips_do_not_flip():
    folder = rigs.SHARED / "data" / "permissive"
    if not (folder / "cmu_joints.npz").exists():
        pytest.skip("needs the captioned motion in shared/data")
    with np.load(folder / "cmu_joints.npz") as bundle:
        offsets, local, root = bundle["offsets"], bundle["local"], bundle["root_xz"]
    rig = rigs.plain_rig(rigs.heads(45.0, 15.0), 6)
    for n in range(0, len(offsets) - 1, 12):
        clip = local[offsets[n] : offsets[n + 1]] * 1e-4
        clip[..., [0, 2]] += root[offsets[n] : offsets[n + 1], None]
        solution = solve(rig, clip, 20.0)
        assert roll_flips(solution.orientations, solution.plays, solution.figure, 20.0) == {}, n


@pytest.mark.parametrize("seed", range(12))
def test_characters_that_lack_joints_or_have_bones_of_no_length_are_solved(seed):
    rng = np.random.default_rng(seed)
    positions = rigs.heads(rng.uniform(-20, 85), rng.uniform(0, 50), rng.uniform(0.6, 1.4))
    optional = [joint for joint in JOINTS if joint not in NEEDED and joint != "spine2"]
    for joint in optional:
        if rng.random() < 0.4:
            del positions[joint]
    for joint, other in (("spine1", "pelvis"), ("neck", "spine3"), ("l_collar", "l_shoulder")):
        if joint in positions and other in positions and rng.random() < 0.4:
            positions[joint] = positions[other].copy()
    rig = rigs.plain_rig(positions, seed)
    motion = (motions.walk(), motions.lie_down(), motions.turn(), motions.wave()[:2])[seed % 4]
    solution = solve(rig, motion, 20.0, Options(foot_lock=seed % 3 == 0, hands=seed % 3 == 1))
    assert np.isfinite(solution.figure).all()
    for channel in (*solution.rotations.values(), *solution.locations.values()):
        assert np.isfinite(channel).all()
    heads = solved_heads(rig, solution, len(motion))
    seen = list(rig.joint_bone)
    np.testing.assert_allclose(heads[:, seen], solution.joints_armature[:, seen], atol=1e-9)
    arms = [n for n, (j, _) in enumerate(solution.compared) if JOINTS[j][2:] in ("shoulder", "elbow")]
    if seed % 3 != 1:
        assert solution.errors[:, arms].max() < 0.01
