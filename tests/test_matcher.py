"""The matcher: what it reads, what it tells apart, how it is trained and kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import run as running
from motions import walk, wave
from test_train import write_bundle

from core.errors import CoreError
from core.evaluate.matcher import BUNDLED, LONGEST, MatcherConfig, load_matcher, mirrored_input, motion_input
from core.evaluate.retrieval import by_source, retrieval
from core.language.sentence import load_sentence
from core.skeleton import MIRROR, bone_lengths, mirror
from core.train.data import Clip, load_bundle, mirror_text
from core.train.matcher import run
from core.train.matcher_batches import STILL, Batches, Texts, broken

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = MatcherConfig(width=32, heads=2, ff=48, motion_layers=1, text_layers=1, embedding=24)
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the captioned bundles are not beside the repository")


def rotated(joints: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])).astype(np.float32)


# -- what it reads -------------------------------------------------------------------------------------------------


def test_mirrored_rows_are_the_rows_of_the_mirrored_motion():
    joints = rotated(walk(3.0), 20)
    joints[:, :, 0] += np.linspace(0, 1, len(joints))[:, None]
    joints = (joints + mirror(joints)[:, list(range(22))]) / 2 + 0.1 * rotated(joints - joints[:, :1], 35)
    bones = bone_lengths(joints[0])
    bones = (bones + bones[list(MIRROR)]) / 2
    rows, other = motion_input(joints, bones), motion_input(mirror(joints), bones)
    found = mirrored_input(torch.from_numpy(rows)).numpy()
    path = [133, 135]  # scaled by the right leg's length in both: a little apart where the legs differ
    assert np.abs(np.delete(found - other, path, 1)).max() < 2e-3
    assert np.abs(rows - other).max() > 0.05


def test_place_heading_and_size_do_not_matter():
    matcher = load_matcher()
    joints = walk(3.0)
    there = rotated(joints, 130) * 1.3 + np.array([4, 0.7, -2])
    two = matcher.embed_motion([joints, there])
    assert two.dtype == np.float32
    assert np.allclose(np.linalg.norm(two, axis=1), 1, atol=1e-5)
    assert two[0] @ two[1] > 0.999


def test_any_length_and_neighbours_do_not_matter():
    matcher = load_matcher()
    rng = np.random.default_rng(0)
    motions = [walk(3.0)[:8], running(2.0), np.concatenate([wave(6.0)] * 4), walk(9.0)[:197]]
    assert len(motions[2]) > 2 * LONGEST
    together = matcher.embed_motion(motions)
    for i in rng.permutation(4):
        assert np.allclose(matcher.embed_motion([motions[i]])[0], together[i], atol=1e-4)
    texts = ["a person walks", "someone lifts the left arm, waves it for a long while and then lets it hang down again"]
    both = matcher.embed_text(texts)
    assert both.shape == (2, matcher.cfg.embedding)
    assert np.allclose(matcher.embed_text(texts[:1])[0], both[0], atol=1e-4)
    assert matcher.embed_text([]).shape == (0, matcher.cfg.embedding)
    assert matcher.embed_motion([]).shape == (0, matcher.cfg.embedding)


def test_what_is_no_motion():
    matcher = load_matcher()
    bad = walk(2.0)
    bad[3, 4, 1] = np.nan
    for motion in (walk(2.0)[:7], np.zeros((20, 21, 3)), bad):
        with pytest.raises(CoreError) as caught:
            matcher.embed_motion([motion])
        assert caught.value.code == "joints_invalid"


# -- what it tells apart -------------------------------------------------------------------------------------------


def test_the_bundled_one_is_small_and_says_what_it_is():
    assert sum(f.stat().st_size for f in BUNDLED.iterdir()) <= 2_000_000
    config = json.loads((BUNDLED / "config.json").read_text())
    card = (BUNDLED / "README.md").read_text()
    assert config["licence"] == "CC BY-NC 4.0"
    assert "hdm05" not in config["data"]
    for word in ("CC BY-NC 4.0", f"{config['steps']} steps", f"seed {config['seed']}", "mocap.cs.cmu.edu"):
        assert word in card


def test_made_motions():
    matcher = load_matcher()
    texts = ["a person walks forward", "a person runs forward"]
    scores = matcher.embed_text(texts) @ matcher.embed_motion([walk(4.0), running(3.0)]).T
    assert (scores.argmax(1) == [0, 1]).all()


@needs_data
def test_real_test_clips():
    clips = [c for p in ("permissive/cmu", "permissive/accad", "noncommercial/bandai")
             for c in load_bundle(SHARED / f"{p}_joints.npz") if c.split == "test"]  # fmt: skip
    found = by_source(load_matcher(), clips, repeats=20)
    assert found["bandai_R@3"] >= 0.98
    assert found["rest_R@3"] >= 0.8
    assert found["bandai_swap"] >= 0.98
    assert found["rest_swap"] >= 0.7  # of twelve captions
    assert found["bandai_broken"] >= 0.95
    assert max(found["bandai_shuffled_R@3"], found["rest_shuffled_R@3"]) < 0.25


# -- training ------------------------------------------------------------------------------------------------------


def made_clips() -> list[Clip]:
    return [
        Clip("a", "made", "train", walk(3.0), ["a person walks forward"]),
        Clip("b", "made", "train", running(2.0), ["a person runs forward"]),
        Clip("c", "made", "train", wave(3.0), ["a person waves the left hand"]),
        Clip("d", "made", "train", mirror(wave(3.5)), ["a person waves the right hand"]),
    ]


def test_a_wording_without_its_side_fits_both():
    texts = Texts(["a person waves the left hand", "a person walks forward"], load_sentence(), 0)
    left, right = texts.keys["a person waves the left hand"], texts.keys["a person waves the right hand"]
    for text, row in texts.rows.items():
        meant = set(np.flatnonzero(texts.means[row]))
        if "left" in text or "right" in text:
            assert meant == {left if "left" in text else right}
        elif "wav" in text:
            assert meant == {left, right}
    assert any("wav" in t and mirror_text(t) == t for t in texts.rows)
    assert texts.states.shape[:2] == texts.real.shape


def test_a_batch_holds_pairs_and_no_false_negatives(tmp_path):
    clips = made_clips()
    matcher = load_matcher()
    texts = Texts([t for c in clips for t in c.captions], load_sentence(), 0)
    batch = Batches(matcher, clips, texts, 6, 0)()
    n = 12
    frames, rows, also = batch["frames"], batch["rows"], batch["also"].numpy()
    assert rows.shape[0] > n == len(batch["states"])
    assert torch.equal(frames[:6], frames[6:n])
    assert not also[np.arange(n), np.arange(n)].any()
    assert also[:, :n].any()  # four captions for twelve texts: some are each other's
    assert not also[:, n:].any()  # broken motions fit nobody who moves
    assert also.shape == (n, len(rows))


def test_broken_motion_is_broken():
    joints, rng = walk(4.0), np.random.default_rng(1)
    for _ in range(6):
        bad = broken(joints, rng)
        swing = (bad - bad[:, :1]).std(0).mean() / (joints - joints[:, :1]).std(0).mean()
        assert bad.shape == joints.shape
        assert swing < 0.6 or np.abs(np.diff(bad - joints, axis=0)).mean() > 0.01
    assert STILL.search("a person stands still")
    assert not STILL.search("a person walks")


def test_a_small_run_learns_is_kept_and_goes_on(tmp_path):
    clips = made_clips()
    bundle = write_bundle(tmp_path, {c.id: c.joints for c in clips}, {c.id: c.captions[0] for c in clips})
    more = {"composed": 2, "pairs": 8, "cfg": TINY, "every": 30, "licence": "made up", "device": "cpu"}
    run([bundle], tmp_path / "runs", tmp_path / "out", steps=30, **more)
    assert (tmp_path / "runs" / "matcher" / "last.pt").exists()
    run([bundle], tmp_path / "runs", tmp_path / "out", steps=60, **more)
    log = [json.loads(x) for x in (tmp_path / "runs" / "matcher" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [30, 60]
    assert log[-1]["loss"] < log[0]["loss"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["steps"], config["data"], config["clips"]) == (60, "made", 4)
    assert "made up" in (tmp_path / "out" / "README.md").read_text()

    matcher = load_matcher(tmp_path / "out")
    scores = matcher.embed_text([c.captions[0] for c in clips]) @ matcher.embed_motion([c.joints for c in clips]).T
    assert (scores.argmax(1) == np.arange(4)).all()
    assert retrieval(matcher, clips, repeats=2)["swap"] == 1


def test_nothing_to_train_on(tmp_path):
    bundle = write_bundle(tmp_path, {"a": walk(3.0)}, {"a": "a person walks"}, split="test")
    with pytest.raises(CoreError) as caught:
        run([bundle], tmp_path / "runs", tmp_path / "out")
    assert caught.value.code == "data_empty"


def test_folders_that_hold_none(tmp_path):
    with pytest.raises(CoreError) as caught:
        load_matcher(tmp_path)
    assert caught.value.code == "matcher_missing"
    (tmp_path / "config.json").write_text((BUNDLED / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((BUNDLED / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(CoreError) as caught:
        load_matcher(tmp_path)
    assert caught.value.code == "matcher_broken"
