"""Figures of captions: against hand-made cases and figures of the field's own code."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from core.evaluate import wording

SAID = ["a person walks forward", "a person waves", "a man jumps up high"]
REFERENCES = [
    ["a person walks forward", "someone walks"],
    ["a person waves the left hand"],
    ["a person jumps up", "a person jumps"],
]


def test_the_same_words_are_perfect():
    long = ["a person walks forward and waves", "someone jumps up and down twice"]
    found = wording.scores(long, [[t] for t in long])
    assert all(v == pytest.approx(1) for k, v in found.items() if not k.startswith("cider"))
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


def test_raw_and_tokenised_differ_by_case_and_punctuation():
    said, references = ["A person walks, then runs quickly."], [["a person walks then runs quickly"]]
    found = wording.scores(said * 2, references * 2)
    assert found["rouge_l_tok"] == pytest.approx(1)
    assert found["rouge_l"] < 1
    assert found["bleu4_tok"] == pytest.approx(1)
    assert found["bleu4"] < 1


def test_bert_score_knows_words_that_mean_the_same():
    from core.language.sentence import load_sentence

    encoder = load_sentence()
    near = wording.bert_score(["a person jogs"], [["a person runs"]], encoder)
    far = wording.bert_score(["a person jogs"], [["wash the window"]], encoder)
    assert wording.bert_score(["a person jogs"], [["a person jogs"]], encoder) == pytest.approx(1, abs=1e-4)
    assert far < near < 1
    assert -1 <= wording.bert_score([""], [["a person runs"]], encoder) < 1
