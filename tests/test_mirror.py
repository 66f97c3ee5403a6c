"""The bone map's other side: by names in many spellings, and by place where names say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
import rigs
from maps import mapping, mixamo_bones, names, registered

from mgpt3_blender import bonemap
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.mirror import mirrored
from mgpt3_blender.rig.skeleton22 import JOINTS
from mgpt3_blender.rig.tree import read_tree

LEFT = [joint for joint in JOINTS if joint.startswith("l_")]


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registered(tmp_path, monkeypatch):
        yield


FAMILIES = {
    "Mixamo": lambda: (rigs.mixamo(), mixamo_bones()),
    "Unreal": lambda: (
        rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(45.0)),
        rigs.names_of("Unreal mannequin"),
    ),
    "Biped": lambda: (
        rigs.armature(named("Bip01 {} {}", "L", "R"), rigs.heads(45.0)),
        named("Bip01 {} {}", "L", "R"),
    ),
    "lower case before a capital": lambda: (
        rigs.armature(named("{}{}", "l", "r"), rigs.heads(45.0)),
        named("{}{}", "l", "r"),
    ),
    "Japanese": lambda: (rigs.armature(named("{}{}", "左", "右"), rigs.heads(45.0)), named("{}{}", "左", "右")),
    "Spanish": lambda: (
        rigs.armature(named("{1} {0}", "izquierdo", "derecho"), rigs.heads(45.0)),
        named("{1} {0}", "izquierdo", "derecho"),
    ),
    "Rigify meta-rig": lambda: rig_of(rigs.metarig()),
    "Rigify": lambda: rig_of(rigs.rigify()),
    "nothing in the names": lambda: (rigs.armature(names(), rigs.heads(45.0)), names()),
    "nothing, rolled and Y up": lambda: (
        rigs.armature(names(), rigs.heads(10.0), data_axes=rigs.Y_UP, scale=0.01, rolls=2, root="bone 99"),
        names(),
    ),
}


def named(pattern: str, left: str, right: str) -> dict[str, str]:
    """Joint -> a name in which the side is told in the pattern's way; the parts are called by capital words."""
    parts = {joint: joint[2:].capitalize() if joint[1] == "_" else joint.capitalize() for joint in JOINTS}
    sides = {"l": left, "r": right}
    return {j: pattern.format(sides[j[0]], part) if j[1] == "_" else part for j, part in parts.items()}


def rig_of(armature: bpy.types.Object) -> tuple[bpy.types.Object, dict[str, str]]:
    return armature, map_armature(armature).bones


def listed_rigs() -> list:
    """Every shared rig; one parameter that skips where there are none."""
    entries = rigs.shared_rigs()
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="needs ../shared/rigs"), id="none")]
    return [pytest.param(entry, id=entry["file"]) for entry in entries]


@pytest.mark.parametrize("entry", listed_rigs())
def test_mirror_on_real_characters_by_name_and_by_place(entry: dict) -> None:
    path = rigs.SHARED / "rigs" / entry["file"]
    rig = rigs.load_file(path, entry["armature_object"] if path.suffix == ".blend" else None)
    tree = read_tree(rig)
    true = {joint: bone for joint, bone in entry["mapping"].items() if bone}
    expected = {joint: bone for joint, bone in true.items() if joint.startswith("r_")}
    known = {joint: bone for joint, bone in true.items() if not joint.startswith("r_")}
    assert mirrored(tree, known, "l", bpy.utils.flip_name) == expected
    if path.name == "accad.bvh":
        return  # its rest is no pose: there is nothing that mirrors
    plain = replace(tree, names=tuple(f"b{i}" for i in range(len(tree.names))))
    new = dict(zip(tree.names, plain.names, strict=True))
    wanted = {joint: new[bone] for joint, bone in expected.items()}
    for given in (known, {joint: bone for joint, bone in known.items() if joint.startswith("l_")}):
        assert mirrored(plain, {joint: new[bone] for joint, bone in given.items()}, "l") == wanted


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", ["l", "r"])
def test_mirror(family: str, source: str) -> None:
    rig, bones = FAMILIES[family]()
    side = [joint for joint in bones if joint.startswith(f"{source}_")]
    middle = [joint for joint in bones if joint[1] != "_"]
    bonemap.store_map(rig, {joint: bones[joint] for joint in (*side, *middle)})
    changed, without = bonemap.mirror_map(rig, source)
    assert without == []
    assert len(changed) == len(side) >= 7
    assert bonemap.read_map(rig) == bones
    assert bonemap.mirror_map(rig, source) == ([], [])


def test_mirror_without_a_middle_and_with_twist_bones_at_the_same_places() -> None:
    bones = names()
    rig = rigs.armature(bones, rigs.heads(45.0))
    bpy.ops.object.mode_set(mode="EDIT")
    for joint in ("l_shoulder", "r_shoulder", "l_hip", "r_hip"):  # alike in head, parent and direction
        one = rig.data.edit_bones[bones[joint]]
        twist = rig.data.edit_bones.new(f"a{bones[joint]}")
        twist.head, twist.tail, twist.parent = one.head, one.head.lerp(one.tail, 0.5), one.parent
    bpy.ops.object.mode_set(mode="OBJECT")
    bonemap.store_map(rig, {joint: bones[joint] for joint in LEFT})
    assert bonemap.mirror_map(rig)[1] == []
    assert bonemap.read_map(rig) == {joint: bone for joint, bone in bones.items() if joint[1] == "_"}


def test_mirror_says_what_has_no_counterpart_and_leaves_it() -> None:
    positions, bones = rigs.heads(45.0), names()
    for joint in ("r_wrist", "r_elbow"):
        positions[joint] = positions[joint] + [-2.0, 0.0, 1.0]  # a tentacle
    rig = rigs.armature(bones, positions)
    bonemap.found(rig, mapping(bones))
    changed, without = bonemap.mirror_map(rig)
    assert sorted(without) == ["r_elbow", "r_wrist"]
    assert changed == []
    assert bonemap.read_map(rig) == bones
    rig.mgpt3_bones.l_foot = ""
    assert bonemap.mirror_map(rig)[0] == ["r_foot"], "toes left out on one side are left out on the other"
    assert bonemap.left_out(rig) == {"l_foot", "r_foot"}


def test_swap_sides() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    bonemap.found(rig, mapping({joint: bone for joint, bone in bones.items() if joint not in ("l_collar", "r_wrist")}))
    assert bpy.ops.mgpt3.bones_mirror(source="SWAP") == {"FINISHED"}
    now = bonemap.read_map(rig)
    assert now["l_knee"] == bones["r_knee"]
    assert now["r_elbow"] == bones["l_elbow"]
    assert now["pelvis"] == bones["pelvis"]
    assert "r_collar" in bonemap.left_out(rig)
    assert "l_wrist" not in bonemap.overrides(rig)
    assert "l_wrist" not in bonemap.left_out(rig)
    assert now["r_wrist"] == bones["l_wrist"]
