"""Figures of what ships, measured beside a real Blender: what `build.py measure speed` runs.

A measure is a function that returns rows; a row with a bound fails the run where the bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import bpy
import numpy as np

from . import action as action_curves
from . import jobs, program
from .rig.skeleton22 import JOINTS, neutral_pose
from .wire import encode_array

FPS = 20.0  # of the model's motion
BAKED_FRAMES, BAKED_BONES = 200, 24
BAKE_BOUND_MS = 50.0
READ_FRAMES, READ_BONES = 200, 60
READ_BOUND_MS = 60.0
READ_FPS = 24.0
PROMPT, SECONDS, SEED = "a person walks forward", 4.0, 7


@dataclass
class Row:
    """One figure: the median of `runs`, in `unit`, with the bound it must keep, if there is one."""

    name: str
    value: float
    unit: str
    runs: int
    bound: float | None = None

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value < self.bound


def timed(name: str, unit: str, runs: int, work: Callable[[], object], bound: float | None = None) -> Row:
    """Run `work` once to warm up and `runs` times to measure; the median."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return Row(name, statistics.median(seconds) * {"s": 1.0, "ms": 1000.0}[unit], unit, runs, bound)


def turning_walk(frames: int) -> np.ndarray:
    """A motion to retarget, (frames, 22, 3): the neutral figure gliding ahead and turning about."""
    at = np.linspace(0.0, 1.0, frames)
    angle = np.pi * at
    rest = neutral_pose()
    joints = np.empty((frames, len(JOINTS), 3), dtype=np.float32)
    joints[..., 0] = np.outer(np.cos(angle), rest[:, 0]) + np.outer(np.sin(angle), rest[:, 2])
    joints[..., 1] = rest[:, 1]
    joints[..., 2] = np.outer(np.cos(angle), rest[:, 2]) - np.outer(np.sin(angle), rest[:, 0]) + 4.0 * at[:, None]
    return joints


def bake() -> Row:
    """Writing the keys alone: BAKED_FRAMES quaternions on each of BAKED_BONES bones into a new action."""
    armature = bpy.data.objects.new("Bake", bpy.data.armatures.new("Bake"))
    bpy.context.scene.collection.objects.link(armature)
    frames = np.arange(BAKED_FRAMES, dtype=np.float64)
    values = np.random.default_rng(SEED).normal(size=(BAKED_BONES, 4, BAKED_FRAMES))
    curves = [
        action_curves.Curve(f'pose.bones["bone{bone}"].rotation_quaternion', i, frames, values[bone, i], f"bone{bone}")
        for bone in range(BAKED_BONES)
        for i in range(4)
    ]

    def work() -> None:
        action_curves.write_fcurves(action_curves.new_action("Bake"), armature, curves)

    name = f"bake {BAKED_FRAMES} frames x {BAKED_BONES} bones"
    return timed(name, "ms", 9, work, bound=BAKE_BOUND_MS)


def retarget() -> Row:
    """Joints to a keyed action on the mannequin: mapping, solving, writing, and the errors measured on it."""
    from .mannequin import create_mannequin
    from .rig.apply import apply_motion

    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = int(FPS), 1.0
    armature = create_mannequin(bpy.context)
    joints = turning_walk(BAKED_FRAMES)
    return timed(
        f"retarget {BAKED_FRAMES} frames to the mannequin",
        "ms",
        5,
        lambda: apply_motion(armature, joints, scene=scene, name="Retarget", start_frame=1.0, fps=FPS),
    )


def read() -> Row:
    """An action back to joints: READ_FRAMES scene frames of a character of READ_BONES bones, all of them keyed."""
    from .mannequin import create_mannequin
    from .reading import read_action
    from .rig.apply import apply_motion

    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = int(READ_FPS), 1.0
    armature = create_mannequin(bpy.context)
    more = add_fingers(armature, READ_BONES - len(armature.data.bones))
    frames = np.arange(1.0, READ_FRAMES + 1.0)
    joints = turning_walk(int(np.ceil(READ_FRAMES * FPS / READ_FPS)) + 1)
    action = apply_motion(armature, joints, scene=scene, name="Read", start_frame=1.0, fps=FPS).action
    curl = np.stack([np.cos(0.01 * frames), *[np.sin(0.01 * frames) / np.sqrt(3.0)] * 3])
    curves = [
        action_curves.Curve(f'pose.bones["{bone}"].rotation_quaternion', i, frames, curl[i], bone)
        for bone in more
        for i in range(4)
    ]
    action_curves.write_fcurves(action, armature, curves)
    return timed(
        f"read {READ_FRAMES} frames, {len(armature.data.bones)} bones",
        "ms",
        9,
        lambda: read_action(armature, scene, action, first=frames[0], last=frames[-1]),
        bound=READ_BOUND_MS,
    )


def add_fingers(armature: bpy.types.Object, count: int) -> list[str]:
    """Hang further bones on a character's hands, as rigs have them. -> their names."""
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    hands = [bone for bone in armature.data.edit_bones if bone.name.startswith("hand")]
    names = []
    for n in range(count):
        bone, hand = armature.data.edit_bones.new(f"finger{n}"), hands[n % len(hands)]
        bone.head, bone.tail = hand.tail, hand.tail + 0.03 * (hand.tail - hand.head).normalized()
        bone.parent = hand
        names.append(bone.name)
    bpy.ops.object.mode_set(mode="OBJECT")
    return names


def speed() -> tuple[list[Row], dict]:
    """Baking, retargeting, reading, and the core's start, generation and captioning with the bundled model.

    Returns the rows and what they were measured with. Raises UserError.
    """
    rows = [bake(), retarget(), read()]
    started = time.perf_counter()
    worker = jobs.worker()
    info = worker.wait(worker.request("hello"))
    rows.append(Row("start the core and load the model", time.perf_counter() - started, "s", 1))
    replies: list[dict] = []
    params = {"prompt": PROMPT, "seconds": SECONDS, "seed": SEED, "variations": 1, "guidance": None, "steps": None}
    generate = timed(
        f"generate {SECONDS:g} s", "s", 5, lambda: replies.append(worker.wait(worker.request("generate", params)))
    )
    joints = {"joints": replies[-1]["motions"][0]["joints"], "alternatives": 0}
    caption = timed(f"caption {SECONDS:g} s", "s", 5, lambda: worker.wait(worker.request("caption", joints)))
    longest = {"joints": encode_array(turning_walk(196)), "alternatives": 0}
    caption_long = timed("caption 9.8 s", "s", 3, lambda: worker.wait(worker.request("caption", longest)))
    made_with = {"model": info["model"], "device": info["device"], "prompt": PROMPT, "seconds": SECONDS, "seed": SEED}
    return [*rows, generate, caption, caption_long], made_with


def machine() -> dict[str, str | int]:
    """What the figures come from: processor, cores, system, Blender."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "processor": processor,
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "blender": bpy.app.version_string,
        "numpy": np.__version__,
    }


def write_figures(path: Path, figures: dict) -> None:
    """Write figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1, allow_nan=False), encoding="utf-8")


MEASURES = {"speed": speed}


def run(options: argparse.Namespace) -> int:
    """Measure, print, write. -> exit status. Raises UserError."""
    rows, made_with = MEASURES[options.what]()
    where = machine()
    for row in rows:
        bound = "" if row.bound is None else f"bound {row.bound:g} {row.unit}: {'holds' if row.holds else 'BROKEN'}"
        print(f"{row.name:<40}{row.value:9.2f} {row.unit:<4}median of {row.runs}   {bound}".rstrip())
    print("made with: " + ", ".join(f"{key} {value}" for key, value in made_with.items() if key != "model"))
    print(f"model: {made_with['model']['name']}, {made_with['model']['parameters'] / 1e6:.1f} M parameters")
    print("machine: " + ", ".join(f"{key} {value}" for key, value in where.items()))
    if options.json:
        figures = {"measure": options.what, "machine": where, "made_with": made_with}
        known = [row.value if np.isfinite(row.value) else None for row in rows]
        figures["rows"] = [
            {**asdict(row), "value": value, "holds": row.holds} for row, value in zip(rows, known, strict=True)
        ]
        write_figures(options.json, figures)
    return int(not all(row.holds for row in rows))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m mgpt3_blender.measure", description="Figures of what ships.")
    parser.add_argument("what", choices=list(MEASURES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    return program.run(lambda: run(options))


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
