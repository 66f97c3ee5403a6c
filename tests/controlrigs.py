"""Control rigs for the tests, made by Rigify or built by script: keyed by the product, judged by what Blender shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.apply import Prepared, apply_motion, prepare, read, remove_motion
from mgpt3_blender.rig.mapping import Mapping
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS
from tests import motions, rigs

FACE = ("f_", "thumb", "palm", "eye", "lip", "brow", "cheek", "jaw", "ear", "nose", "chin", "teeth", "tongue", "temple",
        "forehead", "breast")  # fmt: skip


def put(
    rig: Any, motion: np.ndarray, limbs: str = "FK", mapping: Mapping | None = None, options: Options | None = None
) -> tuple[bpy.types.Action, Prepared]:
    """A motion on a character from frame 1 at 20 frames a second -> the action, and what it was made from."""
    options = replace(options or Options(), limbs=limbs)
    bpy.context.scene.render.fps = 20
    prepared = prepare(read(rig, options, mapping), np.asarray(motion, np.float64), 20.0, options)
    scene = bpy.context.scene
    made = apply_motion(rig, motion, scene=scene, name="test", start_frame=1, options=options, mapping=mapping)
    return made.action, prepared


def remove(rig: Any, action: Any) -> None:
    remove_motion(rig, action)
    bpy.context.view_layer.update()


def watch(rig: Any, names: list[str], frames: int) -> np.ndarray:
    """(T, n, 4, 4) pose matrices as Blender evaluates them."""
    out = np.zeros((frames, len(names), 4, 4))
    for t in range(frames):
        bpy.context.scene.frame_set(1 + t)
        out[t] = [rig.pose.bones[name].matrix for name in names]
    return out


def apart(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and millimetres between two series of pose matrices."""
    turn = [m[..., :3, :3] / np.linalg.norm(m[..., :3, :3], axis=-2, keepdims=True) for m in (a, b)]
    q = rot.to_quaternion(rot.transposed(turn[0]) @ turn[1])
    angle = np.degrees(2 * np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), np.abs(q[..., 0])))
    return angle, np.linalg.norm(a[..., :3, 3] - b[..., :3, 3], axis=-1) * 1000.0


def body_bones(rig: Any) -> list[str]:
    return [b.name for b in rig.pose.bones if b.name.startswith("DEF-") and not any(w in b.name for w in FACE)]


def kick(seconds: float = 2.0) -> np.ndarray:
    """The right leg swings up to the horizontal and stretches on the way."""
    frames = round(seconds * motions.FPS)
    time = np.linspace(0, 1, frames)
    turns = motions._arms_down(frames)
    turns |= motions._leg("r", 95 * np.sin(np.pi * time) ** 2, 90 * np.sin(2 * np.pi * np.minimum(time, 0.5)) ** 2)
    return motions.plant(motions.pose(turns, frames), np.full(frames, JOINTS.index("l_foot")))


def follow_errors(rig: Any, mapping: Mapping, motion: np.ndarray, solution: Any) -> np.ndarray:
    """Degrees between where the deform bones point as Blender shows them and where the solution has them. (T, n)."""
    names = list(mapping.deform.values())
    seen = watch(rig, names, len(motion))[..., :3, 3]
    at = {INDEX[joint]: seen[:, names.index(bone)] for joint, bone in mapping.deform.items()}
    wanted = solution.joints_armature
    pairs = [(j, k) for j, k in solution.compared if j in at and k in at]
    return np.stack([np.degrees(rot.angle_between(at[k] - at[j], wanted[:, k] - wanted[:, j])) for j, k in pairs], 1)


def check_followed(rig: Any, mapping: Mapping, motion: np.ndarray, solution: Any) -> None:
    """The deform bones go where the solution has them, and the solution goes with the motion."""
    errors = follow_errors(rig, mapping, motion, solution)
    assert errors.shape[1] >= 11
    assert errors.mean() < 0.3
    assert np.percentile(errors, 95) < 1.0
    assert solution.errors.mean() < 3.0


def generate(change: Callable[[Any], None], full: bool = False) -> Any:
    source = rigs.metarig(full)
    change(source)
    bpy.ops.pose.rigify_generate()
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o != source)
    bpy.data.objects.remove(source)
    return rig


def real_clip() -> np.ndarray:
    path = rigs.SHARED / "data" / "permissive" / "cmu_joints.npz"
    if not path.exists():
        pytest.skip("needs the captioned motion in shared/data")
    with np.load(path) as bundle:
        first, end = bundle["offsets"][40:42]
        clip = bundle["local"][first:end].astype(np.float64) * 1e-4
        clip[..., [0, 2]] += bundle["root_xz"][first:end, None]
    return clip[:80]


MOTIONS = {"walk": motions.walk, "wave": motions.wave, "squat": motions.squat, "kick": kick, "real": real_clip}


MOTIONS = {"walk": motions.walk, "wave": motions.wave, "squat": motions.squat, "kick": kick, "real": real_clip}


def limbs(source: Any, **options: Any) -> None:
    for name in ("thigh", "upper_arm"):
        for side in "LR":
            for key, value in options.items():
                setattr(source.pose.bones[f"{name}.{side}"].rigify_parameters, key, value)


class Builder:
    """An armature with controls, made bone by bone; constraints and drivers come after the bones."""

    def __init__(self, name: str) -> None:
        self.data = bpy.data.armatures.new(name)
        self.object = bpy.data.objects.new(name, self.data)
        bpy.context.collection.objects.link(self.object)
        bpy.context.view_layer.objects.active = self.object
        bpy.ops.object.mode_set(mode="EDIT")

    def bone(self, name: str, head: np.ndarray, tail: np.ndarray, parent: str | None = None, roll: Any = None) -> None:
        bone = self.data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        if roll is not None:
            bone.align_roll(roll)
        if parent:
            bone.parent = self.data.edit_bones[parent]
        bone.use_deform = not name.startswith("c_")

    def done(self) -> Any:
        bpy.ops.object.mode_set(mode="OBJECT")
        for bone in self.object.pose.bones:
            bone.rotation_mode = "XYZ" if bone.name.startswith("c_") else "QUATERNION"
        return self.object

    def copy(self, bone: str, target: str, kind: str = "COPY_TRANSFORMS", switch: str = "", on: float = 1.0) -> None:
        """Follow a bone; with a switch, as much as "ik_fk_switch" on it says (on 1.0: FK, 0.0: IK)."""
        constraint = self.object.pose.bones[bone].constraints.new(kind)
        constraint.target, constraint.subtarget = self.object, target
        if not switch:
            return
        driver = constraint.driver_add("influence").driver
        variable = driver.variables.new()
        variable.name = "k"
        variable.targets[0].id = self.object
        variable.targets[0].data_path = f'pose.bones["{switch}"]["ik_fk_switch"]'
        driver.expression = "k" if on == 1.0 else "1 - k"


def pole_angle(first: Any, second: Any, pole: Any) -> float:
    """The angle with which a chain of two bones stays at rest while pole and target are at rest."""
    along = np.array(second.tail_local - first.head_local)
    away = np.array(pole.head_local - first.head_local)
    axes = np.array(first.matrix_local)[:3, :3]
    angle = np.arctan2(-away @ np.cross(along, axes[:, 0]), away @ np.cross(along, axes[:, 2]))
    up = np.cos(angle) * axes[:, 0] + np.sin(angle) * axes[:, 2]
    return float(angle if up @ away > 0.0 else angle + np.pi)


def arp() -> Any:
    """An armature with the control names, hierarchy and switches that Auto-Rig Pro's documentation and users show.

    Spine and pelvis: deform bones that copy their controls. Limbs: an FK and an IK chain, deform bones that copy one
    or the other by `ik_fk_switch` on c_hand_ik and c_foot_ik (0 = IK, 1 = FK), hands and feet carried by Child Of.
    """
    at, b = rigs.heads(45.0, 15.0), Builder("rig")
    for s in "lr":  # knees that bend straight forward
        hip, ankle = at[f"{s}_hip"], at[f"{s}_ankle"]
        at[f"{s}_knee"][0] = hip[0] + (ankle[0] - hip[0]) * (hip[2] - at[f"{s}_knee"][2]) / (hip[2] - ankle[2])
    up, back = np.array([0.0, 0.0, 0.1]), np.array([0.0, 0.2, 0.0])
    b.bone("c_pos", np.zeros(3), back)
    b.bone("c_traj", np.zeros(3), 0.9 * back, "c_pos")
    b.bone("c_root_master.x", at["pelvis"], at["pelvis"] + up, "c_traj")
    b.bone("c_root.x", at["pelvis"], at["pelvis"] + back, "c_root_master.x")
    b.bone("root.x", at["pelvis"], at["spine1"], "c_root.x")
    chain = [("spine_01.x", "spine1", "spine2"), ("spine_02.x", "spine2", "spine3"), ("spine_03.x", "spine3", "neck"),
             ("neck.x", "neck", "head")]  # fmt: skip
    above, below = "c_root_master.x", "root.x"
    for name, start, end in chain:
        b.bone(f"c_{name}", at[start], at[end], above)
        b.bone(name, at[start], at[end], below)
        above, below = f"c_{name}", name
    b.bone("c_head.x", at["head"], at["head"] + 2 * up, above)
    b.bone("head.x", at["head"], at["head"] + 2 * up, below)
    for n, s in enumerate("lr"):
        sign = 1 - 2 * n
        collar, shoulder, elbow, wrist = (at[f"{s}_{k}"] for k in ("collar", "shoulder", "elbow", "wrist"))
        hip, knee, ankle, ball = (at[f"{s}_{k}"] for k in ("hip", "knee", "ankle", "foot"))
        hand = wrist + 0.08 * rot.unit(wrist - elbow)
        toe = ball + np.array([0.0, -0.07, 0.0])
        b.bone(f"c_shoulder.{s}", collar, shoulder, "c_spine_03.x")
        b.bone(f"shoulder.{s}", collar, shoulder, "spine_03.x")
        b.bone(f"c_thigh_b.{s}", hip, hip + 0.1 * back, "c_root.x")
        for kind, first in (("c_{}_fk", f"c_shoulder.{s}"), ("{}_ik", f"shoulder.{s}"),
                                           ("{}", f"shoulder.{s}")):  # fmt: skip
            b.bone(f"{kind.format('arm')}.{s}", shoulder, elbow, first, (0, 0, 1))
            b.bone(f"{kind.format('forearm')}.{s}", elbow, wrist, f"{kind.format('arm')}.{s}", (0, 0, 1))
        for kind, first in (("c_{}_fk", f"c_thigh_b.{s}"), ("{}_ik", f"c_thigh_b.{s}"), ("{}", "root.x")):
            b.bone(f"{kind.format('thigh')}.{s}", hip, knee, first, (0, 1, 0))
            b.bone(f"{kind.format('leg')}.{s}", knee, ankle, f"{kind.format('thigh')}.{s}", (0, 1, 0))
        b.bone(f"c_hand_fk.{s}", wrist, hand, f"c_forearm_fk.{s}")
        b.bone(f"hand.{s}", wrist, hand, f"forearm.{s}")
        b.bone(f"c_hand_ik.{s}", wrist, hand)
        b.bone(f"c_arms_pole.{s}", elbow + 3 * back, elbow + 3.5 * back, "c_traj")
        b.bone(f"c_foot_fk.{s}", ankle, ball, f"c_leg_fk.{s}")
        b.bone(f"c_toes_fk.{s}", ball, toe, f"c_foot_fk.{s}")
        b.bone(f"c_foot_ik.{s}", ankle, ball)
        b.bone(f"c_foot_01.{s}", ankle, ankle + 0.2 * back, f"c_foot_ik.{s}")
        b.bone(f"c_foot_roll_cursor.{s}", ankle + back, ankle + 1.2 * back, f"c_foot_ik.{s}")
        b.bone(f"c_toes_ik.{s}", ball, toe, f"c_foot_01.{s}")
        b.bone(f"foot.{s}", ankle, ball, f"leg.{s}")
        b.bone(f"toes_01.{s}", ball, toe, f"foot.{s}")
        b.bone(f"foot_ik.{s}", ankle, ball, f"c_foot_01.{s}")
        b.bone(f"c_leg_pole.{s}", knee - 3 * back + [0.02 * sign, 0, 0], knee - 3.5 * back, "c_traj")
    rig = b.done()
    for name in ("root.x", "spine_01.x", "spine_02.x", "spine_03.x", "neck.x", "head.x"):
        if name != "root.x":
            b.copy(name, f"c_{name}")
    for s in "lr":
        b.copy(f"shoulder.{s}", f"c_shoulder.{s}")
        for limb, end, pole, switch in (
            (("arm", "forearm"), f"c_hand_ik.{s}", f"c_arms_pole.{s}", f"c_hand_ik.{s}"),
            (("thigh", "leg"), f"foot_ik.{s}", f"c_leg_pole.{s}", f"c_foot_ik.{s}"),
        ):
            rig.pose.bones[switch]["ik_fk_switch"] = 0.0
            carry = rig.pose.bones[switch].constraints.new("CHILD_OF")
            carry.target, carry.subtarget = rig, "c_traj"
            carry.inverse_matrix = rig.data.bones["c_traj"].matrix_local.inverted()
            solver = rig.pose.bones[f"{limb[1]}_ik.{s}"].constraints.new("IK")
            solver.target, solver.subtarget, solver.chain_count = rig, end, 2
            solver.pole_target, solver.pole_subtarget = rig, pole
            root = rig.data.bones[f"{limb[0]}_ik.{s}"]
            solver.pole_angle = pole_angle(root, rig.data.bones[f"{limb[1]}_ik.{s}"], rig.data.bones[pole])
            for name in limb:
                b.copy(f"{name}.{s}", f"{name}_ik.{s}", switch=switch, on=0.0)
                b.copy(f"{name}.{s}", f"c_{name}_fk.{s}", switch=switch)
        b.copy(f"hand.{s}", f"c_hand_ik.{s}", "COPY_ROTATION", f"c_hand_ik.{s}", 0.0)
        b.copy(f"hand.{s}", f"c_hand_fk.{s}", "COPY_ROTATION", f"c_hand_ik.{s}")
        for name, ik_bone in (("foot", f"foot_ik.{s}"), ("toes_01", f"c_toes_ik.{s}")):
            b.copy(f"{name}.{s}", ik_bone, "COPY_ROTATION", f"c_foot_ik.{s}", 0.0)
            b.copy(f"{name}.{s}", f"c_{name.removesuffix('_01')}_fk.{s}", "COPY_ROTATION", f"c_foot_ik.{s}")
    bpy.context.view_layer.update()
    return rig
