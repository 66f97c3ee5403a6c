"""Which bone plays which joint: families, prefixes, near misses, errors. Names only, no Blender."""

from __future__ import annotations

import pytest

from mgpt3_blender.errors import RigError, UserError
from mgpt3_blender.rig.mapping import match, presets
from mgpt3_blender.rig.skeleton22 import INDEX, JOINTS, NEEDED, PARENTS
from tests import rigs

TREES = [preset for preset in presets() if not preset["deform"]]


def tree(names: dict[str, str], prefix: str = "") -> dict[str, str | None]:
    """Bone -> parent for one bone a joint."""
    out: dict[str, str | None] = {}
    for joint in [j for j in JOINTS if j in names]:
        above = PARENTS[INDEX[joint]]
        while above >= 0 and JOINTS[above] not in names:
            above = PARENTS[above]
        out[prefix + names[joint]] = prefix + names[JOINTS[above]] if above >= 0 else None
    return out


@pytest.mark.parametrize("preset", presets(), ids=lambda p: p["name"])
def test_a_preset_is_complete_and_no_bone_plays_two_joints(preset):
    joints = preset["joints"]
    assert set(NEEDED) <= set(joints)
    first = [names[0] for names in joints.values()]
    assert len(set(first)) == len(first)
    assert set(preset["deform"]) <= set(joints)
    assert all("{side}" not in name for names in joints.values() for name in names)


@pytest.mark.parametrize("preset", TREES, ids=lambda p: p["name"])
@pytest.mark.parametrize("prefix", ["", "hero:", "Armature|"])
def test_each_family_is_recognised_with_and_without_a_namespace(preset, prefix):
    names = rigs.names_of(preset["name"])
    mapping = match(tree(names, prefix))
    assert mapping.bones == {joint: prefix + name for joint, name in names.items()}
    assert mapping.confidence > 0.95
    assert mapping.deform == mapping.bones
    if prefix == "":
        assert mapping.preset == preset["name"]


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "mixamorig1:", "mixamorig12_", "mixamorig"])
def test_mixamo_with_any_prefix(prefix):
    mapping = match(tree(rigs.names_of("Mixamo"), prefix))
    assert mapping.preset == "Mixamo"
    assert mapping.bones["l_elbow"] == prefix + "LeftForeArm"


def test_capitals_and_separators_do_not_matter():
    names = {joint: name.upper().replace("_", " ") for joint, name in rigs.names_of("Unreal mannequin").items()}
    assert match(tree(names)).bones == names


def test_a_leg_is_not_a_thigh():
    """ "LeftLeg" is Mixamo's shin, "Left leg" VRChat's thigh."""
    assert match(tree(rigs.names_of("Mixamo"))).bones["l_knee"] == "LeftLeg"
    assert match(tree(rigs.names_of("VRChat / CATS"))).bones["l_hip"] == "Left leg"


def test_collars_neck_and_toes_are_optional():
    names = rigs.names_of("Mixamo")
    for joint in ("l_collar", "r_collar", "neck", "l_foot", "r_foot", "spine3"):
        del names[joint]
    mapping = match(tree(names))
    assert mapping.preset == "Mixamo"
    assert set(mapping.missing) == {"l_collar", "r_collar", "neck", "l_foot", "r_foot", "spine3"}
    assert mapping.confidence < 0.9


def test_unknown_names_are_an_error_that_says_what_is_known():
    with pytest.raises(RigError) as error:
        match(tree({joint: f"Bone.{i:03d}" for i, joint in enumerate(JOINTS)}))
    assert error.value.code == "unknown_rig"
    assert "Mixamo" in error.value.remedy
    assert isinstance(error.value, UserError)
    with pytest.raises(RigError):
        match({})


def test_a_rig_without_a_forearm_names_what_is_missing():
    names = rigs.names_of("Mixamo")
    del names["l_elbow"]
    with pytest.raises(RigError) as error:
        match(tree(names))
    assert error.value.code == "missing_bones"
    assert "l_elbow" in error.value.message


def test_names_that_do_not_hang_together_are_no_rig():
    flat: dict[str, str | None] = dict.fromkeys(rigs.names_of("Mixamo").values())
    with pytest.raises(RigError) as error:
        match(flat)
    assert error.value.code == "unknown_rig"
