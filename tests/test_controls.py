"""Control rigs: what follows what, FK and IK that give the same pose, switches, constraints in the way, relaxed hands.

Everything is judged by what Blender evaluates, on rigs that Rigify generates and on rigs built here with the
constraints and drivers of their kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from mgpt3_blender import action as actions
from mgpt3_blender.rig import controls, hands, ik
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.keys import STRETCH, all_location_curves, location_curves, rotation_curves, switch_curve
from mgpt3_blender.rig.mapping import Mapping, Switch, map_armature, presets
from mgpt3_blender.rig.options import ROOT, Options
from mgpt3_blender.rig.rest import pose, read_rig
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS
from mgpt3_blender.rig.solve import solve
from tests import motions, rigs

FACE = ("f_", "thumb", "palm", "eye", "lip", "brow", "cheek", "jaw", "ear", "nose", "chin", "teeth", "tongue", "temple",
        "forehead", "breast")  # fmt: skip


def put(
    rig: Any, motion: np.ndarray, limbs: str = "FK", mapping: Mapping | None = None, options: Options | None = None
) -> Any:
    """A motion on a character from frame 1 at 20 frames a second, by the parts under test. -> (action, plan, rig)."""
    mapping = mapping or map_armature(rig)
    plan = controls.plan(rig, mapping, limbs)
    solved, character = controls.read(rig, mapping, plan)
    solution = solve(solved, np.asarray(motion, np.float64), 20.0, options or Options())
    if plan.limbs == "IK":
        rotations, locations = ik.channels(character, solution, mapping, solved)
    else:
        rotations, locations = solution.rotations, solution.locations
    frames = 1.0 + np.arange(len(motion), dtype=float)
    modes = {bone.name: bone.rotation_mode for bone in rig.pose.bones}
    curves = rotation_curves(rotations, modes, frames) + all_location_curves(locations, frames)
    curves += rotation_curves({bone: np.eye(3)[None] for bone in plan.hold}, modes, frames[:1])
    curves += [switch_curve(switch, frames[0]) for switch in plan.switches]
    action = actions.new_action("test")
    action[actions.GENERATED] = "test"
    actions.write_fcurves(action, rig, curves)
    controls.note_switches(action, rig, plan.switches)
    actions.remember(rig, action)
    actions.bind_action(rig, action)
    controls.set_switches(rig, plan.switches)
    return action, plan, character, solution


def remove(rig: Any, action: Any) -> None:
    before = controls.switches_before(action)
    actions.release(rig, action)
    controls.restore_switches(rig, before)
    bpy.data.actions.remove(action)
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


# What follows what -------------------------------------------------------------------------------------------------

KINDS = ("COPY_ROTATION", "COPY_LOCATION", "COPY_TRANSFORMS", "CHILD_OF", "ARMATURE", "DAMPED_TRACK", "STRETCH_TO")


def random_tree(seed: int) -> Any:
    """14 bones anywhere, posed, with every switch of inheritance and every constraint that is followed."""
    rng = np.random.default_rng(seed)
    data = bpy.data.armatures.new("Tree")
    tree = bpy.data.objects.new("Tree", data)
    bpy.context.collection.objects.link(tree)
    bpy.context.view_layer.objects.active = tree
    bpy.ops.object.mode_set(mode="EDIT")
    for i in range(14):
        bone = data.edit_bones.new(f"b{i}")
        bone.head = rng.normal(size=3)
        bone.tail = np.array(bone.head) + rng.normal(size=3)
        bone.roll = rng.uniform(-3, 3)
        if i:
            bone.parent = data.edit_bones[f"b{rng.integers(max(0, i - 2), i)}"]
            bone.use_connect = bool(rng.random() < 0.25)
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in data.bones:
        bone.use_inherit_rotation, bone.use_local_location = bool(rng.random() < 0.75), bool(rng.random() < 0.6)
        bone.inherit_scale = rng.choice(["FULL", "FIX_SHEAR", "AVERAGE", "NONE", "ALIGNED"])
    tree.matrix_world = Matrix.Translation((1, 2, 3)) @ Matrix.Rotation(0.7, 4, (1, 1, 0)) @ Matrix.Scale(0.5, 4)
    bpy.context.view_layer.update()
    for i, bone in enumerate(tree.pose.bones):
        bone.rotation_quaternion, bone.location = rot.unit(rng.normal(size=4)), rng.normal(size=3)
        bone.scale = [rng.uniform(0.7, 1.4) if rng.random() < 0.5 else 1.0] * 3
        if i < 4 or rng.random() > 0.6:
            continue
        kind = str(rng.choice(KINDS))
        constraint, followed = bone.constraints.new(kind), f"b{rng.integers(0, 4)}"
        if kind == "ARMATURE":
            for name, weight in ((followed, 1.0), ("b1", 0.0)):
                target = constraint.targets.new()
                target.target, target.subtarget, target.weight = tree, name, weight
            continue
        constraint.target, constraint.subtarget = tree, followed
        if kind == "CHILD_OF":
            stood = Matrix.Translation(rng.normal(size=3)) @ Matrix.Rotation(rng.uniform(-2, 2), 4, "X")
            constraint.inverse_matrix = stood.inverted()
        elif kind == "COPY_LOCATION":
            constraint.head_tail = float(rng.choice([0.0, 0.5]))
        if kind in ("COPY_ROTATION", "COPY_LOCATION", "DAMPED_TRACK"):
            constraint.influence = float(rng.choice([1.0, 0.5]))
    bpy.context.view_layer.update()
    return tree


@pytest.mark.parametrize("seed", range(12))
def test_forward_kinematics_are_blenders_own(seed):
    tree = random_tree(seed)
    last = max(tree.pose.bones, key=lambda bone: len(bone.parent_recursive)).name
    character = read_rig(tree, Mapping("tree", {"pelvis": last}, {"pelvis": last}))
    posed = pose(character.bones, {})
    assert len(character.bones) > 3
    for i, bone in enumerate(character.bones[:-1]):  # the last one counts as keyed: its constraints are not followed
        real = np.array(tree.pose.bones[bone.name].matrix)
        size = np.cbrt(np.linalg.det(real[:3, :3]))
        np.testing.assert_allclose(posed.heads[i][0], real[:3, 3], atol=2e-3)
        np.testing.assert_allclose(
            posed.rotations[i][0], real[:3, :3] / np.linalg.norm(real[:3, :3], axis=0), atol=2e-3
        )
        if not tree.pose.bones[bone.name].constraints:
            assert posed.scales[i] == pytest.approx(size, rel=1e-2)


@pytest.mark.parametrize("seed", range(6))
def test_a_bone_comes_to_the_place_and_orientation_asked_for(seed):
    tree = random_tree(seed)
    bone = next(b for b in reversed(tree.pose.bones) if not b.bone.use_connect)
    for constraint in list(bone.constraints):
        if constraint.type not in ("CHILD_OF", "ARMATURE"):
            bone.constraints.remove(constraint)
    character = read_rig(tree, Mapping("tree", {"pelvis": bone.name}, {"pelvis": bone.name}))
    i = next(i for i, b in enumerate(character.bones) if b.name == bone.name)
    turn, place = rot.to_matrix(rot.unit(np.array([1.0, 2.0, -0.5, 0.3]))), np.array([0.4, -1.0, 2.0])
    posed = pose(character.bones, {i: turn}, places={i: place})
    bone.rotation_quaternion = rot.to_quaternion(posed.channels[i][0])
    bone.location = posed.shifts[i][0]
    bpy.context.view_layer.update()
    real = np.array(bone.matrix)
    np.testing.assert_allclose(real[:3, 3], place, atol=2e-3)
    np.testing.assert_allclose(real[:3, :3] / np.linalg.norm(real[:3, :3], axis=0), turn, atol=2e-3)


# Rigify ------------------------------------------------------------------------------------------------------------


def spine(source: Any, kind: str, **options: Any) -> None:
    source.pose.bones["spine"].rigify_type = kind
    for key, value in options.items():
        setattr(source.pose.bones["spine"].rigify_parameters, key, value)


def limbs(source: Any, **options: Any) -> None:
    for name in ("thigh", "upper_arm"):
        for side in "LR":
            for key, value in options.items():
                setattr(source.pose.bones[f"{name}.{side}"].rigify_parameters, key, value)


OPTIONS: dict[str, Callable[[Any], None]] = {
    "as it comes": lambda source: None,
    "spine with a pivot": lambda source: spine(source, "spines.basic_spine", make_custom_pivot=True),
    "one toe control": lambda source: limbs(source, extra_ik_toe=False),
    "one segment": lambda source: limbs(source, segments=1),
    "three segments": lambda source: limbs(source, segments=3),
    "foot pivots": lambda source: limbs(source, make_custom_pivot=True),
}


def generate(change: Callable[[Any], None], full: bool = False) -> Any:
    source = rigs.metarig(full)
    change(source)
    bpy.ops.pose.rigify_generate()
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o != source)
    bpy.data.objects.remove(source)
    return rig


@pytest.mark.parametrize("name", OPTIONS)
def test_rigify_rigs_generated_with_other_options_in_fk_and_ik_under_a_moved_root(name):
    rig, motion = generate(OPTIONS[name]), motions.walk(1.5)
    root = rig.pose.bones["root"]
    root.location, root.rotation_quaternion = (0.2, 0.3, 0.0), (np.cos(0.4), 0.0, 0.0, np.sin(0.4))
    bpy.context.view_layer.update()
    mapping, names = map_armature(rig), body_bones(rig)
    assert mapping.is_control_rig
    _, plan, character, solution = put(rig, motion)
    assert (*plan.warnings, *character.warnings) == ()
    check_followed(rig, mapping, motion, solution)
    fk = watch(rig, names, len(motion))
    _, plan, character, _ = put(rig, motion, "IK")
    assert (plan.limbs, plan.warnings, character.warnings) == ("IK", (), [])
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0


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


@pytest.mark.parametrize("name", MOTIONS)
def test_ik_controls_reproduce_the_fk_pose(name):
    motion = MOTIONS[name]()
    rig = rigs.rigify()
    names = body_bones(rig)
    put(rig, motion)
    fk = watch(rig, names, len(motion))
    action, _, _, _ = put(rig, motion, "IK")
    assert rig.pose.bones["thigh_parent.L"]["IK_FK"] == 0.0
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0
    keyed = {curve.data_path.split('"')[1] for curve in actions.fcurves(action, rig) if "rotation" in curve.data_path}
    assert {"hand_ik.L", "foot_ik.R", "torso", "neck"} <= keyed
    assert not keyed & {"thigh_fk.L", "shin_fk.L", "hand_fk.R", "upper_arm_fk.R"}
    # A pole stands beside its limb and never jumps.
    poles = watch(rig, ["thigh_ik_target.L", "ORG-shin.L"], len(motion))[..., :3, 3]
    far = np.linalg.norm(poles[:, 0] - poles[:, 1], axis=-1)
    assert far.min() > 0.5
    assert np.linalg.norm(np.diff(poles[:, 0], axis=0), axis=-1).max() < 0.6


def test_ik_controls_reproduce_the_pose_where_the_root_control_carries_the_way():
    rig, motion, options = rigs.rigify(), motions.walk(2.0), Options(root=ROOT)
    names = body_bones(rig)
    put(rig, motion, options=options)
    fk = watch(rig, ["root", *names], len(motion))
    assert np.linalg.norm(fk[-1, 0, :3, 3] - fk[0, 0, :3, 3]) > 1.0
    put(rig, motion, "IK", options=options)
    angle, off = apart(fk, watch(rig, ["root", *names], len(motion)))
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0


def test_the_full_human_rig_in_fk_and_ik():
    rig, motion = generate(lambda source: None, full=True), motions.walk(1.5)
    assert len(rig.pose.bones) > 600
    mapping, names = map_armature(rig), body_bones(rig)
    _, plan, character, solution = put(rig, motion)
    assert (*plan.warnings, *character.warnings) == ()
    assert len(character.bones) < 80  # only what the controls need
    check_followed(rig, mapping, motion, solution)
    fk = watch(rig, names, len(motion))
    put(rig, motion, "IK")
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert np.percentile(angle, 95) < 1.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0


def test_switches_of_ik_are_set_keyed_and_restored():
    rig = rigs.rigify()
    parent, thigh = rig.pose.bones["thigh_parent.L"], rig.pose.bones["thigh_ik.L"]
    before = (parent["IK_FK"], parent["pole_vector"], thigh.ik_stretch)
    assert before[2] > 0.0
    fk, _, _, _ = put(rig, motions.walk(1.0))
    assert parent["IK_FK"] == 1.0
    both, plan, _, _ = put(rig, motions.walk(1.0), "IK")
    assert Switch("thigh_ik.L", STRETCH, 0.0) in plan.switches
    assert (parent["IK_FK"], bool(parent["pole_vector"]), thigh.ik_stretch) == (0.0, True, 0.0)
    paths = {path for path, _ in actions.read_fcurves(both, rig)}
    assert 'pose.bones["thigh_parent.L"]["pole_vector"]' in paths
    assert 'pose.bones["thigh_ik.L"].ik_stretch' in paths
    bpy.data.actions.remove(fk)
    remove(rig, both)
    assert (parent["IK_FK"], parent["pole_vector"], thigh.ik_stretch) == before
    assert type(parent["pole_vector"]) is type(before[1])


def test_a_scaled_root_control_is_known_and_ik_still_reproduces_the_pose():
    rig, motion = rigs.rigify(), motions.walk(1.0)
    rig.pose.bones["root"].scale = (2.0, 2.0, 2.0)
    bpy.context.view_layer.update()
    names = body_bones(rig)
    _, _, character, _ = put(rig, motion)
    assert character.growth == pytest.approx(2.0, rel=1e-3)
    fk = watch(rig, names, len(motion))
    put(rig, motion, "IK")
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert np.percentile(angle, 95) < 1.0
    assert off.max() < 5.0


def test_reading_a_rig_changes_nothing():
    rig = rigs.rigify()
    for bone in rig.pose.bones:
        bone.location = (0.01, 0.0, 0.02)
    bpy.context.view_layer.update()

    def state() -> str:
        props = [[b.name, k, str(v)] for b in rig.pose.bones for k, v in b.items() if "rigify" not in k]
        places = [[round(v, 5) for row in b.matrix for v in row] for b in rig.pose.bones]
        return json.dumps([props, places])

    before, mapping = state(), map_armature(rig)
    for kind in ("FK", "IK"):
        plan = controls.plan(rig, mapping, kind)
        controls.read(rig, mapping, plan)
        assert state() == before


# Auto-Rig Pro ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", MOTIONS)
def test_auto_rig_pro_in_fk_and_ik(name):
    motion, rig = MOTIONS[name](), arp()
    traj = rig.pose.bones["c_traj"]
    traj.location, traj.rotation_euler = (0.3, -0.2, 0.0), (0.0, 0.0, 0.7)
    rig.pose.bones["c_foot_ik.r"]["ik_fk_switch"] = 0.25
    bpy.context.view_layer.update()
    mapping = map_armature(rig)
    assert mapping.preset.startswith("Auto-Rig Pro")
    names = list(mapping.deform.values())
    assert "arm.l" in names
    _, plan, _, solution = put(rig, motion)
    assert plan.warnings == ()
    assert rig.pose.bones["c_hand_ik.l"]["ik_fk_switch"] == 1.0
    check_followed(rig, mapping, motion, solution)
    fk = watch(rig, names, len(motion))
    action, plan, _, _ = put(rig, motion, "IK")
    assert (plan.limbs, plan.warnings) == ("IK", ())
    assert rig.pose.bones["c_foot_ik.r"]["ik_fk_switch"] == 0.0
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0
    remove(rig, action)
    assert rig.pose.bones["c_foot_ik.r"]["ik_fk_switch"] == 0.25  # as it stood before both motions


# Constraints in the way --------------------------------------------------------------------------------------------


def constrained(rig: Any) -> Any:
    """IK on a shin and below a foot, Copy Rotation on a hand, and a constraint on a bone that no joint is mapped to."""
    target = bpy.data.objects.new("Target", None)
    bpy.context.collection.objects.link(target)
    target.location, target.rotation_euler = (0.4, -0.9, 0.9), (0.5, 0.7, 0.2)
    mapping = map_armature(rig)
    for bone, kind in (("l_knee", "IK"), ("r_foot", "IK"), ("r_wrist", "COPY_ROTATION")):
        constraint = rig.pose.bones[mapping.bones[bone]].constraints.new(kind)
        constraint.target, constraint.influence = target, 0.7
    rig.pose.bones[mapping.bones["l_knee"]].constraints[0].chain_count = 2
    rig.pose.bones[mapping.bones["r_foot"]].constraints[0].chain_count = 4
    rig.pose.bones[mapping.bones["r_foot"]].constraints[0].use_tail = False
    rig.pose.bones["finger.l"].constraints.new("COPY_ROTATION").target = target
    bpy.context.view_layer.update()
    return target


def unreal() -> Any:
    return rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0), rolls=4)


def test_constraints_in_the_way_are_switched_off_while_it_plays_and_come_back_exactly():
    rig, motion = unreal(), motions.walk(1.5)
    mapping = map_armature(rig)
    names = list(mapping.deform.values())
    first, _, _, _ = put(rig, motion)
    free = watch(rig, names, len(motion))
    remove(rig, first)
    constrained(rig)
    values = {(b.name, c.name): c.influence for b in rig.pose.bones for c in b.constraints}
    assert len(values) == 4
    action, plan, _, _ = put(rig, motion)
    assert len(plan.switches) == 3
    assert len(plan.warnings) == 1
    assert plan.warnings[0].startswith("Three constraints are switched off while this motion plays: ")
    angle, off = apart(free, watch(rig, names, len(motion)))
    assert angle.max() < 0.1
    assert off.max() < 0.5
    assert rig.pose.bones["finger.l"].constraints[0].influence == 1.0
    again, plan, _, _ = put(rig, motion)  # the influence is zero by now, and still has to be zero in the next action
    assert len(plan.switches) == 3
    assert len([path for path, _ in actions.read_fcurves(again, rig) if path.endswith("influence")]) == 3
    bpy.data.actions.remove(action)
    remove(rig, again)
    assert {(b.name, c.name): c.influence for b in rig.pose.bones for c in b.constraints} == values


def test_switches_come_back_as_the_animators_own_action_keys_them():
    rig = rigs.rigify()
    parent = rig.pose.bones["upper_arm_parent.L"]
    path = 'pose.bones["upper_arm_parent.L"]["IK_FK"]'
    actions.write_keys(rig, "Mine", np.array([1.0, 11.0]), {path: np.array([0.0, 1.0])})
    bpy.context.scene.frame_set(6)
    assert parent["IK_FK"] == pytest.approx(0.5)
    action, _, _, _ = put(rig, motions.walk(1.0))
    assert parent["IK_FK"] == 1.0
    bpy.context.scene.frame_set(11)
    remove(rig, action)
    assert rig.animation_data.action.name == "Mine"
    assert parent["IK_FK"] == pytest.approx(1.0)
    bpy.context.scene.frame_set(1)
    assert parent["IK_FK"] == 0.0


def test_leg_ik_of_an_mmd_model_is_switched_off_once():
    family = next(p["name"] for p in presets() if p["name"].startswith("MMD"))
    rig = rigs.armature(rigs.names_of(family), rigs.heads(35.0), root="全ての親")
    mapping = map_armature(rig)
    assert mapping.preset == family
    for side in "lr":
        target = bpy.data.objects.new("IK", None)
        bpy.context.collection.objects.link(target)
        target.location = (0.3, -0.3, 0.4)
        constraint = rig.pose.bones[mapping.bones[f"{side}_knee"]].constraints.new("IK")
        constraint.name, constraint.target, constraint.chain_count = "IK", target, 2
    motion = motions.squat(1.0)
    _, plan, _, solution = put(rig, motion)
    assert sorted(switch.bone for switch in plan.switches) == sorted(mapping.bones[f"{s}_knee"] for s in "lr")
    check_followed(rig, mapping, motion, solution)


def test_what_cannot_be_switched_off_is_said():
    rig = unreal()
    constrained(rig)
    mapping = map_armature(rig)
    knee, wrist = (rig.pose.bones[mapping.bones[joint]] for joint in ("l_knee", "r_wrist"))
    knee.constraints[0].driver_add("influence").driver.expression = "0.7"
    wrist.driver_add("rotation_quaternion", 1)
    rig.pose.bones[mapping.bones["l_elbow"]].lock_rotation = (False, True, True)
    plan = controls.plan(rig, mapping)
    assert {switch.bone for switch in plan.switches} == {mapping.bones["r_foot"], wrist.name}
    text = " ".join(plan.warnings)
    assert f'Constraints that a driver controls stay on and may bend the motion: IK on "{knee.name}".' in text
    assert f"Drivers turn bones that the motion needs and win over its keys: {wrist.name}." in text
    assert f"Locked rotation channels get keys all the same, because the motion needs them: {mapping.bones['l_elbow']}"\
        in text  # fmt: skip
    assert plan.warnings[0].startswith("Two constraints are switched off while this motion plays: IK on ")


def test_a_rig_with_unknown_controls_gets_its_deform_bones_keyed_with_a_note():
    rig = arp()
    wanted = {bone.name: bone.name.replace("c_", "x_") for bone in rig.data.bones if bone.name.startswith("c_")}
    for old, new in wanted.items():
        rig.data.bones[old].name = new
    bpy.context.view_layer.update()
    names = {"pelvis": "root.x", "spine1": "spine_01.x", "spine2": "spine_02.x", "spine3": "spine_03.x",
             "neck": "neck.x", "head": "head.x"}  # fmt: skip
    for s in "lr":
        names |= {f"{s}_{joint}": f"{bone}.{s}" for joint, bone in (
            ("collar", "shoulder"), ("shoulder", "arm"), ("elbow", "forearm"), ("wrist", "hand"), ("hip", "thigh"),
            ("knee", "leg"), ("ankle", "foot"), ("foot", "toes_01"))}  # fmt: skip
    mapping, motion = Mapping("deform bones", names, names), motions.walk(1.5)
    for bone in rig.pose.bones:  # constraints that a driver turns on cannot be switched off: plain ones can
        for constraint in bone.constraints:
            constraint.driver_remove("influence")
    _, plan, _, solution = put(rig, motion, "IK", mapping)
    assert plan.limbs == "FK"
    assert "constraints are switched off while this motion plays (" in plan.warnings[0]
    check_followed(rig, mapping, motion, solution)


def test_twist_bones_between_keyed_deform_bones_are_freed_too():
    rig, motion = generate(lambda source: limbs(source, segments=2)), motions.walk(1.0)
    known = map_armature(rig)
    plain = replace(known, bones=known.deform, also={}, hold=(), switches=(), ik={}, spine=(), neck=(), root=None)
    _, plan, _, solution = put(rig, motion, mapping=plain)
    owners = {switch.bone for switch in plan.switches}
    assert {"DEF-thigh.L", "DEF-thigh.L.001", "DEF-forearm.R.001"} <= owners
    assert not [name for name in owners if not name.startswith("DEF-") or "f_" in name]
    check_followed(rig, plain, motion, solution)


# Keys and hands ----------------------------------------------------------------------------------------------------


def test_channels_that_do_not_change_get_one_key():
    frames = np.arange(10.0)
    still = rotation_curves({"a": np.broadcast_to(np.eye(3), (10, 3, 3))}, {"a": "QUATERNION"}, frames)
    assert [len(curve.frames) for curve in still] == [1, 1, 1, 1]
    assert [len(curve.frames) for curve in location_curves("a", np.full((10, 3), 2.0), frames)] == [1, 1, 1]
    moving = np.linspace(0, 1, 30).reshape(10, 3)
    assert [len(curve.values) for curve in location_curves("a", moving, frames)] == [10, 10, 10]
    assert switch_curve(Switch('b"', "", 0.0, "IK"), 3.0).path == 'pose.bones["b\\""].constraints["IK"].influence'


@pytest.mark.parametrize("down", [0.0, 50.0, 90.0])
def test_relaxed_fingers_curl_towards_the_palm(down):
    at, b = rigs.heads(down), Builder("hand")
    fingers: dict[str, tuple[str, int]] = {}
    palm = {}
    for s, sign in (("l", 1.0), ("r", -1.0)):
        wrist, elbow = at[f"{s}_wrist"], at[f"{s}_elbow"]
        along = rot.unit(wrist - elbow)
        forward = np.array([0.0, -1.0, 0.0])
        palm[s] = sign * np.cross(along, forward)  # down where the arm is stretched out sideways
        b.bone(f"hand.{s}", wrist, wrist + 0.08 * along)
        for k, name in enumerate(("index", "middle", "ring", "pinky")):
            start, above = wrist + 0.08 * along + (0.03 - 0.02 * k) * forward, f"hand.{s}"
            for n in range(3):
                bone = f"{name}{n}.{s}"
                b.bone(bone, start, start + 0.03 * along, above, (0.3, 0.8, 0.1 * k))
                start, above, fingers[bone] = start + 0.03 * along, bone, (s, n)
        start, above, way = wrist + 0.02 * along + 0.03 * forward, f"hand.{s}", rot.unit(along + forward)
        for n in range(3):
            bone = f"thumb{n}.{s}"
            b.bone(bone, start, start + 0.025 * way, above)
            start, above, fingers[bone] = start + 0.025 * way, bone, (s, n)
    rig = b.done()
    hold = {f"{s}_wrist": f"hand.{s}" for s in "lr"}
    mapping = Mapping("hands", hold, hold, fingers=fingers)
    relaxed = hands.relaxed(rig, mapping)
    assert set(relaxed) == set(fingers)
    for bone, channel in relaxed.items():
        rig.pose.bones[bone].rotation_mode = "QUATERNION"
        rig.pose.bones[bone].rotation_quaternion = rot.to_quaternion(channel[0])
    bpy.context.view_layer.update()
    for s in "lr":
        for name, least, most in (("index", 54, 56), ("pinky", 54, 56), ("thumb", 10, 30)):
            last = rig.pose.bones[f"{name}2.{s}"]
            before = np.array(rig.data.bones[last.name].matrix_local)[:3, 1]
            now = np.array(last.matrix)[:3, 1]
            assert least < np.degrees(rot.angle_between(before, now)) < most
            assert (now - before) @ palm[s] > 0.1
    assert hands.relaxed(rig, Mapping("none", hold, hold)) == {}
