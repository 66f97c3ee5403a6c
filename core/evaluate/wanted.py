"""What the project wants of its compact model and of its captions, and whether a measurement shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.evaluate.captions_told import CORRECTED, GREEDY
from core.evaluate.study import ALL, BANDAI, REST

SAME = 0.95
"""Share of captions that stay the same when the motion has been put on a rig and read back."""
LIBRARY_SECONDS = 60.0
"""For 1,000 motions of five seconds on two cores, compact model."""


@dataclass(frozen=True)
class Check:
    """A wanted figure: what it is, what was measured, and between which bounds it has to lie."""

    what: str
    value: float
    least: float | None
    most: float | None

    @property
    def holds(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def checks(figures: dict[str, Any], groups: list[str]) -> list[Check]:
    """The wanted figures that were measured.

    Bandai is bounded apart from the rest; where the data has no Bandai clip, the rest is everything.

    Args:
        figures: as `core.evaluate.measure.measure` returns them. groups: the groups of sources that there are.
    """
    rest = REST if REST in groups else next((g for g in (ALL, *groups) if g in groups and g != BANDAI), "")
    if rest == ALL and BANDAI in groups:
        rest = next((g for g in groups if g not in (BANDAI, ALL)), "")
    whole = ALL if ALL in groups else (groups[0] if groups else "")
    apart = [g for g in (BANDAI, rest) if g in groups]
    found: list[Check] = []

    def get(part: str, group: str, row: str, name: str) -> float | None:
        value = figures.get(part, {}).get(group, {}).get(row, {}).get(name)
        return None if value is None else float(value[0])

    def want(what: str, value: float | None, least: float | None = None, most: float | None = None) -> None:
        if value is not None:
            found.append(Check(what, value, least, most))

    def ratio(part: str, group: str, row: str, name: str) -> float | None:
        value, real = get(part, group, row, name), get(part, group, "real", name)
        return None if value is None or not real else value / real

    for group in apart:
        want(f"reconstruction, {group}: root-relative mm, mean", get("reconstruction", group, "autoencoder",
             "relative_mm"), most=18)  # fmt: skip
        want(f"reconstruction, {group}: root-relative mm, median", get("reconstruction", group, "autoencoder",
             "median_mm"), most=11)  # fmt: skip
        want(f"reconstruction, {group}: jerk against real", get("reconstruction", group, "autoencoder", "jerk_ratio"),
             least=0.85, most=1.2)  # fmt: skip
        want(f"reconstruction, {group}: slide against real", ratio("reconstruction", group, "autoencoder", "slide_mm"),
             most=1.2)  # fmt: skip
        want(f"reconstruction, {group}: bones off by mm", get("reconstruction", group, "autoencoder", "bone_mm"),
             most=0.01)  # fmt: skip
    for group in groups:
        mine, basis = (get("reconstruction", group, row, "relative_mm") for row in ("autoencoder", "linear basis"))
        if mine is not None and basis and group not in (ALL, REST):
            want(f"reconstruction, {group}: error against the linear basis alone", mine / basis, most=1.0)
    for group, least in ((BANDAI, 0.95), (rest, 0.75)):
        want(f"text-to-motion, {group}: R@3", get("t2m", group, "generated", "r3"), least=least)
    want(f"text-to-motion, {whole}: FID", get("t2m", whole, "generated", "fid"), most=0.03)
    want(f"left/right, {whole}: the named limb", get("sides", whole, "generated", "limb"), least=0.98)
    want(f"left/right, {whole}: turns", get("sides", whole, "generated", "turn"), least=0.95)
    for group in apart:
        want(f"generated, {group}: slide against real", ratio("physical", group, "generated", "slide_mm"), most=1.3)
        want(f"generated, {group}: jerk against real", ratio("physical", group, "generated", "jerk"), 0.7, 1.4)
        want(f"generated, {group}: deepest mm below the floor, mean over clips",
             get("physical", group, "generated", "deepest_mm"), most=20)  # fmt: skip
    for group, least in ((BANDAI, 0.93), (rest, 0.50)):
        want(f"captions, {group}: BLEU-4", get("captions", group, "greedy", "bleu4"), least=least)
    want("paraphrases: median rank", get("paraphrases", "prompts", "paraphrase", "median_rank"), most=15)
    return found


def captions_checks(found: dict[str, Any], groups: list[str], compact: bool) -> list[Check]:
    """The bounds of `build.py measure captions` that its figures say something about.

    Args:
        found: what core/evaluate/captions.py gathers: "figures", "speed", "blender", each where it was measured.
        groups: of sources. compact: whether the model is of the compact kind, the only one with a bound on time.
    """
    out: list[Check] = []
    whole = ALL if ALL in groups else (groups[0] if groups else "")
    sides = found.get("figures", {}).get("named sides", {}).get(whole, {})
    if GREEDY in sides and CORRECTED in sides:
        before, after = (sides[row]["kept"][0] * sides[row]["count"][0] for row in (GREEDY, CORRECTED))
        out.append(Check("sides, by the references: sentences won by correcting", after - before, 0, None))
    if "speed" in found and compact:
        each = found["speed"]["seconds"] / found["speed"]["motions"]
        out.append(Check("1,000 motions of 5 s described, s", 1000 * each, None, LIBRARY_SECONDS))
    for row in found.get("blender", {}).get("rows", []):
        out.append(Check(f"captions that stay the same on {row['rig']}", float(row["same"]), SAME, None))
    return out
