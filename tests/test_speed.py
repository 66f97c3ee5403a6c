"""`python -m core speed` and the sampling study: figures are there, of the model asked for, and bounds decide the exit
code. No test times anything."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from tiny_model import make_tiny_model

from core import speed
from core.evaluate import sampling
from core.model.checkpoint import load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), Path(sys.executable))


@pytest.mark.parametrize(("bound", "code"), [(1e9, 0), (1e-9, 1)])
def test_figures_and_bounds(tiny, tmp_path, monkeypatch, capsys, bound, code):
    monkeypatch.setitem(speed.BOUNDS, str(tiny), {"motion, 1": bound})
    monkeypatch.setattr(speed, "RUNS", 1)
    file = tmp_path / "speed.json"
    assert speed.main(["--model", str(tiny), "--device", "cpu", "--json", str(file)]) == code
    rows = {row["figure"]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert {"ready", "motion, 1", "motion, 32 takes, each", "40 words", "peak memory, captions"} <= rows.keys()
    assert all(math.isfinite(row["value"]) and row["value"] > 0 for row in rows.values())
    assert rows["words as without draft"]["value"] == 100
    assert [name for name, row in rows.items() if not row["holds"]] == (["motion, 1"] if code else [])
    assert ("BROKEN" in capsys.readouterr().out) == bool(code)


def test_the_captioner_judges_its_own_motions_rightly():
    model = load_model(None, "cpu")
    captions = ["a person walks forward", "a person raises the left hand up", "a person jumps up"]
    motions = sampling.draw(model, captions, [3.0] * 3, [1, 2, 3], "ddpm", 20)
    scores = sampling.likelihoods(model, motions, captions)
    assert scores.shape == (3, 3)
    assert (scores.argmax(0) == np.arange(3)).all()  # each caption finds its own motion
    assert sampling.distance(motions, motions) == 0
    again = sampling.draw(model, captions, [3.0] * 3, [1, 2, 3], "ddpm", 20)
    assert sampling.distance(motions, again) == 0
    other = sampling.draw(model, captions, [3.0] * 3, [1, 2, 3], "ddpm", 20, other_noise=True)
    assert sampling.distance(motions, other) > 1
