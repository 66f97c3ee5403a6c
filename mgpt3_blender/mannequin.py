"""The built-in character: a jointed figure of 1.7 m, armature and mesh made by this script.

It stands on the floor at the scene's origin, facing -Y, with the arms at an angle. Its torso is built like the model's
own skeleton (skeleton22.NEUTRAL), so a motion sits on it without any compromise. The mesh is made of rounded parts,
each carried by one bone like on an artist's wooden figure: nothing can deform badly, and every rotation shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from .rig.mapping import presets
from .rig.rotation import about, frame, turn, unit
from .rig.skeleton22 import INDEX, NEUTRAL, PARENTS

ROOM = 0.6  # metres from the middle of the figure to its fingertips, and some air
SCENERY = 5.0  # metres
SIZE = 0.985
"""Of the model's body; makes the figure 1.7 m tall."""
ARMS_DOWN = np.radians(42.0)
RINGS, SEGMENTS = 12, 20
COLOURS = {"Mannequin": (0.62, 0.66, 0.70, 1.0), "Mannequin joints": (0.16, 0.19, 0.23, 1.0)}
BODY, JOINT = 0, 1

LEFT, FORWARD, UP = (np.array(v, float) for v in ((1, 0, 0), (0, -1, 0), (0, 0, 1)))


def _names() -> dict[str, str]:
    """Joint -> bone name, as the mannequin's preset has it."""
    preset = next(p for p in presets() if "mannequin" in p["name"].lower())
    return {joint: names[0] for joint, names in preset["joints"].items()}


def joint_positions() -> dict[str, np.ndarray]:
    """Rest positions of the joints and of the tips of head, hands and toes. Blender axes, metres."""
    pose = NEUTRAL.copy()
    for side, sign in (("l", 1.0), ("r", -1.0)):
        for name in ("elbow", "wrist"):
            j = INDEX[f"{side}_{name}"]
            length = np.linalg.norm(NEUTRAL[j] - NEUTRAL[PARENTS[j]])
            down = about(np.array([0.0, 0.0, 1.0]), np.array(-sign * ARMS_DOWN))
            bend = np.array([sign, 0.0, 0.0 if name == "elbow" else 0.16])
            pose[j] = pose[PARENTS[j]] + length * turn(down, unit(bend))
    pose = np.stack([pose[:, 0], -pose[:, 2], pose[:, 1]], -1) * SIZE
    pose -= [0.0, pose[INDEX["l_ankle"], 1] - 0.01, 0.0]
    pose[:, 2] += 0.032 - pose[INDEX["l_foot"], 2]  # the ball of the foot has a sole under it
    out = {joint: pose[i] for joint, i in INDEX.items()}
    out["head_tip"] = out["head"] + 0.185 * UP
    for side in "lr":
        out[f"{side}_hand_tip"] = out[f"{side}_wrist"] + 0.17 * unit(out[f"{side}_wrist"] - out[f"{side}_elbow"])
        out[f"{side}_toe_tip"] = out[f"{side}_foot"] + np.array([0.0, -0.075, -0.004])
    return out


_TAILS = {"pelvis": "spine1", "spine1": "spine2", "spine2": "spine3", "spine3": "neck", "neck": "head",
          "head": "head_tip", "hip": "knee", "knee": "ankle", "ankle": "foot", "foot": "toe_tip",
          "collar": "shoulder", "shoulder": "elbow", "elbow": "wrist", "wrist": "hand_tip"}  # fmt: skip


@dataclass
class _Mesh:
    """Vertices, faces, their material and the bone that carries each vertex, while the figure is put together."""

    vertices: list[np.ndarray]
    faces: list[np.ndarray]
    materials: list[np.ndarray]
    groups: list[tuple[str, np.ndarray]]
    count: int = 0

    def add(self, bone: str, rings: np.ndarray, material: int) -> None:
        """A closed tube: rings (R, S, 3), first and last ring drawn together to poles by being tiny."""
        r, s = rings.shape[:2]
        grid = np.arange(r * s).reshape(r, s) + self.count
        turned = np.roll(grid, -1, axis=1)
        quads = np.stack([grid[:-1], turned[:-1], turned[1:], grid[1:]], -1).reshape(-1, 4)
        self.vertices.append(rings.reshape(-1, 3))
        self.faces.append(quads)
        self.materials.append(np.full(len(quads), material))
        self.groups.append((bone, grid.ravel()))
        self.count += r * s

    def tube(
        self,
        bone: str,
        start: np.ndarray,
        end: np.ndarray,
        wide: tuple[float, ...],
        deep: tuple[float, ...],
        material: int = BODY,
        front: np.ndarray = FORWARD,
    ) -> None:
        """A rounded limb from start to end; half widths and depths are given at even steps along it.

        Width is measured across `front`, depth along it.
        """
        axes = frame(end - start, np.cross(end - start, front))
        length = float(np.linalg.norm(end - start))
        u = 0.5 - 0.5 * np.cos(np.pi * np.linspace(0.004, 0.996, RINGS))  # rings close together at the ends
        steps = np.linspace(0.0, 1.0, len(wide))
        round_off = np.sqrt(np.clip(1.0 - np.abs(2.0 * u - 1.0) ** 5, 0.0, None))
        around = np.linspace(0.0, 2.0 * np.pi, SEGMENTS, endpoint=False)
        half_wide = np.interp(u, steps, wide) * round_off
        half_deep = np.interp(u, steps, deep) * round_off
        local = np.stack(
            [
                half_wide[:, None] * np.cos(around),
                np.broadcast_to((u * length)[:, None], (RINGS, SEGMENTS)),
                -half_deep[:, None] * np.sin(around),
            ],
            -1,
        )
        self.add(bone, start + local @ axes.T, material)

    def ball(self, bone: str, centre: np.ndarray, radii: tuple[float, float, float], material: int = JOINT) -> None:
        """An ellipsoid with half axes along X, Y, Z."""
        tilt = np.linspace(0.02, np.pi - 0.02, RINGS)[:, None]
        around = np.linspace(0.0, 2.0 * np.pi, SEGMENTS, endpoint=False)
        rings = np.stack(
            [
                np.sin(tilt) * np.cos(around),
                np.sin(tilt) * np.sin(around),
                np.broadcast_to(-np.cos(tilt), (RINGS, SEGMENTS)),
            ],
            -1,
        )
        self.add(bone, centre + rings * np.array(radii), material)


def _body(p: dict[str, np.ndarray], names: dict[str, str]) -> _Mesh:
    """The whole figure as rounded parts."""
    mesh = _Mesh([], [], [], [])
    hips = 0.5 * (p["l_hip"] + p["r_hip"])
    chest = 0.5 * (p["l_shoulder"] + p["r_shoulder"])
    mesh.tube(
        names["pelvis"], hips - 0.075 * UP, hips + 0.14 * UP, (0.11, 0.158, 0.146, 0.12), (0.08, 0.112, 0.1, 0.08)
    )
    waist = hips + np.array([0.0, 0.005, 0.0])
    mesh.ball(names["spine1"], waist + 0.155 * UP, (0.122, 0.088, 0.062))
    mesh.tube(names["spine2"], waist + 0.145 * UP, waist + 0.275 * UP, (0.118, 0.128, 0.132), (0.085, 0.092, 0.095))
    low, high = waist + 0.235 * UP, chest + np.array([0.0, 0.008, 0.085])
    mesh.tube(names["spine3"], low, high, (0.115, 0.15, 0.172, 0.16, 0.065), (0.085, 0.112, 0.118, 0.098, 0.058))
    neck, head = chest + np.array([0.0, 0.0, 0.05]), p["head"] + np.array([0.0, 0.022, -0.03])
    mesh.tube(names["neck"], neck, head + 0.04 * UP, (0.06, 0.053, 0.052), (0.06, 0.055, 0.055), JOINT)
    crown = head + np.array([0.0, -0.014, 0.0])
    mesh.tube(
        names["head"], crown - 0.05 * UP, crown + 0.195 * UP, (0.05, 0.07, 0.08, 0.074), (0.068, 0.09, 0.102, 0.092)
    )
    mesh.ball(names["head"], crown + np.array([0.0, -0.06, 0.078]), (0.062, 0.046, 0.034))  # the visor: where it looks
    for side, sign in (("l", 1.0), ("r", -1.0)):
        at = {name: p[f"{side}_{name}"] for name in _TAILS if f"{side}_{name}" in p}
        bone = {name: names[f"{side}_{name}"] for name in at}
        shoulder, elbow, wrist, hand = at["shoulder"], at["elbow"], at["wrist"], p[f"{side}_hand_tip"]
        inner = at["collar"] + np.array([0.0, 0.0, 0.03])
        mesh.tube(
            bone["collar"],
            inner,
            shoulder + np.array([sign * 0.01, 0, 0.012]),
            (0.04, 0.055, 0.05),
            (0.04, 0.052, 0.05),
        )
        mesh.ball(bone["shoulder"], shoulder, (0.058, 0.058, 0.058))
        mesh.tube(bone["shoulder"], shoulder, elbow, (0.05, 0.054, 0.047, 0.04), (0.05, 0.056, 0.047, 0.04))
        mesh.ball(bone["elbow"], elbow, (0.04, 0.04, 0.04))
        mesh.tube(bone["elbow"], elbow, wrist, (0.038, 0.043, 0.034, 0.027), (0.038, 0.044, 0.036, 0.03))
        mesh.ball(bone["wrist"], wrist, (0.028, 0.028, 0.028))
        palm = wrist + 0.1 * unit(hand - wrist)
        mesh.tube(bone["wrist"], wrist, palm, (0.022, 0.024, 0.022), (0.033, 0.046, 0.046))
        mesh.tube(bone["wrist"], palm - 0.012 * unit(hand - wrist), hand, (0.021, 0.019, 0.013), (0.045, 0.043, 0.028))
        thumb = wrist + 0.035 * unit(hand - wrist)
        mesh.tube(
            bone["wrist"],
            thumb,
            thumb + 0.055 * unit(hand - wrist) + 0.05 * FORWARD,
            (0.017, 0.014, 0.011),
            (0.017, 0.014, 0.011),
        )
        hip, knee, ankle, ball, tip = at["hip"], at["knee"], at["ankle"], at["foot"], p[f"{side}_toe_tip"]
        mesh.ball(bone["hip"], hip, (0.08, 0.085, 0.08))
        mesh.tube(bone["hip"], hip + 0.03 * UP, knee, (0.075, 0.085, 0.07, 0.055), (0.08, 0.09, 0.072, 0.056))
        mesh.ball(bone["knee"], knee, (0.053, 0.055, 0.053))
        mesh.tube(bone["knee"], knee, ankle, (0.05, 0.054, 0.042, 0.034), (0.05, 0.06, 0.044, 0.036))
        mesh.ball(bone["ankle"], ankle, (0.036, 0.038, 0.036))
        heel = np.array([ankle[0], ankle[1] + 0.062, 0.036])
        mesh.tube(
            bone["ankle"],
            heel,
            ball + np.array([0, -0.03, 0.012]),
            (0.034, 0.04, 0.046),
            (0.036, 0.047, 0.032),
            front=UP,
        )
        mesh.tube(
            bone["foot"],
            ball + np.array([0, 0.03, 0.004]),
            tip,
            (0.045, 0.044, 0.034),
            (0.026, 0.024, 0.016),
            JOINT,
            front=UP,
        )
    return mesh


def _armature(context: bpy.types.Context, p: dict[str, np.ndarray], names: dict[str, str]) -> bpy.types.Object:
    data = bpy.data.armatures.new("Mannequin")
    rig = bpy.data.objects.new("Mannequin", data)
    context.collection.objects.link(rig)
    context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for joint, name in names.items():
        side, _, kind = joint.partition("_") if joint[:2] in ("l_", "r_") else ("", "", joint)
        tail = _TAILS[kind]
        bone = data.edit_bones.new(name)
        bone.head = p[joint]
        bone.tail = p[tail if tail in p else f"{side}_{tail}"]
        flexes = kind in ("shoulder", "elbow", "wrist")
        bone.align_roll(tuple(UP) if flexes or kind in ("ankle", "foot", "collar") else tuple(FORWARD))
    for joint, name in names.items():
        parent = PARENTS[INDEX[joint]]
        if parent >= 0:
            bone = data.edit_bones[name]
            bone.parent = data.edit_bones[names[list(INDEX)[parent]]]
            bone.use_connect = (bone.parent.tail - bone.head).length < 1e-5
    bpy.ops.object.mode_set(mode="OBJECT")
    data.display_type = "STICK"
    return rig


def _material(name: str) -> bpy.types.Material:
    material = bpy.data.materials.get(name) or bpy.data.materials.new(name)
    material.diffuse_color = COLOURS[name]
    material.roughness = 0.55
    return material


def free_place(context: bpy.types.Context) -> float:
    """Where on the X axis, in metres, the figure has room: the origin, or to the right of what stands there.

    The cube of Blender's first scene stands on the origin. A floor is no obstacle, and a thing larger than SCENERY is
    a place to be in.
    """
    context.view_layer.update()  # else what was just moved counts where it was
    boxes = []
    for thing in context.visible_objects:
        if thing.type == "MESH":
            corners = np.array([thing.matrix_world @ Vector(corner) for corner in thing.bound_box])
            low, high = corners.min(axis=0), corners.max(axis=0)
            beside = low[1] < ROOM and high[1] > -ROOM and (high - low)[:2].max() < SCENERY
            if beside and high[2] > 0.1 and low[2] < 1.7:
                boxes.append((float(low[0]), float(high[0])))
    place = 0.0
    for low_x, high_x in sorted(boxes):
        if low_x < place + ROOM and high_x > place - ROOM:
            place = high_x + ROOM
    return place


def add_mannequin(context: bpy.types.Context) -> bpy.types.Object:
    """As `create_mannequin`, where nothing stands in its way: Blender's first scene has a cube on the origin."""
    place = free_place(context)
    rig = create_mannequin(context)
    rig.location.x = place
    return rig


def create_mannequin(context: bpy.types.Context) -> bpy.types.Object:
    """Add the figure to the scene, standing at the origin, its armature selected and active.

    Args:
        context: its collection takes the two objects. Object Mode is entered.
    Returns:
        The armature object; the mesh is its child.
    """
    if context.object is not None and context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    names, positions = _names(), joint_positions()
    for thing in context.selected_objects:
        thing.select_set(False)
    rig = _armature(context, positions, names)
    parts = _body(positions, names)
    mesh = bpy.data.meshes.new("Mannequin body")
    mesh.from_pydata(np.concatenate(parts.vertices).tolist(), [], np.concatenate(parts.faces).tolist())
    for name in COLOURS:
        mesh.materials.append(_material(name))
    mesh.polygons.foreach_set("material_index", np.concatenate(parts.materials).astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.update()
    body = bpy.data.objects.new("Mannequin body", mesh)
    context.collection.objects.link(body)
    for bone, indices in parts.groups:
        group = body.vertex_groups.get(bone) or body.vertex_groups.new(name=bone)
        group.add(indices.tolist(), 1.0, "REPLACE")
    body.parent = rig
    body.modifiers.new("Armature", "ARMATURE").object = rig
    rig.select_set(True)
    context.view_layer.objects.active = rig
    return rig
