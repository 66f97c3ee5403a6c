"""How good the matcher itself is, on real clips: retrieval, sides, and whether it minds broken motion."""

from __future__ import annotations

import numpy as np

from core.evaluate.matcher import Matcher
from core.evaluate.metrics import draw_groups, r_precision
from core.train.data import Clip, mirror_text
from core.train.matcher_batches import SIDES, STILL, broken


def retrieval(matcher: Matcher, clips: list[Clip], repeats: int = 10, seed: int = 0) -> dict[str, float]:
    """R-precision of real clips in groups of 32 no two of which share a caption (core/evaluate/metrics.py).

    Returns:
        "R@1" to "R@3"; "shuffled_R@3" with the group's captions handed round; "size" and number of groups; "swap", the
        share of captions with a side that fit their clip better than the same words with the sides swapped; "broken",
        the share of clips whose caption fits them better than a broken copy (see `broken`).
    """
    rng = np.random.default_rng(seed)
    every = list(dict.fromkeys(t for c in clips for text in c.captions for t in (text, mirror_text(text))))
    row = {t: i for i, t in enumerate(every)}
    texts, motions = matcher.embed_text(every), matcher.embed_motion([c.joints for c in clips])
    found, shuffled, sizes = [], [], []
    for _ in range(repeats):
        for group in draw_groups([c.captions for c in clips], rng):
            own = np.array([row[(c := clips[i].captions)[rng.integers(len(c))]] for i in group])
            found.append(r_precision(texts[own], motions[group]))
            shuffled.append(r_precision(texts[own], motions[rng.permutation(group)])[2])
            sizes.append(len(group))
    out = {f"R@{k + 1}": float(v) for k, v in enumerate(np.mean(found, 0))}
    out |= {"shuffled_R@3": float(np.mean(shuffled)), "groups": len(sizes), "size": float(np.mean(sizes))}
    sided = [(i, t) for i, c in enumerate(clips) for t in c.captions if SIDES.search(t)]
    if sided:
        won = [motions[i] @ texts[row[t]] > motions[i] @ texts[row[mirror_text(t)]] for i, t in sided]
        out["swap"] = float(np.mean(won))
    lively = [i for i, c in enumerate(clips) if not STILL.search(c.captions[0])]
    if lively:
        bad = matcher.embed_motion([broken(clips[i].joints, rng) for i in lively])
        of = texts[[row[clips[i].captions[0]] for i in lively]]
        out["broken"] = float(((of * motions[lively]).sum(1) > (of * bad).sum(1)).mean())
    return out


def by_source(matcher: Matcher, clips: list[Clip], repeats: int = 10, seed: int = 0) -> dict[str, float]:
    """`retrieval` of Bandai's clips and of the others apart, as "bandai_R@1" and "rest_R@1"; ReActIdle, of two
    captions, counts in neither."""
    out: dict[str, float] = {}
    for name, part in (("bandai", [c for c in clips if c.source == "bandai"]),
                       ("rest", [c for c in clips if c.source not in ("bandai", "reactidle")])):  # fmt: skip
        if part:
            out |= {f"{name}_{k}": v for k, v in retrieval(matcher, part, repeats, seed).items()}
    return out
