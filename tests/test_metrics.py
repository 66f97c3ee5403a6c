"""Figures of text-to-motion, poses and physics: each against a case whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from motions import jump, raise_left_hand, run, squat, stand, turn, walk, wave

from core.evaluate import metrics, poses
from core.evaluate.physical import airborne, bone_error, floating, penetration
from core.evaluate.sides import LIMB, STEP, TURN, agreement, claim
from core.skeleton import bone_lengths, mirror
from core.train.data import mirror_text


def units(rng: np.random.Generator, count: int, size: int = 16) -> np.ndarray:
    x = rng.normal(size=(count, size))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sideways() -> np.ndarray:
    """Facing +Z, going to the left."""
    joints = walk(2.0)
    root = joints[:, :1] * np.float32([1, 0, 1])
    return joints - root + root[..., [2, 1, 0]]


def test_interval_is_that_of_the_mean():
    mean, half = metrics.interval([1.0, 2.0, 3.0, 4.0])
    assert mean == pytest.approx(2.5)
    assert half == pytest.approx(1.96 * np.std([1, 2, 3, 4], ddof=1) / 2)
    assert metrics.interval([3.0]) == (3.0, 0.0)


def test_groups_hold_no_caption_twice():
    captions = [[f"action {i % 50}", f"other {i % 40}"] for i in range(130)]
    groups = metrics.draw_groups(captions, np.random.default_rng(0))
    assert len(groups) == 4
    for rows in groups:
        words = [t for i in rows for t in captions[i]]
        assert len(set(words)) == len(words)
        assert len(rows) == 32
    few = metrics.draw_groups([["a"], ["a", "b"], ["b"], ["c"]], np.random.default_rng(0))
    assert [len(g) for g in few] in ([2], [3])


def test_r_precision_of_right_wrong_and_tied_motions():
    text = units(np.random.default_rng(0), 32)
    assert metrics.r_precision(text, text) == pytest.approx([1, 1, 1])
    assert metrics.r_precision(text, np.roll(text, 1, 0))[0] == 0
    same = np.repeat(text[:1], 32, 0)  # nothing to choose by: chance
    assert metrics.r_precision(text, same) == pytest.approx([1 / 32, 2 / 32, 3 / 32])
    chance = [metrics.r_precision(text, units(np.random.default_rng(k), 32)) for k in range(200)]
    assert np.mean(chance, 0) == pytest.approx([1 / 32, 2 / 32, 3 / 32], abs=0.01)


def test_fid_is_that_of_the_covariances():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 6)), 2 * rng.normal(size=(200, 6)) @ np.diag(range(1, 7)) + 1
    product = np.cov(a.T) @ np.cov(b.T)
    known = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * sqrtm(product).real)
    assert metrics.fid(a, b) == pytest.approx(known)
    assert metrics.fid(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.fid(a[:4], a[:4] + 1) == pytest.approx(6)  # fewer motions than dimensions
    assert np.isnan(metrics.fid(a[:1], b))


def test_distances_of_sets():
    e = np.eye(8)
    assert metrics.matching(e, e) == 0
    assert metrics.diversity(e, np.random.default_rng(0)) == pytest.approx(np.sqrt(2))
    assert metrics.multimodality(e, np.roll(e, 1, 0)) == pytest.approx(np.sqrt(2))


def test_procrustes_forgives_place_turn_and_size_only():
    from motions import rotation

    real = walk(2.0).astype(np.float64)
    moved = 1.3 * np.einsum("tij,tnj->tni", rotation("y", 70.0, len(real)), real) + [1, 2, 3]
    assert poses.pa_mpjpe(moved, real) == pytest.approx(0, abs=1e-6)
    assert poses.pa_mpjpe(mirror(walk(2.0)) * [1, 1, 1], real) > 5  # a reflection is no turn
    assert poses.accel(real + 1, real) == pytest.approx(0, abs=1e-9)


def test_displacement_in_both_forms():
    real = walk(2.0)
    found = poses.ade_fde(real + np.float32([3, 0, 4]), real)
    assert found["ade"] == pytest.approx(5, rel=1e-5)
    assert found["ade_flat"] == pytest.approx(5 * np.sqrt(22), rel=1e-5)
    assert found["ade_root"] == pytest.approx(0, abs=1e-5)
    drift = real.copy()
    drift[-1] += 1.0
    assert poses.ade_fde(drift, real)["fde"] == pytest.approx(np.sqrt(3), rel=1e-5)
    ends = poses.blend(real[0], real[-1], 9)
    assert len(ends) == 9
    assert np.allclose(ends[4], (real[0] + real[-1]) / 2, atol=1e-6)
    assert np.array_equal(poses.hold(real[3], 2)[1], real[3])


def test_floor_figures():
    up = np.float32([0, 0.1, 0])
    assert floating(stand() + up) == pytest.approx(floating(stand()) + 100, abs=0.1)
    assert penetration(stand()) == (0, 0)
    mean, deepest = penetration(walk(2.0) - up)
    assert deepest == pytest.approx(100, abs=0.1)
    assert 0 < mean <= deepest
    assert airborne(jump()).any()
    assert not airborne(stand()).any()
    assert floating(jump()) < 60  # the half metre of the flight does not count
    assert bone_error(walk(1.0), bone_lengths(walk(1.0)[0])) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("caption", "kind", "joints"),
    [
        ("a person waves the right hand", LIMB, wave()),
        ("a person raises the left hand up", LIMB, raise_left_hand()),
        ("a person walks and turns left", TURN, turn(4.0, 90.0)),
        ("a person side steps to the left", STEP, sideways()),
    ],
)
def test_sides_are_told_apart(caption, kind, joints):
    found = claim(caption)
    assert found is not None
    assert found.kind == kind
    assert found.lead(joints) > 0 > found.lead(mirror(joints))
    assert agreement([(mirror_text(caption), mirror(joints)), (caption, mirror(joints)), ("a person runs", run())]) == {
        kind: {"right": 0.5, "count": 2}
    }


@pytest.mark.parametrize(
    "caption", ["a person walks forward", "a person touches the left elbow to the right knee", "a left handed person"]
)
def test_captions_without_a_claim(caption):
    assert claim(caption) is None


def test_a_squat_has_no_side():
    assert agreement([("a person does a squat", squat())]) == {}
