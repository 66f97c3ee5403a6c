"""The example file: one character that moves, one with two poses to fill between, and what to press.

`python3.11 build.py example` runs it in Blender 4.2, so that every Blender the add-on knows opens what it saves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bpy

from mgpt3_blender import action as actions
from mgpt3_blender import program
from mgpt3_blender.demo import paint
from mgpt3_blender.errors import UserError
from mgpt3_blender.generate import generate_for_character
from mgpt3_blender.mannequin import create_mannequin

PAGE = Path(__file__).with_name("example.blend")
MOVES, SEED, TAKES = "a person walks forward and waves", 7, 2
POSES, POSES_SEED, SECONDS = "a person jumps forward", 3, 3.0
START = 20  # the frame it opens at: inside the gap, which is the one to be filled
TEXT = """\
MotionGPT3: an example

Needs the add-on, set up once (Preferences > Add-ons > MotionGPT3 > Set Up).
In the 3D View press N and open the tab MotionGPT3.

1. The figure called "{moves}" was moved by its name. Press Space to play it. Motions, in the tab, lists two takes:
   click one to see it. Type another prompt and press Generate.
2. Choose the figure "Two Poses" as the character. It has keys on frames {first} and {last} and nothing between them.
   Open Between Poses and press Fill Between: the frames between get motion, the two poses stay as they are.
3. Open Describe and press Describe: what a figure does, in words.

Every step is undone by Ctrl Z. The motion was made by the compact model: {licence}.
"""


def thin_out(made: bpy.types.Action, armature: bpy.types.Object, first: float, last: float) -> None:
    """Leave two poses of an action, as an animator keys them, and nothing that says how they were made."""
    for curve in actions.fcurves(made, armature):
        values = [(frame, curve.evaluate(frame)) for frame in (first, last)]
        curve.keyframe_points.clear()
        curve.keyframe_points.add(2)
        for point, value in zip(curve.keyframe_points, values, strict=True):
            point.co, point.interpolation, point.select_control_point = value, "BEZIER", True
        curve.update()
    for name in [name for name in made.keys() if name.startswith("mgpt3")]:  # noqa: SIM118 - a Blender type, no dict
        del made[name]
    made.name = "Two Poses"


def forget_folders() -> None:
    """The file browsers of Blender's workspaces open at the home folder of whoever saved the file: not in this one."""
    spaces = [space for screen in bpy.data.screens for area in screen.areas for space in area.spaces]
    for space in spaces:
        if space.type == "FILE_BROWSER" and space.params is not None:
            space.params.directory = b"//"


def build(target: Path) -> None:
    """Make the file. Raises UserError where the motion cannot be made."""
    scene = bpy.context.scene
    scene.render.fps = 24
    walker = create_mannequin(bpy.context)
    walker.name = MOVES
    paint(walker)
    taken = generate_for_character(walker, MOVES, seconds=4.0, seed=SEED, variations=TAKES, start_frame=1)
    poser = create_mannequin(bpy.context)
    poser.name, poser.location.x = "Two Poses", 1.6
    for mine, theirs in zip(poser.children, walker.children, strict=True):
        mine.data = theirs.data  # one mesh for both: a smaller file
    made = generate_for_character(poser, POSES, seconds=SECONDS, seed=POSES_SEED, start_frame=1).actions[0]
    first, last = 1.0, float(round(made.frame_range[1]))
    thin_out(made, poser, first, last)
    scene.frame_start, scene.frame_end = 1, round(max(taken.actions[0].frame_range[1], last))
    scene.frame_set(START)
    settings = scene.mgpt3
    settings.character, settings.prompt, settings.seconds, settings.seed = walker, MOVES, 4.0, SEED
    bpy.context.view_layer.objects.active = walker
    for thing in bpy.context.selected_objects:
        thing.select_set(thing == walker)
    page = bpy.data.texts.new("Read Me")
    page.use_fake_user = True
    page.write(TEXT.format(moves=MOVES, first=int(first), last=int(last), licence=taken.actions[0]["mgpt3_licence"]))
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    forget_folders()
    target.parent.mkdir(parents=True, exist_ok=True)
    if bpy.ops.wm.save_as_mainfile(filepath=str(target), compress=True, relative_remap=True) != {"FINISHED"}:
        raise UserError("file_not_written", f"{target} could not be written.", "Choose another folder with --out.")
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB, saved by Blender {bpy.app.version_string}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="build.py example", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="file to write (default docs/example.blend)")
    options = parser.parse_args(arguments)

    def work() -> int:
        build(options.out.resolve())
        return 0

    return program.run(work)


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
