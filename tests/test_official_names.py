"""The table of the official checkpoint's 745 tensors: each is kept under a name of ours or known to be left out, and
its shapes give the released model's sizes. Needs the shared reference."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from core.model.config import ModelConfig  # noqa: E402 - after the check that torch is there
from core.model.names import from_official, left_out, to_official  # noqa: E402
from core.official import layout  # noqa: E402
from core.official.archive import Storage, Stored  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402

BUNDLED_WORDS = Path(__file__).resolve().parents[1] / "core" / "weights" / "compact" / "tokenizer.json"


@pytest.fixture(scope="module")
def table(shared):
    return json.loads((shared / "reference" / "full_state_dict_shapes.json").read_text())["state_dict"]


def test_every_name_has_one_place(table):
    groups = Counter()
    for name in table:
        ours, what = from_official(name), left_out(name)
        assert (ours is None) != (what is None), name
        if ours:
            assert to_official(ours) == name
        groups["kept" if ours else what] += 1
    assert groups == {
        "kept": 645,
        "evaluation networks": 84,
        "loss counters": 12,
        "copies of the text embedding": 3,
        "motion text head": 1,
    }


def test_the_shapes_are_the_released_models(table):
    tensors = {k: Stored(Storage(0, torch.float32), torch.float32, tuple(s), (), 0) for k, (s, _) in table.items()}
    weights = layout.Weights(tensors)
    cfg = layout.sizes(weights, "motiongpt3.ckpt")
    assert cfg == ModelConfig()  # its defaults are the released sizes
    plan = layout.plan(weights, cfg, Tokenizer(BUNDLED_WORDS), "motiongpt3.ckpt")
    assert plan.official_sizes
    assert len(plan.kept) == 645
    assert plan.parameters == 256_274_439
