"""How well motion arrives on the characters of a folder: what `build.py measure rigs RIGS_DIR --motion FILE…` runs.

Each rig is loaded through Blender, mapped with no hint, given the motions and watched frame by frame (rigwatch.py).
One row a rig; the exit status is 1 where a bound breaks on any of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from . import measure_motions as sources
from . import program, rigwatch
from .errors import UserError
from .measure import machine, write_figures
from .measure_motions import Motion
from .rig.mapping import Mapping, map_armature
from .rig.options import FK, IK, Options
from .rig.report import LIMBS
from .rig.skeleton22 import JOINTS
from .rigfiles import RigEntry, load, meshes_of, read_listing

MUST = tuple(j for j in JOINTS if j not in ("neck", "l_collar", "r_collar", "l_foot", "r_foot"))
"""Limbs, spine and head; collars, toes and neck are optional."""
MEAN_DEG, P95_DEG = 2.0, 6.0
SLIDE_MM = 0.5
ROUND_TRIP_MM = 15.0
LARGE_BONES = 80
SHEETS = Path(__file__).resolve().parents[1] / "out" / "rigs"
PATIENCE = 3  # a time over its bound is taken again, up to this often: a machine may be busy with something else
MILLISECONDS = {False: 50.0, True: 150.0}  # by whether the rig is large or has controls


@dataclass
class RigRow:
    """One character: how it was mapped, and a MotionRow for each motion; `reason` says why there is none."""

    file: str
    reason: str = ""
    family: str = ""
    source: str = ""
    confidence: float = 0.0
    bones: int = 0
    right: int = 0
    joints: int = 0
    wrong: dict[str, str | None] = field(default_factory=dict)
    controls: bool = False
    motions: list[rigwatch.MotionRow] = field(default_factory=list)
    milliseconds: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def bound_ms(self) -> float:
        return MILLISECONDS[self.controls or self.bones > LARGE_BONES]

    def worst(self, name: str) -> float | None:
        """The largest value of a figure of the reports over the motions."""
        values = [getattr(row.report, name) for row in self.motions]
        return max((value for value in values if value is not None), default=None)

    def mean(self, name: str) -> float | None:
        values = [getattr(row.report, name) for row in self.motions]
        return float(np.mean([v for v in values if v is not None])) if any(v is not None for v in values) else None

    @property
    def excess_mm(self) -> float | None:
        """How much more than the motion's the feet slide, on the worst motion."""
        told = [(row.report.slide_after_mm, row.report.slide_source_mm) for row in self.motions]
        return max((after - source for after, source in told if after is not None and source is not None), default=None)

    @property
    def broken(self) -> list[str]:
        """The bounds that do not hold, in words."""
        if self.reason:
            return [self.reason]
        out = [f"{joint} is {self.wrong[joint] or 'not found'}" for joint in MUST if joint in self.wrong]
        flips, swaps = (sum(getattr(row.report, name) for row in self.motions) for name in ("roll_flips", "side_swaps"))
        unmapped = sorted({bone for row in self.motions for bone in row.unmapped})
        round_trip = max((row.round_trip_mm for row in self.motions), default=0.0)
        for name, value, bound, unit in (
            ("limbs off on average", self.worst("limb_mean_deg"), MEAN_DEG, "°"),
            ("limbs off for 95 %", self.worst("limb_p95_deg"), P95_DEG, "°"),
            ("slide over the motion's", self.excess_mm, SLIDE_MM, " mm"),
            ("round trip", round_trip, ROUND_TRIP_MM, " mm"),
            ("time", self.milliseconds, self.bound_ms, " ms"),
        ):
            if value is not None and not value < bound:
                out.append(f"{name} {value:.1f}{unit}, bound {bound:g}{unit}")
        if self.motions and self.worst("limb_mean_deg") is None:
            out.append("no limb could be compared")
        if flips:
            bones = sorted({bone for row in self.motions for bone in row.report.flipped})
            out.append(f"{flips} roll flips ({', '.join(bones[:4])})")
        if swaps:
            out.append(f"left and right swapped in {swaps} frames")
        if unmapped:
            out.append(f"{len(unmapped)} bones keyed that are not mapped ({', '.join(unmapped[:4])})")
        return out


def measure(
    entry: RigEntry, motions: list[Motion], options: Options, sheets: Path | None = None, timed: bool = True
) -> RigRow:
    """Everything about one character. Never raises for what is wrong with the character: the row says it."""
    row = RigRow(entry.name)
    try:
        with program.quiet():
            armature = load(entry)
        row.bones = len(armature.data.bones)
        hidden = [mesh for mesh in meshes_of(armature) if not mesh.hide_viewport]
        mapping = map_armature(armature)
        note_mapping(row, entry, mapping)
        for mesh in hidden:  # bending a mesh at each frame costs time and tells nothing about bones
            mesh.hide_viewport = True
        rigwatch.prepare(bpy.context.scene)
        truth = rigwatch.find_truth(armature, entry, mapping)
        for motion in motions:
            row.motions.append(rigwatch.try_motion(armature, truth, mapping, motion, options))
        row.notes = list(dict.fromkeys(text for one in row.motions for text in one.warnings))
        if timed:
            longest = max(motions, key=lambda motion: len(motion.joints))
            for _ in range(PATIENCE):
                took = rigwatch.milliseconds(armature, longest, options)
                row.milliseconds = took if row.milliseconds is None else min(took, row.milliseconds)
                if row.milliseconds < row.bound_ms:
                    break
        for mesh in hidden:
            mesh.hide_viewport = False
        if sheets is not None:
            from .demo import rendering_log
            from .rigsheet import draw_sheet

            sheets.mkdir(parents=True, exist_ok=True)
            with rendering_log(sheets / "render.log"):
                draw_sheet(armature, entry, mapping, motions[0], options, sheets, row)
    except UserError as error:
        row.reason = f"{error.message} {error.remedy}".strip()
    except Exception as error:  # one rig that breaks us is a failure of its row; the others are still measured
        traceback.print_exc()
        row.reason = f"{type(error).__name__}: {error}"
    return row


def note_mapping(row: RigRow, entry: RigEntry, mapping: Mapping) -> None:
    row.family, row.source, row.confidence = mapping.preset, mapping.source, mapping.confidence
    row.controls = mapping.is_control_rig
    row.wrong = rigwatch.wrong_joints(entry, mapping)
    row.joints = len(entry.mapping)
    row.right = row.joints - len(row.wrong)


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


COLUMNS = (
    ("rig", 30), ("family", 26), ("joints", 8), ("limbs °", 12), ("all °", 12), ("travel", 13),
    ("slide mm a frame", 19), ("flips", 6), ("swaps", 6), ("unmapped", 9), ("trip mm", 8), ("ms", 5), ("", 4),
)  # fmt: skip


def table_row(row: RigRow) -> str:
    if row.reason:
        cells = [row.file, row.family or "-"]
        head = "".join(f"{cell[: width - 1]:<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=False))
        return f"{head}FAILED: {row.reason}"
    travels = [one.travel for one in row.motions if one.travel is not None]
    slides = [row.mean(name) for name in ("slide_source_mm", "slide_before_mm", "slide_after_mm")]
    cells = [
        row.file,
        row.family,
        f"{row.right}/{row.joints}",
        f"{number(row.worst('limb_mean_deg'))} / {number(row.worst('limb_p95_deg'))}",
        f"{number(row.worst('mean_deg'))} / {number(row.worst('p95_deg'))}",
        f"{min(travels):.2f} - {max(travels):.2f}" if travels else "-",
        " > ".join(number(value) for value in slides),
        str(sum(one.report.roll_flips for one in row.motions)),
        str(sum(one.report.side_swaps for one in row.motions)),
        str(len({bone for one in row.motions for bone in one.unmapped})),
        number(max((one.round_trip_mm for one in row.motions), default=None)),
        number(row.milliseconds, 0),
        "ok" if not row.broken else "BAD",
    ]
    return "".join(f"{cell[: width - 1]:<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()


def row_json(row: RigRow) -> dict:
    """A row as JSON: its figures, what broke, and every motion with its whole report."""
    motions = [
        {
            "motion": one.name,
            "travel": one.travel,
            "round_trip_mm": one.round_trip_mm if np.isfinite(one.round_trip_mm) else None,
            "round_trip_pinned_mm": one.round_trip_pinned_mm,
            "unmapped": list(one.unmapped),
            "warnings": one.warnings,
            "told": json.loads(one.told.to_json()),
            **json.loads(one.report.to_json()),
        }
        for one in row.motions
    ]
    names = ("file", "reason", "family", "source", "confidence", "bones", "controls", "joints", "right", "wrong")
    told = {name: getattr(row, name) for name in names}
    return {
        **told,
        "milliseconds": row.milliseconds,
        "bound_ms": row.bound_ms,
        "broken": row.broken,
        "motions": motions,
    }


def report(rows: list[RigRow]) -> None:
    """What went wrong, below the table."""
    for row in rows:
        for text in row.broken if not row.reason else []:
            print(f"  {row.file}: {text}")
        optional = {joint: bone for joint, bone in row.wrong.items() if joint not in MUST}
        if optional:
            print(f"  {row.file}: note: " + ", ".join(f"{j} is {b or 'not found'}" for j, b in optional.items()))
    bad = sum(bool(row.broken) for row in rows)
    print(f"{len(rows) - bad} of {len(rows)} rigs keep every bound")


def run(options: argparse.Namespace) -> int:
    """Measure, print, write. -> exit status. Raises UserError."""
    from . import preferences

    entries = read_listing(options.rigs)
    if options.only:
        entries = [entry for entry in entries if any(word in entry.name for word in options.only)]
        if not entries:
            raise UserError("no_rigs", "No rig's file name contains that.", "Leave --only out to measure all.")
    motions = sources.from_files(options.motion, preferences.python()) if options.motion else []
    prompts = list(options.prompt or ([] if motions else sources.PROMPTS))
    motions += sources.from_prompts(prompts, options.seconds, options.seed)
    print(", ".join(f"{motion.name} ({len(motion.joints)} frames)" for motion in motions))
    print("".join(f"{name:<{width}}" for name, width in COLUMNS).rstrip(), flush=True)
    chosen = Options(limbs=options.limbs, foot_lock=not options.no_foot_lock)
    rows = []
    for entry in entries:
        rows.append(measure(entry, motions, chosen, options.sheets))
        print(table_row(rows[-1]), flush=True)
    print("worst motion's degrees (mean / 95 %), least and most travel, mean slide: motion > before > after pinning")
    report(rows)
    where = machine()
    made_with = {"limbs": options.limbs, "foot_lock": chosen.foot_lock, "fps": rigwatch.SCENE_FPS, "prompts": prompts}
    made_with |= {
        "motions": {m.name: len(m.joints) for m in motions},
        "seed": options.seed,
        "folder": options.rigs.name,
    }
    print("machine: " + ", ".join(f"{key} {value}" for key, value in where.items()))
    if options.json:
        bounds = {"limb_mean_deg": MEAN_DEG, "limb_p95_deg": P95_DEG, "slide_over_source_mm": SLIDE_MM,
                  "round_trip_mm": ROUND_TRIP_MM, "milliseconds": MILLISECONDS[False],
                  "milliseconds_large": MILLISECONDS[True], "limbs": [JOINTS[j] for j in LIMBS]}  # fmt: skip
        figures = {"measure": "rigs", "machine": where, "made_with": made_with, "bounds": bounds}
        figures["rows"] = [row_json(row) for row in rows]
        write_figures(options.json, figures)
    return int(any(row.broken for row in rows))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="build.py measure rigs", description="Motion on the characters of a folder.")
    made.add_argument("rigs", type=Path, metavar="RIGS_DIR", help="folder with a rigs.json")
    made.add_argument("--motion", type=Path, nargs="+", default=[], metavar="FILE", help=".bvh, .npz or .json")
    made.add_argument("--prompt", action="append", help="a motion to generate; may be given again")
    made.add_argument("--seconds", type=float, default=sources.SECONDS, help="length of generated motions")
    made.add_argument("--seed", type=int, default=sources.SEED)
    made.add_argument("--limbs", choices=[FK, IK], default=FK, help="which controls of a control rig are keyed")
    made.add_argument("--no-foot-lock", action="store_true", help="leave standing feet as the motion has them")
    made.add_argument("--only", nargs="+", metavar="WORD", help="rigs whose file name contains one of these")
    made.add_argument("--json", type=Path, help="also write every figure to this file")
    made.add_argument("--sheets", type=Path, metavar="DIR", nargs="?", const=SHEETS, help="contact sheets (out/rigs)")
    return made


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return program.run(lambda: run(options))


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
