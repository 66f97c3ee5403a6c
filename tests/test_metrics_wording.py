"""Figures of captions: against hand-made cases and figures of the field's own code."""

from __future__ import annotations

import socket
import subprocess

import pytest

pytest.importorskip("torch")

from core.errors import CoreError
from core.evaluate import captions_bert, wording
from core.language.sentence import load_sentence

SAID = ["a person walks forward", "a person waves", "a man jumps up high"]
REFERENCES = [
    ["a person walks forward", "someone walks"],
    ["a person waves the left hand"],
    ["a person jumps up", "a person jumps"],
]


def test_the_same_words_are_perfect():
    long = ["a person walks forward and waves", "someone jumps up and down twice"]
    found = wording.scores(long, [[t] for t in long])
    alike = [k for k in found if not k.startswith("cider") and not k.endswith("_cross")]
    assert all(found[k] == pytest.approx(1) for k in alike)
    assert found["cider"] == pytest.approx(10)


def test_cider_is_that_of_coco():
    assert wording.cider(SAID, REFERENCES) == pytest.approx(3.599783661048599)  # pycocoevalcap 1.2, sigma 6


def test_bleu_by_hand():
    said, references = ["a person walks home now"], [["a person walks forward now"]]
    assert wording.bleu(said, references, 1) == pytest.approx(4 / 5)
    two = wording.bleu(said, references, 2)
    assert two == pytest.approx((4 / 5 * 2 / 4) ** 0.5)
    assert wording.bleu(said, [[*references[0], "a person walks home"]], 1) == pytest.approx(1)


def test_rouge_takes_the_best_reference():
    assert wording.rouge_l(["a person walks"], [["someone runs", "a person walks"]]) == pytest.approx(1)
    assert wording.rouge_l(["a b c d"], [["a c"]]) == pytest.approx(2 * (2 / 4) * 1 / (2 / 4 + 1))


def test_cider_by_hand():
    """Words weigh log 2 each. The first clip: 1-grams and 2-grams alike, no others, so 10 * 2 / 4. The second: one of
    two words, and no pair of them, so 10 * (1 / 2) / 4."""
    assert wording.cider(["a b", "c x"], [["a b"], ["c d"]]) == pytest.approx((5 + 1.25) / 2)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A person's hands are waving left.", "a person hand are wave left"),
        ("the man walks on the ground, then kicked with his left foot", "the man walk on the ground then kick with his "
         "left foot"),
        ("a person side-steps", "a person sidestep"),
        ("both feet, both knees!", "both foot both knee"),
        ("...", ""),
    ],
)  # fmt: skip
def test_tokens_leave_out_tense_and_plural(text: str, tokens: str):
    assert wording.tokenised(text) == tokens


def test_the_forms_differ_by_what_is_compared():
    said, references = ["A person walks, then runs quickly."], [["a person walked then ran quickly"]]
    found = wording.scores(said * 2, references * 2)
    assert found["rouge_l"] == pytest.approx(2 / 6)  # person, then or quickly. with its full stop: two words of six
    assert found["rouge_l_tok"] == pytest.approx(1)
    assert found["bleu4_tok"] == pytest.approx(1)
    assert found["rouge_l_cross"] == pytest.approx(2 / 6)
    assert found["bleu4"] < found["bleu4_tok"]
    assert found["exact"] == 0
    again = wording.scores(said * 2, [["A person walks, then runs quickly."]] * 2)
    assert again["exact"] == 1
    assert again["rouge_l"] == 1
    assert again["rouge_l_cross"] < 0.5  # the same sentence, and half of the words count as wrong


def test_a_sources_own_tokens_are_taken():
    found = wording.scores(["he walks"] * 2, [["he strolls"]] * 2, tokens=[["he walk"]] * 2)
    assert found["rouge_l_tok"] == 1
    assert found["rouge_l"] == pytest.approx(0.5)


@pytest.fixture(scope="module")
def judge() -> captions_bert.BertScore:
    """The bundled sentence encoder as the package reads it, where no network and no other program is to be had."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be fetched or started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(subprocess, "Popen", refused)
        assert wording.cider(SAID, REFERENCES) > 0
        return captions_bert.bundled(load_sentence())


def test_bert_score_is_the_greedy_match_of_tokens(judge):
    """By hand: each token of one sentence takes the nearest of the other; the ends of a sentence may be taken."""
    said, reference = "a person jogs", "a person runs ahead"
    states, real = load_sentence().tokens([said, reference])
    rows = [(s / s.norm(dim=-1, keepdim=True))[: int(r.sum())] for s, r in zip(states, real, strict=True)]
    near = rows[0] @ rows[1].T
    precision, recall = near[1:-1].max(1).values.mean(), near[:, 1:-1].max(0).values.mean()
    expected = float(2 * precision * recall / (precision + recall))
    assert judge.score([said], [[reference]]) == pytest.approx(expected, abs=1e-4)
    assert judge.score([said], [["wash the window", reference]]) == pytest.approx(expected, abs=1e-4)


def test_bert_score_knows_words_that_mean_the_same(judge):
    near, far = (judge.score(["a person jogs"], [[t]]) for t in ("a person runs", "wash the window"))
    assert judge.score(["a person jogs"], [["a person jogs"]]) == pytest.approx(1, abs=1e-4)
    assert far < near < 1
    assert judge.score(["", "a person jogs"], [["a person runs"], ["a person jogs"]]) == pytest.approx(0.5, abs=1e-4)
    assert wording.scores(SAID, REFERENCES, judge).keys() >= {"bertscore", "bertscore_tok", "bertscore_cross"}


def test_a_model_of_ones_own_judges_and_a_wrong_one_is_told(tmp_path):
    captions_bert.write_folder(load_sentence(), tmp_path)
    own = captions_bert.BertScore(tmp_path, layers=2)
    assert own.name == f"{tmp_path.name}, layer 2"
    assert 0.2 < own.score(["a person jogs"], [["a person runs"]]) < 1
    with pytest.raises(CoreError, match="6 layers, not 9") as caught:
        captions_bert.BertScore(tmp_path, layers=9)
    assert caught.value.code == "bert_broken"
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CoreError) as caught:
        captions_bert.BertScore(tmp_path)
    assert caught.value.code == "bert_broken"
    with pytest.raises(CoreError) as caught:
        captions_bert.BertScore(tmp_path / "nowhere")
    assert caught.value.code == "bert_missing"
