"""train between: statistics of codes from motion made here, with the bundled model; and its command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from motions import run, squat, walk, wave
from tiny_model import ROOT

from core.errors import CoreError
from core.model.checkpoint import load_model
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import JOINTS
from core.tasks.codeprior import CodePrior
from core.train import between
from core.train.data import Clip


@pytest.fixture(scope="module")
def model() -> MotionGPT3:
    return load_model(None, "cpu", "float32")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    made = {"walk": walk(3.0), "run": run(3.0), "wave": wave(3.0), "squat": squat(3.0)}
    return [Clip(name, "cmu", "train", joints, [f"a person does a {name}"]) for name, joints in made.items()]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(between, "LENGTHS", (20, 30))
    monkeypatch.setattr(between, "GAPS", (5, 12))


def test_codes_of_real_motion_are_described(
    model: MotionGPT3, clips: list[Clip], short: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prior = between.learn(model, clips, seed=1, count=60)
    assert prior.lengths.tolist() == [20, 30]
    mean, covariance = prior.at(30)
    rng = np.random.default_rng(7)
    codes = between.encode(model, between.crops(clips, 30, 40, model.vae.bones.numpy(), rng))
    near = (codes - mean).square().sum(1).mean()
    assert near < (codes.square().sum(1)).mean()  # nearer to what was learnt than to nothing
    assert torch.linalg.eigvalsh(covariance).min() > 0.0
    again = between.learn(model, clips, seed=1, count=60)
    assert np.array_equal(again.mean, prior.mean)
    prior = between.learn_shares(model, prior, clips)
    assert prior.shares.shape == (2, 2, 1 + len(JOINTS))
    assert 0.0 <= prior.shares.min() <= prior.shares.max() <= 1.0
    assert prior.shares[1, 1, 0] > 0.0  # the root of a walk is no straight line
    prior.save(tmp_path)
    loaded = CodePrior.load(tmp_path, model.cfg.vae.channels)
    assert np.allclose(loaded.shares, prior.shares, atol=1e-6)
    assert "gap 12, with context" in capsys.readouterr().err


def test_clips_that_are_too_short_are_refused(model: MotionGPT3, clips: list[Clip]) -> None:
    with pytest.raises(CoreError) as error:
        between.crops(clips, 196, 4, model.vae.bones.numpy(), np.random.default_rng(0))
    assert error.value.code == "data_unsuitable"
    assert "196" in error.value.message


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "core", "train", "between", "--data", str(tmp_path / "x_joints.npz"), "--lr", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "--lr" in done.stderr
    assert "Traceback" not in done.stderr
