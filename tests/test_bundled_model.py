"""What ships does what it must: it walks, runs, raises the named hand, and says what it sees."""

from __future__ import annotations

import numpy as np
import pytest

from core.bvh import read_bvh, write_bvh
from core.evaluate.checks import CHECKS
from core.features import canonicalise
from core.model.checkpoint import BUNDLED, WEIGHTS, load_model
from core.skeleton import bone_lengths, mirror
from core.tasks.caption import caption
from core.tasks.generate import generate

SEEDS = 16
MOST = 30_000_000
"""Bytes that all bundled weights may take in the tree: model, matcher, sentence encoder."""


@pytest.fixture(scope="module")
def model():
    return load_model(None, "cpu")


def test_it_is_small_and_says_what_it_is(model):
    assert sum(f.stat().st_size for f in WEIGHTS.rglob("*") if f.is_file()) <= MOST
    assert model.info["licence"]
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    assert model.info["licence"] in card
    for source in model.info["data"].split(", "):
        assert source.lower() in card.lower()


@pytest.mark.parametrize("name", ["walk", "run", "raise_left", "raise_right", "raise_both", "walk_wave"])
def test_prompt_shows_in_the_motion(model, name):
    prompt, seconds, rule = CHECKS[name]
    kept = np.mean([rule(j) for j in generate(model, prompt, seconds, 0, variations=SEEDS)])
    assert kept >= 0.75, f"{prompt}: {kept:.0%} of {SEEDS} seeds"


def test_other_words_for_the_same(model):
    rule = CHECKS["walk"][2]
    for prompt in ("Walk forward.", "someone walks", "A man is walking forward"):
        assert np.mean([rule(j) for j in generate(model, prompt, 4, 0, variations=SEEDS)]) >= 0.6, prompt


def test_bones_never_change_length(model):
    (joints,) = generate(model, "a person dances", 9.8, 1)
    assert np.ptp(bone_lengths(joints), axis=0).max() < 1e-4


def test_longer_is_more_steps_not_slow_motion(model):
    def pace(seconds: float) -> float:
        motions = generate(model, "a person walks forward", seconds, 0, variations=SEEDS)
        return float(np.median([np.linalg.norm(np.diff(j[:, 0], axis=0), axis=-1).mean() for j in motions]))

    assert 0.6 < pace(8.0) / pace(3.0) < 1.6


def test_it_captions_its_own_walk_run_and_raised_hands(model):
    for prompt, seconds, word in (("a person walks forward", 4, "walk"), ("a person runs forward", 3, "run")):
        said = [caption(model, j)[0] for j in generate(model, prompt, seconds, 0, variations=8)]
        assert np.mean([word in s for s in said]) >= 0.75, said
    motions = generate(model, "a person raises the left hand up", 3, 0, variations=8)
    assert np.mean(["left" in caption(model, j)[0] for j in motions]) >= 0.75
    assert np.mean(["right" in caption(model, mirror(j))[0] for j in motions]) >= 0.75


def test_it_captions_a_walk_in_any_place_and_through_bvh(model, tmp_path):
    (joints,) = generate(model, "a person walks forward", 4, 3)
    turned = joints[..., [2, 1, 0]] * np.array([-1, 1, 1], np.float32) + np.array([4, 0, -7], np.float32)
    assert caption(model, turned) == caption(model, joints)
    write_bvh(tmp_path / "walk.bvh", joints)
    assert "walk" in caption(model, canonicalise(read_bvh(tmp_path / "walk.bvh")))[0]


@pytest.mark.parametrize(
    ("file", "word"), [("cmu_02_01_walk__cgspeed_mb.bvh", "walk"), ("cmu_02_03_run__iclone_cc.bvh", "run")]
)
def test_it_captions_real_mocap(model, shared, file, word):
    assert word in caption(model, read_bvh(shared / "bvh" / file))[0]
