"""Left and right in a sentence, set right where the motion clearly says otherwise.

A rule knows a wording and what to measure for it; a side is changed only where the other one leads by the rule's
margin. Measured on the five captioned bundles, all splits, 5,171 captions that name a side: none that is right is
changed, and of the same captions with the side swapped all but 3 are set right; margins are about half the lead that
99 in 100 real motions keep. Of the likeliest sentences that the compact model writes of validation, test and HDM05's
clips and their mirror images, 349 name a side as a caption does: two of these were wrong and are set right, none of
the others is spoilt. Of the sentences that are chosen (core/captions/choosing.py) none of these was wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.captions.facts import Body, read
from core.captions.leads import Leads, leads

HAND, FOOT, WAY = "hand", "foot", "way"
"""What a side can be of: a hand or arm, a foot or leg, or the way of the body."""

_SIDE = re.compile(r"\b(left|right)\b(?: (?P<part>[a-z]+))?")
_PARTS = {
    **dict.fromkeys(("hand", "hands", "arm", "fist", "palm", "wrist"), HAND), **dict.fromkeys(("leg", "foot"), FOOT),
    **dict.fromkeys(("elbow", "knee", "shoulder", "hip", "side", "ear", "eye", "cheek", "heel", "toe"), ""),
}  # fmt: skip
"""What stands behind "left" -> what the side is of; nothing is measured for those with ""."""
_CLAUSE = re.compile(r"[,;]|\b(?:then|while|before|after|as|and(?= \w+s\b))\b")


@dataclass(frozen=True)
class Rule:
    """What a wording claims of a side.

    Args:
        of: HAND, FOOT or WAY.
        words: what the clause says.
        lead: how far the left leads.
        margin: from how large a lead of the other side on the sentence has the wrong side.
        least: how far the named side leads at least where the sentence is true; about half of what 99 in 100 do.
        name: what turns or goes to a side, for people.
    """

    of: str
    words: re.Pattern[str]
    lead: Callable[[Leads], float]
    margin: float
    least: float
    name: str = ""


def _rule(of: str, words: str, lead: Callable[[Leads], float], margin: float, least: float, name: str = "") -> Rule:
    return Rule(of, re.compile(rf"\b(?:{words})\b"), lead, margin, least, name)


RULES = (
    _rule(HAND, r"(?:punch|jab|hook|cross|uppercut|backfist|strik|block|throw)\w*", lambda m: m.hand_fast, 0.7, 0.5),
    _rule(HAND, r"puts?|places?|sets?|picks?|bends? down|floor|ground", lambda m: m.hand_low, 0.07, 0.0),
    _rule(HAND, r"(?:rais|lift|wav|reach)\w*|above|high shelf", lambda m: m.hand_up, 0.2, 0.15),
    _rule(FOOT, r"(?:kick|rais|lift)\w*", lambda m: m.foot_up, 0.3, 0.2),
    _rule(WAY, r"(?:turn|spin|curv|veer|circl|rotat)\w*", lambda m: m.turn, 30.0, 15.0, "turn"),
    _rule(WAY, r"(?:dodg|duck)\w*", lambda m: m.dodge, 0.1, 0.05, "dodge"),
    _rule(WAY, r"sideways|side[- ]?steps?|moves?|steps?|shuffles?", lambda m: m.step, 0.2, 0.12, "step"),
    _rule(WAY, r"runs?|walks?|jogs?", lambda m: m.turn, 30.0, 15.0, "turn"),
)
"""The first rule that fits a mention of a side decides."""


@dataclass(frozen=True)
class Claim:
    """A mention of a side in a sentence that can be measured: its place, "left" or "right", and the rule for it."""

    start: int
    side: str
    part: str
    rule: Rule

    def wrong(self, measured: Leads) -> bool:
        """Whether the other side leads clearly."""
        sign = 1.0 if self.side == "left" else -1.0
        return sign * self.rule.lead(measured) < -self.rule.margin

    def empty(self, measured: Leads) -> bool:
        """Whether nothing of the kind is to be seen on the named side."""
        sign = 1.0 if self.side == "left" else -1.0
        return sign * self.rule.lead(measured) < self.rule.least

    def said(self, side: str) -> str:
        """The claim in short, for people, with this side."""
        return f"{side} {self.part}" if self.rule.of != WAY else f"{self.rule.name} to the {side}"


def claims(sentence: str) -> list[Claim]:
    """The measurable mentions of a side. None of those that the sentence makes of both sides: which moment each speaks
    of is not known."""
    found: list[Claim] = []
    named: dict[str, set[str]] = {}
    for start, clause in _clauses(sentence.lower()):
        for mention in _SIDE.finditer(clause):
            part = mention["part"] or ""
            of = _PARTS.get(part, WAY)
            named.setdefault(of, set()).add(mention[1])
            rule = next((r for r in RULES if r.of == of and r.words.search(clause)), None)
            if rule is not None:
                found.append(Claim(start + mention.start(), mention[1], part if of != WAY else "", rule))
    return [c for c in found if len(named[c.rule.of]) == 1]


def _clauses(text: str) -> list[tuple[int, str]]:
    """(place, clause) in order; a clause without a side joins the one before it: "raises the left arm and waves"."""
    out: list[tuple[int, str]] = []
    start = 0
    for end in [*(m.start() for m in _CLAUSE.finditer(text)), len(text)]:
        clause = text[start:end]
        if out and not _SIDE.search(clause) and not re.match(r"[,;]|then", clause):
            out[-1] = (out[-1][0], out[-1][1] + clause)
        else:
            out.append((start, clause))
        start = end
    return out


def corrected(sentence: str, motion: np.ndarray | Body) -> tuple[str, list[dict[str, str]]]:
    """The sentence with its sides as measured, and what was changed.

    Args:
        motion: (T, 22, 3) metres, Y up, 20 fps, or what `facts.read` makes of it.
    Returns:
        The sentence, and [{"said": "left hand", "measured": "right hand"}], one for each change.
    """
    made = claims(sentence)
    if not made:
        return sentence, []
    measured = leads(motion if isinstance(motion, Body) else read(motion))
    changed: list[dict[str, str]] = []
    for claim in reversed(made):  # from the end, so that places stay
        if claim.wrong(measured):
            other = "right" if claim.side == "left" else "left"
            end = claim.start + len(claim.side)
            sentence = sentence[: claim.start] + _in_case(other, sentence[claim.start : end]) + sentence[end:]
            change = {"said": claim.said(claim.side), "measured": claim.said(other)}
            changed = [change, *(c for c in changed if c != change)]
    return sentence, changed


def unfounded(sentence: str, motion: np.ndarray | Body) -> bool:
    """Whether a sentence, sides corrected, names a hand that is not raised, a turn that is not made and the like. Of
    1,884 captioned clips whose caption names a side, no caption is."""
    made = claims(sentence)
    if not made:
        return False
    measured = leads(motion if isinstance(motion, Body) else read(motion))
    return any(claim.empty(measured) for claim in made)


def _in_case(word: str, like: str) -> str:
    return word.capitalize() if like[0].isupper() else word
