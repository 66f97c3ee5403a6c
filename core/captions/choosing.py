"""Which of a motion's drafts is told, and whether any of them is worth telling.

The likeliest sentence is not the truest. Of nine drafts the one is taken that is likely and that the matcher, which
judges text and motion apart from the language model, finds to fit the motion. Measured, likeliest / chosen / chosen or
measured (core/evaluate/wording.py for BLEU-4, core/captions/tags.py for what is an action):

    clips                                   names a right action   BLEU-4               equals a caption
    CMU and ACCAD, validation (38)          .82 / .84 / .84        .61 / .73 / .76      .61 / .66 / .66
    CMU and ACCAD, test (40)                .73 / .73 / .75        .51 / .57 / .60      .43 / .45 / .45
    Bandai, validation and test (295)       .99 / .99 / .99        .95 / .97 / .97      .90 / .93 / .93
    HDM05 (218), which neither has learnt   .16 / .34 / .53        .07 / .10 / .20      0 / 0 / .05

How well the chosen one fits says how far it can be trusted: of those over 0.8 99 % name a right action, from 0.6 on
78 %, under 0.5 22 %. Under `UNSURE` what was measured is told instead (core/captions/measured.py).

The bundled matcher has learnt from the same data as the compact model: of other models, such as the official one, it
says nothing, and their likeliest sentence is told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np

from core.captions.drafts import Draft
from core.model.motiongpt3 import MotionGPT3
from core.tasks.understand import known_of

FORKS = 8
"""Other sentences to choose from."""
WEIGHT = 2.0
"""Of the fit (a cosine) against the mean logarithm of the words' probabilities."""
UNSURE = 0.5
"""Fit under which a sentence is more often wrong than right."""
REMEMBERED = 8192
"""Sentences whose vectors are kept: a library says the same things again and again."""

_vectors: OrderedDict[str, np.ndarray] = OrderedDict()


def judged(model: MotionGPT3) -> bool:
    """Whether the matcher can judge the model's sentences: it says what it was trained on (known.json), as ours do."""
    return known_of(model) is not None


def sensible(model: MotionGPT3, drafts: Sequence[Draft]) -> list[Draft]:
    """The greedy draft, and of the others those whose words a caption has: a small model that was made to begin with
    an unlikely word does not always find its way back ("a person holds imaginary handlebars and r over an obstacle").
    Of a model that does not say what it was trained on, all."""
    known = known_of(model)
    return [d for i, d in enumerate(drafts) if i == 0 or known is None or d.text in known.exact]


def remember(texts: Iterable[str]) -> None:
    """Have the vectors of sentences ready for `fit`."""
    from core.evaluate.matcher import load_matcher

    new = sorted({t for t in texts if t not in _vectors})
    if new:
        _vectors.update(zip(new, load_matcher().embed_text(new), strict=True))


def forget() -> None:
    """Keep no more vectors than `REMEMBERED`, the newest."""
    while len(_vectors) > REMEMBERED:
        _vectors.popitem(last=False)


def fit(text: str, vector: np.ndarray) -> float:
    """How well a remembered sentence fits a motion's vector: a cosine."""
    return float(_vectors[text] @ vector)


def ranked(drafts: Sequence[Draft], vector: np.ndarray | None) -> list[str]:
    """The different sentences of the drafts, the one to tell first.

    Args:
        drafts: the greedy one first. vector: the motion's; None where the matcher is no judge.
    """
    texts = [d for i, d in enumerate(drafts) if d.text and d.text not in {e.text for e in drafts[:i]}]
    if vector is not None:
        return [d.text for d in sorted(texts, key=lambda d: -(d.likely + WEIGHT * fit(d.text, vector)))]
    return [d.text for d in texts[:1] + sorted(texts[1:], key=lambda d: -d.likely)]
