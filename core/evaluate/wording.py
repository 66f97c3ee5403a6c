"""Figures of captions against references, by the field's packages: BLEU, ROUGE-L, CIDEr, BERTScore.

Every figure is given three times. Raw: the sentences as they are (BLEU by sacrebleu's own 13a tokens, the others split
at spaces); this is what MotionGPT reports. "_tok": both sides as HumanML3D's tokens, which leave out tense and plural;
this is what TM2T reports. "_cross": the sentence as it is, the references as tokens; this is what is compared where
references are taken from HumanML3D's token column and the model writes English. The three are not comparable.

BLEU: sacrebleu, the whole set at once. ROUGE-L: rouge-score, F1, the best reference. CIDEr: pycocoevalcap's `Cider`,
which is CIDEr-D (Vedantam et al., CVPR 2015) times 10; it is plain Python, and the Java files its package is full of
are for other figures. BERTScore: core/evaluate/captions_bert.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

FORMS = ("", "_tok", "_cross")
"""What the names of raw, tokenised and crossed figures end in."""
FIGURES = ("bleu1", "bleu4", "rouge_l", "cider", "bertscore")


def tokenised(text: str) -> str:
    """A sentence as HumanML3D's token column would have it: words only, lower case, nouns and verbs as lemmas.

    Guo et al. asked a tagger (spaCy) which words are nouns and verbs; here a word of that shape is one, by the lemmas
    of the lemminflect package: "a person's hands are waving left" -> "a person hand are wave left".
    """
    return " ".join(_lemma(w) for w in re.findall(r"[^\W\d_]+", re.sub(r"'s\b|-", "", text.lower())))


@lru_cache(maxsize=50_000)
def _lemma(word: str) -> str:
    import lemminflect

    found = lemminflect.getAllLemmas(word)
    if word == "left" or "AUX" in found:  # HumanML3D keeps the side; "is" and "does" are neither noun nor verb to spaCy
        return word
    own = any(lemmas[0] == word for lemmas in found.values())
    if own and not word.endswith(("s", "ing")):  # "ground" is a word as it stands; "moves" and "moving" are seldom one
        return word
    for kind in ("VERB", "NOUN"):
        if kind in found:
            return str(found[kind][0])
    return word


def scores(
    said: Sequence[str],
    references: Sequence[Sequence[str]],
    judge: Any = None,
    tokens: Sequence[Sequence[str]] | None = None,
) -> dict[str, float]:
    """All figures: name -> value; the end of a name says the form.

    Args:
        said: one sentence a clip. references: its references, at least one each.
        judge: a `core.evaluate.captions_bert.BertScore`; without one there is no BERTScore.
        tokens: the references tokenised by their source, where it brings that; else `tokenised` does it.
    """
    short = [tokenised(t) for t in said]
    plain = [list(ts) for ts in references]
    cut = [list(ts) for ts in tokens] if tokens is not None else [[tokenised(t) for t in ts] for ts in references]
    out: dict[str, float] = {}
    for form, s, r in zip(FORMS, (list(said), short, list(said)), (plain, cut, cut), strict=True):
        out[f"bleu1{form}"] = bleu(s, r, 1, tokens="none" if form == "_tok" else "13a")
        out[f"bleu4{form}"] = bleu(s, r, 4, tokens="none" if form == "_tok" else "13a")
        out[f"rouge_l{form}"] = rouge_l(s, r)
        out[f"cider{form}"] = cider(s, r)
        if judge is not None:
            out[f"bertscore{form}"] = judge.score(s, r)
    out["exact"] = float(np.mean([s in r for s, r in zip(said, references, strict=True)]))
    return out


def bleu(said: Sequence[str], references: Sequence[Sequence[str]], order: int, tokens: str = "13a") -> float:
    """Corpus BLEU up to `order`-grams, 0 to 1."""
    from sacrebleu.metrics import BLEU

    most = max(map(len, references))
    padded = [[r[min(i, len(r) - 1)] for r in references] for i in range(most)]  # a reference twice changes nothing
    judge = BLEU(max_ngram_order=order, tokenize=tokens, force=True)
    return float(judge.corpus_score(list(said), padded).score / 100)


class _Spaces:
    """rouge-score's own tokenizer would lower-case and stem what is to stay raw."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def rouge_l(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean F1 of the longest common subsequence with the best reference, 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    judge = RougeScorer(["rougeL"], tokenizer=_Spaces())
    each = [judge.score_multi(list(r), s)["rougeL"].fmeasure for s, r in zip(said, references, strict=True)]
    return float(np.mean(each))


def cider(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D, 0 to 10; the references themselves say how telling each n-gram is, so a small set has a coarse idea."""
    from pycocoevalcap.cider.cider import Cider

    score, _ = Cider().compute_score(dict(enumerate(map(list, references))), {i: [s] for i, s in enumerate(said)})
    return float(score)
