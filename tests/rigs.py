"""Characters for the tests: built by script in several conventions, or loaded from the shared folder.

`plain_rig` needs no Blender; the functions that make or load armatures import bpy when they are called.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.mapping import presets
from mgpt3_blender.rig.rest import Bone, Rig
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEUTRAL, PARENTS

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Motion axes (Y up, facing +Z) -> Blender's (Z up, facing -Y)."""


def heads(arms_down: float = 0.0, elbows: float = 0.0, legs: float = 1.0) -> dict[str, np.ndarray]:
    """Joint positions of a body of its own build, Blender axes, metres: not the model's spine, collars or proportions.

    Args:
        arms_down: degrees under the horizontal.
        elbows: degrees that the elbows are bent forward in rest.
        legs: length of the legs against the usual.
    """
    at = {"pelvis": (0, 0.01, 0.98), "spine1": (0, 0.02, 1.08), "spine2": (0, 0.01, 1.2), "spine3": (0, 0.015, 1.33),
          "neck": (0, 0.03, 1.5), "head": (0, 0.0, 1.6), "l_hip": (0.1, 0, 0.94), "l_knee": (0.11, -0.02, 0.5),
          "l_ankle": (0.115, 0.02, 0.09), "l_foot": (0.13, -0.12, 0.02), "l_collar": (0.03, -0.02, 1.44),
          "l_shoulder": (0.18, 0.02, 1.45)}  # fmt: skip
    out = {name: np.array(value, float) for name, value in at.items()}
    down, bend = np.radians(arms_down), np.radians(elbows)
    upper = np.array([np.cos(down), 0.0, -np.sin(down)])
    fore = np.array([np.cos(down) * np.cos(bend), -np.sin(bend), -np.sin(down) * np.cos(bend)])
    out["l_elbow"] = out["l_shoulder"] + 0.28 * upper
    out["l_wrist"] = out["l_elbow"] + 0.25 * fore
    for name in ("hip", "knee", "ankle"):  # longer legs: everything above the ankles rises
        out[f"l_{name}"][2] = 0.09 + (out[f"l_{name}"][2] - 0.09) * legs
    rise = out["l_hip"][2] - 0.94
    for name in out:
        if name.removeprefix("l_") not in ("hip", "knee", "ankle", "foot"):
            out[name][2] += rise
    for name in [name for name in out if name.startswith("l_")]:
        out["r_" + name[2:]] = out[name] * [-1.0, 1.0, 1.0]
    return out


def names_of(preset: str) -> dict[str, str]:
    """Joint -> bone name of a rig family."""
    joints = next(p for p in presets() if p["name"] == preset)["joints"]
    return {joint: listed[0] for joint, listed in joints.items()}


def child_of(joint: str, present: dict[str, Any]) -> str | None:
    """The joint that a bone points at."""
    kids = [JOINTS[k] for k in range(22) if PARENTS[k] == INDEX[joint] and JOINTS[k] in present]
    straight = {"pelvis": "spine1", "spine3": "neck"}.get(joint)
    return straight if straight in kids else (kids[0] if kids else None)


def plain_rig(
    positions: dict[str, np.ndarray], rolls: int | None = None, to_world: np.ndarray | None = None, **changes: Any
) -> Rig:
    """A Rig without Blender: one bone a joint, the bones along the limbs, or at random orientations with a seed."""
    order = [joint for joint in JOINTS if joint in positions]
    rng = np.random.default_rng(rolls)
    bones = []
    for joint in order:
        above = PARENTS[INDEX[joint]]
        while above >= 0 and JOINTS[above] not in positions:
            above = PARENTS[above]
        child = child_of(joint, positions)
        tail = positions[child] if child else positions[joint] + [0.0, 0.0, 0.1]
        turn = rot.to_matrix(rot.unit(rng.normal(size=4))) if rolls is not None else np.eye(3)
        bones.append(
            Bone(
                joint,
                order.index(JOINTS[above]) if above >= 0 else -1,
                turn,
                np.array(positions[joint]),
                np.array(tail),
            )
        )
    rest = np.full((22, 3), np.nan)
    for joint, place in positions.items():
        rest[INDEX[joint]] = place
    index = {joint: i for i, joint in enumerate(order)}
    return Rig(
        bones=bones,
        keyed={i: INDEX[joint] for joint, i in index.items()},
        joint_bone={INDEX[joint]: i for joint, i in index.items()},
        root=0,
        joint_heads=rest,
        foot_tips=np.stack([positions[f"{s}_ankle"] + [0.0, -0.15, -0.06] for s in "lr"]),
        controls=False,
        to_world=np.eye(3) if to_world is None else to_world,
        **changes,
    )


def armature(
    names: dict[str, str],
    positions: dict[str, np.ndarray],
    *,
    modes: str = "QUATERNION",
    rolls: int | None = None,
    data_axes: np.ndarray | None = None,
    scale: float = 1.0,
    root: str | None = None,
) -> Any:
    """An armature in the scene, with a finger on each hand that no joint is mapped to.

    Args:
        names: joint -> bone name; joints left out have no bone.
        positions: joint -> rest position, Blender axes, metres.
        modes: rotation mode of all bones.
        rolls: seed for random rolls.
        data_axes: (3, 3) turn of the armature's data; the object turns it back.
        scale: the object's; the data is as much larger.
        root: name of a bone on the floor that everything hangs from.
    """
    import bpy
    from mathutils import Matrix

    axes = np.eye(3) if data_axes is None else data_axes
    into = axes.T / scale
    data = bpy.data.armatures.new("Character")
    rig = bpy.data.objects.new("Character", data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rng = np.random.default_rng(rolls)
    if root:
        bone = data.edit_bones.new(root)
        bone.head, bone.tail = (0, 0, 0), into @ np.array([0.0, 0.2, 0.0])
    for joint in [j for j in JOINTS if j in names]:
        bone = data.edit_bones.new(names[joint])
        child = child_of(joint, names)
        tail = positions[child] if child else positions[joint] + np.array([0.0, -0.06, 0.02])
        if np.linalg.norm(tail - positions[joint]) < 1e-4:
            tail = positions[joint] + np.array([0.0, 0.0, 0.05])
        bone.head, bone.tail = into @ positions[joint], into @ tail
        if rolls is not None:
            bone.roll = rng.uniform(-3, 3)
        above = PARENTS[INDEX[joint]]
        while above >= 0 and JOINTS[above] not in names:
            above = PARENTS[above]
        if above >= 0:
            bone.parent = data.edit_bones[names[JOINTS[above]]]
        elif root:
            bone.parent = data.edit_bones[root]
    for side in "lr":
        bone = data.edit_bones.new(f"finger.{side}")
        start = positions[f"{side}_wrist"]
        bone.head, bone.tail = into @ start, into @ (start + np.array([0.02, -0.05, 0.0]))
        bone.parent = data.edit_bones[names[f"{side}_wrist"]]
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.matrix_world = Matrix((scale * axes).tolist()).to_4x4()
    for bone in rig.pose.bones:
        bone.rotation_mode = modes
    bpy.context.view_layer.update()
    return rig


Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def mixamo(prefix: str = "mixamorig:") -> Any:
    """As a Mixamo FBX comes in: Y up inside, centimetres, the object turned by 90 degrees and scaled by 0.01."""
    names = {joint: prefix + name for joint, name in names_of("Mixamo").items()}
    return armature(names, heads(45.0, 12.0), data_axes=Y_UP, scale=0.01, rolls=3)


def cmu() -> Any:
    """Like a cgspeed BVH: hips at the origin, zero-length bones, legs apart, Euler angles, a unit of its own."""
    positions = heads(0.0)
    origin = positions["pelvis"].copy()
    positions["spine1"] = positions["pelvis"].copy()
    positions["neck"] = positions["spine3"].copy()
    for side, sign in (("l", 1.0), ("r", -1.0)):
        positions[f"{side}_collar"] = positions["spine3"].copy()
        for name, far in (("knee", 0.15), ("ankle", 0.28), ("foot", 0.29)):
            positions[f"{side}_{name}"][0] += sign * far
    positions = {joint: (place - origin) * 17.7 for joint, place in positions.items()}
    return armature(names_of("CMU BVH (MotionBuilder-friendly)"), positions, modes="ZYX")


def accad() -> Any:
    """Like an ACCAD BVH: the zero pose is no pose. Torso and arms lie along X, feet point sideways to the hips."""
    at = {"pelvis": (28, -115, 93), "l_hip": (23, -105, 91), "r_hip": (23, -125.8, 91.3), "spine1": (25.1, -115, 100),
          "l_knee": (25.6, -97, 48.7), "r_knee": (20.3, -118, 49.3), "spine2": (25.1, -117, 111),
          "l_ankle": (28.8, -93, 6.2), "r_ankle": (17.2, -114, 6.7), "spine3": (38.2, -117.8, 114.3),
          "l_foot": (29.1, -105.8, 0.2), "r_foot": (17.1, -126.7, 0.6), "neck": (68.1, -117.7, 122.2),
          "l_collar": (65.8, -120.3, 119.3), "r_collar": (65.8, -115.1, 119.1), "head": (77.6, -116.7, 122.5),
          "l_shoulder": (67, -140.4, 118.3), "r_shoulder": (68.7, -96.4, 117.9), "l_elbow": (93.8, -140.2, 118.3),
          "r_elbow": (97.5, -97.6, 117.8), "l_wrist": (120.5, -140.5, 118.3),
          "r_wrist": (124, -97.5, 117.8)}  # fmt: skip
    return armature(names_of("ACCAD BVH"), {j: np.array(v, float) for j, v in at.items()}, modes="ZYX")


def metarig(full: bool = False) -> Any:
    """Rigify's basic or full human meta-rig."""
    import addon_utils
    import bpy

    addon_utils.enable("rigify", default_set=True)
    if full:
        bpy.ops.object.armature_human_metarig_add()
    else:
        bpy.ops.object.armature_basic_human_metarig_add()
    return bpy.context.object


def rigify() -> Any:
    """The control rig that Rigify generates from its basic human meta-rig."""
    import bpy

    source = metarig()
    bpy.ops.pose.rigify_generate()
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o != source)
    bpy.data.objects.remove(source)
    return rig


def mannequin() -> Any:
    """The add-on's own figure."""
    import bpy

    from mgpt3_blender.mannequin import create_mannequin

    return create_mannequin(bpy.context)


def shared_rigs() -> list[dict[str, Any]]:
    """Entries of the shared rigs.json; empty where the folder is absent."""
    listing = SHARED / "rigs" / "rigs.json"
    return json.loads(listing.read_text(encoding="utf-8"))["rigs"] if listing.exists() else []


IMPORT_ALONE = """
import os, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[2])
sys.stdout.flush()
os._exit(0)
"""


@functools.cache
def imported_alone(path: Path) -> Path:
    """A glTF file as the .blend that a Blender with nothing else to do makes of it: Blender 4.2 crashes now and then
    in its glTF importer once Rigify has generated a rig in the same process and was switched off again."""
    folder = Path(os.environ["BLENDER_USER_RESOURCES"])  # of these tests alone: conftest.py or build.py made it
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="gltf-", dir=folder)) / f"{path.stem}.blend"
    command = [sys.executable, "-c", IMPORT_ALONE, str(path), str(made)]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"Blender could not import {path.name}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return made


def load_file(path: Path, name: str | None = None) -> Any:
    """The armature of a .blend, .fbx, .glb or .bvh file, brought in with the importer's defaults."""
    import bpy

    before = set(bpy.data.objects)
    if path.suffix in (".blend", ".glb"):
        bpy.ops.wm.open_mainfile(filepath=str(path if path.suffix == ".blend" else imported_alone(path)))
        before = set()
    elif path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path))
    else:
        import addon_utils

        addon_utils.enable("io_anim_bvh", default_set=True)
        bpy.ops.import_anim.bvh(filepath=str(path))
    if name:
        return bpy.data.objects[name]
    return next(o for o in bpy.data.objects if o.type == "ARMATURE" and o not in before)


def world_heads(rig: Any, bones: dict[str, str]) -> dict[str, np.ndarray]:
    """World positions of bones as Blender evaluates them at the current frame: joint -> (3,)."""
    return {joint: np.array(rig.matrix_world @ rig.pose.bones[bone].head) for joint, bone in bones.items()}


def rest_axes(rig: Any, bones: dict[str, str]) -> np.ndarray:
    """Columns left, up, forward of a character in world space, from its hips in rest. (3, 3)."""
    matrix = np.array(rig.matrix_world)
    hips = [matrix @ [*rig.data.bones[bones[f"{s}_hip"]].head_local, 1.0] for s in "lr"]
    left = (hips[0] - hips[1])[:3] * [1.0, 1.0, 0.0]
    left /= np.linalg.norm(left)
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([left, up, np.cross(left, up)], -1)


NEUTRAL_LEG = float(
    np.mean([np.linalg.norm(NEUTRAL[INDEX[f"{s}_{b}"]] - NEUTRAL[INDEX[f"{s}_{a}"]]) for s in "lr"
             for a, b in (("hip", "knee"), ("knee", "ankle"))]) * 2
)  # fmt: skip
