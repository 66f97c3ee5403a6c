"""Filling gaps with the bundled model: keys to the bit, whatever the gap, the body, the place and the words."""

from __future__ import annotations

import json

import numpy as np
import official_checkpoint as official
import pytest
import torch
from motions import lie_down, run, stand, turn, walk, wave

from core.errors import Cancelled, CoreError
from core.evaluate.gap_metrics import key_jumps, velocity_changes
from core.model.checkpoint import load_model
from core.model.motiongpt3 import MotionGPT3
from core.prompts import Tokenizer
from core.skeleton import JOINTS, PARENTS, bone_lengths
from core.tasks import poses
from core.tasks.constraints import Path, Point, Pose
from core.tasks.inbetween import MAX_GAP, Filled, inbetween
from core.tasks.place import turn_and_shift

STANDING = stand()[0]
LEGS = [4, 5, 7, 8, 10, 11]
REPORT = {"boundary_mm", "velocity_jump", "slide_mm", "jerk", "model_share", "score", "constraints"}


@pytest.fixture(scope="module")
def model() -> MotionGPT3:
    return load_model(None, "cpu")


def cut(model: MotionGPT3, motion: np.ndarray, frames: int, first: int = 15, **options) -> tuple[Filled, np.ndarray]:
    """The best take of a gap cut into a motion with the ten frames on both sides, and all of them with it."""
    last = first + frames + 1
    before, after = motion[first - 10 : first], motion[last + 1 : last + 11]
    (filled,) = inbetween(model, motion[first], motion[last], frames, None, before, after, **options)
    return filled, np.concatenate([before, filled.joints, after])


def checked(filled: Filled, start: np.ndarray, end: np.ndarray, frames: int) -> np.ndarray:
    """What holds of every gap. The joints."""
    joints = filled.joints
    assert joints.dtype == np.float32
    assert joints.shape == (frames + 2, 22, 3)
    assert joints[0].tobytes() == start.tobytes()
    assert joints[-1].tobytes() == end.tobytes()
    assert np.isfinite(joints).all()
    assert set(filled.report) == REPORT
    assert json.loads(json.dumps(filled.report)) == filled.report
    lengths = bone_lengths(np.stack([start, end])).astype(np.float64)
    made = bone_lengths(joints.astype(np.float64))
    assert (made > lengths.min(0) - 1e-5).all()
    assert (made < lengths.max(0) + 1e-5).all()
    return joints


def fastest(joints: np.ndarray) -> float:
    """The longest way of a joint from one frame to the next, metres."""
    return float(np.linalg.norm(np.diff(joints, axis=0), axis=-1).max())


@pytest.mark.parametrize("frames", [1, 2, 5, 16, 40])
@pytest.mark.parametrize("make", [walk, run, turn])
def test_keys_are_met_to_the_bit_and_the_context_is_carried_on(model: MotionGPT3, make, frames: int) -> None:
    motion = make(4.0)
    filled, whole = cut(model, motion, frames)
    checked(filled, motion[15], motion[16 + frames], frames)
    plain = whole.copy()
    plain[10 : 12 + frames] = poses.interpolate(motion[15], motion[16 + frames], frames)
    jump = key_jumps(whole, 10, 11 + frames)
    assert jump < np.percentile(velocity_changes(motion), 95)
    assert jump < 0.85 * key_jumps(plain, 10, 11 + frames)
    assert filled.report["velocity_jump"] == pytest.approx(jump, abs=2e-3)


@pytest.mark.parametrize("frames", [1, 3, 12, 100])
def test_identical_keys_stay_nearly_still(model: MotionGPT3, frames: int) -> None:
    (filled,) = inbetween(model, STANDING, STANDING, frames)
    joints = checked(filled, STANDING, STANDING, frames)
    assert np.linalg.norm(joints - STANDING, axis=-1).max() < 0.1
    assert np.linalg.norm(joints - STANDING, axis=-1)[:, [7, 8, 10, 11]].max() < 0.02


@pytest.mark.parametrize("degrees", [120, 170, 180, -179])
def test_a_turn_on_the_spot_does_not_tear(model: MotionGPT3, degrees: int) -> None:
    about = turn_and_shift(STANDING, np.radians(degrees), np.zeros(2)).astype(np.float32)
    (filled,) = inbetween(model, STANDING, about, 20)
    joints = checked(filled, STANDING, about, 20)
    assert fastest(joints) < 0.5
    assert joints[:, 15, 1].min() > 1.0  # upright all along
    across = joints[:, 1] - joints[:, 2]
    angle = np.unwrap(np.arctan2(across[:, 2], across[:, 0]))
    assert abs(angle[-1] - angle[0]) == pytest.approx(np.radians(abs(degrees)), abs=0.01)
    assert np.abs(np.diff(angle)).max() < 0.9  # radians a frame: a fast dancer's turn


@pytest.mark.parametrize("frames", [5, 30])
def test_keys_three_metres_apart(model: MotionGPT3, frames: int) -> None:
    away = STANDING + np.array([0.0, 0.0, 3.0], np.float32)
    (filled,) = inbetween(model, STANDING, away, frames)
    joints = checked(filled, STANDING, away, frames)
    assert fastest(joints) < 4.0 * 3.0 / (frames + 1)
    assert joints[..., 1].min() > -0.05


def test_from_lying_to_running(model: MotionGPT3) -> None:
    lying, running = lie_down()[-1], run()[10]
    (filled,) = inbetween(model, lying, running, 24)
    assert fastest(checked(filled, lying, running, 24)) < 0.8


def test_other_proportions_keep_their_bones(model: MotionGPT3) -> None:
    factor = np.random.default_rng(0).uniform(0.5, 1.8, 22)
    factor[[5, 8, 11]] = factor[[4, 7, 10]]  # both legs alike
    giant, plain = np.zeros((80, 22, 3), np.float32), walk(4.0)
    giant[:, 0] = 1.5 * plain[:, 0]
    for j in range(1, 22):
        giant[:, j] = giant[:, PARENTS[j]] + factor[j] * (plain[:, j] - plain[:, PARENTS[j]])
    giant -= np.array([0, giant[..., 1].min(), 0], np.float32)
    filled, whole = cut(model, giant, 24)
    joints = checked(filled, giant[15], giant[40], 24)
    assert np.abs(bone_lengths(joints) - bone_lengths(giant[15])).max() < 1e-5
    assert key_jumps(whole, 10, 35) < np.percentile(velocity_changes(giant), 95)


def test_keys_of_two_bodies_are_still_met(model: MotionGPT3) -> None:
    end = walk()[30] * np.float32(1.3)
    (filled,) = inbetween(model, walk()[10], end, 10)
    checked(filled, walk()[10], end, 10)


def test_it_works_in_any_place_and_heading(model: MotionGPT3) -> None:
    motion = walk(4.0)
    away = turn_and_shift(motion.astype(np.float64), 2.0, np.array([30.0, -12.0])).astype(np.float32)
    here, there = cut(model, motion, 20)[0], cut(model, away, 20)[0]
    back = turn_and_shift(here.joints.astype(np.float64), 2.0, np.array([30.0, -12.0]))
    assert np.abs(there.joints - back).max() < 0.002


def test_strength_goes_from_interpolation_to_the_model(model: MotionGPT3) -> None:
    start, end = wave()[0], walk()[20]
    none, half, whole = (inbetween(model, start, end, 20, strength=s)[0] for s in (0.0, 0.5, 1.0))
    plain = poses.interpolate(start, end, 20)
    upper = [j for j in range(22) if j not in LEGS]  # legs are turned for feet to stand
    assert np.abs(none.joints - plain)[:, upper].max() < 1e-5
    off = [np.linalg.norm(f.joints - plain, axis=-1)[:, upper].mean() for f in (half, whole)]
    assert 0.002 < off[0] < off[1]
    assert none.report["model_share"] == 0.0
    assert half.report["model_share"] == pytest.approx(0.5 * whole.report["model_share"], abs=1e-3)
    for filled in (none, half, whole):
        checked(filled, start, end, 20)


def test_the_seed_says_it_all(model: MotionGPT3) -> None:
    said = "a person waves the right hand"
    one, two, other = (inbetween(model, STANDING, STANDING, 80, said, seed=s)[0].joints for s in (3, 3, 2000))
    assert np.array_equal(one, two)
    assert np.linalg.norm(one - other, axis=-1).max() > 0.005
    quiet = inbetween(model, STANDING, STANDING, 80, seed=3)[0].joints
    assert np.linalg.norm(one - quiet, axis=-1).max() > 0.005  # words count


def test_takes_come_best_first_with_their_seeds(model: MotionGPT3) -> None:
    told: list[tuple[float, str]] = []
    takes = inbetween(
        model,
        STANDING,
        walk()[20],
        30,
        "a person walks",
        seed=2**31 - 2,
        variations=3,
        progress=lambda *p: told.append(p),
    )
    assert sorted(t.seed for t in takes) == [0, 2**31 - 2, 2**31 - 1]
    scores = [t.report["score"] for t in takes]
    assert scores == sorted(scores)
    assert [f for f, _ in told] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    (alone,) = inbetween(model, STANDING, walk()[20], 30, "a person walks", seed=0)
    assert np.array_equal(alone.joints, next(t for t in takes if t.seed == 0).joints)


def test_constraints_are_met_and_reported(model: MotionGPT3) -> None:
    motion, hand = walk(4.0), JOINTS.index("l_wrist")
    middle = wave()[30] + motion[24, 0] - wave()[30, 0]
    target = motion[32, hand] + np.array([0.0, 0.1, 0.1], np.float32)
    asked = [Pose(9, middle), Point(17, hand, target)]
    filled, _ = cut(model, motion, 24, constraints=asked)
    joints = checked(filled, motion[15], motion[40], 24)
    assert np.abs(joints[9] - middle).max() < 1e-6
    assert np.abs(joints[17, hand] - target).max() < 1e-5
    found = [(c["kind"], c["frame"], c["error_mm"]) for c in filled.report["constraints"]]
    assert found == [("pose", 9, 0.0), ("point", 17, 0.0)]
    far, _ = cut(model, motion, 24, constraints=[Point(17, hand, target + 10)])
    assert far.report["constraints"][0]["error_mm"] > 10_000


@pytest.mark.parametrize("timed", [False, True])
def test_a_path_leads_the_way(model: MotionGPT3, timed: bool) -> None:
    start, end = walk(4.0)[[15, 56]]
    part = np.linspace(0.0, 1.0, 41)[:, None]
    points = start[0] + part * (end[0] - start[0]) + 0.6 * np.sin(np.pi * part) * np.array([1.0, 0.0, 0.0])
    (filled,) = inbetween(model, start, end, 40, constraints=[Path(points, timed)])
    joints = checked(filled, start, end, 40)
    (left,) = filled.report["constraints"]
    assert left["kind"] == "path"
    assert left["error_mm"] < 120
    assert joints[20, 0, 0] - start[0, 0] == pytest.approx(0.6, abs=0.05)
    assert np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1).max() < 0.25


@pytest.mark.parametrize("prompt", [None, "a person walks forward"])
def test_the_longest_gap(model: MotionGPT3, prompt: str | None) -> None:
    motion = walk(4.0)
    before, after = motion[5:15], motion[36:46]
    (filled,) = inbetween(model, motion[15], motion[35], MAX_GAP, prompt, before, after)
    joints = checked(filled, motion[15], motion[35], MAX_GAP)
    whole = np.concatenate([before, joints, after])
    assert key_jumps(whole, 10, 11 + MAX_GAP) < np.percentile(velocity_changes(motion), 95)


@pytest.mark.parametrize("given", [0, 1, 2, 3, 4])
def test_any_amount_of_context_will_do(model: MotionGPT3, given: int) -> None:
    motion = walk(4.0)
    before, after = motion[15 - given : 15], motion[19 : 19 + given]
    (filled,) = inbetween(model, motion[15], motion[18], 2, None, before, after)  # 4 to 12 frames in all
    checked(filled, motion[15], motion[18], 2)
    (one_side,) = inbetween(model, motion[15], motion[18], 2, None, before, None)
    checked(one_side, motion[15], motion[18], 2)


def test_context_of_more_than_ten_frames_is_cut(model: MotionGPT3) -> None:
    motion = walk(4.0)
    (long,) = inbetween(model, motion[30], motion[41], 10, None, motion[:30], motion[42:])
    (short,) = inbetween(model, motion[30], motion[41], 10, None, motion[20:30], motion[42:52])
    assert np.array_equal(long.joints, short.joints)


def test_a_model_of_the_official_form_meets_keys_too(tmp_path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(official.make_tokenizer(tmp_path))
    small = MotionGPT3(official.small_config(), tokenizer).eval().requires_grad_(False)
    motion = walk(1.0)
    (filled,) = inbetween(small, motion[5], motion[8], 2, None, motion[3:5], motion[9:10])
    checked(filled, motion[5], motion[8], 2)


def with_nan() -> np.ndarray:
    pose = STANDING.copy()
    pose[3, 1] = np.nan
    return pose


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"frames": 0}, "gap_out_of_range"),
        ({"frames": MAX_GAP + 1}, "gap_out_of_range"),
        ({"strength": -0.1}, "strength_out_of_range"),
        ({"strength": 1.1}, "strength_out_of_range"),
        ({"strength": float("nan")}, "strength_out_of_range"),
        ({"seed": -1}, "seed_out_of_range"),
        ({"start": STANDING[:5]}, "motion_shape"),
        ({"start": walk()[:3]}, "motion_shape"),
        ({"end": np.zeros((0, 22, 3))}, "motion_shape"),
        ({"end": with_nan()}, "motion_not_finite"),
        ({"context_before": np.zeros((4, 21, 3))}, "motion_shape"),
        ({"context_after": with_nan()[None]}, "motion_not_finite"),
        ({"constraints": [Pose(0, STANDING)]}, "constraint_wrong"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_a_reason(model: MotionGPT3, changed: dict, code: str) -> None:
    given = {"start": STANDING, "end": STANDING, "frames": 8} | changed
    with pytest.raises(CoreError) as caught:
        inbetween(model, **given)
    assert caught.value.code == code
    assert str(caught.value)
    assert caught.value.remedy


def test_it_can_be_cancelled(model: MotionGPT3) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 6

    with pytest.raises(Cancelled):
        inbetween(model, STANDING, STANDING, 20, variations=50, cancelled=cancelled)
    assert len(asked) == 7
