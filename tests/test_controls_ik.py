"""FK and IK controls that give the same pose, on rigs that Rigify generates and on one built like Auto-Rig Pro's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import action as actions
from mgpt3_blender.rig import controls
from mgpt3_blender.rig.keys import STRETCH
from mgpt3_blender.rig.mapping import Switch, map_armature
from mgpt3_blender.rig.options import ROOT, Options
from tests import motions, rigs
from tests.controlrigs import MOTIONS, apart, arp, body_bones, check_followed, generate, limbs, put, remove, watch

# Rigify ------------------------------------------------------------------------------------------------------------


def spine(source: Any, kind: str, **options: Any) -> None:
    source.pose.bones["spine"].rigify_type = kind
    for key, value in options.items():
        setattr(source.pose.bones["spine"].rigify_parameters, key, value)


OPTIONS: dict[str, Callable[[Any], None]] = {
    "as it comes": lambda source: None,
    "spine with a pivot": lambda source: spine(source, "spines.basic_spine", make_custom_pivot=True),
    "one toe control": lambda source: limbs(source, extra_ik_toe=False),
    "one segment": lambda source: limbs(source, segments=1),
    "three segments": lambda source: limbs(source, segments=3),
    "foot pivots": lambda source: limbs(source, make_custom_pivot=True),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_rigify_rigs_generated_with_other_options_in_fk_and_ik_under_a_moved_root(name):
    rig, motion = generate(OPTIONS[name]), motions.walk(1.5)
    root = rig.pose.bones["root"]
    root.location, root.rotation_quaternion = (0.2, 0.3, 0.0), (np.cos(0.4), 0.0, 0.0, np.sin(0.4))
    bpy.context.view_layer.update()
    mapping, names = map_armature(rig), body_bones(rig)
    assert mapping.is_control_rig
    _, made = put(rig, motion)
    assert (*made.reading.plan.warnings, *made.reading.with_controls.warnings) == ()
    check_followed(rig, mapping, motion, made.solution)
    fk = watch(rig, names, len(motion))
    _, made = put(rig, motion, "IK")
    assert (made.reading.plan.limbs, made.reading.plan.warnings, made.reading.with_controls.warnings) == ("IK", (), [])
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0


@pytest.mark.parametrize("name", MOTIONS)
def test_ik_controls_reproduce_the_fk_pose(name):
    motion = MOTIONS[name]()
    rig = rigs.rigify()
    names = body_bones(rig)
    put(rig, motion)
    fk = watch(rig, names, len(motion))
    action, _ = put(rig, motion, "IK")
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
    _, made = put(rig, motion)
    assert (*made.reading.plan.warnings, *made.reading.with_controls.warnings) == ()
    assert len(made.reading.with_controls.bones) < 80  # only what the controls need
    check_followed(rig, mapping, motion, made.solution)
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
    fk, _ = put(rig, motions.walk(1.0))
    assert parent["IK_FK"] == 1.0
    both, made = put(rig, motions.walk(1.0), "IK")
    assert Switch("thigh_ik.L", STRETCH, 0.0) in made.reading.plan.switches
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
    _, made = put(rig, motion)
    assert made.reading.with_controls.growth == pytest.approx(2.0, rel=1e-3)
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
    _, made = put(rig, motion)
    assert made.reading.plan.warnings == ()
    assert rig.pose.bones["c_hand_ik.l"]["ik_fk_switch"] == 1.0
    check_followed(rig, mapping, motion, made.solution)
    fk = watch(rig, names, len(motion))
    action, made = put(rig, motion, "IK")
    assert (made.reading.plan.limbs, made.reading.plan.warnings) == ("IK", ())
    assert rig.pose.bones["c_foot_ik.r"]["ik_fk_switch"] == 0.0
    angle, off = apart(fk, watch(rig, names, len(motion)))
    assert angle.mean() < 1.0
    assert np.percentile(angle, 95) < 3.0
    assert np.percentile(off, 95) < 5.0
    assert off.max() < 10.0
    remove(rig, action)
    assert rig.pose.bones["c_foot_ik.r"]["ik_fk_switch"] == 0.25  # as it stood before both motions
