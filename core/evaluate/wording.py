"""Figures of captions against references: BLEU, ROUGE-L, CIDEr-D, BERTScore.

Every figure is given twice: "raw", the sentences as they are (BLEU by sacrebleu's own 13a tokens, the others split at
spaces), and "tokenised", lower-cased and without punctuation.

BLEU: sacrebleu, the whole set at once. ROUGE-L: rouge-score, F1, the best reference. CIDEr-D (Vedantam et al., CVPR
2015): written here, because the one package with it is a hundred megabytes of Java; times 10 as in COCO's code, with
which it agrees to 1e-9. BERTScore (Zhang et al., ICLR 2020): F1 of greedy token matches by the bundled sentence
encoder, without idf and baseline, so not comparable with scores by other models.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

SIGMA = 6.0
"""Of CIDEr-D's penalty on a difference in length, words."""


def tokenised(text: str) -> str:
    """Lower case, no punctuation, one space between words."""
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def scores(said: Sequence[str], references: Sequence[Sequence[str]], encoder: Any = None) -> dict[str, float]:
    """All figures: name -> value; names of the tokenised form end in "_tok".

    Args:
        said: one sentence a clip. references: its references, at least one each.
        encoder: a `core.language.sentence.SentenceEncoder`; without one there is no BERTScore.
    """
    out: dict[str, float] = {}
    for suffix, form in (("", str), ("_tok", tokenised)):
        s, r = [form(t) for t in said], [[form(t) for t in ts] for ts in references]
        out[f"bleu1{suffix}"] = bleu(s, r, 1, tokens="none" if suffix else "13a")
        out[f"bleu4{suffix}"] = bleu(s, r, 4, tokens="none" if suffix else "13a")
        out[f"rouge_l{suffix}"] = rouge_l(s, r)
        out[f"cider{suffix}"] = cider(s, r)
        if encoder is not None:
            out[f"bertscore{suffix}"] = bert_score(s, r, encoder)
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
    grams = [[_ngrams(t) for t in ts] for ts in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for clip in grams:
        frequency.update({g for counts in clip for g in counts})
    total = math.log(len(references))
    each = []
    for sentence, clip in zip(said, grams, strict=True):
        own = _weighted(_ngrams(sentence), frequency, total)
        each.append(np.mean([_cider_pair(own, _weighted(r, frequency, total)) for r in clip]))
    return float(10 * np.mean(each))


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


_Weighted = tuple[list[dict[tuple[str, ...], float]], list[float], int]
"""For each n: weight of every n-gram, and their norm; then the number of words."""


def _weighted(counts: Counter[tuple[str, ...]], frequency: Counter[tuple[str, ...]], total: float) -> _Weighted:
    weights: list[dict[tuple[str, ...], float]] = [{}, {}, {}, {}]
    for gram, count in counts.items():
        weights[len(gram) - 1][gram] = count * (total - math.log(max(1, frequency[gram])))
    norms = [math.sqrt(sum(w * w for w in part.values())) for part in weights]
    return weights, norms, sum(c for g, c in counts.items() if len(g) == 1)


def _cider_pair(said: _Weighted, reference: _Weighted) -> float:
    out = 0.0
    for own, norm, other, other_norm in zip(said[0], said[1], reference[0], reference[1], strict=True):
        if norm and other_norm:
            out += sum(min(w, other[g]) * other[g] for g, w in own.items() if g in other) / (norm * other_norm)
    return out / 4 * math.exp(-((said[2] - reference[2]) ** 2) / (2 * SIGMA**2))


def bert_score(said: Sequence[str], references: Sequence[Sequence[str]], encoder: Any) -> float:
    """Mean F1 of greedy token matches with the best reference, -1 to 1."""
    texts = sorted({*said, *(t for r in references for t in r)})
    states, real = encoder.tokens(texts)
    states = states / states.norm(dim=-1, keepdim=True)
    rows = {t: states[i, : int(real[i].sum())][1:-1].numpy() for i, t in enumerate(texts)}  # no [CLS], no [SEP]

    def f1(a: np.ndarray, b: np.ndarray) -> float:
        if not len(a) or not len(b):  # nothing was said, or nothing that is a token
            return 0.0
        similar = a @ b.T
        precision, recall = similar.max(1).mean(), similar.max(0).mean()
        return float(2 * precision * recall / (precision + recall))

    each = [max(f1(rows[s], rows[t]) for t in r) for s, r in zip(said, references, strict=True)]
    return float(np.mean(each))
