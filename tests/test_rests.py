"""Any rest pose, roll and tree: the same body, re-posed and taken as a new rest, must come out the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.options import ROOT, Options
from mgpt3_blender.rig.rest import Bone, Rig, pose
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS
from mgpt3_blender.rig.solve import Solution, solve
from tests import motions, rigs

AXES = {"left": (1.0, 0.0, 0.0), "forward": (0.0, -1.0, 0.0), "up": (0.0, 0.0, 1.0)}
"""Anatomical axes in Blender's, right-handed: about "left" a bow, about "forward" a lean to the right."""


def about(axis: str, degrees: float) -> np.ndarray:
    return rot.about(np.array(AXES[axis]), np.radians(degrees))


def angle(R: np.ndarray) -> np.ndarray:
    """Degrees that rotations turn by. (..., 3, 3) -> (...)."""
    return np.degrees(np.arccos(np.clip((np.trace(R, axis1=-2, axis2=-1) - 1.0) / 2.0, -1.0, 1.0)))


def reposed(rig: Rig, turns: dict[str, np.ndarray]) -> Rig:
    """Pose a rig and take the pose as its rest, as Apply > Pose as Rest Pose does: each bone's roll goes along."""
    turned: list[np.ndarray] = []
    heads: list[np.ndarray] = []
    bones = []
    for bone in rig.bones:
        own = turns.get(bone.name, np.eye(3))
        above = turned[bone.parent] if bone.parent >= 0 else np.eye(3)
        turned.append(above @ own)
        heads.append(
            heads[bone.parent] + above @ (bone.head - rig.bones[bone.parent].head) if bone.parent >= 0 else bone.head
        )
        tail = heads[-1] + turned[-1] @ (bone.tail - bone.head)
        bones.append(replace(bone, rotation=turned[-1] @ bone.rotation, head=heads[-1], tail=tail))
    rest = np.full((22, 3), np.nan)
    for joint, i in rig.joint_bone.items():
        rest[joint] = heads[i]
    tips = []
    for n, side in enumerate("lr"):
        i = rig.joint_bone[INDEX[f"{side}_ankle"]]
        tips.append(heads[i] + turned[i] @ (rig.foot_tips[n] - rig.bones[i].head))
    return replace(rig, bones=bones, joint_heads=rest, foot_tips=np.stack(tips), warnings=[])


def pair(**turns: tuple[str, float]) -> dict[str, np.ndarray]:
    """Turns of both sides from those of the left: "left" stays, the others are mirrored."""
    out = {}
    for joint, (axis, degrees) in turns.items():
        out[f"l_{joint}"] = about(axis, degrees)
        out[f"r_{joint}"] = about(axis, degrees if axis == "left" else -degrees)
    return out


def arms(down: float, ahead: float = 0.0) -> dict[str, np.ndarray]:
    """From a T: arms lowered at the sides, then brought ahead, degrees."""
    one = {"l": about("up", -ahead) @ about("forward", down), "r": about("up", ahead) @ about("forward", -down)}
    return {f"{side}_shoulder": turn for side, turn in one.items()}


RESTS = {
    "A 30": (arms(30.0), 1.0),
    "strong A": (arms(60.0), 1.0),
    "arms down": (arms(86.0), 1.0),
    "arms raised": (arms(-60.0), 1.0),
    "arms ahead": (arms(0.0, 85.0), 15.0),
    "A and a little ahead": (arms(45.0, 20.0), 15.0),
    "A, elbows bent": (arms(45.0) | pair(elbow=("up", -35.0)), 1.0),
    "T, elbows bent far": (pair(elbow=("up", -85.0)), 1.0),
    "elbows bent a little": (pair(elbow=("up", -12.0)), 1.0),
    "collars raised": (pair(collar=("forward", -15.0)), 15.1),
    "knees bent a little": (pair(hip=("left", -10.0), knee=("left", 20.0), ankle=("left", -10.0)), 3.0),
    "knees bent": (pair(hip=("left", -35.0), knee=("left", 70.0), ankle=("left", -35.0)), 3.0),
    "sitting": (pair(hip=("left", -85.0), knee=("left", 85.0)), 3.0),
    "legs apart": (pair(hip=("forward", -20.0), ankle=("forward", 20.0)), 6.0),
    "legs crossed": (
        {"l_hip": about("forward", 12.0), "r_hip": about("left", -10.0) @ about("forward", -12.0)}, 15.0
    ),
    "feet hanging": (pair(ankle=("left", 40.0)), 15.0),
    "feet turned out": (pair(ankle=("up", 25.0)), 3.0),
    "head tilted": ({"head": about("forward", 20.0)}, 3.0),
    "neck tilted": ({"neck": about("forward", 20.0)}, 8.0),
    "shoulders turned": ({"spine2": about("up", 20.0)}, 10.0),
    "back bent": ({"spine1": about("left", 20.0), "spine3": about("left", 15.0)}, 10.0),
    "on the back": ({"pelvis": about("left", -90.0)}, 3.0),
    "on the face": ({"pelvis": about("left", 90.0)}, 3.0),
    "leaning": ({"pelvis": about("left", 20.0)}, 3.0),
    "lying, arms down": ({"pelvis": about("left", -90.0)} | arms(80.0), 3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", RESTS)
def test_a_body_taken_in_another_pose_as_rest_comes_out_the_same(name):
    turns, bound = RESTS[name]
    body = rigs.plain_rig(rigs.heads(), 3)
    other = reposed(body, turns)
    for motion in (motions.walk(2.0), motions.wave(2.0), motions.squat(2.0)):
        first, second = solve(body, motion, 20.0), solve(other, motion, 20.0)
        for bone, there in first.orientations.items():
            assert angle(rot.transposed(there) @ second.orientations[bone]).max() < bound, bone
        limbs = [n for n, (j, _) in enumerate(second.compared) if JOINTS[j][2:] in ("hip", "knee", "shoulder", "elbow")]
        assert second.errors[:, limbs].max() < 0.01
        assert np.percentile(second.errors, 95) < 5.0


def test_a_body_that_lies_on_its_side_stands_up():
    body = reposed(rigs.plain_rig(rigs.heads(), 3), {"pelvis": about("forward", 90.0)})
    solution = solve(body, motions.walk(), 20.0)
    figure = solution.figure
    up = figure[:, INDEX["neck"]] - figure[:, INDEX["pelvis"]]
    assert (up[:, 1] / np.linalg.norm(up, axis=-1)).min() > 0.9
    assert solution.errors.mean() < 2.0


@pytest.mark.parametrize("turn", [("left", 90.0), ("left", -90.0), ("up", 70.0), ("forward", 180.0), ("left", 37.0)])
def test_the_objects_own_rotation_is_undone(turn):
    """Data that lie along other axes with the object turned back, as after an import: the same body in the world."""
    axes = about(*turn)  # object rotation
    plain = rigs.plain_rig(rigs.heads(30.0), 2)
    inside = replace(reposed(plain, {"pelvis": axes.T}), to_world=axes)
    moved = {  # everything turned about the armature's origin, not about the hips
        "bones": [replace(b, head=axes.T @ p.head, tail=axes.T @ p.tail) for b, p in
                  zip(inside.bones, plain.bones, strict=True)],
        "joint_heads": plain.joint_heads @ axes, "foot_tips": plain.foot_tips @ axes,
    }  # fmt: skip
    inside = replace(inside, **moved)
    motion = motions.walk(2.0)
    first, second = solve(plain, motion, 20.0), solve(inside, motion, 20.0)
    np.testing.assert_allclose(second.joints_armature @ axes.T, first.joints_armature, atol=1e-9)
    for bone, there in first.orientations.items():
        np.testing.assert_allclose(axes @ second.orientations[bone], there, atol=1e-9)


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_the_unit_of_the_data_does_not_matter(size):
    plain = rigs.plain_rig(rigs.heads(30.0), 2)
    large = replace(
        plain,
        bones=[replace(bone, head=bone.head * size, tail=bone.tail * size) for bone in plain.bones],
        joint_heads=plain.joint_heads * size,
        foot_tips=plain.foot_tips * size,
    )
    motion = motions.walk(2.0)
    first, second = solve(plain, motion, 20.0), solve(large, motion, 20.0)
    np.testing.assert_allclose(second.joints_armature, first.joints_armature * size, rtol=1e-6, atol=1e-9 * size)
    np.testing.assert_allclose(second.figure, first.figure, atol=1e-7)


def replayed(rig: Rig, solution: Solution) -> np.ndarray:
    """Joints from the channels alone, (T, 22, 3) armature space."""
    index = {bone.name: i for i, bone in enumerate(rig.bones)}
    posed = pose(
        rig.bones,
        {},
        {index[name]: channel for name, channel in solution.locations.items()},
        basis={index[name]: channel for name, channel in solution.rotations.items()},
    )
    out = np.full((len(solution.motion), 22, 3), np.nan)
    for joint, i in rig.joint_bone.items():
        out[:, joint] = posed.heads[i]
    return out


def rehung(rig: Rig, parents: dict[str, str]) -> Rig:
    """The same bones under other parents."""
    names = [bone.name for bone in rig.bones]
    bones = [replace(b, parent=names.index(parents[b.name])) if b.name in parents else b for b in rig.bones]
    order: list[int] = []
    while len(order) < len(bones):
        order += [i for i, b in enumerate(bones) if i not in order and (b.parent in order or b.parent < 0)]
    to = {old: new for new, old in enumerate(order)}
    return replace(
        rig,
        bones=[replace(bones[i], parent=to.get(bones[i].parent, -1)) for i in order],
        keyed={to[i]: j for i, j in rig.keyed.items()},
        joint_bone={j: to[i] for j, i in rig.joint_bone.items()},
        root=to[rig.root],
    )


def with_root(rig: Rig, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Rig:
    """A root bone on the ground, of its own roll, above the hips."""
    turn = rot.about(rot.unit(np.array([1.0, 2.0, 0.5])), np.array(1.1))
    head = np.array(place)
    bones = [Bone("root", -1, turn, head, head + np.array([0.0, 0.2, 0.0]))]
    bones += [replace(bone, parent=bone.parent + 1) for bone in rig.bones]
    return replace(
        rig,
        bones=bones,
        keyed={i + 1: j for i, j in rig.keyed.items()},
        joint_bone={j: i + 1 for j, i in rig.joint_bone.items()},
        root=rig.root + 1,
        root_bone=0,
    )


LOOSE = {
    "all bones under the hips": {name: "pelvis" for name in JOINTS if name != "pelvis"},
    "hands and feet under the hips": {f"{s}_{n}": "pelvis" for s in "lr" for n in ("wrist", "ankle")},
    "as 3ds Max Biped: thighs on the spine, collarbones on the neck": {
        "l_hip": "spine1",
        "r_hip": "spine1",
        "l_collar": "neck",
        "r_collar": "neck",
    },
    "knees under the hips, elbows under the chest": {"l_knee": "pelvis", "r_knee": "pelvis", "l_elbow": "spine3"},
}


@pytest.mark.parametrize("name", LOOSE)
def test_bones_that_do_not_hang_on_the_limb_are_held_in_their_place(name):
    whole = rigs.plain_rig(rigs.heads(30.0), 5)
    loose = rehung(whole, LOOSE[name])
    motion = motions.run()
    first, second = solve(whole, motion, 20.0), solve(loose, motion, 20.0)
    assert set(first.locations) == {"pelvis"}
    assert set(second.locations) > {"pelvis"}
    np.testing.assert_allclose(replayed(loose, second), replayed(whole, first), atol=1e-9)


def test_a_flat_rig_under_its_root_bone_travels_as_a_whole():
    whole = rigs.plain_rig(rigs.heads(30.0), 5)
    flat = rehung(with_root(whole), dict.fromkeys(JOINTS, "root"))
    motion = motions.walk()
    first, second = solve(whole, motion, 20.0), solve(flat, motion, 20.0)
    np.testing.assert_allclose(replayed(flat, second), replayed(whole, first), atol=1e-9)


def test_a_root_bone_carries_the_way_and_the_rest_stays_the_same():
    rig = with_root(rigs.plain_rig(rigs.heads(30.0), 5), (0.0, 0.3, 0.0))
    motion = motions.turn(4.0, 120.0)
    hips, root = solve(rig, motion, 20.0), solve(rig, motion, 20.0, Options(root=ROOT))
    assert set(hips.locations) == {"pelvis"}
    assert set(root.locations) == {"pelvis", "root"}
    np.testing.assert_allclose(replayed(rig, root), replayed(rig, hips), atol=1e-9)
    posed = pose(rig.bones, {}, {0: root.locations["root"]}, basis={0: root.rotations["root"]})
    at, turned = posed.heads[0], posed.rotations[0] @ rig.bones[0].rotation.T
    np.testing.assert_allclose(at[:, 2], 0.0, atol=1e-9)  # it stays on the ground
    np.testing.assert_allclose(turned[:, 2, 2], 1.0, atol=1e-9)  # and upright
    yaw = np.degrees(np.unwrap(np.arctan2(turned[:, 1, 0], turned[:, 0, 0])))
    assert yaw[-1] - yaw[0] == pytest.approx(120.0, abs=12.0)
    under = root.joints_armature[:, [INDEX["l_hip"], INDEX["r_hip"]]].mean(1) + rot.turn(
        turned, np.array([0.0, 0.3, 0.0])
    )
    assert np.linalg.norm((under - at)[:, :2], axis=-1).max() < 0.15  # as far from the hips as in rest
    sway = root.locations["pelvis"]
    assert np.ptp(sway, axis=0).max() < 0.3 * np.ptp(hips.locations["pelvis"], axis=0).max()


def test_without_a_root_bone_the_hips_carry_the_way_and_a_warning_says_so():
    rig, motion = rigs.plain_rig(rigs.heads(30.0), 5), motions.walk()
    solution = solve(rig, motion, 20.0, Options(root=ROOT))
    assert set(solution.locations) == {"pelvis"}
    assert any("root bone" in warning for warning in solution.warnings)
    assert not rig.warnings  # which others may be solving with at the same time
    np.testing.assert_allclose(solution.figure, solve(rig, motion, 20.0).figure, atol=1e-9)


def test_in_place_keeps_the_pose_and_stays_on_the_spot():
    rig, motion = with_root(rigs.plain_rig(rigs.heads(30.0), 5)), motions.walk(4.0)
    walk = solve(rig, motion, 20.0)
    for options in (Options(in_place=True), Options(in_place=True, root=ROOT)):
        still = solve(rig, motion, 20.0, options)
        way = still.figure[:, 0, [0, 2]]
        assert np.ptp(way, axis=0).max() < 0.25
        assert np.ptp(walk.figure[:, 0, 2]) > 2.0
        np.testing.assert_allclose(still.figure - still.figure[:, :1], walk.figure - walk.figure[:, :1], atol=1e-9)
        np.testing.assert_allclose(still.figure[..., 1], walk.figure[..., 1], atol=1e-9)


def test_a_loop_ends_as_it_begins():
    rig = with_root(rigs.plain_rig(rigs.heads(30.0), 5))
    solution = solve(rig, motions.walk(4.0), 20.0, Options(loop=True, in_place=True, foot_lock=True))
    ends = [channel for name, channel in solution.rotations.items() if name != "root"]
    assert max(angle(channel[0].T @ channel[-1]) for channel in ends) < 2.0
    assert np.linalg.norm(solution.figure[0] - solution.figure[-1], axis=-1).max() < 0.02


@pytest.mark.parametrize("floor", [0.0, 0.4, -1.3])
def test_the_floor_can_be_set(floor):
    rig = replace(rigs.plain_rig(rigs.heads(30.0), 5), height_in_world=0.25)
    solution = solve(rig, motions.walk(), 20.0, Options(floor=floor))
    feet = solution.joints_armature[:, [INDEX[n] for n in ("l_foot", "r_foot", "l_ankle", "r_ankle")], 2].min(1)
    assert feet.min() + 0.25 - floor == pytest.approx(0.02, abs=0.015)


@pytest.mark.parametrize("options", [Options(foot_lock=True), Options(hands=True, feet=True)], ids=["lock", "reach"])
def test_limbs_follow_where_hands_and_feet_were_put(options):
    rig, motion = rigs.plain_rig(rigs.heads(30.0, 10.0, legs=0.8), 5), motions.walk().astype(float)
    motion[..., 2] += np.linspace(0.0, 0.2, len(motion))[:, None]  # it slides
    plain, solution = solve(rig, motion, 20.0), solve(rig, motion, 20.0, options)
    np.testing.assert_allclose(replayed(rig, solution), solution.joints_armature, atol=1e-9)
    if options.foot_lock:
        assert solution.ground_after.slide_mm < 0.5 * plain.ground_after.slide_mm
        assert solution.ground_before.slide_mm == pytest.approx(plain.ground_after.slide_mm)
    for name in ("knee", "elbow"):  # hinges stay hinges: no bending sideways
        joint = INDEX[f"l_{name}"]
        upper = solution.orientations[f"l_{'hip' if name == 'knee' else 'shoulder'}"]
        lower = solution.orientations[f"l_{name}"]
        bone = rig.bones[rig.joint_bone[joint]]
        above = rig.bones[bone.parent]
        relative = (rot.transposed(upper @ above.rotation.T)) @ (lower @ bone.rotation.T)
        axis = np.stack([relative[:, 2, 1] - relative[:, 1, 2], relative[:, 0, 2] - relative[:, 2, 0],
                         relative[:, 1, 0] - relative[:, 0, 1]], -1)  # fmt: skip
        clear = np.linalg.norm(axis, axis=-1) > 0.7  # bent by 20 degrees and more
        if clear.sum() > 2:
            spread = rot.angle_between(axis[clear], rot.unit(axis[clear]).mean(0))
            assert np.degrees(spread).max() < 25.0
