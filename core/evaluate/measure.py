"""All figures of a model on clips: one function for the command line, for validation while training, for ablations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from core.evaluate import checks, paraphrase
from core.evaluate import parts as parts_
from core.evaluate.study import Study, ready_for
from core.evaluate.textmotion import (
    GENERATED,
    REAL,
    RECONSTRUCTION,
    Drawn,
    Retrieval,
    draw_repeat,
    note_physical,
    note_sides,
)
from core.model.motiongpt3 import MotionGPT3
from core.train.data import Clip

PARTS = ("t2m", "physical", "sides", "reconstruction", "captions", "prediction", "in-between", "paraphrases", "rules")
"""t2m: retrieval and FID. physical: feet, floor, jerk. sides: left and right. rules: core/evaluate/checks.py."""
NEED_MATCHER = ("t2m", "paraphrases")
RULE_TAKES = 16


def measure(
    model: MotionGPT3,
    matcher: Any,
    clips: list[Clip],
    train_clips: list[Clip] | None = None,
    *,
    encoder: Any = None,
    parts: Collection[str] = PARTS,
    repeats: int = 20,
    seed: int = 0,
    guidance: float | None = None,
    steps: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Figures of a model.

    Args:
        matcher: `core.evaluate.matcher.Matcher`; None leaves out what needs one.
        clips: of one split; where all have features they are taken as ready for this model (`study.ready_for`).
        train_clips: of the train split, for the nearest training clip by caption; None or [] leaves that row out.
        encoder: `core.language.sentence.SentenceEncoder`, for that row and for BERTScore.
        parts: of PARTS, what to measure. repeats: how often motions are drawn. seed: of everything drawn.
        guidance, steps: of sampling; None for the model's own. progress: told what is being done.
    Returns:
        "figures": {part: {group of sources: {row: {figure: [mean, half the 95 % interval or None]}}}}, "clips": {group:
        how many}, "notes": what a reader must know. Shares are 0 to 1; units are in the names.
    Raises:
        CoreError: data_empty.
    """
    study = new_study(model, matcher, clips, train_clips, encoder=encoder, repeats=repeats, seed=seed,
                      guidance=guidance, steps=steps)  # fmt: skip
    run(study, parts, progress)
    return result(study)


def new_study(
    model: MotionGPT3, matcher: Any, clips: list[Clip], train_clips: list[Clip] | None = None, **options: Any
) -> Study:
    """A measurement that has not begun; see `measure`."""
    ready = clips if all(c.features is not None for c in clips) else ready_for(model, clips)
    return Study(model, ready, matcher, train=train_clips or [], **options)


def run(study: Study, wanted: Collection[str] = PARTS, progress: Callable[[str], None] | None = None) -> None:
    """Measure the parts; the figures gather in the study."""
    unknown = set(wanted) - set(PARTS)
    if unknown:
        raise ValueError(f"unknown parts {sorted(unknown)}; there are {', '.join(PARTS)}")
    tell = progress or (lambda _: None)
    doing = [p for p in PARTS if p in wanted and (study.matcher is not None or p not in NEED_MATCHER)]
    for part in set(wanted) - set(doing):
        study.say(f"{part}: not measured, there is no matcher")
    if not len(study.captioned):
        study.say("no clip has a caption: text-to-motion and captions are not measured")
        doing = [p for p in doing if p not in ("t2m", "sides", "captions")]
    drawn_parts = [p for p in doing if p in ("t2m", "physical", "sides")]
    if drawn_parts:
        _drawn(study, drawn_parts, tell)
    alone: dict[str, Callable[[Study], None]] = {
        "reconstruction": parts_.reconstruction, "captions": parts_.captions, "prediction": parts_.prediction,
        "in-between": parts_.in_between, "paraphrases": paraphrase.paraphrases, "rules": rules,
    }  # fmt: skip
    for name in doing:
        if name in alone:
            tell(name)
            alone[name](study)


def result(study: Study) -> dict[str, Any]:
    """The study's figures as `measure` returns them."""
    counts = {group: len(rows) for group, rows in study.groups.items()}
    return {"figures": study.figures(), "clips": counts, "notes": study.notes}


def _drawn(study: Study, doing: list[str], tell: Callable[[str], None]) -> None:
    """The parts that look at motions drawn for captions."""
    every = np.arange(len(study.clips))
    for row, motions in ((REAL, study.real), (RECONSTRUCTION, study.reconstructed)):
        if "physical" in doing:
            note_physical(study, row, motions, every)
        if "sides" in doing:
            note_sides(study, row, [c.captions for c in study.clips], motions, every)
    retrieval = Retrieval(study) if "t2m" in doing else None
    for repeat in range(study.repeats if len(study.captioned) else 0):
        tell(f"drawing motions, {repeat + 1} of {study.repeats}")
        drawn: Drawn = draw_repeat(study, repeat)
        if retrieval is not None:
            retrieval.take(drawn)
        if "physical" in doing:
            note_physical(study, GENERATED, drawn.motions, drawn.rows)
        if "sides" in doing:
            note_sides(study, GENERATED, [[c] for c in drawn.captions], drawn.motions, drawn.rows)


def rules(study: Study) -> None:
    """Share of motions of known prompts that do what the prompt says."""
    kept = checks.prompt_checks(study.model, RULE_TAKES, study.guidance)
    for name in checks.CHECKS:
        study.add("rules", "prompts", checks.CHECKS[name][0], kept=kept[name], count=RULE_TAKES)
