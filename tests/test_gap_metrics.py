"""Figures of in-betweening on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from motions import rotation, stand, walk

from core.evaluate import gap_metrics as metrics


def turning(degrees: np.ndarray) -> np.ndarray:
    """A body standing, turned about the vertical: (T, 22, 3)."""
    pose = stand()[0].astype(np.float64)
    return np.einsum("tij,nj->tni", rotation("y", degrees), pose - pose[0]) + pose[0]


def test_l2p_is_the_distance_of_standardised_positions() -> None:
    real, made = np.zeros((2, 22, 3)), np.zeros((2, 22, 3))
    made[0, 5, 0], made[0, 7, 2] = 3.0, 2.0  # stds 1 and 0.5: 3 and 4 away, so 5
    std = np.ones((22, 3))
    std[7, 2] = 0.5
    assert metrics.l2p(made, real, np.zeros((22, 3)), std) == pytest.approx(2.5)  # the second frame is 0 away
    assert metrics.l2p(made, real, np.full((22, 3), 8.0), std) == pytest.approx(2.5)  # the mean falls out
    assert metrics.l2p(real, real, np.zeros((22, 3)), std) == 0.0


def test_l2q_is_the_distance_of_the_nearer_of_q_and_minus_q() -> None:
    real = np.tile([0.0, 0.0, 0.0, 1.0], (2, 22, 1))
    made = real.copy()
    made[0, 3] = [1.0, 0.0, 0.0, 0.0]  # half a turn: the square root of 2 away
    assert metrics.l2q(made, real) == pytest.approx(np.sqrt(2) / 2)
    made[1] *= -1  # the same turn
    assert metrics.l2q(made, real) == pytest.approx(np.sqrt(2) / 2)
    assert metrics.l2q(-real, real) == 0.0


def test_npss_moves_power_from_one_frequency_to_another() -> None:
    """One of 88 series moves once in 8 frames, the made one twice; all others have no power at all."""
    t = np.arange(8)
    real, made = np.zeros((1, 8, 22, 4)), np.zeros((1, 8, 22, 4))
    real[0, :, 4, 1] = np.cos(2 * np.pi * t / 8)
    made[0, :, 4, 1] = np.cos(2 * np.pi * 2 * t / 8)
    # Half of the power lies at frequencies 1 and 7 of the real series, at 2 and 6 of the made one: cumulated they
    # differ by 1/2 at 1 and at 6.
    assert metrics.npss(made, real) == pytest.approx(1.0)
    assert metrics.npss(real, real) == 0.0
    assert metrics.npss(3.0 * real, real) == pytest.approx(0.0, abs=1e-12)  # spectra are normalised
    real[0, :, 9, 0] = np.sqrt(3.0) * np.cos(2 * np.pi * t / 8)
    made[0, :, 9, 0] = real[0, :, 9, 0]
    assert metrics.npss(made, real) == pytest.approx(0.25)  # the series that is right has three times the power


def test_quaternions_are_unit_and_do_not_flip() -> None:
    q = metrics.quaternions(turning(np.arange(0.0, 720.0, 10.0)))
    assert q.shape == (72, 22, 4)
    assert np.linalg.norm(q, axis=-1) == pytest.approx(1.0)
    assert (q[0, :, 3] >= 0).all()
    assert ((q[1:] * q[:-1]).sum(-1) > 0.99).all()
    turn = metrics.quaternions(turning(np.array([0.0, 60.0])))
    angle = 2 * np.degrees(np.arccos((turn[0] * turn[1]).sum(-1)))
    assert angle == pytest.approx(60.0)  # world rotations: every joint turns with the body


def test_a_turned_body_is_as_far_as_its_turn_says() -> None:
    real, made = (metrics.quaternions(turning(np.full(3, d))) for d in (0.0, 60.0))
    assert metrics.l2q(made, real) == pytest.approx(np.sqrt(22) * 2 * np.sin(np.radians(15)))


def test_jumps_at_the_keys() -> None:
    joints = np.zeros((10, 22, 3))
    joints[4:, :, 2] = 0.05 * np.arange(1, 7)[:, None]  # from frame 3 on 1 m/s
    assert metrics.key_jumps(joints, 3, 8) == pytest.approx(1.0)
    assert metrics.key_jumps(joints, 5, 8) == pytest.approx(0.0)
    assert metrics.key_jumps(joints, 0, 9) == 0.0  # nothing is known on their other sides
    assert metrics.velocity_changes(joints) == pytest.approx(np.eye(8)[2])


def test_only_feet_near_the_floor_slide() -> None:
    still = np.repeat(stand()[:1].astype(np.float64), 6, 0)
    sliding = still.copy()
    sliding[..., 2] += 0.01 * np.arange(6)[:, None]
    assert metrics.contact_slide(still) == 0.0
    assert metrics.contact_slide(sliding) == pytest.approx(10.0)
    one = sliding.copy()
    one[:, [8, 11]] = still[:, [8, 11]]  # the right foot stands
    assert metrics.contact_slide(one) == 0.0
    assert np.isnan(metrics.contact_slide(sliding + np.array([0.0, 0.5, 0.0])))


def test_real_motion_is_no_distance_from_itself() -> None:
    joints = walk(2.0)
    q = metrics.quaternions(joints)
    std = joints.std(0) + 1e-3
    assert metrics.l2p(joints, joints, joints.mean(0), std) == 0.0
    assert metrics.l2q(q, q) == 0.0
    assert metrics.npss(q[None], q[None]) == 0.0
