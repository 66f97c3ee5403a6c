"""What codes look like at each length: kept, read again, and between lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.checkpoint import BUNDLED, load_model
from core.tasks.codeprior import CROSSOVER, FILE, CodePrior

CHANNELS, RANK = 12, 3


@pytest.fixture
def prior() -> CodePrior:
    rng = np.random.default_rng(0)
    return CodePrior(
        np.array([20, 40, 100]), rng.normal(size=(3, CHANNELS)), rng.normal(0, 0.5, (3, CHANNELS, RANK)),
        rng.uniform(0.1, 1.0, (3, CHANNELS)), np.array([1, 5, 20]), rng.uniform(0, 1, (2, 3, 23)),
    )  # fmt: skip


def dense(prior: CodePrior, k: int) -> np.ndarray:
    return prior.factor[k] @ prior.factor[k].T + np.diag(prior.rest[k])


def test_it_comes_back_from_its_file(prior: CodePrior, tmp_path: Path) -> None:
    prior.save(tmp_path)
    again = CodePrior.load(tmp_path, CHANNELS)
    assert np.array_equal(again.lengths, prior.lengths)
    assert np.array_equal(again.gaps, prior.gaps)
    assert np.abs(again.shares - prior.shares).max() < 1e-6
    assert np.abs(again.mean - prior.mean).max() < 1e-3 * np.abs(prior.mean).max()
    assert np.abs(again.rest - prior.rest).max() < 1e-3
    step = np.abs(prior.factor).max(1, keepdims=True) / 127
    assert (np.abs(again.factor - prior.factor) <= 0.5001 * step).all()  # half a step of the int8 grid
    again.save(tmp_path)
    assert np.allclose(CodePrior.load(tmp_path, CHANNELS).factor, again.factor, atol=1e-6)


def test_a_column_of_zeros_stays_zero(prior: CodePrior, tmp_path: Path) -> None:
    prior.factor[1, :, 2] = 0.0
    prior.save(tmp_path)
    again = CodePrior.load(tmp_path, CHANNELS)
    assert not again.factor[1, :, 2].any()
    assert np.isfinite(again.factor).all()


@pytest.mark.parametrize(("frames", "first", "second", "part"), [
    (40, 1, 1, 0.0), (30, 0, 1, 0.5), (85, 1, 2, 0.75), (4, 0, 0, 0.0), (196, 2, 2, 0.0),
])  # fmt: skip
def test_between_lengths_it_is_between_and_outside_the_nearest(
    prior: CodePrior, frames: int, first: int, second: int, part: float
) -> None:
    mean, covariance = prior.at(frames)
    assert mean.dtype == covariance.dtype == torch.float64
    assert np.allclose(mean.numpy(), (1 - part) * prior.mean[first] + part * prior.mean[second])
    assert np.allclose(covariance.numpy(), (1 - part) * dense(prior, first) + part * dense(prior, second))
    torch.linalg.cholesky(covariance)  # raises where it is no covariance


def test_shares_between_gaps(prior: CodePrior) -> None:
    for context in (False, True):
        table = prior.shares[int(context)]
        assert np.array_equal(prior.share(20, context), table[2])
        assert np.array_equal(prior.share(190, context), table[2])
        assert prior.share(3, context)[0] == pytest.approx(0.5 * (table[0, 0] + table[1, 0]))
    assert np.allclose(prior.share(3, True), 0.5 * (prior.shares[1, 0] + prior.shares[1, 1]))


def test_without_context_rotations_of_short_gaps_are_left_to_interpolation(prior: CodePrior) -> None:
    prior.shares[:] = 1.0
    found = np.stack([prior.share(gap, False) for gap in range(1, 2 * CROSSOVER)])
    assert (found[:, 0] == 1.0).all()
    assert (found[: CROSSOVER // 2, 1:] == 0.0).all()
    assert (np.diff(found[:, 1:], axis=0) >= 0.0).all()
    assert (found[CROSSOVER - 1 :, 1:] == 1.0).all()


def test_without_a_file_codes_are_plain(tmp_path: Path) -> None:
    prior = CodePrior.load(tmp_path, CHANNELS)
    for frames in (20, 77, 196):
        mean, covariance = prior.at(frames)
        assert torch.equal(mean, torch.zeros(CHANNELS, dtype=torch.float64))
        assert torch.equal(covariance, torch.eye(CHANNELS, dtype=torch.float64))
    assert np.array_equal(prior.share(10, True), np.ones(23))


def test_the_bundled_one_fits_the_bundled_model() -> None:
    model = load_model(None, "cpu")
    channels = model.cfg.vae.channels
    assert (BUNDLED / FILE).is_file()
    prior = CodePrior.load(BUNDLED, channels)
    assert (np.diff(prior.lengths) > 0).all()
    assert (np.diff(prior.gaps) > 0).all()
    assert prior.shares.shape == (2, len(prior.gaps), 23)
    assert prior.shares.min() >= 0.0
    assert prior.shares.max() <= 1.0
    for frames in (20, 54, 196):
        mean, covariance = prior.at(frames)
        assert mean.shape == (channels,)
        assert torch.isfinite(torch.linalg.cholesky(covariance)).all()
