"""What a bone's name hints at, in many languages. Hints only break ties: the body is found by its shape."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("words.json")
_SPLIT = re.compile(
    r"[A-Z]+(?![a-z])|[A-Z]?[a-z\u00df-\u017f]+|[\u0401-\u042f]?[\u0430-\u0451]+|[\u0401-\u042f]+|[^\W\d_a-zA-Z]+"
)
"""Words of a name: capitals begin one (Latin and Cyrillic letters), digits and signs end it."""


@cache
def _table() -> tuple[dict[str, frozenset[str]], tuple[tuple[str, str], ...]]:
    """Word -> kinds, and the words of scripts without spaces between words as (word, kind)."""
    kinds: dict[str, set[str]] = {}
    inside = []
    for kind, words in json.loads(_FILE.read_text(encoding="utf-8")).items():
        for word in words:
            kinds.setdefault(word, set()).add(kind)
            if ord(word[0]) > 0x2E80:
                inside.append((word, kind))
    return {word: frozenset(found) for word, found in kinds.items()}, tuple(inside)


@cache
def hints(name: str) -> frozenset[str]:
    """Kinds that the words of a name belong to: twist, helper, end, cloth, face, neck, head, left,
    right.

    "control-foot-roll.l" gives helper, twist and left. Capitals, digits and punctuation separate words.
    """
    table, inside = _table()
    name = name.rsplit(":", 1)[-1]
    out: set[str] = set()
    for word in _SPLIT.findall(name):
        out |= table.get(word.lower(), frozenset())
    out.update(kind for word, kind in inside if word in name)
    return frozenset(out)


def side(name: str) -> int:
    """1 for a name that says left, -1 for right, 0 for neither or both."""
    found = hints(name)
    return int("left" in found) - int("right" in found)
