"""A body fitted to joints: as near as its proportions allow, without flips, bending as bodies bend."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from motions import MOTIONS, stand, walk
from smplx_body import J, moves, write_body

from core.body import rotation as rot
from core.body.fit import BodyFit, _Problem, _State, fit_body
from core.body.model import BodyModel, load_body_model
from core.body.start import HINGES, first_pose
from core.features import canonicalise

pytest.importorskip("smplx", reason="needs core/requirements-smplx.txt, whose licence is for you to accept")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    return load_body_model(write_body(tmp_path_factory.mktemp("body") / "SMPLX_NEUTRAL.npz"))


def own_motion(model: BodyModel, seconds: float = 5.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A motion of a body of this model with a shape of its own: joints (T, 22, 3), Y up, and turns (T, 22, 3)."""
    turns, trans = moves(np.arange(round(seconds * 20)) / 20)
    up = rot.exp(np.array([-np.pi / 2, 0, 0]))
    turns[:, 0] = rot.log(up @ rot.exp(turns[:, 0]))
    betas = np.random.default_rng(seed).normal(0, 1, 10)
    return model.joints(turns, trans @ up.T, betas), turns


def steps(fit: BodyFit) -> np.ndarray:
    """(T-1, 22) degrees that each joint turns from frame to frame, relative to its parent."""
    turns = rot.exp(fit.turns)
    return np.degrees(np.linalg.norm(rot.log(np.swapaxes(turns[:-1], -1, -2) @ turns[1:]), axis=-1))


@pytest.mark.parametrize("seed", range(3))
def test_a_body_of_the_models_own_is_found_again(model: BodyModel, seed: int) -> None:
    joints, turns = own_motion(model, seed=seed)
    fit = fit_body(model, joints.astype(np.float32), 20.0)
    assert fit.errors.max() < 0.002
    assert fit.errors.mean() < 0.0007
    apart = np.degrees(np.linalg.norm(rot.log(np.swapaxes(rot.exp(turns), -1, -2) @ rot.exp(fit.turns)), axis=-1))
    assert apart[:, 0].max() < 3
    limbs = [J[f"{side}_{name}"] for side in "lr" for name in ("hip", "knee", "shoulder", "elbow")]
    assert np.median(apart[:, limbs]) < 6  # turns of a bone about itself come from the hinges
    assert apart[:, limbs].max() < 35


@pytest.mark.parametrize("name", MOTIONS)
def test_the_projects_own_motions(model: BodyModel, name: str) -> None:
    joints = MOTIONS[name]()
    fit = fit_body(model, joints, 20.0)
    assert np.isfinite(fit.turns).all()
    assert np.isfinite(fit.trans).all()
    assert fit.errors.max() < 0.012
    assert np.abs(fit.betas).max() < 3
    limit = np.degrees(np.linalg.norm(np.diff(joints - joints[:, :1], axis=0), axis=-1).max()) * 4 + 15
    assert steps(fit).max() < limit  # nothing turns where nothing moves, and no flips where it does
    local = rot.log(rot.exp(fit.turns))
    for joint, (axis, sign) in HINGES.items():
        assert np.degrees(sign * local[:, joint, axis]).min() > -10, joint  # no knee or elbow bends the wrong way
        bent = sign * local[:, joint, axis] > np.radians(30)
        beside = np.delete(local[:, joint], axis, axis=-1)[bent]
        assert np.degrees(np.abs(beside)).max(initial=0) < 25, joint


@pytest.mark.parametrize(("leg", "arm"), [(1.12, 1.0), (0.92, 1.1)])
def test_a_body_of_other_proportions(tmp_path: Path, leg: float, arm: float) -> None:
    """Fitting the shape meets the joints; keeping the mean one carries the motion over, feet on the floor."""
    model = load_body_model(write_body(tmp_path / "SMPLX_NEUTRAL.npz", leg=leg, arm=arm))
    joints = walk()
    fitted = fit_body(model, joints, 20.0)
    assert np.allclose(fitted.target, joints)
    assert fitted.scale == 1
    assert fitted.errors.mean() < 0.006
    mean = fit_body(model, joints, 20.0, fit_shape=False)
    assert not mean.betas.any()
    assert mean.scale == pytest.approx(leg, abs=0.02)
    where = model.joints(mean.turns, mean.trans, mean.betas)
    assert np.abs(np.linalg.norm(where - mean.target, axis=-1) - mean.errors).max() < 1e-9
    assert mean.errors.mean() < 0.003
    feet = where[:, [7, 8, 10, 11], 1].min(1)
    assert np.ptp(feet - mean.scale * joints[:, [7, 8, 10, 11], 1].min(1)) < 0.03
    bones, wanted = (rot.unit(p[:, [5, 8]] - p[:, [2, 5]]) for p in (where, joints))
    assert np.degrees(np.arccos(np.clip((bones * wanted).sum(-1), -1, 1))).max() < 3  # legs as straight as before


def test_the_equations_are_the_slope_of_the_cost(model: BodyModel) -> None:
    random = np.random.default_rng(0)
    joints = walk(0.4).astype(np.float64) + random.normal(0, 0.02, (8, 22, 3))
    problem = _Problem(model, joints, 20.0)
    turns = rot.exp(random.normal(0, 0.2, (8, 22, 3))) @ first_pose(joints, model.rest, 20.0)
    state = _State(turns, joints[:, 0].copy(), random.normal(0, 1, 10)).moved(np.zeros((8, 54)), np.zeros(10))
    *_, side, shape_side = problem.equations(state)
    for _ in range(5):
        step, betas = random.normal(size=(8, 54)), random.normal(size=10)
        tiny = 1e-5
        ahead, behind = (problem.cost(state.moved(s * tiny * step, s * tiny * betas)) for s in (1, -1))
        slope = (ahead - behind) / (2 * tiny) / 2
        assert slope == pytest.approx((side * step).sum() + shape_side @ betas, rel=1e-4)


def test_straight_shaking_limbs_do_not_flip(model: BodyModel) -> None:
    """A straight arm that shivers shows its elbow bending any way; its bones must not spin for that."""
    joints = np.tile(model.rest, (60, 1, 1)).astype(np.float32)
    joints += np.random.default_rng(1).normal(0, 0.002, joints.shape).astype(np.float32)
    fit = fit_body(model, joints, 20.0)
    assert np.degrees(np.abs(fit.turns[:, [16, 17, 1, 2], 0])).max() < 40
    assert steps(fit)[:, [1, 2, 16, 17, 18, 19]].max() < 12


def test_spinning_many_times_keeps_each_turn_near_the_last(model: BodyModel) -> None:
    joints = canonicalise(np.repeat(stand(0.1)[:1], 80, axis=0))
    angle = np.linspace(0, 5.5 * np.pi, 80)
    spin = rot.exp(np.stack([0 * angle, angle, 0 * angle], axis=-1))
    fit = fit_body(model, np.einsum("tij,tkj->tki", spin, joints).astype(np.float32), 20.0)
    assert fit.errors.max() < 0.012
    assert np.linalg.norm(np.diff(fit.turns[:, 0], axis=0), axis=-1).max() < 1  # no jump of a whole turn
    assert np.ptp(fit.turns[:, 3:], axis=0).max() < 0.05


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_motions(model: BodyModel, frames: int) -> None:
    fit = fit_body(model, walk()[:frames], 20.0)
    assert fit.turns.shape == (frames, 22, 3)
    assert fit.errors.max() < 0.012


def test_joints_upon_joints_give_numbers(model: BodyModel) -> None:
    fit = fit_body(model, np.zeros((4, 22, 3), np.float32), 20.0)
    assert np.isfinite(fit.turns).all()
    assert np.isfinite(fit.errors).all()


def test_ten_seconds_take_less_than_three(model: BodyModel, within: Callable[..., None]) -> None:
    joints = np.concatenate([walk(5.0), walk(5.0)])
    started = time.perf_counter()
    fit_body(model, joints, 20.0)
    within(time.perf_counter() - started, 3.0)


def test_real_motion_has_no_flips(model: BodyModel, shared: Path) -> None:
    from core.bvh import read_bvh

    for file in sorted((shared / "bvh").glob("*.bvh"))[:6]:
        joints = read_bvh(file)[:200]
        fit = fit_body(model, joints, 20.0)
        assert fit.errors.mean() < 0.012, file.name
        assert steps(fit).max() < 80, file.name


def test_turns_and_their_slopes() -> None:
    random = np.random.default_rng(0)
    v, d = random.normal(0, 1, (50, 3)), random.normal(0, 1e-6, (50, 3))
    moved = rot.log(rot.exp(d) @ rot.exp(v)) - v
    assert np.abs(moved - np.einsum("nij,nj->ni", rot.inverse_left_jacobian(v), d)).max() < 1e-10
    assert np.allclose(rot.inverse_left_jacobian(np.zeros((1, 3))), np.eye(3))
    a, b = rot.unit(random.normal(size=(50, 3))), rot.unit(random.normal(size=(50, 3)))
    b[:2] = a[0], -a[1]
    assert np.allclose(np.einsum("nij,nj->ni", rot.between(a, b), a), b)
    assert np.allclose(rot.midway(rot.exp(v), rot.exp(d), 1.0), rot.exp(d))


def test_axis_angles_without_jumps_are_the_same_turns() -> None:
    angle = np.linspace(0, 20, 200)
    v = np.stack([0.2 * np.sin(angle), angle, 0 * angle], axis=-1)
    short = rot.log(rot.exp(v))
    smooth = rot.without_jumps(short[:, None])[:, 0]
    assert np.abs(np.diff(short, axis=0)).max() > 3
    assert np.linalg.norm(np.diff(smooth, axis=0), axis=-1).max() < 0.2
    assert np.allclose(rot.exp(smooth), rot.exp(v))
    half = rot.at_times(rot.exp(v)[:, None], np.arange(198) + 0.5)[:, 0]
    exact = rot.exp(np.stack([0.2 * np.sin(angle + angle[1] / 2), angle + angle[1] / 2, 0 * angle], axis=-1))[:198]
    assert np.linalg.norm(rot.log(half[5:-5] @ np.swapaxes(exact[5:-5], -1, -2)), axis=-1).max() < 1e-4
