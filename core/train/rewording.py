"""Captions said in other words, by rule: subjects, synonyms, imperatives. The lists are data: rewording.json."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

_LISTS = json.loads((Path(__file__).parent / "rewording.json").read_text(encoding="utf-8"))
_SUBJECT = re.compile(r"^(a person|someone|a man|a woman)\b")
_BASE = {"is": "be", "does": "do", "goes": "go", "has": "have"}


def base_form(verb: str) -> str:
    """Third person -> imperative: "walks" -> "walk", "punches" -> "punch", "carries" -> "carry"."""
    if verb in _BASE:
        return _BASE[verb]
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if re.search(r"(ch|sh|ss|x|z)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") else verb


def reword(caption: str, rng: np.random.Generator) -> str:
    """The caption, or one of many ways to say the same; half of the calls leave it as it is."""
    if rng.random() < 0.5:
        return caption
    for phrase, others in _LISTS["phrases"].items():
        if phrase in caption and rng.random() < 0.5:
            caption = caption.replace(phrase, others[rng.integers(len(others))], 1)
            break
    match = _SUBJECT.match(caption)
    if match is None:
        return caption
    rest = caption[match.end() :].strip()
    kind = rng.random()
    if kind < 0.55:
        subjects = _LISTS["subjects"]
        return f"{subjects[rng.integers(len(subjects))]} {rest}"
    if kind < 0.75:
        return rest
    first, _, tail = rest.partition(" ")
    if first == "is" and tail.split(" ")[0].endswith("ing"):
        return tail
    tail = re.sub(r"\band (\w+s)\b", lambda m: "and " + base_form(m[1]) if m[1] in _VERBS else m[0], tail)
    return f"{base_form(first)} {tail}".strip()


def corpus() -> list[str]:
    """Every word of the lists, for training a tokenizer."""
    return [w for k, v in _LISTS["phrases"].items() for w in (k, *v)] + _LISTS["subjects"]


_VERBS = {p.split(" ")[0] for p in _LISTS["phrases"]}
