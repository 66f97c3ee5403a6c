"""Left and right: does the limb that a caption names move, does the body turn or step where the caption says?

Each rule is a comparison of joints, so that the same one judges real and generated motion; how often real motion
keeps it says how far the rule itself can be trusted. None of it is shared with core/captions/sides.py, although that
measures much the same: it corrects what is judged here, and a judge that asks the judged would always agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.evaluate.checks import turned
from core.features import canonicalise
from core.skeleton import FPS

LIMB, TURN, STEP = "limb", "turn", "step"
KINDS = (LIMB, TURN, STEP)
"""A named hand, arm, foot or leg; a turn of the body; a movement sideways."""

MARGIN_TURN = 15.0
"""Degrees of heading that count as a turn."""
MARGIN_STEP = 0.1
"""Metres to the side that count as a step."""

_HAND = r"(?:hand|arm|fist)"
_FOOT = r"(?:leg|foot)"
_UP = r"(?:rais|lift|wav|reach)\w*|high shelf"
_STRIKE = r"(?:punch|jab|hook|cross|uppercut|backfist|strik|block)\w*"
_DOWN = r"(?:puts|places|sets|bends down|floor)"
_KICK = r"(?:kick|rais|lift|step)\w*"
_TURN = r"(?:turn|spin|curv|veer|circle|rotat)\w*"
_STEP = r"(?:sideways|side steps?|moves|steps?|dodges|ducks)"


@dataclass(frozen=True)
class Claim:
    """What a caption says about a side. kind: limb, turn or step; left: whether the left is named; lead: (joints) ->
    by how much the named side leads the other, more than 0 where the motion keeps to the caption."""

    kind: str
    left: bool
    lead: Callable[[np.ndarray], float]


def claim(caption: str) -> Claim | None:
    """The claim in a caption, None where it names no side, both sides or a limb no rule is for."""
    text = caption.lower()
    sides = set(re.findall(r"\b(left|right)\b", text))
    if len(sides) != 1:
        return None
    side = sides.pop()
    sign = 1.0 if side == "left" else -1.0
    limb = re.search(rf"\b{side} ({_HAND}|{_FOOT})\b", text)
    if limb is not None:
        rule = _limb_rule(text, hand=re.fullmatch(_HAND, limb[1]) is not None)
        return None if rule is None else Claim(LIMB, side == "left", lambda j: sign * rule(j))
    if re.search(rf"\b{_TURN}\b[^,]*\b{side}\b|\b{side} turns?\b", text):
        return Claim(TURN, side == "left", lambda j: sign * turned(j) - MARGIN_TURN)
    if re.search(rf"\b{_STEP}\b[^,]*\b{side}\b", text):
        return Claim(STEP, side == "left", lambda j: sign * stepped(j) - MARGIN_STEP)
    return None


def _limb_rule(text: str, hand: bool) -> Callable[[np.ndarray], float] | None:
    """How far the left limb leads the right one in what the caption says it does."""
    if hand:
        for words, rule in ((_STRIKE, faster_hand), (_DOWN, lower_hand), (_UP, higher_hand)):
            if re.search(rf"\b{words}\b", text):
                return rule
        return None
    return higher_foot if re.search(rf"\b{_KICK}\b", text) else None


def higher_hand(joints: np.ndarray) -> float:
    """By how much the left wrist's highest point above its shoulder tops the right one's, metres."""
    above = joints[:, [20, 21], 1] - joints[:, [16, 17], 1]
    return float(above[:, 0].max() - above[:, 1].max())


def lower_hand(joints: np.ndarray) -> float:
    """By how much the left wrist's lowest point lies below the right one's, metres."""
    low = joints[:, [20, 21], 1].min(0)
    return float(low[1] - low[0])


def faster_hand(joints: np.ndarray) -> float:
    """By how much the left wrist's highest speed relative to the chest tops the right one's, metres a second."""
    local = joints[:, [20, 21]] - joints[:, [9]]
    speed = np.linalg.norm(np.diff(local, axis=0), axis=-1).max(0) * FPS
    return float(speed[0] - speed[1])


def higher_foot(joints: np.ndarray) -> float:
    """By how much the left ankle's highest point tops the right one's, metres."""
    high = joints[:, [7, 8], 1].max(0)
    return float(high[0] - high[1])


def stepped(joints: np.ndarray) -> float:
    """How far the head gets to the body's first left, at the farthest of either side, metres (negative: right)."""
    side = canonicalise(joints)[:, 15, 0]
    side = side - side[0]
    return float(side[np.abs(side).argmax()])


def agreement(pairs: list[tuple[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Share of motions that keep their caption's claim: kind -> {"right": share, "count": how many}.

    Args:
        pairs: (caption, joints (T, 22, 3)); those whose caption makes no claim are left out.
    """
    kept: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for caption, joints in pairs:
        made = claim(caption)
        if made is not None:
            kept[made.kind].append(made.lead(joints) > 0)
    return {k: {"right": float(np.mean(v)), "count": len(v)} for k, v in kept.items() if v}
