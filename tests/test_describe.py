"""Descriptions by the bundled model: many motions at once, long and short ones, what cannot be described, and speed."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import lie_down, raise_left_hand, rotation, run, squat, stand, walk, wave
from test_cuts import check, joined
from tiny_model import make_tiny_model

from core import prompts
from core.captions import choosing
from core.captions.describe import describe, embedder_name
from core.captions.description import Description
from core.captions.drafts import write_drafts
from core.captions.sides import unfounded
from core.captions.tags import verbs
from core.errors import Cancelled, CoreError
from core.model.checkpoint import load_model
from core.model.motiongpt3 import MotionGPT3
from core.skeleton import mirror
from core.tasks.caption import encode_motions
from core.tasks.generate import generate

MADE = {
    "a person walks forward": {"walk"},
    "a person runs forward": {"run"},
    "a person raises the left hand up": {"raise arm", "wave", "lift"},
    "a person walks and turns right": {"walk", "turn"},
    "a person dances salsa": {"dance"},
}


@pytest.fixture(scope="module")
def model() -> MotionGPT3:
    return load_model(None, "cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return load_model(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable)), "cpu")


@pytest.fixture(scope="module")
def made(model: MotionGPT3) -> list[np.ndarray]:
    return [generate(model, prompt, 4.0, 3)[0] for prompt in MADE]


def only(found: list[Description | CoreError]) -> Description:
    (one,) = found
    assert isinstance(one, Description), one
    return one


def check_description(found: Description, frames: int) -> None:
    """What holds of every description."""
    assert found.sentence
    assert found.segments[0]["first"] == 0
    assert found.segments[-1]["last"] == frames - 1
    assert all(set(s) == {"first", "last", "sentence", "raw"} for s in found.segments)
    assert (found.raw != "") == (len(found.segments) == 1)
    assert found.sentence not in found.alternatives
    assert len(set(found.alternatives)) == len(found.alternatives)
    assert found.fact_lines
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {field.name for field in fields(Description)}


def test_what_the_model_makes_it_describes(model: MotionGPT3, made: list[np.ndarray]) -> None:
    found = describe(model, made, alternatives=2)
    for (prompt, wanted), joints, one in zip(MADE.items(), made, found, strict=True):
        assert isinstance(one, Description)
        check_description(one, len(joints))
        assert verbs(one.sentence) & wanted, (prompt, one.sentence)
        assert wanted & set(one.tags), (prompt, one.tags)
        assert len(one.alternatives) == 2
        assert 0.4 < one.facts["fit"] <= 1
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-4)
        assert one.embedder == embedder_name()
    assert len({one.embedder for one in found if isinstance(one, Description)}) == 1


def test_constructed_motion(model: MotionGPT3) -> None:
    wanted = {
        "walk": (walk(4.0), {"walk"}), "run": (run(3.0), {"run"}),
        "left": (raise_left_hand(3.0), {"raise arm", "lift"}), "lie": (lie_down(4.0), {"lie", "fall"}),
    }  # fmt: skip
    found = describe(model, [joints for joints, _ in wanted.values()])
    for (name, (joints, said)), one in zip(wanted.items(), found, strict=True):
        assert isinstance(one, Description)
        check_description(one, len(joints))
        assert verbs(one.sentence) & said, (name, one.sentence)


def test_company_does_not_matter(model: MotionGPT3, made: list[np.ndarray]) -> None:
    """A report is the same however the work is split up; numbers may differ in the last digits."""
    motions = [*made, walk(7.0), wave(2.0), squat(3.0)]
    together = describe(model, motions, alternatives=2)
    for joints, one in zip(motions, together, strict=True):
        alone = only(describe(model, [joints], alternatives=2))
        assert isinstance(one, Description)
        assert (alone.sentence, alone.raw, alone.alternatives) == (one.sentence, one.raw, one.alternatives)
        assert (alone.segments, alone.tags) == (one.segments, one.tags)
        assert alone.facts == one.facts
        assert np.abs(np.array(alone.embedding) - one.embedding).max() < 1e-4


def test_place_heading_and_size_do_not_matter(model: MotionGPT3, made: list[np.ndarray]) -> None:
    turned = [
        (np.einsum("tij,tnj->tni", rotation("y", 140.0, len(j)), j) + np.array([9.0, 0.0, -4.0])).astype(np.float32)
        for j in made
    ]
    sized = [j * np.float32(1.3) for j in made]
    for others in (turned, sized):
        for one, other in zip(describe(model, made), describe(model, others), strict=True):
            assert isinstance(one, Description)
            assert isinstance(other, Description)
            assert one.sentence == other.sentence


def test_the_mirror_image_has_the_other_side(model: MotionGPT3) -> None:
    said = ["a person raises the right hand up", "a person kicks with the left leg", "a person walks and turns left"]
    for text in said:
        joints, side = generate(model, text, 4.0, 3)[0], "left" if "left" in text else "right"
        one, other = only(describe(model, [joints])), only(describe(model, [mirror(joints)]))
        swapped = "right" if side == "left" else "left"
        assert side in one.sentence
        assert swapped not in one.sentence
        assert swapped in other.sentence
        assert side not in other.sentence


def test_a_walk_in_place_is_described_as_a_walk(model: MotionGPT3, made: list[np.ndarray]) -> None:
    here = made[0].copy()
    here[..., [0, 2]] -= made[0][:, :1, [0, 2]]
    one = only(describe(model, [here]))
    assert "walk" in verbs(one.sentence)
    assert one.facts["in_place"]
    assert one.facts["gait_mps"] > 0.4
    assert "in place" in one.tags


def test_a_wrong_side_is_set_right_and_told(model: MotionGPT3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drafts of the mirror image, put to the motion: what a model that mixes up sides would say."""
    import core.captions.describe as module

    joints = generate(model, "a person raises the left hand up", 4.0, 3)[0]
    encode = module.encode_motions
    monkeypatch.setattr(module, "encode_motions", lambda m, motions: encode(m, [mirror(j) for j in motions]))
    monkeypatch.setattr(choosing, "judged", lambda m: False)
    one = only(describe(model, [joints]))
    assert "right" in one.raw
    assert "left" in one.sentence
    assert "right" not in one.sentence
    assert [c["measured"].split()[0] for c in one.corrections] == ["left"]


def test_a_long_motion_is_cut_described_and_summed_up(model: MotionGPT3, made: list[np.ndarray]) -> None:
    joints, _ = joined([made[0], made[2], made[1], made[2]])
    assert len(joints) > 200
    one = only(describe(model, [joints], alternatives=2))
    check_description(one, len(joints))
    check([(s["first"], s["last"]) for s in one.segments], len(joints))
    assert len(one.segments) >= 3
    assert one.raw == ""
    assert ", then " in one.sentence
    assert {"walk", "run"} <= set().union(*(verbs(s["sentence"]) for s in one.segments))
    assert {"walk", "run"} <= set(one.tags)
    neighbours = zip(one.segments, one.segments[1:], strict=False)
    assert all(a["sentence"] != b["sentence"] for a, b in neighbours)


def test_the_same_all_along_is_one_segment_however_long(model: MotionGPT3) -> None:
    one = only(describe(model, [walk(30.0)]))
    check_description(one, 600)
    assert len(one.segments) == 1
    assert one.facts["seconds"] == pytest.approx(29.95)


@pytest.mark.parametrize("frames", [10, 13, 19, 20, 21])
def test_half_a_second_is_enough(model: MotionGPT3, frames: int) -> None:
    one = only(describe(model, [run(3.0)[20 : 20 + frames]]))
    check_description(one, frames)
    assert verbs(one.sentence) & {"run", "walk"}


def bad_motions() -> dict[str, np.ndarray]:
    nan = walk()
    nan[3, 4, 1] = np.nan
    return {
        "motion_too_short": walk()[:9], "motion_static": stand(3.0), "motion_not_finite": nan,
        "motion_shape": np.zeros((40, 24, 3), np.float32),
    }  # fmt: skip


def test_one_that_cannot_be_described_says_so_and_spoils_nothing(model: MotionGPT3) -> None:
    good = only(describe(model, [walk()]))
    bad = bad_motions()
    found = describe(model, [*bad.values(), walk()])
    for code, one in zip(bad, found, strict=False):
        assert isinstance(one, CoreError)
        assert one.code == code
        assert one.message
        assert one.remedy
    assert isinstance(found[-1], Description)
    assert found[-1].sentence == good.sentence
    assert [e.code for e in describe(model, list(bad.values())) if isinstance(e, CoreError)] == list(bad)
    assert describe(model, []) == []


@pytest.mark.parametrize("joints", [np.zeros((0, 22, 3)), np.zeros((30, 22)), np.full((30, 22, 3), "a")])
def test_what_is_no_motion_at_all(model: MotionGPT3, joints: np.ndarray) -> None:
    (one,) = describe(model, [joints])
    assert isinstance(one, CoreError)
    assert one.code in ("motion_shape", "motion_too_short")


def test_who_only_breathes_is_no_pose(model: MotionGPT3) -> None:
    joints = stand(4.0)
    joints[:, 3:, 1] += 0.008 * np.sin(np.arange(len(joints)) / 10)[:, None].astype(np.float32)
    one = only(describe(model, [joints]))
    assert verbs(one.sentence) & {"stand", "idle"}, one.sentence


def test_without_a_vector(model: MotionGPT3) -> None:
    one = only(describe(model, [walk()], embed=False))
    assert one.embedding == ()
    assert one.embedder == ""
    assert one.sentence == only(describe(model, [walk()])).sentence


def test_progress_and_cancel(model: MotionGPT3) -> None:
    told: list[float] = []
    describe(model, [walk(), run()], alternatives=1, progress=lambda share, what: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    calls = []

    def later() -> bool:
        calls.append(1)
        return len(calls) > 6

    with pytest.raises(Cancelled):
        describe(model, [walk()] * 3, cancelled=later)


def test_drafts_begin_with_the_greedy_sentence(model: MotionGPT3, made: list[np.ndarray]) -> None:
    with torch.inference_mode():
        codes = encode_motions(model, made)
        drafts = write_drafts(model, codes, 4)
        ids = model.prompt(prompts.motion_to_text())
        for row, found in zip(codes, drafts, strict=True):
            tokens, likely = model.write(ids, row[None, None])
            assert found[0].text == model.tokenizer.decode(tokens)
            assert found[0].likely == pytest.approx(likely, abs=1e-3)
            assert len(found) == 5
            assert len({d.text for d in found}) >= 3


def test_a_model_that_the_matcher_cannot_judge(tiny: MotionGPT3) -> None:
    """The official model, or any other of foreign data: its likeliest sentence, and no word on how well it fits."""
    assert not choosing.judged(tiny)
    joints = walk(3.0)
    with torch.inference_mode():
        tokens, _ = tiny.write(tiny.prompt(prompts.motion_to_text()), encode_motions(tiny, [joints])[:, None])
    for options in ({}, {"fast": True}, {"alternatives": 2}):
        one = only(describe(tiny, [joints], **options))
        check_description(one, len(joints))
        assert one.raw == tiny.tokenizer.decode(tokens)
        assert one.facts["fit"] is None
        assert len(one.alternatives) <= options.get("alternatives", 0)


def test_what_is_told_of_sides_is_borne_out(model: MotionGPT3, made: list[np.ndarray]) -> None:
    """No turn and no hand is told that is not there."""
    motions = [*made, squat(3.0), wave(3.0), stand(3.0) + np.float32(0.01) * np.sin(np.arange(60) / 5)[:, None, None]]
    for joints, one in zip(motions, describe(model, motions), strict=True):
        assert isinstance(one, Description)
        assert not unfounded(one.sentence, joints.astype(np.float32)), one.sentence


def test_unseen_motion_is_measured_instead_of_invented(model: MotionGPT3, shared: Path) -> None:
    """HDM05's clips, which the model was never shown: no worse than measured when this was built."""
    from core.train.data import load_bundle

    clips = load_bundle(shared / "data" / "sharealike" / "hdm05_joints.npz")[::6]
    found = describe(model, [c.joints for c in clips], embed=False)
    right = [
        bool(verbs(one.sentence) & frozenset().union(*map(verbs, c.captions)))
        for c, one in zip(clips, found, strict=True)
        if isinstance(one, Description)
    ]
    assert len(right) >= 30
    assert np.mean(right) >= 0.4


def test_real_clips_say_what_their_captions_say(model: MotionGPT3, shared: Path) -> None:
    from core.train.data import load_bundle

    clips = [
        c
        for name in ("permissive/cmu", "permissive/accad", "noncommercial/bandai")
        for c in load_bundle(shared / "data" / f"{name}_joints.npz")
        if c.split == "val"
    ][::4]
    found = describe(model, [c.joints for c in clips], embed=False)
    right = [
        bool(verbs(one.sentence) & frozenset().union(*map(verbs, c.captions)))
        for c, one in zip(clips, found, strict=True)
        if isinstance(one, Description)
    ]
    assert len(right) >= 30
    assert np.mean(right) >= 0.85
