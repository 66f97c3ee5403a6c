"""Tags of a controlled vocabulary (tags.json) for sentences and facts.

The vocabulary names for each tag the words that mean it. Words are compared by stem (core/language/words.py), so every
inflection counts; a phrase in brackets is met where its words stand in this order with at most two others in between.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.captions.choosing import UNSURE
from core.language.words import stem, word_list

VERB, BODY, DIRECTION, SPEED, STYLE, FACT = "verb", "body", "direction", "speed", "style", "fact"
KINDS = (VERB, BODY, DIRECTION, SPEED, STYLE, FACT)
MENTION, MANNER = 1 / 12, 1 / 3
"""Share of a long motion's segments that must name a thing, and a manner, for it to become a tag of the whole."""
SLOW_WALK, FAST = 0.55, 3.2
"""Metres a second under which a walk is slow and over which anything is fast."""


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, dict[str, tuple[tuple[str, ...], ...]]]:
    """Kind -> tag -> the phrases that mean it, each a tuple of stems."""
    raw = json.loads((Path(__file__).parent / "tags.json").read_text(encoding="utf-8"))
    return {kind: {tag: _phrases(text) for tag, text in raw[kind].items()} for kind in KINDS}


@lru_cache(maxsize=1)
def _no_verb() -> re.Pattern[str]:
    """Words that look like an action and are a thing or a manner: "with a bent back", "in a fighting stance"."""
    raw = json.loads((Path(__file__).parent / "tags.json").read_text(encoding="utf-8"))
    return re.compile(r"\b(?:" + "|".join(map(re.escape, raw["no verb"])) + r")\b")


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    found = re.findall(r"\[([^\]]+)\]|(\S+)", text)
    return tuple(tuple(stem(w) for w in (phrase or word).split()) for phrase, word in found)


def named(sentence: str, kind: str) -> frozenset[str]:
    """The tags of a kind that a sentence's words mean."""
    text = sentence.lower()
    if kind == VERB:  # a mark stands for what was taken out, so that no phrase reaches over it
        text = _no_verb().sub(" 0 0 0 ", text)
    words = [stem(w) for w in word_list(text)]
    return frozenset(t for t, phrases in vocabulary()[kind].items() if any(_met(words, p) for p in phrases))


def verbs(sentence: str) -> frozenset[str]:
    """What is done in a sentence: the tags of its action words."""
    return named(sentence, VERB)


def _met(words: list[str], phrase: tuple[str, ...]) -> bool:
    return any(_from(words, i, phrase) for i, word in enumerate(words) if word == phrase[0])


def _from(words: list[str], start: int, phrase: tuple[str, ...]) -> bool:
    at = start
    for word in phrase[1:]:
        following = words[at + 1 : at + 4]
        if word not in following:
            return False
        at += 1 + following.index(word)
    return True


def tags(sentences: Iterable[str], facts: dict[str, Any]) -> list[str]:
    """The tags of a motion, sorted.

    Args:
        sentences: what was said of it, sides corrected.
        facts: what `core.captions.facts.measure` found; what was measured counts for more than what was said.
    """
    texts = list(sentences)
    said = {kind: _often([named(t, kind) for t in texts], MANNER if kind == STYLE else MENTION) for kind in KINDS}
    out = set(said[VERB] | said[BODY] | said[STYLE])
    out |= said[DIRECTION] - {"forward", "backward", "sideways", "turn left", "turn right", "in place"}
    return sorted(out | _way(facts, said[DIRECTION]) | _speed(facts, said) | _moments(facts))


def _often(found: list[frozenset[str]], share: float) -> frozenset[str]:
    """The tags that at least that share of the sentences has."""
    counts = Counter(tag for tags_of in found for tag in tags_of)
    return frozenset(tag for tag, count in counts.items() if count >= share * len(found))


def _way(facts: dict[str, Any], said: frozenset[str]) -> set[str]:
    out = set()
    if facts["in_place"]:
        out.add("in place")
    if facts["gait_mps"]:
        out |= said & {"forward", "backward", "sideways"}
    elif not facts["in_place"]:
        way = facts["direction"]
        turned = abs(facts["turn_deg"]) >= 45
        out |= {way.split()[0]} & {"forward", "backward"}
        if way in ("left", "right") and not turned:
            out.add("sideways")
    if abs(facts["turn_deg"]) >= 45:
        out.add("turn left" if facts["turn_deg"] > 0 else "turn right")
    return out


def _speed(facts: dict[str, Any], said: dict[str, frozenset[str]]) -> set[str]:
    out = set(said[SPEED])
    speed = facts["gait_mps"] or facts["speed_mps"]
    if speed >= FAST:
        out = {"fast"}
    elif "walk" in said[VERB] and not said[VERB] & {"run"} and 0.15 < speed < SLOW_WALK:
        out = {"slow"}
    return out


def _moments(facts: dict[str, Any]) -> set[str]:
    out = set(facts["raised"])
    if {"left hand", "right hand"} <= out:
        out.add("both hands")
    if facts["loops"]:
        out.add("loop")
    if facts["airborne_s"] >= 0.25:
        out.add("airborne")
    if facts.get("fit") is not None and facts["fit"] < UNSURE:
        out.add("unsure")
    if facts["posture"] in ("lying", "sitting", "kneeling", "on all fours") or facts["lowest"] < 0.4:
        out.add("on the floor")
    return out
