"""A report in plain words, for the panel and the console. No Blender, no NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .mapping import WORDS

if TYPE_CHECKING:
    from .report import Report

OK, WARN, BAD = "ok", "warn", "bad"
_SOURCES = {"names": "by name", "shape": "by shape", "names and shape": "by name and shape", "yours": "as you set them"}


def level(value: float, good: float, fair: float) -> str:
    """ "ok" up to `good`, "warn" up to `fair`, "bad" above."""
    return OK if value <= good else WARN if value <= fair else BAD


def lines(report: Report) -> list[tuple[str, str, str]]:
    """(what, in words, "ok" | "warn" | "bad"), the most telling first; what was not measured is left out."""
    out: list[tuple[str, str, str]] = []
    if report.family or report.source:
        found = " ".join(word for word in (report.family, _SOURCES.get(report.source, report.source)) if word)
        sure = "" if report.confidence is None else f", {100 * report.confidence:.0f} % sure"
        out.append(("Bones found", found + sure, level(-(report.confidence or 1.0), -0.8, -0.6)))
    if report.missing:
        out.append(("No bone for", ", ".join(WORDS.get(joint, joint) for joint in report.missing), WARN))
    if report.mean_deg is not None and report.p95_deg is not None:
        words = f"{report.mean_deg:.1f}° on average, {report.p95_deg:.1f}° for 95 %"
        if report.max_deg is not None:
            words += f", {report.max_deg:.0f}° at most"
        out.append(("Bones off by", words, max(level(report.mean_deg, 3, 8), level(report.p95_deg, 8, 20), key=_RANK)))
    if report.slide_after_mm is not None:
        compared = [
            f"{name} {value:.1f}"
            for name, value in (("motion", report.slide_source_mm), ("before", report.slide_before_mm))
            if value is not None
        ]
        words = f"{report.slide_after_mm:.1f} mm a frame" + (f" ({', '.join(compared)})" if compared else "")
        source = report.slide_source_mm or 0.0
        out.append(("Feet slide", words, level(report.slide_after_mm - source, 0.5, 3.0)))
    if report.floating_mm is not None:
        before = "" if report.floating_before_mm is None else f" (before {report.floating_before_mm:.0f})"
        words = f"{report.floating_mm:.0f} mm where they should stand{before}"
        if report.floating_share:
            words += f", in the air in {100 * report.floating_share:.0f} % of the frames"
        out.append(("Feet float", words, level(report.floating_mm, 15, 40)))
    if report.penetration_mm is not None:
        before = "" if report.penetration_before_mm is None else f" (before {report.penetration_before_mm:.0f})"
        out.append(
            ("Feet through the floor", f"{report.penetration_mm:.0f} mm{before}", level(report.penetration_mm, 10, 30))
        )
    if report.jerk is not None:
        out.append(("Jerkiness", f"{report.jerk:.2f} times the motion's", level(report.jerk, 1.3, 2.0)))
    flips = "none" if not report.roll_flips else f"{report.roll_flips} ({', '.join(report.flipped[:3])})"
    out.append(("Bones that flip over", flips, BAD if report.roll_flips else OK))
    swaps = "never" if not report.side_swaps else f"in {report.side_swaps} of {report.frames} frames"
    out.append(("Left and right swapped", swaps, BAD if report.side_swaps else OK))
    if report.milliseconds is not None:
        out.append(("Time taken", f"{report.milliseconds:.0f} ms for {report.frames} frames", OK))
    said = [text for text in report.warnings if not (report.missing and text.startswith("No bone for"))]
    out += [("Note", text, WARN) for text in said]
    return out


_RANK = {OK: 0, WARN: 1, BAD: 2}.__getitem__
