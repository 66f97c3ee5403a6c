"""A contact sheet of a motion on a character: eight pictures, to be looked at.

Characters without a mesh get a body of boxes along their bones, each box carried by one bone: orange, the left side
blue and the right side red, pale where it faces forward in rest, so that swapped sides and turned limbs show.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np
from mathutils import Matrix

from . import demo
from .measure_motions import FPS, Motion
from .rig import rotation as rot
from .rig.mapping import Mapping
from .rig.options import Options
from .rig.skeleton22 import BALL_HEIGHT, JOINTS, NEUTRAL, PARENTS
from .rig.skeleton22 import INDEX as J
from .rig.solve import leg_length, resample
from .rigfiles import RigEntry, meshes_of
from .rigwatch import SCENE_FPS, START, Truth, bake, find_truth, watch

if TYPE_CHECKING:
    from .measure_rigs import RigRow

COLOURS = {"": demo.FIGURE, "l": (0.10, 0.30, 0.75), "r": (0.70, 0.08, 0.10)}  # linear RGB, by side
FRONT = (0.78, 0.76, 0.70)
WIDE, DEEP = 0.055, 0.038  # half widths of a box, of the leg's length
PALETTE = 256


def draw_sheet(
    armature: bpy.types.Object,
    entry: RigEntry,
    mapping: Mapping,
    motion: Motion,
    options: Options,
    folder: Path,
    row: RigRow | None = None,
) -> Path:
    """Bake a motion, stage it and write `folder`/RIG.png. Changes the scene for good. -> the file.

    Raises RigError where the character cannot take the motion.
    """
    scene = bpy.context.scene
    truth = find_truth(armature, entry, mapping)
    bake(armature, motion, options)
    meshes = [mesh for mesh in meshes_of(armature) if any(m.type == "ARMATURE" for m in mesh.modifiers)]
    floor, top = _extent(truth, meshes)
    shown = {*meshes_of(armature), armature}
    if not meshes:
        shown = {_boxes(armature, truth), armature}
    for item in scene.objects:
        item.hide_render = item not in shown
    size = leg_length(NEUTRAL) / leg_length(truth.rest[None])
    to_stage = _stand(shown, truth, size)
    count = len(resample(motion.joints, FPS, SCENE_FPS))
    seen = watch(armature, truth.bones, set(), count).joints
    points = seen[:, truth.present]
    crown = seen[:, [J["head"]]] + [0.0, 0.0, size * (top - truth.rest[J["head"], 2])]
    shot = demo.Shot([round(START) + t for t in range(count)], np.concatenate([points, crown], axis=1))
    demo.set_look(scene)
    demo.add_floor(scene, shot.centre(float(SCENE_FPS)), float((to_stage @ np.array([0.0, 0.0, floor, 1.0]))[2]))
    demo.add_camera(scene, shot)
    if meshes:
        _colour(meshes)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{entry.path.stem}.png"
    demo.contact_sheet(scene, shot, path, f"{entry.name}: {motion.name}", _subtitle(mapping, row))
    squeeze(path)
    return path


def _subtitle(mapping: Mapping, row: RigRow | None) -> str:
    words = [f"{mapping.preset}, {100 * mapping.confidence:.0f} % sure"]
    if row is not None and row.motions:
        told = row.motions[0].report
        if told.limb_mean_deg is not None and told.limb_p95_deg is not None:
            words.append(f"limbs off by {told.limb_mean_deg:.1f}°, {told.limb_p95_deg:.1f}° for 95 %")
        if told.slide_after_mm is not None and told.slide_source_mm is not None:
            words.append(f"feet slide {told.slide_after_mm:.1f} mm a frame (motion {told.slide_source_mm:.1f})")
    return " · ".join(words)


def _extent(truth: Truth, meshes: list[bpy.types.Object]) -> tuple[float, float]:
    """World height of the soles and of the crown in rest: the mesh's, else what the joints make likely."""
    size = leg_length(truth.rest[None]) / leg_length(NEUTRAL)
    top = float(truth.rest[J["head"], 2]) + 0.2 * size
    feet = [truth.rest[J[name], 2] for name in ("l_foot", "r_foot") if truth.present[J[name]]]
    low = min(feet) - BALL_HEIGHT * size if feet else float(np.nanmin(truth.rest[:, 2])) - 0.08 * size
    hips = truth.rest[[J["l_hip"], J["r_hip"]], 2].mean()
    if not truth.is_pose or abs(hips) < 0.25 * leg_length(truth.rest[None]):
        return 0.0, top  # a BVH skeleton hangs from its hips at the origin; it walks on the world's floor
    for mesh in meshes:
        matrix = np.array(mesh.matrix_world)
        where = np.empty(3 * len(mesh.data.vertices))
        mesh.data.vertices.foreach_get("co", where)
        heights = where.reshape(-1, 3) @ matrix[2, :3] + matrix[2, 3]
        if len(heights):
            low, top = (float(heights.min()), top) if mesh == meshes[0] else (min(low, heights.min()), top)
            top = max(top, float(heights.max()))
    return float(low), top


def _stand(shown: set[bpy.types.Object], truth: Truth, size: float) -> np.ndarray:
    """Hang everything from one empty that makes the character human-sized and lets it face the camera. -> (4, 4)."""
    turn = np.eye(4)
    facing = np.stack([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], -1)
    turn[:3, :3] = size * facing @ truth.axes.T
    stage = bpy.data.objects.new("Stage", None)
    bpy.context.scene.collection.objects.link(stage)
    for item in {_topmost(one) for one in shown}:
        item.parent = stage
        item.matrix_parent_inverse = Matrix.Identity(4)
    stage.matrix_world = Matrix(turn.tolist())
    bpy.context.view_layer.update()
    return turn


def _topmost(item: bpy.types.Object) -> bpy.types.Object:
    while item.parent is not None:
        item = item.parent
    return item


def _colour(meshes: list[bpy.types.Object]) -> None:
    """Meshes without a colour of their own (no material, or black, white, grey) get the figure's."""
    paint = demo.material("Figure", demo.FIGURE)
    for mesh in meshes:
        if not any(mesh.data.materials):
            mesh.data.materials.clear()
            mesh.data.materials.append(paint)
        for found in filter(None, mesh.data.materials):
            if np.ptp(found.diffuse_color[:3]) < 0.05:
                found.diffuse_color = (*demo.FIGURE, 1.0)


# --- a body of boxes


def _boxes(armature: bpy.types.Object, truth: Truth) -> bpy.types.Object:
    """A mesh of boxes from joint to joint, that follows the bones. -> its object."""
    leg = leg_length(truth.rest[None])
    forward = truth.axes[:, 2]
    vertices: list[np.ndarray] = []
    faces: list[list[int]] = []
    colours: list[int] = []
    groups: dict[str, list[int]] = {}

    def box(joint: int, start: np.ndarray, end: np.ndarray, wide: float, deep: float) -> None:
        length = float(np.linalg.norm(end - start))
        if length < 0.02 * leg:
            return
        along = (end - start) / length
        hint = forward if abs(along @ forward) < 0.9 else np.array([0.0, 0.0, 1.0])
        axes = rot.frame(along, np.cross(along, hint))  # columns: sideways, along, and the side that is pale
        front = np.sign(axes[:, 2] @ hint) * axes[:, 2]
        first = sum(map(len, vertices))
        for at, thick in ((start, 1.0), (end, 0.75)):
            for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                vertices.append(np.array([at + thick * leg * (x * wide * axes[:, 0] + z * deep * front)]))
        side = {"l": 1, "r": 2}.get(JOINTS[joint][0], 0) if JOINTS[joint][1] == "_" else 0
        for face, colour in (((0, 1, 2, 3), side), ((4, 7, 6, 5), side), ((0, 4, 5, 1), side), ((1, 5, 6, 2), side),
                             ((2, 6, 7, 3), 3), ((3, 7, 4, 0), side)):  # fmt: skip
            faces.append([first + corner for corner in face])
            colours.append(colour)
        groups.setdefault(truth.bones[JOINTS[joint]], []).extend(range(first, first + 8))

    for j in range(1, 22):
        if not truth.present[j]:
            continue
        above = PARENTS[j]
        while not truth.present[above]:
            above = PARENTS[above]
        stout = 1.6 if JOINTS[above] in ("pelvis", "spine1", "spine2", "spine3") and "_" not in JOINTS[j] else 1.0
        box(above, truth.rest[above], truth.rest[j], stout * WIDE, stout * DEEP)
    head, below = truth.rest[J["head"]], truth.rest[J["neck"] if truth.present[J["neck"]] else J["spine3"]]
    up = truth.own_axes[:, 1] if truth.is_pose else rot.unit(head - below)  # a zero pose that is no pose may lie
    box(J["head"], head, head + 0.24 * leg * up, 0.09, 0.1)
    for side in "lr":
        wrist, elbow = J[f"{side}_wrist"], J[f"{side}_elbow"]
        reach = rot.unit(truth.rest[wrist] - truth.rest[elbow])
        box(wrist, truth.rest[wrist], truth.rest[wrist] + 0.19 * leg * reach, 0.05, 0.02)
        foot, ankle = J[f"{side}_foot"], J[f"{side}_ankle"]
        if truth.present[foot]:
            ahead = rot.unit((truth.rest[foot] - truth.rest[ankle]) * [1.0, 1.0, 0.0])
            box(foot, truth.rest[foot], truth.rest[foot] + 0.08 * leg * ahead, 0.045, 0.02)
        else:
            box(ankle, truth.rest[ankle], truth.rest[ankle] + leg * (0.16 * forward - [0.0, 0.0, 0.08]), 0.045, 0.03)

    mesh = bpy.data.meshes.new("Boxes")
    mesh.from_pydata(np.concatenate(vertices).tolist(), [], faces)
    for name, colour in [*COLOURS.items(), ("front", FRONT)]:
        mesh.materials.append(demo.material(f"Boxes {name}", colour))
    mesh.polygons.foreach_set("material_index", np.array(colours, np.int32))
    mesh.update()
    made = bpy.data.objects.new("Boxes", mesh)
    bpy.context.scene.collection.objects.link(made)
    for bone, numbers in groups.items():
        armature.data.bones[bone].use_deform = True
        made.vertex_groups.new(name=bone).add(numbers, 1.0, "REPLACE")
    made.modifiers.new("Armature", "ARMATURE").object = armature
    return made


# --- a small file


def squeeze(path: Path) -> None:
    """Write a PNG again with a palette of its most frequent colours: a fifth of the size, and good enough to look at.

    PNG (Portable Network Graphics, ISO/IEC 15948): signature, header, palette, one zlib stream of rows, end.
    """
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    colours = np.rint(pixels.reshape(height, width, 4)[::-1, :, :3] * 255.0).astype(np.int32)
    key = ((colours[..., 0] >> 2) << 12) | ((colours[..., 1] >> 2) << 6) | (colours[..., 2] >> 2)  # six bits a channel
    bins, where, counts = np.unique(key.ravel(), return_inverse=True, return_counts=True)
    centre = (np.stack([bins >> 12, (bins >> 6) & 63, bins & 63], -1) << 2) + 2
    palette = centre[np.argsort(-counts)[:PALETTE]]
    nearest = np.concatenate(
        [((part[:, None] - palette) ** 2).sum(-1).argmin(1) for part in np.array_split(centre, 1 + len(centre) // 4096)]
    )
    rows = nearest[where.ravel()].astype(np.uint8).reshape(height, width)
    body = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", np.minimum(palette, 255).astype(np.uint8).tobytes())]
    parts += [chunk(b"IDAT", zlib.compress(body, 9)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
