"""Bones found by shape on real rigs, with every name replaced by a meaningless one; animals of Rigify refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from mgpt3_blender.errors import RigError
from mgpt3_blender.rig.anatomy import Anatomy, find_body
from mgpt3_blender.rig.tree import Tree, read_tree
from tests import rigs

bpy = pytest.importorskip("bpy")

NOT_A_POSE = {"accad.bvh"}
"""Rigs whose rest is no body: left and right of the arms cannot be seen there."""


def scrambled(tree: Tree) -> tuple[Tree, dict[str, str]]:
    """The same tree with hashes for names, and the way back."""
    names = tuple("b" + hashlib.sha256(name.encode()).hexdigest()[:9] for name in tree.names)
    return replace(tree, names=names), dict(zip(names, tree.names, strict=True))


def without_names(tree: Tree) -> tuple[Anatomy, dict[str, str]]:
    plain, back = scrambled(tree)
    found = find_body(plain)
    return found, {joint: back[bone] for joint, bone in found.bones.items()}


@pytest.mark.parametrize("entry", rigs.shared_rigs(), ids=lambda entry: entry["file"])
@pytest.mark.parametrize("skin", [False, True])
def test_shared_rigs_without_their_names(entry: dict, skin: bool, shared: Path) -> None:
    armature = rigs.load_file(shared / "rigs" / entry["file"], entry["object"]["name"])
    found, bones = without_names(read_tree(armature, skin=skin))
    right = entry.get("mapping_deform") or entry["mapping"]
    accepted = {joint: {bone, *entry["mapping_alt"].get(joint, [])} for joint, bone in right.items()}
    if entry["file"] in NOT_A_POSE:
        middle = [joint for joint in right if joint[1] != "_" or "hip" in joint or "knee" in joint]
        assert all(bones[joint] in accepted[joint] for joint in middle)
        arms = {bones[f"{s}_{joint}"] for s in "lr" for joint in ("shoulder", "elbow", "wrist")}
        assert arms == {right[f"{s}_{joint}"] for s in "lr" for joint in ("shoulder", "elbow", "wrist")}
        assert found.confidence < 0.8
        assert found.warnings
        return
    bad = {joint: (bones.get(joint), want) for joint, want in accepted.items() if bones.get(joint) not in want}
    assert not bad
    assert set(bones) == {joint for joint, bone in right.items() if bone is not None}
    assert found.confidence > 0.75


def test_legs_folded_beside_the_spine(shared: Path) -> None:
    """The zero pose of an iClone BVH has spine, arms and legs side by side; hierarchy and lengths still tell."""
    tree = read_tree(rigs.load_file(shared / "bvh" / "cmu_02_03_run__iclone_cc.bvh"))
    found, bones = without_names(tree)
    limbs = {"hip": "Thigh", "knee": "Calf", "ankle": "Foot", "collar": "Clavicle", "shoulder": "Upperarm",
             "elbow": "Forearm", "wrist": "Hand"}  # fmt: skip
    for joint, name in limbs.items():
        assert {bones[f"l_{joint}"], bones[f"r_{joint}"]} == {f"CC_Base_L_{name}", f"CC_Base_R_{name}"}
    assert (bones["pelvis"], bones["neck"], bones["head"]) == ("CC_Base_Hip", "CC_Base_NeckTwist01", "CC_Base_Head")
    assert found.confidence <= 0.6
    assert len(found.warnings) == 2  # no standing body, and the sides cannot be seen


@pytest.mark.parametrize("animal", ["basic_quadruped", "bird", "cat", "horse", "shark", "wolf"])
def test_animals_are_refused(animal: str) -> None:
    import addon_utils

    addon_utils.enable("rigify", default_set=True)
    getattr(bpy.ops.object, f"armature_{animal}_metarig_add")()
    with pytest.raises(RigError) as caught:
        find_body(read_tree(bpy.context.object))
    assert caught.value.code == "no_body"


@pytest.mark.parametrize("full", [False, True])
def test_rigify_metarigs(full: bool) -> None:
    names = rigs.names_of("Rigify meta-rig")
    _, bones = without_names(read_tree(rigs.metarig(full)))
    assert {joint: names[joint] for joint in bones} == bones
    assert set(bones) == set(names)


def test_generated_rigify_gives_its_deforming_bones() -> None:
    tree = read_tree(rigs.rigify())
    found, bones = without_names(tree)
    assert all(bone.startswith("DEF-") for bone in bones.values())
    assert bones["l_elbow"] == "DEF-forearm.L"
    assert bones["head"] == "DEF-spine.006"
    assert len(found.spine) == 3
    assert len(found.neck) == 2
    assert found.root == scrambled(tree)[0].names[tree.index["root"]]


def test_the_projects_own_figure() -> None:
    names = rigs.names_of("MotionGPT3 mannequin")
    _, bones = without_names(read_tree(rigs.mannequin()))
    assert bones == {joint: names[joint] for joint in bones}
    assert len(bones) == 22
