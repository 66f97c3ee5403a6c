"""What a model makes of a prompt: known words are taken as typed, for others the nearest known caption stands in.

A model of a few hundred captions has no idea of a word that none of them has. Instead of pretending, the prompt is
replaced by the caption it is nearest to, and the user is told: "understood as: …", or, where even that one is far,
"closest thing I know: …".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from core.language.known import Known
from core.language.words import LITTLE, named, plain, rephrase, stem, tidy, word_list
from core.model.motiongpt3 import MotionGPT3

Kind = Literal["as typed", "understood as", "closest known"]

NEAR = 0.60
"""Similarity from which a caption says about the same as the prompt."""
FAR = 0.65
"""Similarity under which a prompt has nothing to do with any caption, though each of its words is known."""
REPHRASED = 0.7
"""How much the prompt counts after its unknown words were replaced by known ones; the rest, as it was typed."""
CONTRADICTS, LACKS, ADDS = 1.0, 0.12, 0.03
"""Taken off a caption's similarity: where it names another side, way or count than the prompt; does not name the one
that the prompt names; names one where the prompt names none."""
LONGER = 0.003
"""Taken off for each word: of captions that say the same, the plainest."""


@dataclass(frozen=True)
class Understood:
    """What a prompt is taken for.

    Args:
        prompt_used: the prompt that the model reads.
        note: for people; empty where nothing was changed.
        kind: "as typed", "understood as" or "closest known".
        similarity: cosine of prompt and caption as sentences; 1 where none was needed, the best one where nothing was
            replaced.
    """

    prompt_used: str
    note: str = ""
    kind: Kind = "as typed"
    similarity: float = 1.0


@lru_cache(maxsize=4)
def _known(folder: Path, stamp: float) -> Known | None:
    return Known.load(folder)


def known_of(model: MotionGPT3) -> Known | None:
    """What the model was trained on, None where it does not say (the official one was trained on everyday English)."""
    folder = getattr(model, "info", {}).get("path")
    if not folder or not (Path(folder) / "known.json").is_file():
        return None
    return _known(Path(folder), (Path(folder) / "known.json").stat().st_mtime)


def understand(model: MotionGPT3, prompt: str) -> Understood:
    """What the model will make of a prompt. Raises CoreError("known_broken", "sentence_broken")."""
    known = known_of(model)
    return Understood(prompt) if known is None else interpret(known, prompt)


def unknown_words(known: Known, prompt: str) -> list[str]:
    """The words of a prompt that carry meaning and that no caption has, in order."""
    return [w for w in word_list(prompt) if w not in LITTLE and stem(w) not in known.words]


def interpret(known: Known, prompt: str) -> Understood:
    """As `understand`, with what is known given."""
    text = tidy(prompt)
    if text in known.exact:
        return Understood(text)
    from core.language.sentence import load_sentence

    strange = unknown_words(known, text)
    said = rephrase(text, known.words) if strange else text
    typed, rephrased = load_sentence().encode([plain(text), plain(said)])
    alike = known.vectors @ ((1 - REPHRASED) * typed + REPHRASED * rephrased)
    empty = all(word in LITTLE for word in word_list(text))  # "he is doing it"
    if not strange and not empty and alike.max() >= FAR:
        return Understood(text, similarity=float(alike.max()))
    best = int(np.argmax(alike - penalties(known, said)))
    caption, similarity = known.captions[best], float(alike[best])
    if strange and similarity >= NEAR:
        return Understood(caption, f"understood as: {caption}", "understood as", similarity)
    return Understood(caption, f"closest thing I know: {caption}", "closest known", similarity)


def penalties(known: Known, prompt: str) -> np.ndarray:
    """(N,) for each known caption: how much it differs from the prompt in what both should name alike."""
    wanted = named(prompt)
    out = known.lengths * LONGER
    for i, has in enumerate(known.names):
        for kind, names in wanted.items():
            if names and has[kind] and not names & has[kind]:
                out[i] += CONTRADICTS
            elif names - has[kind]:
                out[i] += LACKS
            elif has[kind] and not names:
                out[i] += ADDS
    return out
