"""Holding a motion to keys: through all of them, with the context's velocity, and without tearing."""

from __future__ import annotations

import numpy as np
import pytest
from motions import rotation, stand, walk, wave

from core.tasks import poses
from core.tasks.joining import REACH, flow, hold, mix


def spun(degrees: np.ndarray) -> np.ndarray:
    """A body standing, turned about the vertical by degrees (T,): (T, 22, 3)."""
    still = stand()[0].astype(np.float64)
    return np.einsum("tij,nj->tni", rotation("y", degrees), still - still[0]) + still[0]


def test_a_course_passes_through_its_values_and_is_still_there() -> None:
    at, values = np.array([0, 10, 24, 60]), np.array([[0.0, 2.0], [1.0, -1.0], [1.0, 0.0], [-3.0, 0.5]])
    made = flow(at, values, np.zeros(2), np.zeros(2), 61)
    assert made.shape == (61, 2)
    assert np.abs(made[at] - values).max() < 1e-12
    assert np.all((made >= values.min(0) - 1e-12) & (made <= values.max(0) + 1e-12))  # no overshoot
    steps = np.abs(np.diff(made, axis=0))
    assert steps[[0, 9, 10, 59]].max() < 0.3 * steps.max()


def test_slopes_at_the_ends_count_there_and_nowhere_far() -> None:
    at, zero = np.array([0, 60]), np.zeros((2, 1))
    made = flow(at, zero, np.array([1.0]), np.array([0.5]), 61)[:, 0]
    assert made[0] == made[60] == 0.0
    assert made[1] == pytest.approx((1 - 1 / REACH) ** 2)  # slope 1 at the key, falling at once
    assert made[59] == pytest.approx(-0.5 * (1 - 1 / REACH) ** 2)
    assert np.abs(made[REACH : 61 - REACH]).max() == 0.0


def test_a_slope_never_reaches_past_the_next_value() -> None:
    made = flow(np.array([0, 4, 40]), np.zeros((3, 1)), np.array([1.0]), np.array([0.0]), 41)[:, 0]
    assert np.abs(made[4:]).max() == 0.0
    assert np.abs(flow(np.array([0, 1]), np.zeros((2, 1)), np.ones(1), np.ones(1), 2)).max() == 0.0


@pytest.mark.parametrize("context", [False, True])
def test_a_motion_is_held_to_every_key(context: bool) -> None:
    motion, wanted = poses.from_joints(walk()), poses.from_joints(wave())
    inner, at = slice(5, 56), np.array([0, 17, 18, 50])
    beside = [(wanted[k : k + 1], motion[k : k + 1]) if context else None for k in (4, 56)]
    held = poses.to_joints(hold(motion[inner], at, wanted[inner][at], *beside))
    assert np.abs(held[at] - wave()[inner][at]).max() < 1e-9
    assert np.linalg.norm(np.diff(held, axis=0), axis=-1).max() < 0.6  # nothing tears in between


def test_what_is_right_already_stays() -> None:
    motion = poses.from_joints(walk())
    at = np.array([0, 30, 59])
    assert np.abs(poses.to_joints(hold(motion, at, motion[at], None, None)) - walk()).max() < 1e-7


def test_velocity_at_the_keys_meets_the_context() -> None:
    """A motion that stands still, held to keys between which somebody walks in and walks out."""
    whole = walk(4.0).astype(np.float64)
    given, first, last = poses.from_joints(whole), 15, 65
    still = poses.from_joints(np.repeat(whole[first : first + 1], 51, 0))
    at, keys, one = np.array([0, 50]), given[np.array([first, last])], np.array([0])
    before, after = given[np.array([first - 1])], given[np.array([last + 1])]
    free = poses.to_joints(hold(still, at, keys, None, None))
    held = poses.to_joints(hold(still, at, keys, (before, still[one]), (after, still[one])))

    def jump(joints: np.ndarray) -> float:
        full = np.concatenate([whole[:first], joints, whole[last + 1 :]])
        change = np.linalg.norm(np.diff(full, 2, axis=0), axis=-1).mean(1)
        return float(max(change[first - 1], change[last - 1]))

    assert jump(held) < 0.4 * jump(free)
    assert np.abs(held[0] - whole[first]).max() < 1e-9
    assert np.abs(held[-1] - whole[last]).max() < 1e-9


def test_mixing_takes_the_first_the_second_or_between() -> None:
    first = poses.from_joints(spun(np.linspace(0.0, 60.0, 21)))
    bump = 40.0 * np.sin(np.linspace(0.0, np.pi, 21))
    second = poses.from_joints(spun(np.linspace(0.0, 60.0, 21) + bump) + bump[:, None, None] / 100)
    for share, made in ((0.0, first), (1.0, second)):
        out = mix(first, second, np.full(23, share))
        assert np.abs(poses.to_joints(out) - poses.to_joints(made)).max() < 1e-9
    half = poses.to_joints(mix(first, second, np.full(23, 0.5)))
    wanted = spun(np.linspace(0.0, 60.0, 21) + 0.5 * bump) + 0.5 * bump[:, None, None] / 100
    assert np.abs(half - wanted).max() < 1e-9


def test_root_and_joints_are_mixed_apart() -> None:
    first, second = (poses.from_joints(m[:30]) for m in (walk(), wave()))
    share = np.zeros(23)
    share[0] = 1.0
    made = mix(first, second, share)
    assert np.abs(made.root - second.root).max() < 1e-9
    assert np.abs(made.local - first.local).max() < 1e-9


def test_opposite_ways_round_are_not_mixed() -> None:
    """One turns 180 degrees to the left, the other to the right: half of each would stand still and flip at the end."""
    left, right = (poses.from_joints(spun(s * np.linspace(0.0, 180.0, 31))) for s in (1.0, -1.0))
    made = poses.to_joints(mix(left, right, np.full(23, 0.5)))
    assert np.abs(made[0] - spun(np.zeros(1))[0]).max() < 1e-9
    assert np.abs(made[-1] - spun(np.array([180.0]))[0]).max() < 1e-9
    assert np.abs(made - poses.to_joints(right)).max() < 1e-9
    assert np.linalg.norm(np.diff(made, axis=0), axis=-1).max() < 0.15


def test_a_motion_that_snaps_is_not_mixed_in() -> None:
    even, snapping = spun(np.linspace(0.0, 170.0, 31)), spun(np.where(np.arange(31) < 15, 0.0, 170.0))
    made = mix(poses.from_joints(even), poses.from_joints(snapping), np.full(23, 0.6))
    assert np.abs(poses.to_joints(made) - even).max() < 1e-9
