"""Constraints of a gap: what is known, what is met after the fit, what is left, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from motions import stand, walk, wave

from core.errors import CoreError
from core.skeleton import JOINTS, bone_lengths
from core.tasks.constraints import Demands, Path, Point, Pose

FRAMES = 30
PELVIS, WRIST, ANKLE, HEAD = (JOINTS.index(n) for n in ("pelvis", "r_wrist", "l_ankle", "head"))


@pytest.fixture
def motion() -> np.ndarray:
    """What fills the gap before constraints: 2 m straight ahead."""
    return walk(FRAMES / 20 + 0.1).astype(np.float64)


def kept(made: np.ndarray, motion: np.ndarray) -> None:
    """Both keys are as they were, and bones keep their lengths."""
    assert np.abs(made[[0, -1]] - motion[[0, -1]]).max() < 1e-9
    assert np.abs(bone_lengths(made) - bone_lengths(motion)).max() < 1e-6
    assert np.linalg.norm(np.diff(made, 2, axis=0), axis=-1).max() < 0.35  # and nothing tears


def bow(motion: np.ndarray, sideways: float, count: int = 40) -> np.ndarray:
    """A path from the first root to the last, bowed sideways: (count, 3)."""
    part = np.linspace(0.0, 1.0, count)
    way = motion[0, 0] + part[:, None] * (motion[-1, 0] - motion[0, 0])
    way[:, 0] += sideways * np.sin(np.pi * part)
    return way


def test_nothing_asked_changes_nothing(motion: np.ndarray) -> None:
    demands = Demands([], FRAMES)
    assert np.array_equal(demands.meet(motion), motion)
    assert demands.errors(motion) == []
    assert demands.keyed().tolist() == [0, FRAMES + 1]
    assert len(demands.known(lambda joints: joints, 10, 0.03).frames) == 0


def test_poses_are_keys_like_the_others(motion: np.ndarray) -> None:
    one, two = wave()[20], stand()[0]
    demands = Demands([Pose(20, two), Pose(8, one)], FRAMES)
    assert demands.keyed().tolist() == [0, 8, 20, FRAMES + 1]
    plain = demands.interpolate(motion[0], motion[-1])
    assert len(plain) == FRAMES + 2
    assert np.abs(plain[[0, 8, 20, -1]] - np.stack([motion[0], one, two, motion[-1]])).max() < 1e-9
    known = demands.known(lambda joints: joints + 1.0, 5, 0.03)
    assert np.array_equal(known.frames, np.repeat([13, 25], 22))
    assert np.array_equal(known.positions[:22], one.astype(np.float64) + 1.0)
    found = demands.errors(plain)
    assert [(e["kind"], e["frame"], e["error_mm"]) for e in found] == [("pose", 8, 0.0), ("pose", 20, 0.0)]
    assert demands.errors(motion)[0]["error_mm"] > 100


def test_of_two_poses_at_one_frame_the_last_counts(motion: np.ndarray) -> None:
    demands = Demands([Pose(8, wave()[20]), Pose(8, motion[8])], FRAMES)
    assert demands.keyed().tolist() == [0, 8, FRAMES + 1]
    assert demands.errors(motion)[0]["error_mm"] == 0.0


@pytest.mark.parametrize("joint", [WRIST, ANKLE, HEAD, PELVIS])
def test_a_point_within_reach_is_met(motion: np.ndarray, joint: int) -> None:
    target = motion[15, joint] + np.array([0.04, 0.05, 0.03])
    demands = Demands([Point(15, joint, target)], FRAMES)
    made = demands.meet(motion)
    assert np.abs(made[15, joint] - target).max() < 1e-6
    (error,) = demands.errors(made)
    assert error == {"kind": "point", "frame": 15, "joint": JOINTS[joint], "error_mm": 0.0}
    kept(made, motion)
    assert np.abs(made[:9] - motion[:9]).max() < 1e-9  # far from it nothing changes
    assert np.abs(made[22:] - motion[22:]).max() < 1e-9


def test_a_hand_out_of_reach_reports_what_is_left(motion: np.ndarray) -> None:
    shoulder = motion[15, JOINTS.index("r_shoulder")]
    arm = bone_lengths(motion[0])[[19, 21]].sum()
    away = np.array([-0.6, 0.0, 0.8])
    demands = Demands([Point(15, WRIST, shoulder + 2.0 * away)], FRAMES)
    made = demands.meet(motion)
    (error,) = demands.errors(made)
    assert error["error_mm"] == pytest.approx(1000 * (2.0 - arm), abs=5.0)
    kept(made, motion)


def test_points_beside_the_keys_and_several_of_them_are_met(motion: np.ndarray) -> None:
    near = np.array([0.02, 0.03, 0.02])
    asked = [Point(1, WRIST, motion[1, WRIST] + near), Point(FRAMES, ANKLE, motion[FRAMES, ANKLE] + near)]
    demands = Demands([asked[1], asked[0], Pose(14, motion[14])], FRAMES)
    made = demands.meet(motion)
    found = {e["kind"] + str(e["frame"]): e["error_mm"] for e in demands.errors(made)}
    assert found == {"pose14": 0.0, "point1": 0.0, f"point{FRAMES}": 0.0}
    assert np.abs(made[[0, 14, -1]] - motion[[0, 14, -1]]).max() < 1e-9


@pytest.mark.parametrize("timed", [False, True])
def test_a_path_is_followed(motion: np.ndarray, timed: bool) -> None:
    demands = Demands([Path(bow(motion, 0.5), timed)], FRAMES)
    made = demands.meet(motion)
    (before,), (after,) = demands.errors(motion), demands.errors(made)
    assert before["error_mm"] > 450
    assert after["kind"] == "path"
    assert after["error_mm"] < 100  # near the keys, where the body comes onto the path softly
    sideways = bow(motion, 0.5, FRAMES + 2)[:, 0] - motion[0, 0, 0]
    assert not timed or np.abs(made[6:-6, 0, 0] - sideways[6:-6]).max() < 1e-3
    assert np.array_equal(made[[0, -1]], motion[[0, -1]])
    assert np.abs(bone_lengths(made) - bone_lengths(motion)).max() < 1e-6
    assert np.array_equal(made[:, 0, 1], motion[:, 0, 1])  # the height of a path does not count


def test_timed_means_when_and_free_means_where(motion: np.ndarray) -> None:
    """The same way, of which the first half takes nine tenths of the time."""
    part = np.concatenate([np.linspace(0.0, 0.5, 90), np.linspace(0.5, 1.0, 11)[1:]])
    way = motion[0, 0] + part[:, None] * (motion[-1, 0] - motion[0, 0])
    timed, free = (Demands([Path(way, t)], FRAMES).meet(motion) for t in (True, False))
    length = np.linalg.norm(motion[-1, 0] - motion[0, 0])
    assert (timed[22, 0, 2] - motion[0, 0, 2]) / length == pytest.approx(0.41, abs=0.05)
    assert np.linalg.norm((free - motion)[:, 0], axis=-1).max() < 0.05


def test_a_path_whose_ends_are_elsewhere_says_how_far(motion: np.ndarray) -> None:
    demands = Demands([Path(bow(motion, 0.0) + np.array([1.0, 0.0, 0.0]))], FRAMES)
    made = demands.meet(motion)
    (error,) = demands.errors(made)
    assert error["error_mm"] == pytest.approx(1000, abs=1)
    assert error["frame"] in (0, FRAMES + 1)
    assert np.abs(made[15, 0, 0] - motion[15, 0, 0] - 1.0) < 0.05


def test_a_path_for_somebody_who_stands(motion: np.ndarray) -> None:
    still = np.repeat(stand()[:1].astype(np.float64), FRAMES + 2, 0)
    point = np.repeat(still[0, :1], 3, 0)  # a path of no length
    made = Demands([Path(point)], FRAMES).meet(still)
    assert np.abs(made - still).max() < 1e-9
    made = Demands([Path(bow(still, 0.4))], FRAMES).meet(still)
    assert np.isfinite(made).all()
    assert np.abs(made[:, 0, 0]).max() > 0.3


def test_what_the_fit_is_told_of_points_and_timed_paths(motion: np.ndarray) -> None:
    target = np.array([0.1, 1.0, 2.0])
    demands = Demands([Point(4, WRIST, target), Path(bow(motion, 0.2), True)], FRAMES)
    known = demands.known(lambda joints: joints + np.array([0.0, 0.0, 7.0]), 10, 0.03)
    assert (known.frames[0], known.joints[0]) == (14, WRIST)
    assert np.allclose(known.positions[0], target + np.array([0.0, 0.0, 7.0]))
    assert known.axes[0].all()
    assert np.array_equal(known.frames[1:], 10 + np.arange(FRAMES + 2))
    assert (known.axes[1:] == [True, False, True]).all()
    free = Demands([Path(bow(motion, 0.2), False)], FRAMES).known(lambda joints: joints, 10, 0.03)
    assert len(free.frames) == 0  # only its shape counts


@pytest.mark.parametrize(
    "wrong",
    [
        Pose(0, stand()[0]), Pose(FRAMES + 1, stand()[0]), Pose(-3, stand()[0]), Point(0, WRIST, np.zeros(3)),
        Point(FRAMES + 1, WRIST, np.zeros(3)), Point(5, WRIST, np.array([0.0, np.nan, 0.0])),
        Pose(5, np.full((22, 3), np.inf)), Path(np.array([[0, np.nan, 0], [0, 0, 1.0]])), Path(np.zeros((1, 3))),
        Path(np.zeros((0, 3)), True),
    ],
)  # fmt: skip
def test_wrong_ones_are_refused(wrong: Pose | Point | Path) -> None:
    with pytest.raises(CoreError) as caught:
        Demands([wrong], FRAMES)
    assert caught.value.code == "constraint_wrong"
    assert caught.value.remedy
