"""Spines of one to six bones, necks of one to three, limbs in two parts: where the joints go and how a bend spreads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.rest import Bone, Rig, pose
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS
from mgpt3_blender.rig.solve import COMPARED, Solution, solve
from tests import motions, rigs


def angle(R: np.ndarray) -> np.ndarray:
    """Degrees that rotations turn by. (..., 3, 3) -> (...)."""
    return np.degrees(np.arccos(np.clip((np.trace(R, axis1=-2, axis2=-1) - 1.0) / 2.0, -1.0, 1.0)))


def along(points: list[np.ndarray], count: int) -> np.ndarray:
    """Points at equal distances along a polyline, both ends among them. (count + 1, 3)."""
    line = np.array(points)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])
    at = np.linspace(0.0, way[-1], count + 1)
    return np.stack([np.interp(at, way, line[:, k]) for k in range(3)], -1)


def chain_rig(spine: int, neck: int, rolls: int | None = None) -> Rig:
    """A character with so many bones in its spine and neck, each of its own roll."""
    positions = rigs.heads(30.0)
    back = along([positions[name] for name in ("spine1", "spine2", "spine3", "neck")], spine)
    nape = along([positions["neck"], positions["head"]], neck)
    mapped = {0: "spine1", spine - 1: "spine3" if spine > 1 else "spine1"}
    if spine > 2:
        mapped[spine // 2] = "spine2"
    places = {f"back{n}": back[n] for n in range(spine)} | {f"nape{n}": nape[n] for n in range(neck)}
    for n, joint in mapped.items():
        positions[joint] = places[f"back{n}"]
    for joint in ("spine1", "spine2", "spine3"):
        if joint not in mapped.values():
            del positions[joint]
    rig = rigs.plain_rig(positions, rolls)
    rng = np.random.default_rng(rolls)
    bones = {bone.name: bone for bone in rig.bones}
    top = f"back{spine - 1}"
    parents = {name: rig.bones[bone.parent].name if bone.parent >= 0 else "" for name, bone in bones.items()}
    rename = {joint: f"back{n}" for n, joint in mapped.items()} | {"neck": "nape0"}
    parents = {rename.get(name, name): rename.get(above, above) for name, above in parents.items()}
    parents |= {f"back{n}": f"back{n - 1}" if n else "pelvis" for n in range(spine)}
    parents |= {f"nape{n}": f"nape{n - 1}" if n else top for n in range(neck)}
    parents |= {"head": f"nape{neck - 1}", "l_collar": top, "r_collar": top}
    order = ["pelvis", *(f"back{n}" for n in range(spine)), *(f"nape{n}" for n in range(neck))]
    order += [name for name in parents if name not in order]
    out = []
    for name in order:
        old = next((joint for joint, new in rename.items() if new == name), name)
        place = places.get(name, positions.get(name))
        turn = rot.to_matrix(rot.unit(rng.normal(size=4))) if rolls is not None else np.eye(3)
        known = bones.get(old)
        tail = known.tail if known is not None else place + np.array([0.0, 0.0, 0.1])
        out.append(Bone(name, order.index(parents[name]) if parents[name] else -1, turn, np.array(place), tail))
    index = {name: i for i, name in enumerate(order)}
    joint_bone = {j: index[rename.get(JOINTS[j], JOINTS[j])] for j in rig.joint_bone}
    return replace(
        rig,
        bones=out,
        keyed={i: j for j, i in joint_bone.items()},
        joint_bone=joint_bone,
        spine=[index[f"back{n}"] for n in range(spine)],
        neck=[index[f"nape{n}"] for n in range(neck)],
    )


def replayed(rig: Rig, solution: Solution) -> list[np.ndarray]:
    """Heads of all bones from the channels alone, armature space."""
    index = {bone.name: i for i, bone in enumerate(rig.bones)}
    basis = {index[name]: channel for name, channel in solution.rotations.items()}
    located = {index[name]: channel for name, channel in solution.locations.items()}
    return pose(rig.bones, {}, located, basis=basis).heads


def bent_and_twisted(frames: int = 40) -> np.ndarray:
    """A person who bends forward by 60 degrees and turns the shoulders by 50, all in the back; then the head."""
    part = np.sin(np.linspace(0.0, np.pi, frames))
    turns = {}
    for name in ("spine1", "spine2", "spine3"):
        turns[name] = motions.rotation("x", 20.0 * part) @ motions.rotation("y", 50.0 / 3.0 * part)
    turns["neck"] = motions.rotation("x", 25.0 * part)
    return motions.plant(motions.pose(turns, frames))


@pytest.mark.parametrize("neck", [1, 2, 3])
@pytest.mark.parametrize("spine", [1, 2, 3, 4, 5, 6])
def test_mapped_joints_go_where_the_motions_do_whatever_the_number_of_bones(spine, neck):
    rig = chain_rig(spine, neck, rolls=spine)
    for motion in (motions.walk(), bent_and_twisted()):
        solution = solve(rig, motion, 20.0)
        assert set(solution.rotations) == {bone.name for bone in rig.bones}
        heads = replayed(rig, solution)
        errors = []
        for j in (j for j in COMPARED if j in rig.joint_bone):
            k = next(k for one, k in solution.compared if one == j)
            there = heads[rig.joint_bone[k]] - heads[rig.joint_bone[j]]
            wanted = (motion[:, k] - motion[:, j]) @ rigs.TO_BLENDER.T
            errors.append(np.degrees(rot.angle_between(there, wanted)))
        assert np.mean(errors) < 2.0
        assert np.percentile(errors, 95) < 5.0
        np.testing.assert_allclose(np.stack(errors, 1), solution.errors, atol=1e-3)


@pytest.mark.parametrize("spine", [1, 2, 3, 4, 5, 6])
def test_shoulders_turn_as_far_as_the_motions(spine):
    motion = bent_and_twisted()
    figure = solve(chain_rig(spine, 1), motion, 20.0).figure
    left, right = INDEX["l_shoulder"], INDEX["r_shoulder"]
    off = rot.angle_between(figure[:, left] - figure[:, right], motion[:, left] - motion[:, right])
    assert np.degrees(off).max() < 10.0


def steps(rig: Rig, solution: Solution, names: list[str]) -> np.ndarray:
    """Largest turn between neighbours of a chain, beyond their rest, degrees: one number for each pair."""
    rest = {bone.name: bone.rotation for bone in rig.bones}
    turns = [solution.orientations[name] @ rest[name].T for name in names]
    return np.array([angle(rot.transposed(a) @ b).max() for a, b in pairwise(turns)])


def test_a_bend_and_a_twist_spread_along_the_spine():
    motion = bent_and_twisted()
    sharpest = {}
    for spine in (2, 3, 4, 5, 6):
        rig = chain_rig(spine, 1)
        names = ["pelvis", *(f"back{n}" for n in range(spine))]
        each = steps(rig, solve(rig, motion, 20.0), names)
        sharpest[spine] = each.max()
    assert sharpest[6] < 0.75 * sharpest[3]
    assert sharpest[5] < 0.8 * sharpest[2]
    assert sharpest[6] < 26.0  # of about 75 in all


def test_a_nod_spreads_along_the_neck():
    motion = bent_and_twisted()
    sharpest = []
    for neck in (1, 2, 3):
        rig = chain_rig(3, neck)
        names = ["back2", *(f"nape{n}" for n in range(neck)), "head"]
        sharpest.append(steps(rig, solve(rig, motion, 20.0), names).max())
    assert sharpest[2] < sharpest[1] < sharpest[0]


def test_bones_below_the_lowest_mapped_one_bend_along():
    rig = chain_rig(4, 1)
    first, second = rig.spine[:2]
    rig = replace(
        rig,
        keyed={i: j for i, j in rig.keyed.items() if i != first} | {second: INDEX["spine1"]},
        joint_bone={**rig.joint_bone, INDEX["spine1"]: second},
        joint_heads=np.where((np.arange(22) == INDEX["spine1"])[:, None], rig.bones[second].head, rig.joint_heads),
    )
    motion = bent_and_twisted()
    solution = solve(rig, motion, 20.0)
    assert "back0" in solution.rotations
    each = steps(rig, solution, ["pelvis", "back0", "back1"])
    assert 0.3 < each[0] / each[1] < 3.0
    assert solution.errors.mean() < 2.0


def in_two_parts(rig: Rig, joints: tuple[str, ...]) -> Rig:
    """The same character with another bone half way along limbs, as MakeHuman's lowerarm02, mapped to nothing."""
    bones = list(rig.bones)
    for joint in joints:
        i = next(i for i, bone in enumerate(bones) if bone.name == joint)
        kid = next(k for k, bone in enumerate(bones) if bone.parent == i)
        middle = 0.5 * (bones[i].head + bones[kid].head)
        twist = rot.about(np.array([0.6, 0.0, 0.8]), np.array(0.7))
        bones.append(Bone(f"{joint}_half", i, twist, middle, bones[kid].head))
        bones[kid] = replace(bones[kid], parent=len(bones) - 1)
    order: list[int] = []
    while len(order) < len(bones):  # parents first
        order += [i for i, bone in enumerate(bones) if i not in order and (bone.parent in order or bone.parent < 0)]
    to = {old: new for new, old in enumerate(order)}
    bones = [replace(bones[i], parent=to.get(bones[i].parent, -1)) for i in order]
    return replace(
        rig,
        bones=bones,
        keyed={to[i]: j for i, j in rig.keyed.items()},
        joint_bone={j: to[i] for j, i in rig.joint_bone.items()},
        root=to[rig.root],
    )


def test_limbs_in_two_parts_stay_straight():
    split = ("l_hip", "r_hip", "l_knee", "r_shoulder", "l_elbow")
    rig = in_two_parts(rigs.plain_rig(rigs.heads(40.0, 15.0), 4), split)
    motion = motions.run()
    solution = solve(rig, motion, 20.0)
    assert not [name for name in solution.rotations if name.endswith("half")]
    heads = replayed(rig, solution)
    index = {bone.name: i for i, bone in enumerate(rig.bones)}
    for joint in split:
        kid = next(i for i, bone in enumerate(rig.bones) if bone.parent == index[f"{joint}_half"])
        upper, lower = heads[index[joint]], heads[kid]
        np.testing.assert_allclose(heads[index[f"{joint}_half"]], 0.5 * (upper + lower), atol=1e-9)
        j, k = INDEX[joint], INDEX[rig.bones[kid].name]
        wanted = (motion[:, k] - motion[:, j]) @ rigs.TO_BLENDER.T
        assert np.degrees(rot.angle_between(lower - upper, wanted)).max() < 0.01
