"""The parts of a measurement that need no matcher: reconstruction, captions, prediction and in-betweening."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.errors import CoreError
from core.evaluate import captions_bert, drawing, wording
from core.evaluate.physical import bone_error, foot_slide, jerk
from core.evaluate.poses import accel, ade_fde, blend, distance, hold, pa_mpjpe, relative
from core.evaluate.study import Study
from core.tasks.complete import complete
from core.tasks.predict import LEAST_GIVEN, predict

GIVEN, ENDS = 0.2, 0.25
"""Share of a clip that prediction goes on from, and that in-betweening is given at each end (the official protocol)."""
TASK_REPEATS = 3
"""Prediction and in-betweening are drawn clip by clip, as users do, so at most so often."""

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
"""Row -> what was made, and what really was."""


def reconstruction(study: Study) -> None:
    """The clips through the autoencoder, and through its linear basis alone."""
    rows = {"autoencoder": study.reconstructed}
    basis = drawing.through_basis(study.model, study.clips)
    if basis is None:
        study.say("reconstruction: the model has no linear basis to compare with")
    else:
        rows["linear basis"] = basis
    rows["real"] = study.real
    bones = drawing.bones_of(study.model)
    for row, motions in rows.items():
        each = [_errors(o, j, bones) for o, j in zip(motions, study.real, strict=True)]
        for group, members in study.groups.items():
            own = [each[i] for i in members]
            frames = np.array([e["frames"] for e in own])
            means = {k: float(np.nanmean(v)) if np.isfinite(v := [e[k] for e in own]).any() else float("nan")
                     for k in ("global_mm", "relative_mm", "jerk", "slide_mm", "bone_mm")}  # fmt: skip
            real = float(np.mean([jerk(study.real[i]) for i in members]))
            median = float(np.median([e["relative_mm"] for e in own]))
            by_frame = {k: float(np.average([e[k] for e in own], weights=frames)) for k in
                        ("mpjpe_mm", "pa_mpjpe_mm", "accel_mm")}  # fmt: skip
            study.add(
                "reconstruction", group, row, global_mm=means["global_mm"], relative_mm=means["relative_mm"],
                median_mm=median, **by_frame, jerk_ratio=means["jerk"] / real if real else float("nan"),
                slide_mm=means["slide_mm"], bone_mm=means["bone_mm"],
            )  # fmt: skip


def _errors(out: np.ndarray, real: np.ndarray, bones: np.ndarray) -> dict[str, float]:
    rooted = float(1000 * distance(relative(out), relative(real)).mean())
    return {
        "frames": len(real), "global_mm": float(1000 * distance(out, real).mean()),
        "relative_mm": rooted, "mpjpe_mm": rooted,
        "pa_mpjpe_mm": pa_mpjpe(out, real), "accel_mm": accel(out, real), "jerk": jerk(out),
        "slide_mm": foot_slide(out, real), "bone_mm": bone_error(out, bones),
    }  # fmt: skip


def captions(study: Study) -> None:
    """Greedy captions of the real clips against all their captions; nothing is drawn, so there is no interval."""
    rows = study.captioned
    said = drawing.describe(study.model, study.latents[rows.tolist()])
    place = {int(i): k for k, i in enumerate(rows)}
    judge = None if study.encoder is None else captions_bert.bundled(study.encoder)
    if judge is None:
        study.say("captions: no sentence encoder, so no BERTScore")
    for group, members in study.groups.items():
        own = [i for i in members.tolist() if i in place]
        if own:
            references = [study.clips[i].captions for i in own]
            figures = wording.scores([said[place[i]] for i in own], references, judge)
            study.add("captions", group, "greedy", **figures)


def prediction(study: Study) -> None:
    """What comes after the first fifth, against what really came and against a pose that stays."""

    def once(joints: np.ndarray, seed: int) -> Pairs:
        given = max(int(GIVEN * len(joints)), LEAST_GIVEN)
        rest = joints[given:]
        made = predict(study.model, joints[:given], len(rest), seed)
        return {"generated": (made, rest), "last frame": (hold(joints[given - 1], len(rest)), rest)}

    _task(study, "prediction", once)


def in_between(study: Study) -> None:
    """The middle half between the two end quarters, against the real one and against straight lines."""

    def once(joints: np.ndarray, seed: int) -> Pairs:
        T = len(joints)
        a, b = max(int(ENDS * T), LEAST_GIVEN), min(int((1 - ENDS) * T), T - LEAST_GIVEN)
        middle = joints[a:b]
        made = complete(study.model, joints[:a], joints[b:], T, seed)[a:b]
        return {"generated": (made, middle), "linear": (blend(joints[a - 1], joints[b], b - a), middle)}

    _task(study, "in-between", once)


def _task(study: Study, part: str, once: Callable[[np.ndarray, int], Pairs]) -> None:
    repeats = min(study.repeats, TASK_REPEATS)
    study.say(f"{part}: {repeats} repeat(s), at the model's own guidance and steps")
    for repeat in range(repeats):
        each: list[dict[str, dict[str, float]]] = []
        for i, joints in enumerate(study.real):
            try:
                pairs = once(joints, (study.seed * 7919 + repeat * 100_003 + i) % 2**31)
            except CoreError as error:
                study.say(f"{part}: not measured: {error.message}")
                return
            each.append({row: ade_fde(*pair) for row, pair in pairs.items()})
        for group, members in study.groups.items():
            for row in each[0]:
                if repeat and row != "generated":
                    continue  # a baseline does not change
                names = each[0][row]
                study.add(part, group, row, **{n: float(np.mean([each[i][row][n] for i in members])) for n in names})
