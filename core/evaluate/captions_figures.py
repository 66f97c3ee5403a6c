"""What captions of real clips are worth: their words, whether they fit the motion, their sides, their actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.evaluate import metrics, wording
from core.evaluate.captions_told import ROWS, Told
from core.evaluate.study import Study
from core.evaluate.textmotion import note_sides
from core.train.data import Clip

REAL, SHUFFLED = "real captions", "shuffled"
"""Further rows: a caption of the clip, that of another clip."""

_ARM = r"(?:hand|arm|fist|wrist|elbow|shoulder)s?"
_LEG = r"(?:leg|foot|feet|knee|ankle|hip)s?"


def measure(study: Study, told: Told, judge: Any = None) -> None:
    """Note all figures in the study: parts "wording", "matching", "named sides", "sides", "actions".

    Args:
        study: of exactly the clips of `told`; its matcher judges. judge: BERTScore's, or None.
    """
    words(study, told, judge)
    if study.matcher is not None:
        matching(study, told)
    named_sides(study, told)
    shown_sides(study, told)
    action_words(study, told)


def words(study: Study, told: Told, judge: Any) -> None:
    """BLEU and its kind of every row against all captions of each clip."""
    tokens = [_tokens(c) for c in told.clips]
    for group, members in study.groups.items():
        references = [told.references[i] for i in members]
        cut = [tokens[i] or [wording.tokenised(t) for t in told.references[i]] for i in members]
        for row, said in told.rows.items():
            study.add("wording", group, row, **wording.scores([said[i] for i in members], references, judge, cut))


def _tokens(clip: Clip) -> list[str]:
    """The captions as the source's own tokens, where it brings them (HumanML3D)."""
    if clip.tokens is None or len(clip.tokens) != len(clip.captions):
        return []
    return [" ".join(word.split("/")[0] for word in words) for words in clip.tokens]


def matching(study: Study, told: Told) -> None:
    """R-precision and MM-Dist of captions by the matcher, in groups of 32 clips no two of which share a caption."""
    motion = np.asarray(study.matcher.embed_motion([c.joints for c in told.clips]))
    every = list(dict.fromkeys(t for texts in (*told.rows.values(), *told.references) for t in texts))
    place = {t: i for i, t in enumerate(every)}
    text = np.asarray(study.matcher.embed_text(every))
    for repeat in range(study.repeats):
        for g, (group, members) in enumerate(study.groups.items()):
            if len(members) < 2:
                study.say(f"matching: {group} has {len(members)} captioned clip(s): nothing to tell apart")
                continue
            rng = study.rng(6, repeat, g)
            sets = [members[rows] for rows in metrics.draw_groups([told.references[i] for i in members], rng)]
            real = {int(i): r[rng.integers(len(r))] for i in members for r in (told.references[i],)}
            rows: dict[str, tuple[Callable[[int], str], list[np.ndarray]]] = {
                REAL: (real.__getitem__, sets), **{row: (told.rows[row].__getitem__, sets) for row in ROWS},
                SHUFFLED: (real.__getitem__, [rng.permutation(s) for s in sets]),
            }  # fmt: skip
            size = float(np.mean([len(s) for s in sets]))
            if size < metrics.GROUP:
                study.say(f"matching: {group} has too few different captions for groups of {metrics.GROUP}")
            for row, (caption, given) in rows.items():
                texts = [text[[place[caption(int(i))] for i in s]] for s in sets]
                hits = metrics.retrieval([(t, motion[m]) for t, m in zip(texts, given, strict=True)])
                study.add("matching", group, row, **hits, group=size)


def side_named(sentence: str) -> tuple[str, str] | None:
    """What of the body a sentence gives a side to, and which: ("arm", "left"); None where it names no side, both, or
    more than one thing."""
    text = sentence.lower()
    sides = set(re.findall(r"\b(left|right)\b", text))
    if len(sides) != 1:
        return None
    side = sides.pop()
    things = {kind for kind, what in (("arm", _ARM), ("leg", _LEG)) if re.search(rf"\b{side} {what}\b", text)}
    rest = re.sub(rf"\b{side} (?:{_ARM}|{_LEG})\b", "", text)
    if re.search(rf"\b{side}\b", rest):
        things.add("way")  # "turns left", "to the right", "in a left curve"
    return (things.pop(), side) if len(things) == 1 else None


def side_kept(sentence: str, references: Sequence[str]) -> bool | None:
    """Whether a sentence names the side that its references name of the same thing; None where they cannot be compared:
    one of them names none, or the references do not agree."""
    mine = side_named(sentence)
    theirs = {n for n in map(side_named, references) if n is not None}
    if mine is None or len(theirs) != 1:
        return None
    thing, side = theirs.pop()
    return side == mine[1] if thing == mine[0] else None


def named_sides(study: Study, told: Told) -> None:
    """Share of sentences whose side is the references' own, and how many could be compared."""
    for row, said in told.rows.items():
        kept = [side_kept(s, r) for s, r in zip(said, told.references, strict=True)]
        for group, members in study.groups.items():
            own = [kept[i] for i in members if kept[i] is not None]
            if own:
                study.add("named sides", group, row, kept=float(np.mean(own)), count=len(own))


def shown_sides(study: Study, told: Told) -> None:
    """Share of sentences whose side the motion shows by the rules of core/evaluate/sides.py."""
    motions, every = [c.joints for c in told.clips], np.arange(len(told.clips))
    for row, texts in ({row: [[t] for t in said] for row, said in told.rows.items()} | {REAL: told.references}).items():
        note_sides(study, row, texts, motions, every)


def actions_kept(sentence: str, references: Sequence[str]) -> dict[str, float] | None:
    """How a sentence's actions (verbs of core/captions/tags.json) compare with those of the nearest of its references.

    Returns:
        "same" (1 where they are just these), "hit" (1 where one of them is), "precision", "recall", "f1"; None where no
        reference names an action.
    """
    from core.captions.tags import verbs

    mine = verbs(sentence)
    each = []
    for theirs in filter(None, map(verbs, references)):
        both = len(mine & theirs)
        each.append({"same": float(mine == theirs), "hit": float(both > 0), "precision": both / max(len(mine), 1),
                     "recall": both / len(theirs), "f1": 2 * both / (len(mine) + len(theirs))})  # fmt: skip
    return max(each, key=lambda e: e["f1"]) if each else None


def action_words(study: Study, told: Told) -> None:
    """How far sentences name the actions that the references name."""
    for row, said in told.rows.items():
        kept = [actions_kept(s, r) for s, r in zip(said, told.references, strict=True)]
        for group, members in study.groups.items():
            own = [e for i in members if (e := kept[i]) is not None]
            if own:
                means = {name: float(np.mean([e[name] for e in own])) for name in own[0]}
                study.add("actions", group, row, **means, count=len(own))
