"""The figures of a measurement as text."""

from __future__ import annotations

from typing import Any

from core.evaluate.study import Figures
from core.evaluate.wanted import Check

TITLES: dict[str, tuple[str, str]] = {
    "t2m": ("Text-to-motion", "R@k: share of texts whose own motion is among the k nearest of a group (size in the "
            "last column); FID, MM-Dist, Diversity, MultiModality: distances of unit vectors, 0 to 2, FID of the real "
            "row is of two random halves"),
    "physical": ("Physical, before any clean-up", "slide: of the foot that should stand, mm a frame of 1/20 s; float: "
                 "height of the lowest joint over the floor while the body does not fly; below: depth under the floor, "
                 "mean over frames, and deepest of a clip; jerk: m/s^3; bone: difference of bone lengths"),
    "sides": ("Left and right", "share of captions that name a hand, arm, foot or leg (limb), a turn or a step aside "
              "whose motion shows it on that side; the count of motions judged in each repeat"),
    "reconstruction": ("Reconstruction", "global, and relative to the root: mean (and median) over clips; MPJPE "
                       "(root aligned), PA-MPJPE (aligned a frame) and ACCEL (mm a frame^2): mean over frames; jerk "
                       "against real; slide: of feet that really stand, mm a frame; bone: difference of bone lengths"),
    "captions": ("Captions", "of the real clips against all their captions; _tok: both as HumanML3D's tokens, without "
                 "tense and plural; _cross: only the references so; exact: share that is one of the references, word "
                 "for word"),
    "wording": ("Words", "against all captions of each clip; tokenised: both as HumanML3D's tokens, without tense and "
                "plural; exact: share that is one of the references, word for word"),
    "matching": ("Text and motion, by the matcher", "R@k: share of captions whose own motion is among the k nearest of "
                 "a group (size in the last column); MM-Dist: distance of unit vectors, 0 to 2"),
    "named sides": ("Left and right, by the references", "share of sentences that name the side their references name "
                    "of the same thing (arm, leg, way), and how many could be compared"),
    "actions": ("Action words", "verbs of core/captions/tags.json. same: share of sentences with just the actions of "
                "one of their references; hit: with one of them at least; precision, recall, f1: with the nearest "
                "reference; count: clips whose captions name an action"),
    "prediction": ("Prediction from the first fifth", "metres; ade, fde: mean distance of a joint, over frames and in "
                   "the last one; _root: with both roots at the origin; _flat: the official form, L2 norm of a "
                   "frame's 66 numbers"),
    "in-between": ("In-betweening from the two end quarters", "metres, over the frames that are not given, as above"),
    "paraphrases": ("Prompts in unseen words", "rank of the paraphrased caption for the motion drawn, 1 is best"),
    "rules": ("Known prompts", "share of motions that do what the prompt says (core/evaluate/checks.py)"),
}  # fmt: skip
"""Part -> title, what its columns are."""

WIDE = 118
SHARES = {"r1", "r2", "r3", "limb", "turn", "step", "kept", "first", "first_10", "exact", "same", "hit",
          "precision", "recall", "f1"}  # fmt: skip
WHOLE = {"limb_count", "turn_count", "step_count", "count"}
ORDER = ("limb", "limb_count", "turn", "turn_count", "step", "step_count")


def number(name: str, value: list[float | None] | None) -> str:
    """One cell: the mean, and ± half its 95 % interval where there is one."""
    if value is None or value[0] is None:
        return "-"
    mean, half = value
    if name in WHOLE:
        return f"{mean:.0f}"
    places = 3 if name in SHARES or name.startswith(("bleu", "rouge", "bert", "fid", "ade", "fde", "mm_dist")) else 2
    places = 3 if name in ("diversity", "multimodality", "jerk_ratio") or name.startswith("cider") else places
    places = 1 if name in ("jerk", "group", "mean_rank", "median_rank") or name.endswith("_mm") else places
    places = 2 if name in ("bone_mm", "slide_mm") else places
    return f"{mean:.{places}f}" + ("" if not half else f"±{half:.{places}f}")


def table(part: str, groups: dict[str, Any], clips: dict[str, int]) -> str:
    """One part: rows by group of sources and kind of motion, a column a figure; wide ones in several blocks."""
    title, legend = TITLES[part]
    names = list(dict.fromkeys(n for rows in groups.values() for row in rows.values() for n in row))
    if names and set(names) <= set(ORDER):
        names = [n for n in ORDER if n in names]
    if "group" in names:
        names = [n for n in names if n != "group"] + ["group"]
    lines = ["", title, *_wrapped(legend)]
    labels = {(g, r): r for g, rows in groups.items() for r in rows}
    first = max([len(r) for r in labels.values()] + [12]) + 4
    widths = {n: 2 + max([len(n), *(len(number(n, row.get(n))) for rows in groups.values() for row in rows.values())])
              for n in names}  # fmt: skip
    while names:
        block: list[str] = []
        while names and (not block or first + sum(widths[n] for n in [*block, names[0]]) <= WIDE):
            block.append(names.pop(0))
        lines.append(" " * first + "".join(n.rjust(widths[n]) for n in block))
        for group, rows in groups.items():
            shown = {r: row for r, row in rows.items() if any(n in row for n in block)}
            if shown and group in clips and len(groups) + len(rows) > 2:
                lines.append(f"  {group} ({clips[group]} clips)")
            for r, row in shown.items():
                cells = "".join(number(n, row.get(n)).rjust(widths[n]) for n in block)
                lines.append(f"    {r}".ljust(first) + cells)
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDE, initial_indent="  ", subsequent_indent="  ")


def report(figures: Figures, clips: dict[str, int]) -> str:
    """All tables."""
    return "\n".join(table(part, figures[part], clips) for part in TITLES if part in figures)


WANTED = "Wanted of the compact model (test splits of CMU, ACCAD, HDM05, Bandai)"


def wanted_text(found: list[Check], title: str = WANTED) -> str:
    """Which of the wanted figures hold."""
    lines = ["", title]
    for c in found:
        bound = " and ".join(f"{sign} {b:g}" for sign, b in ((">=", c.least), ("<=", c.most)) if b is not None)
        lines.append(f"    {'holds ' if c.holds else 'BROKEN'}  {c.what:<72}{c.value:10.3f}   {bound}")
    return "\n".join(lines if found else [])
