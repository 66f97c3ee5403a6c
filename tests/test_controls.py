"""Control rigs: what follows what, FK and IK that give the same pose, switches, constraints in the way, relaxed hands.

Everything is judged by what Blender evaluates, on rigs that Rigify generates and on rigs built here with the
constraints and drivers of their kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from mgpt3_blender import action as actions
from mgpt3_blender.rig import controls, hands, ik
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.keys import STRETCH, all_location_curves, location_curves, rotation_curves, switch_curve
from mgpt3_blender.rig.mapping import Mapping, Switch, map_armature
from mgpt3_blender.rig.rest import pose, read_rig
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS
from mgpt3_blender.rig.solve import solve
from tests import motions, rigs

FACE = ("f_", "thumb", "palm", "eye", "lip", "brow", "cheek", "jaw", "ear", "nose", "chin", "teeth", "tongue", "temple",
        "forehead", "breast")  # fmt: skip


def put(rig: Any, motion: np.ndarray, limbs: str = "FK", mapping: Mapping | None = None, name: str = "test") -> Any:
    """A motion on a character from frame 1 at 20 frames a second, by the parts under test. -> (action, plan, rig)."""
    mapping = mapping or map_armature(rig)
    plan = controls.plan(rig, mapping, limbs)
    with controls.switched(rig, plan.switches):
        character = read_rig(rig, mapping, plan.bones)
    solution = solve(character, np.asarray(motion, np.float64), 20.0)
    if plan.limbs == "IK":
        rotations, locations = ik.channels(character, solution, mapping)
    else:
        rotations, locations = solution.rotations, solution.locations
    frames = 1.0 + np.arange(len(motion), dtype=float)
    modes = {bone.name: bone.rotation_mode for bone in rig.pose.bones}
    curves = rotation_curves(rotations, modes, frames) + all_location_curves(locations, frames)
    curves += rotation_curves({bone: np.eye(3)[None] for bone in plan.hold}, modes, frames[:1])
    curves += [switch_curve(switch, frames[0]) for switch in plan.switches]
    action = actions.new_action(name)
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
    controls.set_switches(rig, before)
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
    """Degrees between where the deform bones point and where the motion's do. (T, n)."""
    names = list(mapping.deform.values())
    seen = watch(rig, names, len(motion))[..., :3, 3]
    at = {INDEX[joint]: seen[:, names.index(bone)] for joint, bone in mapping.deform.items()}
    pairs = [(j, k) for j, k in solution.compared if j in at and k in at]
    return np.stack(
        [
            np.degrees(rot.angle_between(at[k] - at[j], rot.turn(solution.to_armature, motion[:, k] - motion[:, j])))
            for j, k in pairs
        ],
        1,
    )


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
        np.testing.assert_allclose(posed.rotations[i][0], real[:3, :3] / np.linalg.norm(real[:3, :3], axis=0), atol=2e-3)
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
    errors = follow_errors(rig, mapping, motion, solution)
    assert errors.mean() < 3.0
    assert np.percentile(errors, 95) < 8.0
    assert errors.mean() == pytest.approx(solution.errors.mean(), abs=0.3)
    fk = watch(rig, names, len(motion))
    _, plan, character, _ = put(rig, motion, "IK")
    assert (plan.limbs, plan.warnings, character.warnings) == ("IK", (), [])
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert off.max() < 5.0


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
    action, plan, _, _ = put(rig, motion, "IK")
    assert rig.pose.bones["thigh_parent.L"]["IK_FK"] == 0.0
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert off.max() < 5.0
    keyed = {curve.data_path.split('"')[1] for curve in actions.fcurves(action, rig) if "rotation" in curve.data_path}
    assert {"hand_ik.L", "foot_ik.R", "torso", "neck"} <= keyed
    assert not keyed & {"thigh_fk.L", "shin_fk.L", "hand_fk.R", "upper_arm_fk.R"}
    # A pole stands beside its limb and never jumps.
    poles = watch(rig, ["thigh_ik_target.L", "ORG-shin.L"], len(motion))[..., :3, 3]
    far = np.linalg.norm(poles[:, 0] - poles[:, 1], axis=-1)
    assert far.min() > 0.5
    assert np.linalg.norm(np.diff(poles[:, 0], axis=0), axis=-1).max() < 0.6


def test_the_full_human_rig_in_both_and_in_time():
    rig, motion = generate(lambda source: None, full=True), motions.walk(1.5)
    assert len(rig.pose.bones) > 600
    mapping, names = map_armature(rig), body_bones(rig)
    _, plan, character, solution = put(rig, motion)
    assert (*plan.warnings, *character.warnings) == ()
    assert len(character.bones) < 80  # only what the controls need
    errors = follow_errors(rig, mapping, motion, solution)
    assert errors.mean() == pytest.approx(solution.errors.mean(), abs=0.3)
    fk = watch(rig, names, len(motion))
    put(rig, motion, "IK")
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert np.percentile(angle, 95) < 1.0
    assert off.max() < 5.0


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
        with controls.switched(rig, plan.switches):
            read_rig(rig, mapping, plan.bones)
        assert state() == before
