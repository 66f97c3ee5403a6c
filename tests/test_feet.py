"""Feet that stand are pinned; everything else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from motions import jump, stand, walk

from core.skeleton import bone_lengths
from core.tasks.feet import LEGS, pin, standing
from core.tasks.limbs import LIMBS, reach, two_bones

LEFT, RIGHT = (list(leg[1:]) for leg in LEGS)
OTHERS = [j for j in range(22) if j not in LEFT + RIGHT]


def drifting(speed: float) -> np.ndarray:
    """A walk that goes on its feet, and drifts sideways by speed metres a frame besides: stance feet slide."""
    joints = walk(2.0).astype(np.float64)
    joints[..., 0] += speed * np.arange(len(joints))[:, None]
    return joints


def slide(joints: np.ndarray, stands: np.ndarray) -> float:
    """Metres a frame that the slower of ankle and ball of a standing foot moves, the mean."""
    moved = []
    for side, leg in enumerate(LEGS):
        step = np.linalg.norm(np.diff(joints[:, leg[2:]], axis=0)[..., [0, 2]], axis=-1).min(1)
        moved.append(step[stands[1:, side] & stands[:-1, side]])
    return float(np.concatenate(moved).mean())


def none(joints: np.ndarray) -> np.ndarray:
    return np.zeros(len(joints), bool)


def test_a_walk_stands_on_one_foot_after_the_other() -> None:
    stands = standing(walk(4.0))
    assert stands.shape == (80, 2)
    assert stands.any(1).mean() > 0.9
    assert stands.all(1).mean() < 0.5
    assert 0.3 < stands[:, 0].mean() < 0.8
    assert 0.3 < stands[:, 1].mean() < 0.8


def test_who_stands_still_stands_on_both_feet_and_is_left_alone() -> None:
    joints = stand(1.0).astype(np.float64)
    stands = standing(joints)
    assert stands.all()
    assert np.array_equal(pin(joints, stands, none(joints)), joints)


def test_nothing_stands_in_the_air() -> None:
    joints = jump(2.0)
    stands = standing(joints)
    lowest = joints[..., 1].min(1)
    assert not stands[lowest > 0.15].any()
    assert stands[lowest < 0.01].mean() > 0.8
    pinned = pin(joints, stands, none(joints))
    air = np.flatnonzero(lowest > 0.3)
    assert np.abs(pinned[air] - joints[air]).max() < 1e-3


def test_what_flies_past_the_floor_is_not_pinned() -> None:
    joints = stand(1.0).astype(np.float64)
    joints[..., 2] += 0.2 * np.arange(len(joints))[:, None]  # 4 m/s, nothing moves but the place
    assert not standing(joints).any()


def test_a_sliding_foot_stands_and_bones_keep_their_lengths() -> None:
    joints = drifting(0.01)
    stands = standing(joints)
    pinned = pin(joints, stands, none(joints))
    assert slide(joints, stands) > 0.008
    assert slide(pinned, stands) < 0.1 * slide(joints, stands)
    assert np.abs(bone_lengths(pinned) - bone_lengths(joints)).max() < 1e-6
    assert np.array_equal(pinned[:, OTHERS], joints[:, OTHERS])
    assert np.abs(pinned[..., 1] - joints[..., 1])[:, [7, 8]].max() < 0.005  # pinned over the floor, not through it


def test_frames_that_must_stay_do_and_a_foot_stands_where_it_is_in_them() -> None:
    joints = drifting(0.01)
    stands = standing(joints)
    fixed = none(joints)
    fixed[[0, 13, 39]] = True
    pinned = pin(joints, stands, fixed)
    assert np.abs(pinned[fixed] - joints[fixed]).max() < 1e-9
    side = int(stands[13].argmax())
    assert stands[13, side]
    ankle = LEGS[side][2]
    first = 13 - int(stands[:14, side][::-1].argmin()) + 1
    assert np.abs(pinned[first:13, ankle] - joints[13, ankle])[:, [0, 2]].max() < 0.02
    everything = np.ones(len(joints), bool)
    assert np.array_equal(pin(joints, stands, everything), joints)


def test_a_swinging_foot_stays_as_it_was() -> None:
    joints = drifting(0.01)
    stands = standing(joints)
    pinned = pin(joints, stands, none(joints))
    for side, leg in ((0, LEFT), (1, RIGHT)):
        near = np.convolve(stands[:, side].astype(float), np.ones(7), "same") > 0  # three frames around a stance
        assert (~near).any()
        assert np.abs(pinned[~near][:, leg] - joints[~near][:, leg]).max() < 1e-9


def test_pinning_does_not_jerk() -> None:
    joints = drifting(0.01)
    pinned = pin(joints, standing(joints), none(joints))
    change = [np.linalg.norm(np.diff(j[:, LEFT + RIGHT], 2, axis=0), axis=-1).max() for j in (joints, pinned)]
    assert change[1] < change[0] + 0.05


@pytest.mark.parametrize("joint", LIMBS)
def test_a_limb_reaches_and_out_of_reach_it_points(joint: int) -> None:
    pose = stand()[0].astype(np.float64)
    top, middle, end, carried = LIMBS[joint]
    near = pose[top] + 0.7 * (pose[end] - pose[top]) + np.array([0.03, 0.02, 0.12])
    made = reach(pose, joint, near)
    assert np.abs(made[end] - near).max() < 1e-9
    assert np.abs(bone_lengths(made) - bone_lengths(pose)).max() < 1e-9
    same = [j for j in range(22) if j not in (middle, end, *carried)]
    assert np.array_equal(made[same], pose[same])
    far = pose[top] + 5.0 * (pose[end] - pose[top])
    made = reach(pose, joint, far)
    assert np.abs(bone_lengths(made) - bone_lengths(pose)).max() < 1e-9
    along = (made[end] - pose[top]) / np.linalg.norm(made[end] - pose[top])
    assert along @ (far - pose[top]) / np.linalg.norm(far - pose[top]) > 0.99999


def test_a_limb_bends_on_as_it_was_bent() -> None:
    hip, knee, ankle = np.array([[0.0, 1.0, 0.0]]), np.array([[0.0, 0.55, 0.1]]), np.array([[0.0, 0.1, 0.0]])
    for target in ([[0.0, 0.3, 0.0]], [[0.2, 0.2, 0.1]], [[0.0, 0.1, 0.0]]):
        middle, end = two_bones(hip, knee, ankle, np.array(target))
        assert np.abs(end - target).max() < 1e-9
        assert middle[0, 2] > 0.05  # the knee stays in front
    straight, end = two_bones(
        hip, np.array([[0.0, 0.5, 0.0]]), np.array([[0.0, 0.0, 0.0]]), np.array([[0.0, 0.4, 0.0]])
    )
    assert np.abs(end - [0.0, 0.4, 0.0]).max() < 1e-9
    assert np.linalg.norm(straight - hip) == pytest.approx(0.5)
    at_hip, end = two_bones(hip, knee, ankle, hip)
    assert np.isfinite(at_hip).all()
    assert np.linalg.norm(end - at_hip) == pytest.approx(np.linalg.norm(ankle - knee))
