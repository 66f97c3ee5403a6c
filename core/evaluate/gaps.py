"""`build.py measure gaps`, `python -m core gaps`: how believable filled gaps are, on clips nobody was trained on.

Gaps of 5, 10, 20 and 40 frames at 20 fps are cut into real motion and filled, once with ten frames of the motion on
either side and once from the two keyed poses alone. L2P, L2Q and NPSS are those of Harvey et al. (2020), on our joints
and on rotations solved from them; positions are standardised over the measured stretches. CMU and ACCAD are reported
together, every other source apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CoreError
from core.evaluate import gap_metrics as metrics
from core.evaluate.physical import foot_slide, jerk
from core.tasks.place import heading, turn_and_shift
from core.tasks.poses import interpolate

GAPS = (5, 10, 20, 40)
CONTEXT = 10
EACH = 4
"""Gaps cut into one clip at most."""
MOST = 160
"""Gaps of one length in one group of sources at most."""
LINEAR, BEZIER, OURS, WORDS, RAW = "linear+slerp", "Bezier", "ours", "ours, caption", "model's raw answer"
ROWS = (LINEAR, BEZIER, OURS, WORDS, RAW)
SAME = 1.02
"""Not worse than interpolation, in gaps below 20 frames: within two hundredths."""
SLIDE = 1.3
"""Foot slide of a filled gap against real motion's, at most."""


@dataclass
class Stretch:
    """Real motion (CONTEXT + 1 + gap + 1 + CONTEXT, 22, 3), the first key at the origin facing +Z, and its caption."""

    joints: np.ndarray
    caption: str


def stretches(clips: list[Any], gap: int) -> list[Stretch]:
    """Gaps of one length, evenly spaced in the clips, at most MOST."""
    length = gap + 2 + 2 * CONTEXT
    out = []
    for clip in clips:
        room = len(clip.joints) - length
        if room < 0:
            continue
        count = min(EACH, room // max(gap // 2, 1) + 1)
        for at in np.linspace(0, room, count).astype(int):
            joints = clip.joints[at : at + length].astype(np.float64)
            joints = turn_and_shift(joints, -heading(joints[CONTEXT]), np.zeros(2))
            joints -= joints[CONTEXT, 0] * [1.0, 0.0, 1.0]
            joints = joints.astype(np.float32).astype(np.float64)  # what is given is met to the bit of a float32
            out.append(Stretch(joints, clip.captions[0] if clip.captions else ""))
    keep = np.linspace(0, len(out) - 1, min(MOST, len(out))).astype(int)
    return [out[i] for i in keep]


Fill = Callable[[Stretch, int, int], np.ndarray | None]


def ways(model: Any, seed: int) -> dict[str, Fill]:
    """Every way to fill a gap: (stretch, frames, context) -> (frames + 2, 22, 3), None where it cannot."""
    from core.tasks.complete import complete
    from core.tasks.inbetween import inbetween
    from core.tasks.predict import LEAST_GIVEN

    def ends(s: Stretch, frames: int) -> tuple[np.ndarray, np.ndarray]:
        return s.joints[CONTEXT], s.joints[CONTEXT + 1 + frames]

    def ours(s: Stretch, frames: int, context: int, prompt: str | None) -> np.ndarray:
        start, end = ends(s, frames)
        before = s.joints[CONTEXT - context : CONTEXT]
        after = s.joints[CONTEXT + 2 + frames :][:context]
        return inbetween(model, start, end, frames, prompt, before, after, seed)[0].joints

    def raw(s: Stretch, frames: int, context: int) -> np.ndarray | None:
        if context < LEAST_GIVEN:
            return None
        before, after = s.joints[: CONTEXT + 1], s.joints[CONTEXT + 1 + frames :]
        made = complete(model, before, after, len(before) + frames + len(after), seed)
        return made[CONTEXT : CONTEXT + frames + 2]

    return {
        LINEAR: lambda s, n, _: interpolate(*ends(s, n), n),
        BEZIER: lambda s, n, _: interpolate(*ends(s, n), n, ease=True),
        OURS: lambda s, n, c: ours(s, n, c, None),
        WORDS: lambda s, n, c: ours(s, n, c, s.caption) if s.caption else None,
        RAW: raw,
    }


def measure(
    model: Any, clips: list[Any], gap: int, context: int, seed: int, tell: Callable[[str], None] | None = None
) -> dict[str, dict[str, float]]:
    """Row -> figures for gaps of one length; empty where no clip is long enough.

    Figures: count, l2p, l2q, npss, boundary_mm and boundary_deg (at the keys), jump and real_jump (m/s: velocity at a
    key, mean; 95th percentile of real motion's changes from frame to frame), slide (times real motion's, each judged by
    the feet it has down near their lowest, `physical.foot_slide`), floor (the same, judged by a fixed height over the
    floor, `gap_metrics.contact_slide`), slide_mm, jerk (times real motion's), ms.
    """
    pieces = stretches(clips, gap)
    if not pieces:
        return {}
    real = np.stack([s.joints for s in pieces])
    flat = real.reshape(-1, 22, 3)
    mean, std = flat.mean(0), np.maximum(flat.std(0), 1e-3)
    whole, inner = slice(CONTEXT, CONTEXT + gap + 2), slice(1, -1)
    turns = np.stack([metrics.quaternions(r[whole]) for r in real])
    changes = float(np.percentile(np.concatenate([metrics.velocity_changes(r) for r in real]), 95))
    slides, lows = ([slide(r[whole]) for r in real] for slide in (foot_slide, metrics.contact_slide))
    rough = float(np.mean([jerk(r) for r in real]))
    out: dict[str, dict[str, float]] = {}
    for row, fill in ways(model, seed).items():
        if tell is not None:
            tell(f"gap {gap}, context {context}: {row}")
        made, took = [], []
        for s in pieces:
            began = time.perf_counter()
            joints = fill(s, gap, context)
            took.append(time.perf_counter() - began)
            if joints is None:
                break
            full = s.joints.copy()
            full[whole] = joints
            made.append(full)
        if len(made) < len(pieces):
            continue
        q = np.stack([metrics.quaternions(m[whole]) for m in made])
        keys = [CONTEXT, CONTEXT + gap + 1]
        off = [float(np.linalg.norm(m[keys] - r[keys], axis=-1).max()) for m, r in zip(made, real, strict=True)]
        dots = np.abs((q[:, [0, -1]] * turns[:, [0, -1]]).sum(-1)).clip(max=1.0)
        out[row] = {
            "count": len(made),
            "l2p": float(np.mean([metrics.l2p(m[whole][inner], r[whole][inner], mean, std)
                                  for m, r in zip(made, real, strict=True)])),
            "l2q": float(np.mean([metrics.l2q(a[inner], b[inner]) for a, b in zip(q, turns, strict=True)])),
            "npss": metrics.npss(q[:, inner], turns[:, inner]),
            "boundary_mm": 1000 * max(off),
            "boundary_deg": float(np.degrees(2 * np.arccos(dots)).max()) if max(off) > 0 else 0.0,
            "jump": float(np.mean([metrics.key_jumps(m, *keys) for m in made])),
            "real_jump": changes,
            "slide": _times([foot_slide(m[whole]) for m in made], slides),
            "floor": _times([metrics.contact_slide(m[whole]) for m in made], lows),
            "slide_mm": float(np.nanmean([foot_slide(m[whole]) for m in made])),
            "jerk": float(np.mean([jerk(m) for m in made]) / max(rough, 1e-9)),
            "ms": float(1000 * np.median(took)),
        }  # fmt: skip
    return out


def _times(made: list[float], real: list[float]) -> float:
    return float(np.nanmean(made) / max(float(np.nanmean(real)), 1e-9))


def wanted(figures: dict[str, dict[str, float]], gap: int, context: int) -> list[str]:
    """What does not hold of one gap length, one sentence each; empty where everything does."""
    ours, out = figures.get(OURS), []
    if ours is None:
        return []
    if ours["boundary_mm"] > 0.0:
        out.append(f"keys are missed by {ours['boundary_mm']:.4f} mm")
    if context and ours["jump"] > ours["real_jump"]:
        out.append(f"velocity jumps by {ours['jump']:.3f} m/s at a key, real motion's 95 % is {ours['real_jump']:.3f}")
    for figure in ("l2p", "npss"):
        best = min(figures[row][figure] for row in (LINEAR, BEZIER) if row in figures)
        if ours[figure] > (best if gap >= 20 else SAME * best):
            out.append(f"{figure.upper()} {ours[figure]:.4f} is worse than interpolation's {best:.4f}")
    if ours["slide"] > SLIDE:
        out.append(f"feet slide {ours['slide']:.2f} times as much as real ones")
    return out


def find_bundles(paths: list[Path]) -> list[Path]:
    """Folders -> the bundles in them, at any depth; anything else is left for `load_data_source`.

    Raises CoreError("data_missing").
    """
    out: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CoreError("data_missing", f'There is no "{path.name}".', "Give a folder of bundles.")
        inside = sorted(path.rglob("*_joints.npz")) if path.is_dir() else []
        out += inside or [path]
    return out


def table(figures: dict[str, dict[str, float]]) -> str:
    """One line a row."""
    names = "L2P", "L2Q", "NPSS", "keys mm", "deg", "jump m/s", "slide", "floor", "jerk", "ms"
    widths = 8, 8, 9, 9, 7, 10, 8, 8, 7, 8
    head = " " * 22 + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    lines = [head]
    for row, f in figures.items():
        lines.append(
            f"  {row:<20}{f['l2p']:8.3f}{f['l2q']:8.3f}{f['npss']:9.4f}{f['boundary_mm']:9.2f}{f['boundary_deg']:7.2f}"
            f"{f['jump']:10.3f}{f['slide']:8.2f}{f['floor']:8.2f}{f['jerk']:7.2f}{f['ms']:8.1f}"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core gaps", description="How believable filled gaps are.")
    parser.add_argument("data", type=Path, nargs="+", metavar="BUNDLE_DIR", help="folders of NAME_joints.npz bundles")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--model", type=Path, help="a model folder (default: the bundled one)")
    parser.add_argument("--gaps", type=int, nargs="+", default=list(GAPS), metavar="N", help="frames between the keys")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    args = parser.parse_args(argv)
    if min(args.gaps) < 1 or max(args.gaps) > 170:
        raise CoreError("gap_out_of_range", "A gap has 1 to 170 frames here.", "Choose other --gaps.")
    from core.evaluate.study import groups_of, read_clips
    from core.machine import machine
    from core.model.checkpoint import load_model

    bundles = find_bundles(args.data)
    clips, _, notes = read_clips(bundles, args.split)
    model = load_model(args.model, args.device, "float32")
    measure(model, clips[:1], args.gaps[0], CONTEXT, args.seed)  # warm, so that times are those of a running worker
    made = {"model": model.info["name"], "data": sorted(p.name for p in bundles), "split": args.split,
            "seed": args.seed, "repeats": 1, "context": CONTEXT, "machine": machine()}  # fmt: skip
    out: dict[str, Any] = {"measure": "gaps", "made_with": made, "groups": {}}
    broken: list[str] = []
    tell = _progress if sys.stderr.isatty() else None
    for group, rows in groups_of(clips).items():
        if group.startswith("all") and len(groups_of(clips)) > 1:
            continue
        for context in (CONTEXT, 0):
            for gap in args.gaps:
                figures = measure(model, [clips[i] for i in rows], gap, context, args.seed, tell)
                said = "ten frames of context" if context else "keys only"
                if not figures:
                    notes.append(f"{group}: no clip is long enough for a gap of {gap} frames")
                    continue
                count, real = int(figures[LINEAR]["count"]), figures[LINEAR]["real_jump"]
                print(f"\n{group}, gap of {gap} frames, {said}: {count} gaps; real jumps, 95 %: {real:.3f} m/s")
                print(table(figures))
                missed = wanted(figures, gap, context)
                broken += [f"{group}, gap {gap}, {said}: {text}" for text in missed]
                out["groups"].setdefault(group, {}).setdefault(str(context), {})[str(gap)] = figures | {
                    "missed": missed
                }
    print("\n" + ("Bounds that do not hold:\n  " + "\n  ".join(broken) if broken else "All bounds hold."))
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    print("made with: " + ", ".join(f"{k} {v}" for k, v in made.items()))
    if args.json is not None:
        out["broken"] = broken
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return int(bool(broken))


def _progress(what: str) -> None:
    print(f"\r{what:<60}", end="", file=sys.stderr, flush=True)
