"""The canonical skeleton, its rest pose, and the synthetic motions that other tests rely on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from motions import MOTIONS, raise_left_hand, run, turn, walk, wave

from core.features import canonicalise, facing
from core.restpose import LENGTHS, REST_OFFSETS, rest_joints
from core.skeleton import CHAINS, FEET, JOINTS, MIRROR, PARENTS, bone_lengths, mirror


def test_joints_are_the_22_of_smpl() -> None:
    assert len(JOINTS) == len(set(JOINTS)) == len(PARENTS) == len(MIRROR) == 22
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    assert [JOINTS[joint] for joint in FEET] == ["l_ankle", "l_foot", "r_ankle", "r_foot"]


def test_chains_follow_the_parents() -> None:
    for chain in CHAINS:
        for parent, joint in pairwise(chain):
            assert PARENTS[joint] == parent
    assert {joint for chain in CHAINS for joint in chain} == set(range(22))


def test_mirror_pairs_left_and_right() -> None:
    swap = {"l": "r", "r": "l"}
    for joint, partner in enumerate(MIRROR):
        side, _, rest = JOINTS[joint].partition("_")
        assert JOINTS[partner] == (f"{swap[side]}_{rest}" if rest else JOINTS[joint])


@pytest.mark.parametrize("name", MOTIONS)
def test_mirroring_twice_changes_nothing(name: str) -> None:
    joints = MOTIONS[name]()
    assert np.array_equal(mirror(mirror(joints)), joints)
    assert mirror(joints).dtype == np.float32


def test_mirror_of_the_left_hand_is_the_right_hand() -> None:
    left, right = raise_left_hand(), mirror(raise_left_hand())
    wrist, other = JOINTS.index("l_wrist"), JOINTS.index("r_wrist")
    assert left[-1, wrist, 1] - left[0, wrist, 1] > 0.7
    assert np.ptp(left[:, other, 1]) < 0.05
    assert np.allclose(right[:, other] * [-1, 1, 1], left[:, wrist])
    assert np.ptp(right[:, wrist, 1]) < 0.05


def test_rest_pose_is_a_standing_t() -> None:
    rest = rest_joints()
    assert np.allclose(bone_lengths(rest), LENGTHS, atol=1e-6)
    assert rest[:, 1].min() == 0
    assert 1.5 < rest[JOINTS.index("head"), 1] < 1.7
    assert np.allclose(REST_OFFSETS[18:22, 1:], 0)  # upper and lower arms are level
    assert rest[JOINTS.index("l_wrist"), 0] > 0.6 > -0.6 > rest[JOINTS.index("r_wrist"), 0]
    assert np.allclose(facing(rest[None])[0], [0, 0, 1], atol=0.05)


@pytest.mark.parametrize("name", MOTIONS)
def test_synthetic_motions_keep_the_contract(name: str) -> None:
    joints = MOTIONS[name]()
    assert joints.dtype == np.float32
    assert joints.shape[1:] == (22, 3)
    assert np.isfinite(joints).all()
    assert np.abs(bone_lengths(joints) - LENGTHS).max() < 1e-5
    assert abs(joints[..., 1].min()) < 1e-6
    assert np.abs(canonicalise(joints) - joints).max() < 0.02  # already on the floor, at the origin, facing +Z
    assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 1.0  # nothing jumps


def test_walk_and_run_go_forward() -> None:
    for motion, speed in ((walk(), 1.0), (run(), 2.5)):
        travelled = motion[-1, 0] - motion[0, 0]
        assert travelled[2] / (len(motion) / 20) > speed
        assert abs(travelled[0]) < 0.05


def test_walk_does_not_slide() -> None:
    joints = walk()
    feet = joints[:, [10, 11]]
    step = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1).min(1)  # the foot that stands moves least
    assert step.max() < 1e-3


def test_wave_is_above_the_head_and_turn_passes_180_degrees() -> None:
    joints = wave()
    assert joints[-1, JOINTS.index("r_wrist"), 1] > joints[-1, JOINTS.index("head"), 1]
    heading = np.unwrap(np.arctan2(*facing(turn())[:, [0, 2]].T))
    assert np.degrees(heading[-1] - heading[0]) == pytest.approx(450, abs=15)
