"""Motion along a path: where it goes, how fast, and what is left when it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from motions import MOTIONS, run, stand, walk

from core.errors import CoreError
from core.features import facing
from core.skeleton import bone_lengths
from core.tasks.path import follow, travel


def line(*points: tuple[float, float], height: float = 0.0) -> np.ndarray:
    """A path over the floor: (x, z) -> (N, 3)."""
    return np.array([(x, height, z) for x, z in points], float)


def ring(radius: float, turns: float = 1.0, count: int = 90) -> np.ndarray:
    angle = np.linspace(0.0, 2 * np.pi * turns, count)
    return np.stack([radius * np.cos(angle), 0 * angle, radius * np.sin(angle)], -1)


def change(joints: np.ndarray) -> float:
    """The largest change of a joint's speed from frame to frame, m/s."""
    return float(np.linalg.norm(np.diff(joints.astype(float), 2, axis=0), axis=-1).max() * 20)


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.0])
def test_a_walk_round_a_circle_stays_on_it(radius: float) -> None:
    motion = walk(8.0)
    made = follow(motion, ring(radius))
    assert made.closed
    assert made.error_mm < 20.0
    assert made.length == pytest.approx(2 * np.pi * radius, rel=0.01)
    assert made.joints.dtype == np.float32
    assert np.abs(np.linalg.norm(made.joints[:, 0][:, [0, 2]], axis=-1) - radius).max() < 0.06
    assert np.allclose(bone_lengths(made.joints), bone_lengths(motion), atol=1e-5)
    assert np.allclose(made.joints[..., 1], motion[..., 1], atol=1e-6)
    assert change(made.joints) < 1.1 * change(motion)  # no pop of its own
    ways = facing(made.joints)
    at = made.joints[:, 0] * [1.0, 0.0, 1.0]
    tangent = np.stack([-at[:, 2], 0 * at[:, 0], at[:, 0]], -1) / radius
    assert (ways * tangent).sum(-1).min() > 0.8  # it faces the way it goes


def test_the_motion_keeps_its_speed() -> None:
    motion = walk(6.0)
    made = follow(motion, line((2, 0), (2, 30)))
    step, own = (np.linalg.norm(np.diff(travel(j), axis=0), axis=-1) for j in (made.joints, motion))
    assert np.allclose(step, own, atol=1e-3)
    assert made.travelled == pytest.approx(np.ptp(travel(motion)[:, 1]), rel=0.02)
    assert made.length == pytest.approx(30.0)
    assert made.speed == 1.0
    assert np.allclose(made.joints[0, 0, [0, 2]], [2, 0], atol=0.05)


def test_a_path_that_ends_is_gone_on_straight() -> None:
    made = follow(walk(6.0), line((0, 0), (0, 3)))
    assert made.travelled > made.length == pytest.approx(3.0)
    assert made.error_mm < 20.0
    assert np.abs(made.joints[:, 0, 0]).max() < 0.1


def test_going_round_more_than_once() -> None:
    made = follow(walk(20.0), ring(1.0))
    at = made.joints[:, 0]
    angle = np.unwrap(np.arctan2(at[:, 2], at[:, 0]))
    assert angle[-1] - angle[0] == pytest.approx(made.travelled, rel=0.03)
    assert angle[-1] - angle[0] > 3 * np.pi


def test_corners_are_rounded_and_said() -> None:
    made = follow(walk(6.0), line((0, 0), (4, 0), (4, 4)))
    assert 5.0 < made.error_mm < 60.0
    assert change(made.joints) < 1.5 * change(walk(6.0))


def test_timed_is_where_the_points_are() -> None:
    motion = walk(6.0)
    points = np.array([(0, 0, 4 * t) for t in np.linspace(0, 1, 40) ** 2])  # slow first, then fast
    made = follow(motion, points, timed=True)
    wanted = np.interp(np.linspace(0, 1, len(motion)), np.linspace(0, 1, 40), points[:, 2])
    assert np.abs(travel(made.joints)[:, 1] - wanted).max() < 0.12
    assert made.error_mm < 60.0
    assert made.speed == pytest.approx(4.0 / np.ptp(travel(motion)[:, 1]), rel=0.03)


def test_walking_backwards_and_sideways_stays_so() -> None:
    backwards = walk(5.0)[::-1].copy()  # played backwards it walks backwards
    backwards -= backwards[0, 0] * [1, 0, 1]
    made = follow(backwards, line((0, 0), (20, 0)))
    assert made.joints[-1, 0, 0] > 4.0
    assert facing(made.joints)[:, 0].max() < -0.8
    side = walk(5.0).astype(float)
    side = side + np.linspace(0, 1, len(side))[:, None, None] * [6.0, 0, 0] - side[:, :1] * [1.0, 0, 1.0]
    made = follow(side, line((0, 0), (0, 20)))
    assert made.joints[-1, 0, 2] > 5.0
    assert np.abs(facing(made.joints)[:, 0]).min() > 0.8


def test_who_stands_stays_standing_and_looks_along_the_path() -> None:
    made = follow(stand(3.0), line((3, 1), (8, 1)))
    assert made.travelled == 0.0
    assert np.allclose(made.joints[:, 0, [0, 2]], [3, 1], atol=0.02)
    assert facing(made.joints)[:, 0].min() > 0.99


def test_standing_in_the_middle_neither_drifts_nor_turns() -> None:
    """Sway of someone who waits is no travel: it would carry the feet along the path."""
    go = walk(3.0).astype(float)
    sway = 0.02 * np.sin(np.arange(100) / 5)[:, None, None] * np.array([1.0, 0, 0.5])
    joints = np.concatenate([go, go[-1:] + sway, go[1:] + (go[-1, 0] - go[0, 0]) * [1, 0, 1]])
    made = follow(joints, ring(2.0))
    waiting = made.joints[len(go) + 10 : len(go) + 90, 0]
    assert np.ptp(waiting, axis=0).max() < 0.08
    assert made.error_mm < 40.0


def test_a_given_heading_is_left_for_the_paths_own() -> None:
    made = follow(walk(5.0), line((0, 0), (20, 0)), entering=0.0)
    ways = facing(made.joints)
    assert ways[0, 2] > 0.95  # as it was
    assert ways[30:, 0].min() > 0.8


@pytest.mark.parametrize("name", sorted(MOTIONS))
def test_every_motion_survives(name: str) -> None:
    motion = MOTIONS[name]()
    for points in (ring(1.5), line((0, 0), (2, 0), (2, 2))):
        made = follow(motion, points)
        assert np.isfinite(made.joints).all()
        assert made.joints.shape == motion.shape
        assert change(made.joints) < 1.5 * change(motion) + 0.5


def test_long_motions_take_no_more_than_moments() -> None:
    motion = np.concatenate([run(9.0)[:-1] + np.float32([0, 0, k * 20]) for k in range(20)])
    assert follow(motion, ring(10.0)).joints.shape == motion.shape


@pytest.mark.parametrize(
    "points",
    [np.zeros((5, 3)), line((0, 0)), np.zeros((4, 2)), line((0, 0), (0, 0.1)), line((0, 0), (np.nan, 1)),
     line((0, 0), (0, 1e6))],
)  # fmt: skip
def test_paths_that_are_none_are_refused(points: np.ndarray) -> None:
    with pytest.raises(CoreError) as caught:
        follow(walk(2.0), points)
    assert caught.value.code == "path_invalid"
    assert caught.value.remedy
