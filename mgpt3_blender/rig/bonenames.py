"""The names of an armature's bones, and every way each of them may be read.

A namespace ("hero:") and what (nearly) all bones share in front or behind are taken off. Names are compared as they are
spelt first, then without capitals and the signs between words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

_SIGNS = re.compile(r"[\s._\-]+")
_COUNTED = re.compile(r"\.\d{3}$")
LOOSE = 300
"""Cost of a name that is right but for capitals and signs between words; alternatives of a preset cost 1 each."""
TAKEN_OFF = 1000
"""Cost of each letter that is taken off a name."""
DUPLICATE = 100_000
"""Cost of the number that Blender puts behind a name that is there already."""
_NUMBERED = re.compile(r"_\d{1,4}$")


@lru_cache(maxsize=65536)
def plain(name: str) -> str:
    """Names that differ only in capitals or in the signs between words count as the same."""
    return _SIGNS.sub("", name).lower()


def _shared(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """What most names begin with and what they end with: up to a sign between words, or all of them to the letter.

    A family may put one letter in front itself: "guymPelvis" and "guymTorso" have "guym" in common, and the family
    knows "mPelvis". The names of a few bones have nothing in common that would count.
    """
    if len(names) < 8:
        return [], []
    found = []
    for backwards in (False, True):
        words = [name[::-1] for name in names] if backwards else list(names)
        low, high = min(words), max(words)
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
        counts: Counter[str] = Counter()
        some = words[:: 1 + len(words) // 150]  # of 706 names 150 say the same
        for word in some:
            counts.update(word[: m.end()] for m in re.finditer(r"[:|._\- ]+", word) if m.end() < len(word))
        parts = {part for part, count in counts.items() if count >= 0.6 * len(some) and len(part) > 2}
        parts |= {low[:same]} if backwards or not low[same - 1 : same].isalpha() else {low[:same], low[: same - 1]}
        # One letter behind is a side or a number, not something that the names have in common.
        found.append([part[::-1] if backwards else part for part in parts if len(part) > (2 if backwards else 0)])
    return found[0], found[1]


class BoneNames:
    """Bones of one armature by every way their name may be read."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._prefixed: dict[str, tuple[dict[str, list], dict[str, list]]] = {}
        fronts, behinds = _shared(self.names)
        numbered = sum(1 for name in self.names if _NUMBERED.search(name)) >= 0.6 * len(self.names)
        self.forms: list[list[tuple[str, int]]] = []
        """For each bone the readings of its name and what each costs: nothing as it is spelt, more the more is taken
        off, and most without Blender's number of a duplicate."""
        for name in self.names:
            forms = {name, re.split(r"[:|]", name)[-1] if ":" in name or "|" in name else name}
            if numbered:
                forms |= {_NUMBERED.sub("", form) for form in forms}
            forms |= {form[: -len(behind)] for behind in behinds for form in forms if form.endswith(behind)}
            forms |= {form[len(front) :] for front in fronts for form in forms if form.startswith(front)}
            readings = {form: TAKEN_OFF * min(len(name) - len(form), 60) for form in forms if form}
            if _COUNTED.search(name):
                for form in forms:
                    readings.setdefault(_COUNTED.sub("", form), DUPLICATE)
            self.forms.append(list(readings.items()))
        self.exact: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.loose: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for bone, spelt in enumerate(self.forms):
            for form, level in spelt:
                self.exact[form].append((bone, level))
                self.loose[plain(form)].append((bone, level))

    def prefixed(self, prefix: str) -> tuple[dict[str, list], dict[str, list]]:
        """Two more indices, of the names without a family's prefix."""
        if prefix not in self._prefixed:
            exact: dict[str, list[tuple[int, int]]] = defaultdict(list)
            loose: dict[str, list[tuple[int, int]]] = defaultdict(list)
            pattern = re.compile(f"(?:{prefix})(?=.)", re.IGNORECASE)
            for bone, forms in enumerate(self.forms):
                for form, level in forms:
                    found = pattern.match(form)
                    if found and found.end():
                        exact[form[found.end() :]].append((bone, level))
                        loose[plain(form[found.end() :])].append((bone, level))
            self._prefixed[prefix] = (exact, loose)
        return self._prefixed[prefix]

    def find(self, names: Sequence[str], prefix: str) -> list[tuple[int, int]]:
        """Bones that may be meant, as (cost, bone), best first. Cost: readings, then spelling, then alternative."""
        exact, loose = self.prefixed(prefix) if prefix else ({}, {})
        best: dict[int, int] = {}
        for rank, name in enumerate(names):
            for index in (self.exact, exact):
                for bone, level in index.get(name, ()):
                    best[bone] = min(best.get(bone, 10**9), level + rank)
            key = plain(name)
            for index in (self.loose, loose):
                for bone, level in index.get(key, ()):
                    best[bone] = min(best.get(bone, 10**9), level + LOOSE + rank)
        return sorted((cost, bone) for bone, cost in best.items())
