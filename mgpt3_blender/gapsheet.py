"""Filled gaps to be looked at: rows of eight pictures, Blender's own interpolation above what Fill Between makes.

`python -m mgpt3_blender.gapsheet BUNDLE_DIR [--out PNG]` takes three recorded motions (a jump, a turn, a sit-down:
CLIPS, chosen before any result was seen), puts each on the mannequin with a key on every frame of 24 a second, deletes
the keys between two poses, and has the gap filled in several ways (WAYS). One picture shows some of them; the table
has figures for all, and for the recording.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from . import action as actions
from . import action_splice, demo, keyshape, motionfiles, program
from .between import Request, fill_between
from .errors import UserError
from .gapfigures import Figures, Seen, look, measure
from .gaps import Gap
from .mannequin import create_mannequin
from .rig.apply import apply_motion
from .rigsheet import squeeze
from .rigwatch import SCENE_FPS, START

FPS = 20.0
PICTURES = 8
TILE = 150, 146  # pixels; eight of them make 1200
TITLE, LINE = 34, 22  # pixels: height of a clip's title and of a row's


@dataclass(frozen=True)
class Clip:
    """A recorded motion with a gap.

    Attributes:
        name: what it is called in the picture.
        id: the clip of a bundle.
        first, last: frames at 20 a second of the two poses that stay.
        prompt: what happens between them, in words.
    """

    name: str
    id: str
    first: int
    last: int
    prompt: str

    @property
    def gap(self) -> Gap:
        """In frames of the scene."""
        return Gap(*(round(START + at / FPS * SCENE_FPS) for at in (self.first, self.last)))


CLIPS = (
    Clip("Jump", "cmu_13_42", 20, 45, "a person jumps up"),
    Clip("Turn", "cmu_60_09_01", 150, 185, "a person turns around"),
    Clip("Sit down", "hdm05_bk_lieDownFloor_005", 10, 45, "a person sits down on the floor"),
)
"""From the splits that no weights were trained on: CMU's validation (it has the only jump on the spot) and test split,
and HDM05, none of which was trained on."""


@dataclass(frozen=True)
class Way:
    """How a gap is closed.

    Attributes:
        label: beside the pictures; {prompt} stands for the clip's.
        context: the motion before and after stays keyed; otherwise there are the two poses alone.
        fill: Fill Between, or Blender's interpolation.
        told: with the clip's prompt.
    """

    label: str
    context: bool = True
    fill: bool = True
    told: bool = False


WAYS = {
    "interpolated": Way("Blender's interpolation", fill=False),
    "filled": Way("Fill Between"),
    "told": Way('Fill Between, "{prompt}"', told=True),
    "keys_interpolated": Way("Two keys and nothing else, Blender's interpolation", context=False, fill=False),
    "keys_filled": Way("Two keys and nothing else, Fill Between", context=False),
    "keys_told": Way('Two keys and nothing else, Fill Between, "{prompt}"', context=False, told=True),
}
RECORDED = "recorded"
SHOWN = ("interpolated", "filled", "keys_told")


def read_clips(folder: Path, python: Path, clips: Sequence[Clip] = CLIPS) -> dict[str, np.ndarray]:
    """The clips of a folder of bundles: id -> (T, 22, 3) metres, Y up, 20 fps. Raises UserError (no_clips)."""
    remedy = "Give the folder of the joint bundles that hold them."
    files = sorted(folder.rglob("*_joints.npz"))
    if not files:
        raise UserError("no_clips", f"There are no joint bundles in '{folder}'.", remedy)
    wanted = {clip.id for clip in clips}
    read = motionfiles.read(files, python, code="no_clips", remedy=remedy)
    found = {one.id: one.joints for one in read if one.id in wanted}
    gone = [clip.id for clip in clips if len(found.get(clip.id, ())) <= clip.last]
    if gone:
        raise UserError("no_clips", f"There is no clip {', '.join(gone)} in '{folder}'.", remedy)
    return found


# --- the gap


def keep_keys(armature: bpy.types.Object, frames: Sequence[int]) -> None:
    """Leave a key on every channel at some frames, as an animator sets them: Bezier, automatic handles."""
    for curve in actions.fcurves(armature.animation_data.action, armature):
        values = np.array([curve.evaluate(frame) for frame in frames])
        action_splice.write_table(curve, keyshape.plain(np.array(frames, float), values, keyshape.BEZIER))


def close(
    armature: bpy.types.Object, recorded: bpy.types.Action, clip: Clip, way: Way, seed: int = 0
) -> tuple[list[str], bool]:
    """Let the armature play a copy of a recorded action with the gap closed in one way.

    -> warnings; whether all keys that were there are still the same to the bit. Raises UserError.
    """
    action = recorded.copy()
    actions.bind_action(armature, action)
    start, end = (round(value) for value in recorded.frame_range)
    gap = clip.gap
    around = [frame for frame in range(start, end + 1) if not gap.first < frame < gap.last]
    keep_keys(armature, around if way.context else [round(gap.first), round(gap.last)])
    if not way.fill:
        return [], True
    before = _keys(armature)
    made = fill_between(armature, Request(prompt=clip.prompt if way.told else "", seed=seed, gaps=(gap,)))
    after = _keys(armature)
    same = before.keys() == after.keys()
    for key in before.keys() & after.keys():
        kept = after[key]["co"][:, 0]
        rows = keyshape.taken(after[key], (kept <= gap.first) | (kept >= gap.last))
        same &= all(rows[name].tobytes() == before[key][name].tobytes() for name in keyshape.FIELDS)
    return made.warnings, same


def _keys(armature: bpy.types.Object) -> dict[tuple[str, int], keyshape.Table]:
    curves = actions.fcurves(armature.animation_data.action, armature)
    return {(curve.data_path, curve.array_index): action_splice.read_table(curve) for curve in curves}


# --- the picture


@dataclass
class Strip:
    """A row of the picture: PICTURES pictures (height, width, 4); `title` is above the first row of a clip."""

    label: str
    pictures: list[np.ndarray]
    frames: list[int]
    title: str = ""


def film(
    armature: bpy.types.Object, clip: Clip, shown: dict[str, bpy.types.Action], seen: dict[str, Seen]
) -> list[Strip]:
    """Render some actions of one character, all by one camera. Changes the scene for good."""
    scene = bpy.context.scene
    demo.paint(armature)
    frames = seen[next(iter(shown))].frames[1:-1]
    points = np.concatenate([seen[name].points[1:-1] for name in shown], axis=1)
    shot = demo.Shot(frames, points)
    demo.set_look(scene)
    demo.add_floor(scene, shot.centre(float(SCENE_FPS)), 0.0)
    camera = demo.add_camera(scene, shot)
    _zoom(scene, camera, shot)
    scene.display.render_aa, scene.display.shading.show_cavity = "5", False
    chosen = np.rint(np.linspace(frames[0], frames[-1], PICTURES)).astype(int).tolist()
    strips = []
    for name, action in shown.items():
        actions.bind_action(armature, action)
        pictures = []
        for frame in chosen:
            scene.frame_set(frame)
            pictures.append(demo.render_picture(scene, TILE))
        label = "Recorded" if name == RECORDED else WAYS[name].label.format(prompt=clip.prompt)
        strips.append(Strip(label, pictures, chosen))
    seconds = (frames[-1] - frames[0]) / SCENE_FPS
    strips[0].title = f"{clip.name}: two poses {seconds:.2f} s apart, first and last picture"
    return strips


def _zoom(scene: bpy.types.Scene, camera: bpy.types.Object, shot: demo.Shot) -> None:
    """The longest lens that shows all points in a picture of TILE's shape."""
    scene.render.resolution_x, scene.render.resolution_y = TILE
    most = 0.0
    for frame, points in zip(shot.frames, shot.points, strict=True):
        scene.frame_set(frame)
        for point in points:
            x, y, _ = world_to_camera_view(scene, camera, Vector(point))
            most = max(most, abs(x - 0.5), abs(y - 0.5))
    camera.data.lens *= 0.44 / most


def write_sheet(strips: Sequence[Strip], path: Path) -> None:
    """All rows one above the other, labelled, as a small PNG."""
    width = PICTURES * TILE[0]
    height = sum(LINE + TILE[1] + (TITLE if strip.title else 0) for strip in strips)
    sheet = np.ones((height, width, 4), np.float32)
    labels, y = [], height
    for strip in strips:
        if strip.title:
            y -= TITLE
            labels.append(demo.Label(strip.title, 6, y + 9, 22))
        y -= LINE
        labels.append(demo.Label(strip.label, 6, y + 6, 17))
        y -= TILE[1]
        for n, (picture, frame) in enumerate(zip(strip.pictures, strip.frames, strict=True)):
            sheet[y : y + TILE[1], n * TILE[0] : (n + 1) * TILE[0]] = picture
            labels.append(demo.Label(str(frame), n * TILE[0] + 6, y + 6, 13))
    text = demo.render_labels(labels, (width, height))
    sheet = sheet * (1 - text[..., 3:]) + text * text[..., 3:]
    sheet[..., 3] = 1.0
    image = bpy.data.images.new(path.stem, width, height)
    image.pixels.foreach_set(np.ascontiguousarray(sheet, np.float32).ravel())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    squeeze(path)


# --- all of it


def make(
    clip: Clip,
    joints: np.ndarray,
    rows: Sequence[str],
    seed: int = 0,
    ways: dict[str, Way] = WAYS,
    tell: Callable[[str], None] = print,
) -> tuple[list[Strip], dict[str, Figures]]:
    """One clip on a mannequin in a fresh scene: closed in all ways, measured, the rows rendered. Raises UserError."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = SCENE_FPS, 1.0
    armature = create_mannequin(bpy.context)
    whole = apply_motion(armature, joints, scene=scene, name=clip.id, start_frame=START, fps=FPS).action
    played, seen = {RECORDED: whole}, {RECORDED: look(armature, clip.gap)}
    figures = {RECORDED: measure(seen[RECORDED], seen[RECORDED], True, True)}
    tell(table_row(clip, RECORDED, figures[RECORDED]))
    for name, way in ways.items():
        warnings, same = close(armature, whole, clip, way, seed)
        played[name], seen[name] = armature.animation_data.action, look(armature, clip.gap)
        figures[name] = measure(seen[name], seen[RECORDED], way.context, same)
        tell("\n  ".join([table_row(clip, name, figures[name]), *warnings]))
    with program.quiet():
        strips = film(armature, clip, {name: played[name] for name in rows if name in played}, seen)
    return strips, figures


COLUMNS = (
    ("clip", 9), ("row", 18), ("keys mm", 8), ("same", 5), ("pop m/s", 18), ("glide mm", 9), ("skate mm", 9),
    ("below mm", 9), ("above mm", 9), ("legs cm", 9), ("rise cm", 8), ("turn", 5),
)  # fmt: skip


def table_row(clip: Clip, name: str, f: Figures) -> str:
    cells = [clip.name, name, f"{f.keys_mm:.3f}", "yes" if f.same else "NO", f"{f.pop[0]:.2f} {f.pop[1]} {f.pop[2]}",
             *[f"{value:.0f} {frame}" for value, frame in (f.glide_mm,)], f"{f.skate_mm:.1f}",
             *[f"{value:.0f} {frame}" for value, frame in (f.below_mm, f.above_mm, f.legs_cm)],
             f"{f.rise_cm:.0f}", f"{f.turn:.0f}"]  # fmt: skip
    return "".join(f"{cell:<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()


def run(options: argparse.Namespace) -> int:
    """Measure, render, write. -> exit status: 1 where a key was moved. Raises UserError."""
    from . import preferences

    joints = read_clips(options.bundles, preferences.python())
    print("".join(f"{name:<{width}}" for name, width in COLUMNS).rstrip(), flush=True)
    strips: list[Strip] = []
    told: dict[str, dict[str, Figures]] = {}
    for clip in CLIPS:
        made, told[clip.name] = make(
            clip, joints[clip.id], options.rows, options.seed, tell=lambda text: print(text, flush=True)
        )
        strips += made
    with program.quiet():
        write_sheet(strips, options.out)
    print(f"{options.out}  ({options.out.stat().st_size / 1000:.0f} kB)")
    return int(not all(f.same for table in told.values() for f in table.values()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m mgpt3_blender.gapsheet", description="Filled gaps as pictures.")
    parser.add_argument("bundles", type=Path, metavar="BUNDLE_DIR", help="folder of NAME_joints.npz bundles")
    parser.add_argument("--out", type=Path, default=Path("out/between.png"), help="the picture")
    parser.add_argument("--rows", nargs="+", choices=[RECORDED, *WAYS], default=list(SHOWN), help="what it shows")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    return program.run(lambda: run(options))


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
