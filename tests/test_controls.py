"""What follows what in a control rig, constraints in the way of keys, what is keyed, relaxed hands.

Judged by what Blender evaluates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from mgpt3_blender import action as actions
from mgpt3_blender.rig import controls, hands
from mgpt3_blender.rig import rotation as rot
from mgpt3_blender.rig.keys import location_curves, rotation_curves, switch_curve
from mgpt3_blender.rig.mapping import Mapping, Switch, map_armature, presets
from mgpt3_blender.rig.rest import pose, read_rig
from tests import motions, rigs
from tests.controlrigs import (
    Builder,
    apart,
    arp,
    check_followed,
    generate,
    limbs,
    put,
    remove,
    watch,
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
    first, _ = put(rig, motion)
    free = watch(rig, names, len(motion))
    remove(rig, first)
    constrained(rig)
    values = {(b.name, c.name): c.influence for b in rig.pose.bones for c in b.constraints}
    assert len(values) == 4
    action, made = put(rig, motion)
    assert len(made.reading.plan.switches) == 3
    assert len(made.reading.plan.warnings) == 1
    assert made.reading.plan.warnings[0].startswith("Three constraints are switched off while this motion plays: ")
    angle, off = apart(free, watch(rig, names, len(motion)))
    assert angle.max() < 0.1
    assert off.max() < 0.5
    assert rig.pose.bones["finger.l"].constraints[0].influence == 1.0
    again, made = put(rig, motion)  # the influence is zero by now, and still has to be zero in the next action
    assert len(made.reading.plan.switches) == 3
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
    action, _ = put(rig, motions.walk(1.0))
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
    _, made = put(rig, motion)
    assert sorted(switch.bone for switch in made.reading.plan.switches) == sorted(
        mapping.bones[f"{s}_knee"] for s in "lr"
    )
    check_followed(rig, mapping, motion, made.solution)


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
    _, made = put(rig, motion, "IK", mapping)
    assert made.reading.plan.limbs == "FK"
    assert "constraints are switched off while this motion plays (" in made.reading.plan.warnings[0]
    check_followed(rig, mapping, motion, made.solution)


def test_twist_bones_between_keyed_deform_bones_are_freed_too():
    rig, motion = generate(lambda source: limbs(source, segments=2)), motions.walk(1.0)
    known = map_armature(rig)
    plain = replace(known, bones=known.deform, also={}, hold=(), switches=(), ik={}, spine=(), neck=(), root=None)
    _, made = put(rig, motion, mapping=plain)
    owners = {switch.bone for switch in made.reading.plan.switches}
    assert {"DEF-thigh.L", "DEF-thigh.L.001", "DEF-forearm.R.001"} <= owners
    assert not [name for name in owners if not name.startswith("DEF-") or "f_" in name]
    check_followed(rig, plain, motion, made.solution)


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
