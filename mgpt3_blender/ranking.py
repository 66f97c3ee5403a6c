"""Which motions fit a query best. Knows nothing of Blender; NumPy.

Three things count. How near the motion's vector lies to the query's: the matcher saw the motion itself, and knows what
its training captions say, sides and styles too. How near the motion's description lies to the query in meaning: the
sentence encoder knows everyday words that no caption has. And which words of the query are in the description, rare
ones counting more, or in the action's own name, which a person chose.

The weights were chosen on CMU, ACCAD, HDM05, ReActIdle and Bandai clips, described by the compact model, by the
reciprocal rank of the first clip that fits (1: always on top), in the mean over kinds of queries, among the 412 clips
of the val and test splits and among 1,738 clips with others of train. "Captions": the val and test clips' own captions,
632 queries. "Other words": 353 queries, paraphrases, everyday prompts and key words as animators type them ("strafe
right", "zombie walk").

    captions  other words
      .78        .53       the matcher's vectors alone
      .50        .54       the descriptions' meanings alone
      .76        .60       both, MEANING_WEIGHT .3
      .75        .61       .4
      .74        .62       .4, and words in common with description and tags, WORDS .1: taken
      .72        .63       WORDS .2
      .74        .61       as taken, but key words asked without "a person" before them (`phrase`)

Looking the query up among the descriptions first, comparing descriptions by the matcher's text side, and taking off for
a side that the description contradicts did not help. For NAMES there is no data: names there say what captions say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MEANING_WEIGHT = 0.4
"""Share of the description's nearness; the rest is the motion's."""
WORDS = 0.1
"""Added where all words of the query are in the description or its tags; in part for some of them."""
NAMES = 0.3
"""Likewise where they are in the action's name: who types a name means it."""
GOOD, FAIR = 0.65, 0.5
"""Scores from which a motion fits and from which it may fit: of the ten best for other words 85 % and 49 % did."""

_LITTLE = {"a", "an", "and", "are", "at", "for", "he", "her", "his", "in", "is", "of", "on", "person", "she", "someone"}
_LITTLE |= {"the", "then", "to", "with"}
_BEGINS = re.compile(r"(?:a|an|the|he|she|they|someone|somebody|person|people)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Entries:
    """What can be searched, one row an action and slot.

    Attributes:
        names, slots, files, keys, sentences, tags: (N,) each.
        vectors: (N, 128) float32 of length one, of the motions. meanings: (N, 384) likewise, of the sentences; rows of
            zeros where there is none.
        missing: how many actions were asked for that are not described yet.
    """

    names: list[str]
    slots: list[str]
    files: list[str]
    keys: list[str]
    sentences: list[str]
    tags: list[tuple[str, ...]]
    vectors: np.ndarray
    meanings: np.ndarray
    missing: int = 0

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Hit:
    """A row of the entries and how well it fits: about 0 (not at all) to 1, somewhat more where the words agree."""

    row: int
    score: float


def phrase(query: str) -> str:
    """A query as the models are asked it: a bare key word becomes a sentence like those they have learnt from."""
    text = " ".join(query.split())
    return text if _BEGINS.match(text) else f"a person {text}"


def search(
    entries: Entries,
    query_vector: np.ndarray,
    query_meaning: np.ndarray,
    query_text: str,
    limit: int = 50,
) -> list[Hit]:
    """The entries that fit a query best, best first; of equal ones in the entries' order.

    Args:
        query_vector: (128,) the matcher's, of `phrase(query_text)`. query_meaning: (384,) the sentence encoder's.
        query_text: as typed.
    """
    if not len(entries):
        return []
    vector, meaning = np.asarray(query_vector, np.float32), np.asarray(query_meaning, np.float32)
    if entries.vectors.shape[1:] != vector.shape:  # of another matcher: only words are left to go by
        vector = np.zeros(entries.vectors.shape[1], np.float32)
    score = (1 - MEANING_WEIGHT) * (entries.vectors @ vector)
    if entries.meanings.shape[1:] == meaning.shape:
        score = score + MEANING_WEIGHT * (entries.meanings @ meaning)
    said = [f"{sentence} {' '.join(tags)}" for sentence, tags in zip(entries.sentences, entries.tags, strict=True)]
    score = score + WORDS * shared(query_text, said) + NAMES * shared(query_text, entries.names)
    order = np.argsort(-score, kind="stable")[:limit]
    return [Hit(int(row), float(score[row])) for row in order]


def shared(query: str, texts: Iterable[str]) -> np.ndarray:
    """(N,) for each text the share of the query's words that it has, 0 to 1; words that few texts have count more."""
    texts = list(texts)
    wanted = stems(query)
    known: dict[str, frozenset[str]] = {}  # many texts are the same
    for text in texts:
        if text not in known:
            lower = text.lower()
            known[text] = wanted & stems(text) if any(stem in lower for stem in wanted) else frozenset()
    count = dict.fromkeys(wanted, 0)
    for text in texts:
        for stem in known[text]:
            count[stem] += 1
    weight = {stem: float(np.log1p(len(texts) / max(n, 1))) for stem, n in count.items()}
    whole = sum(weight.values()) or 1.0
    return np.array([sum(weight[stem] for stem in known[text]) / whole for text in texts], np.float32)


@lru_cache(maxsize=100_000)  # names and sentences of a library are looked at with every query
def stems(text: str) -> frozenset[str]:
    """The words of a sentence or of a name ("ZombieWalk_02"), without endings and without those that say little."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    words = re.findall(r"[^\W\d_]+|\d+", apart.lower())
    return frozenset(re.sub(r"(?<=...)(?:ing|ed|es|s|e|ly)$", "", word) for word in words if word not in _LITTLE)
