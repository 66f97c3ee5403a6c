"""Codes are found whose motion meets what is known: through the linear path, and by descent where there is none."""

from __future__ import annotations

import numpy as np
import official_checkpoint as official
import pytest
import torch

from core.errors import Cancelled
from core.model.checkpoint import BUNDLED, load_model
from core.model.motiongpt3 import MotionGPT3
from core.prompts import Tokenizer
from core.tasks.codeprior import CodePrior
from core.tasks.latentfit import Fitter, Known

FRAMES = 36


@pytest.fixture(scope="module")
def model() -> MotionGPT3:
    return load_model(None, "cpu")


@pytest.fixture(scope="module")
def fitter(model: MotionGPT3) -> Fitter:
    return Fitter(model, FRAMES, *CodePrior.load(BUNDLED, model.cfg.vae.channels).at(FRAMES))


@pytest.fixture(scope="module")
def drawn(fitter: Fitter) -> tuple[torch.Tensor, np.ndarray]:
    """Codes (3, C) drawn from the prior, and their motions (3, T, 22, 3)."""
    noise = torch.randn(3, len(fitter.mean), generator=torch.Generator().manual_seed(1)).double()
    codes = fitter.mean + noise @ fitter.factor.T
    return codes, fitter.decode(codes).numpy()


def off(a: np.ndarray, b: np.ndarray) -> float:
    """Metres, the mean over joints."""
    return float(np.linalg.norm(a - b, axis=-1).mean())


def test_rows_are_places_values_and_weights() -> None:
    poses = np.arange(2 * 66, dtype=float).reshape(2, 22, 3)
    point = Known(
        np.array([3]), np.array([2]), np.array([[True, False, True]]), np.array([[7.0, 8.0, 9.0]]), np.ones(1)
    )
    at, values, weight = (Known.poses(np.array([1, 4]), poses, 0.5) + point).rows()
    assert at.tolist() == [*range(66, 132), *range(4 * 66, 5 * 66), 3 * 66 + 6, 3 * 66 + 8]
    assert values.tolist() == [*range(132), 7, 9]
    assert weight.tolist() == [4.0] * 132 + [1.0] * 2
    assert values.dtype == weight.dtype == torch.float64


def test_a_motion_that_a_code_has_is_found_again(fitter: Fitter, drawn: tuple[torch.Tensor, np.ndarray]) -> None:
    codes, motions = drawn
    for motion in motions:
        known = Known.poses(np.arange(FRAMES), motion, 0.005)
        (found,), code = fitter.fit(known, fitter.mean[None])
        assert off(found, motion) < 0.02
        assert off(found, motion) < 0.05 * off(fitter.decode(fitter.mean[None]).numpy()[0], motion)
        assert np.array_equal(found, fitter.decode(code).numpy()[0])  # it is the motion of the code that is given back
    known = Known.poses(np.arange(FRAMES), motions[0], 0.005)
    (found,), code = fitter.fit(known, codes[:1])  # begun at the answer it stays there
    assert off(found, motions[0]) < 0.005


def test_a_few_poses_are_met_and_the_rest_is_likely(fitter: Fitter, drawn: tuple[torch.Tensor, np.ndarray]) -> None:
    _, motions = drawn
    at = np.array([0, 1, 2, FRAMES - 3, FRAMES - 2, FRAMES - 1])
    (found,), code = fitter.fit(Known.poses(at, motions[1][at], 0.03), fitter.mean[None])
    assert off(found[at], motions[1][at]) < 0.05
    away = torch.linalg.solve_triangular(fitter.factor, (code[0] - fitter.mean)[:, None], upper=False)
    assert float(away.square().mean()) < 2.0  # as far from the mean as codes are


def test_less_tolerance_is_nearer(fitter: Fitter, drawn: tuple[torch.Tensor, np.ndarray]) -> None:
    motion, at = drawn[1][2], np.array([0, FRAMES - 1])
    left = [
        off(fitter.fit(Known.poses(at, motion[at], t), fitter.mean[None])[0][0][at], motion[at]) for t in (0.5, 0.02)
    ]
    assert left[1] < 0.5 * left[0]


def test_one_joint_and_one_axis_are_enough(fitter: Fitter) -> None:
    mean = fitter.decode(fitter.mean[None]).numpy()[0]
    target = mean[FRAMES - 1, 0] + np.array([0.3, 99.0, 0.5])
    known = Known(
        np.array([FRAMES - 1]), np.array([0]), np.array([[True, False, True]]), target[None], np.array([0.01])
    )
    (found,), _ = fitter.fit(known, fitter.mean[None])
    assert np.abs(found[-1, 0] - target)[[0, 2]].max() < 0.05
    assert abs(found[-1, 0, 1] - mean[-1, 0, 1]) < 0.3  # the height was not asked for


def test_nothing_known_gives_the_proposals(fitter: Fitter, drawn: tuple[torch.Tensor, np.ndarray]) -> None:
    codes, motions = drawn
    nothing = Known.poses(np.zeros(0, int), np.zeros((0, 22, 3)), 0.03)
    found, same = fitter.fit(nothing, codes)
    assert torch.allclose(same, codes, atol=1e-6)
    assert np.abs(found - motions).max() < 1e-4


def test_several_proposals_are_fitted_as_each_alone(fitter: Fitter, drawn: tuple[torch.Tensor, np.ndarray]) -> None:
    codes, motions = drawn
    known = Known.poses(np.array([0, FRAMES - 1]), motions[0][[0, -1]], 0.03)
    both, _ = fitter.fit(known, codes)
    assert both.shape == (3, FRAMES, 22, 3)
    alone, _ = fitter.fit(known, codes[1:2])
    assert np.abs(both[1] - alone[0]).max() < 1e-3
    assert off(both[0], both[1]) > 0.02  # the proposal shows


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Fitter:
    """A fitter for a random model of the official form: no linear path."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(official.make_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    model = MotionGPT3(official.small_config(), tokenizer).eval().requires_grad_(False)
    return Fitter(model, 24, *CodePrior.plain(model.cfg.vae.channels).at(24))


def test_a_model_without_a_linear_path_is_fitted_by_descent(bent: Fitter) -> None:
    assert bent.slope is None
    code = torch.randn(1, len(bent.mean), generator=torch.Generator().manual_seed(1)).double()
    motion = bent.decode(code).numpy()[0]
    around = bent.mean[None].repeat(2, 1)
    found, codes = bent.fit(Known.poses(np.arange(24), motion, 0.03), around)
    assert found.shape == (2, 24, 22, 3)
    assert codes.shape == around.shape
    assert not codes.requires_grad
    assert off(found[0], motion) < 0.4 * off(bent.decode(bent.mean[None]).numpy()[0], motion)
    assert np.abs(found[0] - found[1]).max() < 1e-3  # the same beginning, the same end


@pytest.mark.parametrize("which", ["fitter", "bent"])
def test_it_can_be_cancelled(which: str, request: pytest.FixtureRequest) -> None:
    fitter = request.getfixturevalue(which)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    motion = fitter.decode(fitter.mean[None]).numpy()[0]
    with pytest.raises(Cancelled):
        fitter.fit(Known.poses(np.array([0]), motion[:1], 0.03), fitter.mean[None], cancelled)
    assert len(asked) == 3
