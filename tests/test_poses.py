"""Poses as turns: positions to turns and back, interpolation, and the difference of two motions."""

from __future__ import annotations

import numpy as np
import pytest
from motions import MOTIONS, lie_down, rotation, run, stand, walk, wave

from core.skeleton import bone_lengths
from core.tasks import poses


def turned(pose: np.ndarray, degrees: float) -> np.ndarray:
    """A pose (22, 3), turned about the vertical through its root."""
    return (pose - pose[0]) @ rotation("y", degrees)[0].T + pose[0]


@pytest.mark.parametrize("name", MOTIONS)
def test_positions_come_back_exactly(name: str) -> None:
    joints = MOTIONS[name]()
    found = poses.from_joints(joints)
    assert np.abs(poses.to_joints(found) - joints).max() < 1e-9
    turns = found.local
    assert np.abs(turns @ np.swapaxes(turns, -1, -2) - np.eye(3)).max() < 1e-9
    assert np.linalg.det(turns) == pytest.approx(1.0)


def test_any_joints_come_back_whatever_the_body() -> None:
    rng = np.random.default_rng(0)
    joints = walk(1.0) + rng.normal(0, 0.1, (20, 22, 3))  # bones of no constant length
    assert np.abs(poses.to_joints(poses.from_joints(joints)) - joints).max() < 1e-9
    lying = 30 * lie_down(1.0)[::-1] + np.array([100.0, -3.0, 5.0])
    assert np.abs(poses.to_joints(poses.from_joints(lying)) - lying).max() < 1e-9


def test_a_pose_without_size_is_finite() -> None:
    found = poses.from_joints(np.zeros((2, 22, 3)))
    assert np.isfinite(found.local).all()
    assert np.array_equal(poses.to_joints(found), np.zeros((2, 22, 3)))


def test_a_whole_turn_of_the_body_is_one_of_the_pelvis_alone() -> None:
    pose = stand()[0].astype(np.float64)
    found = poses.from_joints(np.stack([pose, turned(pose, 70.0)]))
    assert np.abs(found.local[1, 0] @ found.local[0, 0].T - rotation("y", 70.0)[0]).max() < 1e-9
    assert np.abs(found.local[1, 1:] - found.local[0, 1:]).max() < 1e-9
    assert np.abs(found.offsets[1] - found.offsets[0]).max() < 1e-9


@pytest.mark.parametrize("ease", [False, True])
@pytest.mark.parametrize("frames", [1, 20])
def test_interpolation_meets_both_ends_and_keeps_bones(ease: bool, frames: int) -> None:
    start, end = walk()[5], turned(run()[11], 120.0) + np.array([1.0, 0.2, 2.0])
    made = poses.interpolate(start, end, frames, ease)
    assert made.shape == (frames + 2, 22, 3)
    assert np.array_equal(made[0], start)
    assert np.array_equal(made[-1], end)
    assert np.abs(bone_lengths(made) - bone_lengths(start)).max() < 1e-5
    middle = 0.5 * (start[0] + end[0])
    assert frames % 2 == 0 or np.allclose(made[(frames + 1) // 2, 0], middle, atol=1e-6)


def test_interpolation_is_even_and_eased_interpolation_is_slow_at_both_ends() -> None:
    start = stand()[0].astype(np.float64)
    end = turned(start, 90.0) + np.array([0.0, 0.0, 1.0])
    even, eased = (poses.interpolate(start, end, 19, ease) for ease in (False, True))
    assert np.ptp(np.diff(even[:, 0, 2])) < 1e-9
    across = even[:, 1] - even[:, 2]
    assert np.ptp(np.diff(np.unwrap(np.arctan2(across[:, 2], across[:, 0])))) < 1e-9
    steps = np.linalg.norm(np.diff(eased, axis=0), axis=-1).mean(1)
    assert steps[0] < 0.3 * steps[9]
    assert steps[-1] < 0.3 * steps[9]
    assert np.allclose(eased[10], even[10], atol=1e-9)


def test_interpolation_goes_the_shorter_way_round() -> None:
    start = stand()[0].astype(np.float64)
    made = poses.interpolate(turned(start, 170.0), turned(start, -170.0), 9)
    assert np.abs(made[5] - turned(start, 180.0)).max() < 1e-6


def test_a_difference_put_on_gives_what_was_wanted() -> None:
    motion, wanted = (poses.from_joints(m[:40]) for m in (walk(), wave()))
    change = poses.difference(motion, wanted)
    assert np.abs(poses.to_joints(poses.add(motion, change)) - wave()[:40]).max() < 1e-9
    nothing = poses.difference(motion, motion)
    assert max(np.abs(v).max() for v in (nothing.root, nothing.turns, nothing.offsets)) < 1e-7


def test_a_difference_does_not_jump_where_a_turn_grows_past_half() -> None:
    still = stand(2.0).astype(np.float64)
    spinning = np.stack([turned(pose, 9.0 * t) for t, pose in enumerate(still)])  # up to 351 degrees
    change = poses.difference(poses.from_joints(still), poses.from_joints(spinning))
    assert np.degrees(np.linalg.norm(change.turns[:, 0], axis=-1)) == pytest.approx(9.0 * np.arange(40), abs=1e-5)
    assert np.abs(np.diff(change.turns, axis=0)).max() < 0.2


def test_frames_are_chosen_like_those_of_an_array() -> None:
    motion = poses.from_joints(walk(1.0))
    some = motion[np.array([3, 0])]
    assert len(motion[2:6]) == 4
    assert np.array_equal(some.root, motion.root[[3, 0]])
    assert np.array_equal(some.local, motion.local[[3, 0]])
    assert np.array_equal(some.offsets, motion.offsets[[3, 0]])
