"""Tags: a controlled vocabulary, met by any inflection, and corrected by what was measured."""

from __future__ import annotations

import json
import re

import pytest
from motions import MOTIONS, raise_left_hand, run, turn, walk, wave

from core.captions import facts
from core.captions.measured import sentence
from core.captions.summary import summarise
from core.captions.tags import BODY, DIRECTION, KINDS, SPEED, STYLE, tags, verbs, vocabulary
from core.captions.tags import named as tags_named


def every_tag() -> set[str]:
    return {tag for kind in vocabulary().values() for tag in kind} | {"left hand", "right hand", "both hands"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a person walks forward", {"walk"}),
        ("a man was walking and he stopped", {"walk", "stop"}),
        ("someone is running", {"run"}),
        ("a person sprints forward with a swagger", {"run", "sprint"}),
        ("a person kicked twice", {"kick"}),
        ("a person leaps and kicks", {"jump", "leap", "kick"}),
        ("a person waves goodbye", {"wave"}),
        ("a person raises the left hand up", {"raise arm"}),
        ("a person lifts both arms above the head", {"raise arm", "lift"}),
        ("a person sits down", {"sit"}),
        ("a person is lying down", {"lie"}),
        ("a person dances salsa", {"dance"}),
        ("a person puts down a box and runs away", {"put down", "run"}),
        ("a person walks slowly with a bent back", {"walk"}),
        ("a person hops in place on one leg", {"hop", "jump"}),
        ("a person bends down", {"bend"}),
        ("", set()),
    ],
)
def test_verbs_of_a_sentence(text: str, wanted: set[str]) -> None:
    assert verbs(text) == wanted


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (BODY, "a person waves the left hand", {"hand", "left hand"}),
        (BODY, "a fighter kicks with the right leg", {"leg", "right foot"}),
        (DIRECTION, "a person walks and turns left", {"turn left"}),
        (DIRECTION, "a person walks backwards and turns to the right", {"backward", "turn right"}),
        (SPEED, "a person walks slowly", {"slow"}),
        (SPEED, "a person quickly side steps to the left", {"fast"}),
        (STYLE, "a person walks forward in an exhausted way", {"tired"}),
        (STYLE, "a person runs like an elderly person", {"elderly"}),
    ],
)
def test_other_kinds(kind: str, text: str, wanted: set[str]) -> None:
    assert tags_named(text, kind) == wanted


def test_nothing_outside_the_vocabulary() -> None:
    known = every_tag()
    for name, motion in MOTIONS.items():
        found = tags([f"a person {name.replace('_', ' ')}s in an angry way"], facts.measure(motion()))
        assert found == sorted(set(found))
        assert set(found) <= known, set(found) - known


def test_what_was_measured_counts_for_more() -> None:
    found = tags(["a person walks backward and turns right"], facts.measure(turn(3.0, 90.0)))
    assert "turn left" in found
    assert "turn right" not in found
    assert "backward" not in tags(["a person walks backward"], facts.measure(walk()))
    assert "forward" in tags(["a person walks"], facts.measure(walk()))
    assert {"left hand", "raise arm"} <= set(tags(["a person raises an arm"], facts.measure(raise_left_hand())))
    assert "in place" in tags(["a person waves"], facts.measure(wave()))


def test_a_guess_is_tagged_as_one() -> None:
    measured = facts.measure(walk())
    assert "unsure" in tags(["a person walks"], measured | {"fit": 0.2})
    assert "unsure" not in tags(["a person walks"], measured | {"fit": 0.9})
    assert "unsure" not in tags(["a person walks"], measured | {"fit": None})


def test_every_caption_of_the_data_has_a_verb(shared) -> None:
    texts = {
        entry["text"]
        for path in (shared / "data").rglob("*_captions.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
        for entry in json.loads(line)["captions"]
    }
    assert len(texts) > 500
    without = [t for t in texts if not verbs(t)]
    assert len(without) <= 0.02 * len(texts), without
    for kind in KINDS:
        assert vocabulary()[kind]


# -- one line for several segments ------------------------------------------------------------------------------------


def test_a_line_of_several_segments() -> None:
    said = ["a person walks forward", "a person turns left and waves", "a person sits down"]
    assert summarise(said) == "a person walks forward, then turns left and waves, then sits down"
    assert summarise(["a person walks"]) == "a person walks"
    assert summarise(["a person walks"] * 3) == "a person walks"


def test_grammar_of_a_line() -> None:
    assert summarise(["a person is running fast", "someone walks"]) == "a person runs fast, then walks"
    assert summarise(["a person is salsa dancing", "a fighter is punching"]) == "a person dances salsa, then punches"
    assert summarise(["a fighter punches", "a fighter kicks"]) == "a fighter punches, then kicks"


def test_the_same_in_other_words_is_told_once() -> None:
    said = ["a person dances salsa", "a person dances moving the hips", "a person bows"]
    assert summarise(said, [40, 90, 30]) == "a person dances moving the hips, then bows"
    turns = ["a person walks and turns left", "a person walks and turns right"]
    assert summarise(turns) == "a person walks and turns left, then walks and turns right"


def test_a_line_stays_short_and_invents_nothing() -> None:
    actions = ["walks", "kicks", "jumps", "bows", "sits down", "crawls", "waves", "runs", "claps"]
    frames = [50, 30, 60, 20, 70, 25, 80, 90, 40]
    line = summarise([f"a person {a} in an angry way" for a in actions], frames)
    told = re.split(r", then ", line.removeprefix("a person "))
    assert told == ["walks", "jumps", "sits down", "waves", "runs"]


# -- what can be said without the model -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("walk", "a person walks forward"),
        ("run", "a person runs forward"),
        ("stand", "a person stands"),
        ("wave", "a person raises the right hand"),
        ("raise_left_hand", "a person raises the left hand"),
        ("squat", "a person crouches down and stands up"),
        ("jump", "a person jumps"),
        ("lie_down", "a person lies down on the floor"),
    ],
)
def test_a_sentence_from_facts_alone(name: str, wanted: str) -> None:
    assert sentence(facts.measure(MOTIONS[name]())) == wanted


def test_sentences_from_facts_are_in_the_vocabulary() -> None:
    for motion in (*MOTIONS.values(), lambda: turn(3.0, -120.0), lambda: run(5.0)):
        text = sentence(facts.measure(motion()))
        assert verbs(text), text
