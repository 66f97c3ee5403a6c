"""How many captions survive a character: what `build.py measure captions DIR` runs in Blender.

Clips of joint bundles are put on rigs by the retargeter as Generate does it, read back as an action of a library is
read, and described by the worker. A caption counts as the same where the sentence equals, letter for letter, the one
that the clip itself gets. The exit status is 1 where less than SAME of them are, on any rig.

    python -m mgpt3_blender.measure_captions BUNDLE... [--split test] [--limit N] [--rigs DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import jobs, motionfiles, program
from .errors import UserError
from .measure import machine, write_figures
from .motionfiles import Recorded
from .reading import Stage
from .rig.apply import apply_motion, remove_motion
from .rig.canon import placed
from .rig.skeleton22 import FPS
from .rigfiles import load, read_listing
from .wire import encode_array

SAME = 0.95
"""Share of the captions that are to stay the same."""
SCENE_FPS = 24.0
BATCH = 48
"""Motions in one request: 9.8 s of joints are 69 kB on the wire."""
SHOWN = 5


@dataclass
class RigRow:
    """One rig's figures.

    Attributes:
        same: share of `clips` whose caption stayed the same; 0 where the rig failed, and `failed` says why.
        tags: share whose tags stayed the same. mm: median over clips of the mean distance of joints to the clip's own.
        read_ms: median time to read an action. by_bundle: `same` for each bundle.
        different: what was said of a clip and of its reading, where that differs.
    """

    rig: str
    family: str = ""
    bones: int = 0
    clips: int = 0
    same: float = 0.0
    tags: float = 0.0
    mm: float = 0.0
    read_ms: float = 0.0
    failed: str = ""
    by_bundle: dict[str, float] = field(default_factory=dict)
    different: list[dict[str, str]] = field(default_factory=list)


def bundle_files(paths: list[Path]) -> list[Path]:
    """Bundles, and all bundles in folders. Raises UserError (no_clips)."""
    found = [f for path in paths for f in (sorted(path.rglob("*_joints.npz")) if path.is_dir() else [path])]
    gone = [str(f) for f in found if not f.is_file()]
    if gone or not found:
        what = f"There is no bundle {', '.join(gone or map(str, paths))}."
        raise UserError("no_clips", what, "Give NAME_joints.npz files or folders with such files.")
    return found


def read_clips(files: list[Path], split: str, limit: int | None, python: Path) -> list[Recorded]:
    """The clips of one split, at most `limit` of them, evenly picked. Raises UserError (no_clips)."""
    remedy = "Give NAME_joints.npz bundles with their captions beside them, and a split that they have."
    clips = motionfiles.read(files, python, code="no_clips", remedy=remedy, split=split)
    if not clips:
        raise UserError("no_clips", f'There are no clips of the split "{split}".', remedy)
    if limit is not None and len(clips) > limit:
        clips = [clips[n] for n in np.linspace(0, len(clips) - 1, limit).round().astype(int)]
    return clips


# --- rigs


def _mannequin() -> bpy.types.Object:
    from .mannequin import create_mannequin

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)
    return create_mannequin(bpy.context)


def _meta_rig() -> bpy.types.Object:
    import addon_utils

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)
    addon_utils.enable("rigify", default_set=True)
    bpy.ops.object.armature_basic_human_metarig_add()
    return bpy.context.object


def _rigify() -> bpy.types.Object:
    meta = _meta_rig()
    bpy.ops.pose.rigify_generate()
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    return next(item for item in bpy.data.objects if item.type == "ARMATURE" and item is not meta)


OWN: dict[str, Callable[[], bpy.types.Object]] = {
    "mannequin": _mannequin,
    "Rigify meta-rig": _meta_rig,
    "Rigify, generated": _rigify,
}
"""The rigs without a folder of rigs: what this add-on and Blender itself make."""


def rigs_of(folder: Path | None, only: list[str] | None) -> dict[str, Callable[[], bpy.types.Object]]:
    """Name -> what makes the character in an empty file. Raises UserError (no_rigs)."""
    rigs = dict(OWN)
    if folder is not None:
        rigs = {entry.name: (lambda entry=entry: load(entry)) for entry in read_listing(folder)}
    if only:
        rigs = {name: make for name, make in rigs.items() if any(word in name for word in only)}
    if not rigs:
        raise UserError("no_rigs", "No rig's name contains that.", "Leave --only out to measure all.")
    return rigs


# --- measuring


def describe(motions: list[np.ndarray]) -> list[dict[str, Any]]:
    """What the worker says of motions (T, 22, 3): a description each, or {"error": {...}}. Raises UserError."""
    worker, out = jobs.worker(), []
    for n in range(0, len(motions), BATCH):
        joints = [{"joints": encode_array(one)} for one in motions[n : n + BATCH]]
        asked = {"motions": joints, "alternatives": 0, "embed": False}
        reply: Any = worker.wait(worker.request("describe", asked))
        out += reply["descriptions"]
    return out


def sentence(told: dict[str, Any]) -> str:
    """The sentence of a description, or why there is none."""
    return told["sentence"] if "error" not in told else f"({told['error']['code']})"


def through(armature: bpy.types.Object, clips: list[Recorded], row: RigRow) -> list[np.ndarray]:
    """Put each clip on the character, read it back and take it off again. -> joints, one for each clip."""
    scene = bpy.context.scene
    out, took = [], []
    with Stage(armature, scene) as stage:
        row.family = stage.mapping.preset
        for clip in clips:
            result = apply_motion(armature, clip.joints, scene=scene, name="Clip", start_frame=1.0, fps=FPS)
            started = time.perf_counter()
            out.append(stage.read(result.action).joints)
            took.append(1000.0 * (time.perf_counter() - started))
            remove_motion(armature, result.action)
    row.read_ms = statistics.median(took)
    return out


def apart_mm(clip: np.ndarray, read: np.ndarray) -> float:
    """Mean distance of joints, mm, where each starts over the origin facing +Z on the floor. Both (T, 22, 3)."""
    count = min(len(clip), len(read))
    one, other = (placed(np.asarray(j[:count], np.float64)) for j in (clip, read))
    one, other = (j - [0.0, j[..., 1].min(), 0.0] for j in (one, other))
    return 1000.0 * float(np.linalg.norm(one - other, axis=-1).mean())


def measure(
    name: str, make: Callable[[], bpy.types.Object], clips: list[Recorded], own: list[dict[str, Any]], fps: float
) -> RigRow:
    """One rig. Never raises for what is wrong with the rig: the row says it. Raises UserError where the worker fails.

    Args:
        own: what is said of the clips themselves.
    """
    row = RigRow(name, clips=len(clips))
    try:
        with program.quiet():
            armature = make()
        row.bones = len(armature.data.bones)
        render = bpy.context.scene.render
        render.fps, render.fps_base = int(np.ceil(fps)), float(np.ceil(fps) / fps)
        read = through(armature, clips, row)
    except UserError as error:
        row.failed = f"{error.message} {error.remedy}".strip()
        return row
    except Exception as error:  # one rig that breaks us is a failure of its row; the others are still measured
        traceback.print_exc()
        row.failed = f"{type(error).__name__}: {error}"
        return row
    told = describe(read)
    row.mm = statistics.median(apart_mm(clip.joints, one) for clip, one in zip(clips, read, strict=True))
    judge(row, clips, own, told)
    return row


def judge(row: RigRow, clips: list[Recorded], own: list[dict[str, Any]], told: list[dict[str, Any]]) -> None:
    """Fill a row in from what is said of the clips and of what was read."""
    same = [sentence(a) == sentence(b) for a, b in zip(own, told, strict=True)]
    tags = [a.get("tags") == b.get("tags") for a, b in zip(own, told, strict=True)]
    row.same, row.tags = float(np.mean(same)), float(np.mean(tags))
    for bundle in dict.fromkeys(clip.file for clip in clips):
        row.by_bundle[bundle] = float(np.mean([s for s, c in zip(same, clips, strict=True) if c.file == bundle]))
    row.different = [
        {"clip": clip.id, "said": sentence(a), "read": sentence(b)}
        for clip, a, b, equal in zip(clips, own, told, same, strict=True)
        if not equal
    ]


def run(options: argparse.Namespace) -> int:
    """Measure, print, write. -> exit status. Raises UserError."""
    from . import preferences

    if options.model is not None:
        os.environ["MGPT3_MODEL"] = str(options.model)  # as a user would name it; a name or a folder
    rigs = rigs_of(options.rigs, options.only)
    files = bundle_files(options.bundles)
    clips = read_clips(files, options.split, options.limit, preferences.python())
    own = describe([clip.joints for clip in clips])
    info: Any = jobs.worker().wait(jobs.worker().request("hello"))
    print(f"{len(clips)} clips of {', '.join(file.name for file in files)}, split {options.split}", flush=True)
    print(f"{'rig':<34}{'family':<32}{'bones':>6}{'same':>8}{'tags':>8}{'mm':>7}{'read ms':>9}", flush=True)
    rows = []
    for name, make in rigs.items():
        row = measure(name, make, clips, own, options.fps)
        rows.append(row)
        figures = f"{row.same:8.1%}{row.tags:8.1%}{row.mm:7.1f}{row.read_ms:9.0f}"
        print(f"{row.rig[:33]:<34}{row.family[:31]:<32}{row.bones:>6}{row.failed or figures}", flush=True)
        for one in row.different[:SHOWN]:
            print(f'    {one["clip"]}: "{one["said"]}", read: "{one["read"]}"')
    where = machine()
    made_with = {
        "model": info["model"]["name"], "data": [file.name for file in files], "split": options.split,
        "clips": len(clips), "fps": options.fps, "rigs": "own" if options.rigs is None else options.rigs.name,
    }  # fmt: skip
    holds = all(row.same >= SAME and not row.failed for row in rows)
    print(f"same captions: bound {SAME:.0%} on each rig: {'holds' if holds else 'BROKEN'}")
    print("made with: " + ", ".join(f"{key} {value}" for key, value in made_with.items()))
    print("machine: " + ", ".join(f"{key} {value}" for key, value in where.items()))
    if options.json:
        found = {"measure": "captions on rigs", "machine": where, "made_with": made_with, "bounds": {"same": SAME}}
        found |= {"holds": holds, "rows": [asdict(row) for row in rows]}
        write_figures(options.json, found)
    return int(not holds)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="mgpt3_blender.measure_captions", description="Captions of clips put on rigs.")
    made.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="NAME_joints.npz, or folders of them")
    made.add_argument("--split", default="test")
    made.add_argument("--limit", type=int, metavar="N", help="at most N clips, evenly picked")
    made.add_argument("--rigs", type=Path, metavar="DIR", help="folder with a rigs.json (default: Blender's and ours)")
    made.add_argument("--only", nargs="+", metavar="WORD", help="rigs whose name contains one of these")
    made.add_argument("--fps", type=float, default=SCENE_FPS, help=f"of the scene (default: {SCENE_FPS:g})")
    made.add_argument("--model", help="a bundled model's name or a folder (default: the bundled one)")
    made.add_argument("--json", type=Path, help="also write every figure to this file")
    return made


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return program.run(lambda: run(options), refused=2)


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
