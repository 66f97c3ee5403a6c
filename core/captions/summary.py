"""One line for several segments, made of their own words: nothing is added, little is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.captions.sides import claims
from core.captions.tags import verbs

MOST = 5
"""Actions in a line; of more, the shortest are left to the list of segments."""
PLAIN = 3
"""Actions from which on the line leaves out the manner: "in an exhausted way"."""

_SUBJECT = re.compile(
    r"^((?:(?:an?|the|this|some) )?(?:young |old )?"
    r"(?:person|man|woman|human|figure|character|someone|somebody|guy|girl|boy|child|he|she|they|fighter|boxer|dancer|"
    r"breakdancer|martial artist|zombie))(?: who)? "
)
_MANNER = re.compile(
    r" (?:in an? [\w ]+ (?:way|manner|style)|with an? [\w ]+ style|with [\w ]+ (?:energy|movements)|"
    r"(?:slowly )?like an? [\w ]+|slowly with a bent back|with(?:out)? confidence|without energy|"
    r"(?!slowly|quickly|slightly|sharply|carefully|quietly)\w+ly)$"
)
_E_ENDS = re.compile(r"(?:[cvszu]|dg|[^aeiou][aeiou]k|dl|bl|cl|gl|at|ir|id)$")
"""How a stem ends that has lost an e before "-ing": dancing, waving, circling, striding."""


@dataclass
class _Part:
    """An action of the line: who, what, for how many frames."""

    who: str
    what: str
    frames: int

    def key(self) -> tuple[object, ...]:
        """What makes it another action than its neighbour."""
        done = verbs(self.what)
        if "dance" in done:  # "dances salsa", "dances moving the hips": the steps of a dance are no news
            return ("dance",)
        return done or self.what, tuple((c.rule.of, c.side) for c in claims(self.what))


def summarise(sentences: Sequence[str], frames: Sequence[int] | None = None) -> str:
    """The sentences of a motion's segments, in order, as one: "a person walks forward, then waves, then sits down".

    Neighbours that say the same in other words become one, in the words of the longest.

    Args:
        frames: how long each segment is; all alike where it is not given.
    """
    if len(set(sentences)) == 1:
        return sentences[0]
    lengths = [1] * len(sentences) if frames is None else list(frames)
    parts = [_Part(*_split(s), n) for s, n in zip(sentences, lengths, strict=True)]
    parts = _merged(parts)
    while len(parts) > MOST:
        parts.remove(min(parts, key=lambda p: p.frames))
        parts = _merged(parts)
    who = parts[0].who if len({p.who for p in parts}) == 1 else "a person"
    if len(parts) >= PLAIN:
        for part in parts:
            part.what = _MANNER.sub("", part.what)
    return f"{who} " + ", then ".join(p.what for p in parts)


def _split(sentence: str) -> tuple[str, str]:
    """ "a fighter is punching" -> "a fighter", "punches"."""
    found = _SUBJECT.match(sentence)
    if found is None:
        return "a person", sentence
    return found[1], _present(sentence[found.end() :])


def _present(what: str) -> str:
    """ "is running" -> "runs", "is salsa dancing" -> "dances salsa"; others as they are."""
    found = re.match(r"(?:is |are )?(?:(\w+) )?(\w+?)ing\b", what)
    if found is None or len(found[2]) < 2 or not re.search("[aeiouy]", found[2]):
        return what
    if found[1] and not what.startswith(("is ", "are ")):
        return what
    root = "lie" if found[2] == "ly" else found[2]
    if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz":
        root = root[:-1]
    elif _E_ENDS.search(root) and not root.endswith("ss"):
        root += "e"
    ending = "es" if re.search(r"(?:ch|sh|ss|x)$", root) else "s"
    return root + ending + (f" {found[1]}" if found[1] else "") + what[found.end() :]


def _merged(parts: list[_Part]) -> list[_Part]:
    out: list[_Part] = []
    longest = 0
    for part in parts:
        if out and out[-1].key() == part.key():
            if part.frames > longest:
                longest, out[-1].who, out[-1].what = part.frames, part.who, part.what
            out[-1].frames += part.frames
        else:
            longest = part.frames
            out.append(_Part(part.who, part.what, part.frames))
    return out
