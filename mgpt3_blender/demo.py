"""A stage for one character: checker floor, light, a camera that follows, a film and a contact sheet.

Workbench renders it: no light set-up, about 0.2 s a picture without a GPU. Plain functions; a script or another
add-on can call them for any armature whose action is in place. `python -m mgpt3_blender.demo PROMPT` (what
`build.py demo` runs) goes the whole way from a prompt to the files.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from . import action as action_curves
from . import program
from .framerate import frame_rate
from .rig.report import PROPERTY, Report

FLOOR_LIGHT, FLOOR_DARK = (0.90, 0.95, 1.0), (0.55, 0.60, 0.67)  # linear RGB; far away all tiles are light
BACKGROUND = (0.604, 0.638, 0.672)  # what the light tiles look like in this light
FIGURE = (0.90, 0.37, 0.13)  # the mannequin's light parts: what moves stands out from the floor
INK = (0.035, 0.045, 0.06)
FADE_FROM, FADE_TO, RINGS = 5.0, 22.0, 10  # metres from the character's path, and steps of the fade
VIEW = Vector((0.62, -1.0, 0.34)).normalized()  # from the character (who faces -Y) to the camera: from its front left
LENS, SENSOR = 50.0, 20.0  # mm; the sensor's height
SMOOTH_SECONDS = 0.45  # the camera follows the walk, not every bob of the hips
TILES = 8, 4  # pictures of the contact sheet, and columns
TILE = 400, 300  # pixels; narrower than the film, and what the camera sees fits both


@dataclass
class Shot:
    """What the camera must see: `points` (frames, n, 3) world positions of every bone, metres, at `frames`."""

    frames: list[int]
    points: np.ndarray

    def centre(self, fps: float) -> np.ndarray:
        """(frames, 2): the horizontal middle of the character, smoothed over SMOOTH_SECONDS."""
        middle = (self.points[:, :, :2].min(axis=1) + self.points[:, :, :2].max(axis=1)) / 2
        sigma = max(1.0, SMOOTH_SECONDS * fps)
        reach = int(3 * sigma)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        padded = np.pad(middle, ((reach, reach), (0, 0)), mode="edge")
        return np.stack([np.convolve(padded[:, i], kernel / kernel.sum(), mode="valid") for i in range(2)], axis=1)


def observe(scene: bpy.types.Scene, armature: bpy.types.Object) -> Shot:
    """Play the armature's action once and note where every bone is."""
    start, end = (round(value) for value in armature.animation_data.action.frame_range)
    frames, points = list(range(start, end + 1)), []
    for frame in frames:
        scene.frame_set(frame)
        world = armature.matrix_world
        points.append([world @ point for bone in armature.pose.bones for point in (bone.head, bone.tail)])
    scene.frame_set(start)
    return Shot(frames, np.array(points, dtype=np.float64))


def material(name: str, colour: tuple[float, float, float]) -> bpy.types.Material:
    """A material with this colour (linear RGB) in the solid view."""
    made = bpy.data.materials.new(name)
    made.diffuse_color = (*colour, 1.0)
    made.roughness = 0.9
    return made


def paint(armature: bpy.types.Object) -> None:
    """Give the lightest material of the armature's meshes the colour FIGURE."""
    meshes = [child.data for child in armature.children_recursive if child.type == "MESH"]
    materials = [found for mesh in meshes for found in mesh.materials if found is not None]
    if materials:
        max(materials, key=lambda found: sum(found.diffuse_color[:3])).diffuse_color = (*FIGURE, 1.0)


def add_floor(scene: bpy.types.Scene, path: np.ndarray, height: float) -> bpy.types.Object:
    """A checker of one-metre tiles at `height` around `path` (n, 2) that fades into the background far away."""
    low = np.floor(path.min(axis=0) - FADE_TO).astype(int)
    high = np.ceil(path.max(axis=0) + FADE_TO).astype(int)
    columns, rows = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    vertices = np.concatenate([grid, np.full((len(grid), 1), height)], axis=1)
    width = len(columns)
    corners = np.array([row * width + column for row in range(len(rows) - 1) for column in range(width - 1)])
    faces = np.stack([corners, corners + 1, corners + width + 1, corners + width], axis=1)
    mesh = bpy.data.meshes.new("Floor")
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    near = np.linalg.norm((grid[corners] + 0.5)[:, None] - path[None, :: max(1, len(path) // 32)], axis=2).min(axis=1)
    ring = np.rint(np.clip((near - FADE_FROM) / (FADE_TO - FADE_FROM), 0, 1) * RINGS).astype(int)
    parity = grid[corners].sum(axis=1) % 2
    for index in range(2 * (RINGS + 1)):
        fade, colour = (index // 2) / RINGS, np.array(FLOOR_DARK if index % 2 else FLOOR_LIGHT)
        mixed = colour * (1 - fade) + np.array(FLOOR_LIGHT) * fade
        mesh.materials.append(material(f"Floor {index}", tuple(mixed)))
    mesh.polygons.foreach_set("material_index", (2 * ring + parity).astype(np.int32))
    floor = bpy.data.objects.new("Floor", mesh)
    scene.collection.objects.link(floor)
    return floor


def add_camera(scene: bpy.types.Scene, shot: Shot) -> bpy.types.Object:
    """A camera that follows at a fixed angle and shows the whole character in every frame."""
    rotation = VIEW.to_track_quat("Z", "Y")
    right, up, back = (np.array(rotation @ Vector(axis)) for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    fps = frame_rate(scene)
    floor, top = shot.points[..., 2].min(), shot.points[..., 2].max()
    target = np.concatenate([shot.centre(fps), np.full((len(shot.frames), 1), (floor + top) / 2)], axis=1)
    around = shot.points - target[:, None]
    size = float(top - floor)
    half_height = SENSOR / 2 / LENS
    half_width = half_height * TILE[0] / TILE[1]
    # A point `x` right of the view's axis and `z` towards the camera is seen when x <= (distance - z) * half_width.
    wide = (np.abs(around @ right) + 0.08 * size) / half_width + around @ back
    tall = (np.abs(around @ up) + 0.08 * size) / half_height + around @ back
    distance = float(max(wide.max(), tall.max()))
    data = bpy.data.cameras.new("Camera")
    data.sensor_fit, data.sensor_height, data.lens, data.clip_end = "VERTICAL", SENSOR, LENS, 500.0
    camera = bpy.data.objects.new("Camera", data)
    camera.rotation_mode = "QUATERNION"
    camera.rotation_quaternion = rotation
    scene.collection.objects.link(camera)
    scene.camera = camera
    where = target + np.array(VIEW) * distance
    camera.location = where[0]
    action_curves.write_keys(camera, "Camera follows", np.array(shot.frames, dtype=float), {"location": where})
    return camera


def add_title(scene: bpy.types.Scene, camera: bpy.types.Object, title: str) -> bpy.types.Object:
    """The title in the lower left corner of what the camera sees, hung before its lens."""
    away = 1.5  # metres before the camera: nearer than anything else in the picture
    half_height = away * SENSOR / 2 / LENS
    half_width = half_height * scene.render.resolution_x / scene.render.resolution_y
    text = bpy.data.curves.new("Title", "FONT")
    text.body, text.size = title, min(0.034, 2.0 / max(1, len(title))) * 2 * half_width
    text.materials.append(material("Title", INK))
    label = bpy.data.objects.new("Title", text)
    label.parent = camera
    label.location = (-0.95 * half_width, -0.92 * half_height, -away)
    label.display.show_shadows = False
    scene.collection.objects.link(label)
    return label


def set_look(scene: bpy.types.Scene) -> None:
    """Workbench with soft shadows, edges and a studio light; 640 x 360."""
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 640, 360, 100
    scene.view_settings.view_transform = "Standard"
    scene.display.render_aa = "FXAA"  # 0.2 s a picture where 8 samples take 1.2 s without a GPU
    scene.display.light_direction = Vector((0.5, 0.8, 0.3)).normalized()  # Y up here: from above, front and right
    shading = scene.display.shading
    shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "MATERIAL"
    shading.show_shadows, shading.shadow_intensity = True, 0.45
    shading.show_cavity, shading.cavity_type = True, "SCREEN"  # the other kind needs many samples, or is grainy
    shading.show_specular_highlight = shading.show_object_outline = False
    if scene.world is None:
        scene.world = bpy.data.worlds.new("Stage")
    scene.world.color = BACKGROUND


def add_stage(scene: bpy.types.Scene, armature: bpy.types.Object, title: str) -> Shot:
    """Floor, light, camera and title for what the armature does; the scene's range becomes the action's."""
    shot = observe(scene, armature)
    scene.frame_start, scene.frame_end = shot.frames[0], shot.frames[-1]
    set_look(scene)
    height = float(np.percentile(shot.points[..., 2].min(axis=1), 20))
    add_floor(scene, shot.centre(scene.render.fps), height)
    add_title(scene, add_camera(scene, shot), title)
    scene.frame_set(shot.frames[0])
    return shot


def set_film(scene: bpy.types.Scene, path: str) -> None:
    """Make the scene's output an H.264 film at `path`."""
    image = scene.render.image_settings
    if "media_type" in image.bl_rna.properties:  # from 5.0 films and pictures are told apart first
        image.media_type = "VIDEO"
    image.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.ffmpeg.codec = "H264"
    scene.render.ffmpeg.constant_rate_factor = "HIGH"
    scene.render.ffmpeg.gopsize = 12
    scene.render.filepath = path


def render_film(scene: bpy.types.Scene) -> None:
    bpy.ops.render.render(animation=True, scene=scene.name)


def render_picture(scene: bpy.types.Scene, size: tuple[int, int]) -> np.ndarray:
    """Render the current frame; returns (height, width, 4) floats, the first row at the bottom."""
    with tempfile.TemporaryDirectory(prefix="mgpt3-demo-") as folder:
        path = str(Path(folder) / "picture.png")
        image = scene.render.image_settings
        if "media_type" in image.bl_rna.properties:
            image.media_type = "IMAGE"
        image.file_format, image.color_mode = "PNG", "RGBA"
        scene.render.filepath = path
        scene.render.resolution_x, scene.render.resolution_y = size
        bpy.ops.render.render(write_still=True, scene=scene.name)
        picture = bpy.data.images.load(path)
        pixels = np.empty(len(picture.pixels), dtype=np.float32)
        picture.pixels.foreach_get(pixels)
        bpy.data.images.remove(picture)
    return pixels.reshape(size[1], size[0], 4)


@dataclass
class Label:
    """A line of text on the contact sheet: its left end in pixels from the lower left corner, and its height."""

    text: str
    x: float
    y: float
    size: float


def render_labels(labels: list[Label], size: tuple[int, int]) -> np.ndarray:
    """The labels in INK on nothing, (height, width, 4): a scene of text objects, rendered and taken away again."""
    scene = bpy.data.scenes.new("Labels")
    set_look(scene)
    shading = scene.display.shading
    shading.light, shading.show_shadows, shading.show_cavity = "FLAT", False, False
    scene.render.film_transparent = True
    ink = material("Ink", INK)
    data: list[bpy.types.ID] = [scene.world, ink]
    for label in labels:
        text = bpy.data.curves.new("Label", "FONT")
        text.body, text.size = label.text, label.size
        text.materials.append(ink)
        item = bpy.data.objects.new("Label", text)
        item.location = (label.x, label.y, 0)
        scene.collection.objects.link(item)
        data += [text, item]
    lens = bpy.data.cameras.new("Labels")
    lens.type, lens.ortho_scale = "ORTHO", max(size)
    camera = bpy.data.objects.new("Labels", lens)
    camera.location = (size[0] / 2, size[1] / 2, 10)
    scene.collection.objects.link(camera)
    scene.camera = camera
    picture = render_picture(scene, size)
    bpy.data.batch_remove([scene, *data, camera, lens])
    return picture


def contact_sheet(scene: bpy.types.Scene, shot: Shot, path: Path, title: str, subtitle: str) -> None:
    """Pictures at even times in a grid, earliest at the upper left, with a title above; written to `path` as PNG.

    Changes the scene's output and look: save the file first.
    """
    scene.display.render_aa, scene.display.shading.cavity_type = "5", "BOTH"  # few pictures, looked at for longer
    for item in scene.objects:
        item.hide_render = item.hide_render or item.type == "FONT"  # the sheet has a title of its own
    count, columns = TILES
    rows, header, gap = -(-count // columns), 84, 4
    size = columns * TILE[0] + (columns - 1) * gap, rows * (TILE[1] + gap) + header
    sheet = np.ones((size[1], size[0], 4), dtype=np.float32)
    labels = [
        Label(title, 16, size[1] - 40, min(30, 2 * size[0] / max(1, len(title)))),
        Label(subtitle, 16, size[1] - 70, 20),
    ]
    fps = frame_rate(scene)
    for index, frame in enumerate(np.rint(np.linspace(shot.frames[0], shot.frames[-1], count)).astype(int).tolist()):
        scene.frame_set(frame)
        x = (index % columns) * (TILE[0] + gap)
        y = (rows - 1 - index // columns) * (TILE[1] + gap)
        sheet[y : y + TILE[1], x : x + TILE[0]] = render_picture(scene, TILE)
        labels.append(Label(f"{(frame - shot.frames[0]) / fps:.1f} s", x + 12, y + 12, 20))
    scene.frame_set(shot.frames[0])
    text = render_labels(labels, size)
    sheet = sheet * (1 - text[..., 3:]) + text * text[..., 3:]
    sheet[..., 3] = 1.0
    image = bpy.data.images.new(path.stem, *size)
    image.pixels.foreach_set(np.ascontiguousarray(sheet, dtype=np.float32).ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)


@contextlib.contextmanager
def rendering_log(path: Path) -> Iterator[None]:
    """Send what Blender itself prints, a line for every picture, to a file."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        os.close(kept[0])
        os.close(kept[1])


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Print a step, and when it is done how long it took."""
    print(f"  {name} ...", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def run(prompt: str, seconds: float, seed: int, out: Path) -> None:
    """From a prompt to demo.blend, demo.mp4 and contact_sheet.png in `out`, told on stdout. Raises UserError."""
    from . import jobs
    from .generate import Request, generate_for_character

    Request(prompt, seconds, seed).check()
    out.mkdir(parents=True, exist_ok=True)
    log = out / "render.log"
    log.unlink(missing_ok=True)
    scene = bpy.context.scene
    print(f'"{prompt}", {seconds:g} s, seed {seed}')
    with step("starting the core"):
        worker = jobs.worker()
        info = worker.wait(worker.request("hello"))
    model = info["model"]
    print(f"  model: {model['name']}, {model['parameters'] / 1e6:.1f} M parameters, on {info['device']}")
    with step("generating, and putting it on the mannequin"):
        outcome = generate_for_character(None, prompt, seconds=seconds, seed=seed, create_mannequin=True)
    armature, action = outcome.armature, outcome.actions[0]
    with step("setting the stage"), rendering_log(log):
        paint(armature)
        shot = add_stage(scene, armature, prompt)
        set_film(scene, "//demo.mp4")  # beside the file, wherever it is opened
        bpy.ops.wm.save_as_mainfile(filepath=str(out / "demo.blend"), compress=True)
    path = shot.centre(scene.render.fps)
    travelled = float(np.linalg.norm(path[-1] - path[0]))
    with step(f"rendering demo.mp4, {len(shot.frames)} frames"), rendering_log(log):
        render_film(scene)
    with step("rendering contact_sheet.png"), rendering_log(log):
        subtitle = f"{model['name']} · seed {seed} · {seconds:g} s · travelled {travelled:.1f} m"
        contact_sheet(scene, shot, out / "contact_sheet.png", prompt, subtitle)
    print(f"made on {armature.name}:")
    fps = frame_rate(scene)
    rows = {
        "prompt": action.get("mgpt3_prompt"),
        "seed": action.get("mgpt3_seed"),
        "model": f"{action.get('mgpt3_model')} ({action.get('mgpt3_licence')})",
        "frames": f"{shot.frames[0]} to {shot.frames[-1]} at {fps:g} a second",
        "travelled": f"{travelled:.2f} m",
        **{what.lower(): words for what, words, _ in Report.from_json(action[PROPERTY]).lines()},
    }
    for name, value in rows.items():
        print(f"  {name:<28}{value}")
    for name in ("demo.blend", "demo.mp4", "contact_sheet.png"):
        print(f"{out / name}  ({(out / name).stat().st_size / 1e6:.2f} MB)")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m mgpt3_blender.demo", description="Prompt to film, headless.")
    parser.add_argument("prompt")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args(arguments)

    def work() -> int:
        run(options.prompt, options.seconds, options.seed, options.out)
        return 0

    return program.run(work)


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
