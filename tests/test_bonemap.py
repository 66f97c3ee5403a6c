"""The bone map on the armature: what is found, what is set by hand, and that it travels with the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
import rigs
from maps import mapping, mixamo_bones, names, registered, rename, stored

from mgpt3_blender import bonemap, properties_rig
from mgpt3_blender.errors import RigError
from mgpt3_blender.rig.mapping import best_mapping, map_armature
from mgpt3_blender.rig.skeleton22 import JOINTS, NEEDED


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registered(tmp_path, monkeypatch):
        yield


def test_a_map_is_stored_and_read() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    assert bonemap.read_map(rig) is None
    assert bonemap.overrides(rig) == {}
    assert bonemap.problem(rig) is None
    bonemap.found(rig, mapping(bones, confidence=0.9, spine=(bones["spine1"], "Ж"), source="shape", warnings=("Odd.",)))
    assert bonemap.read_map(rig) == bones
    assert bonemap.overrides(rig) == {}, "what was found is not set by hand"
    assert bonemap.texts(rig.mgpt3_bones.spine_chain) == [bones["spine1"], "Ж"]
    assert bonemap.summary(rig) == "Test, by shape, 90 % sure"
    bonemap.set_bone(rig, "l_wrist", bones["l_elbow"])
    assert bonemap.overrides(rig) == {"l_wrist": bones["l_elbow"]}
    bonemap.found(rig, mapping(bones))
    assert bonemap.read_map(rig)["l_wrist"] == bones["l_elbow"], "finding leaves what was set by hand"
    bonemap.release(rig, "l_wrist")
    assert bonemap.overrides(rig) == {}
    bonemap.found(rig, mapping(bones))
    assert bonemap.read_map(rig) == bones
    bonemap.store_map(rig, {"pelvis": bones["pelvis"]})
    assert bonemap.read_map(rig) == bonemap.overrides(rig) == {"pelvis": bones["pelvis"]}
    bonemap.clear_map(rig)
    assert bonemap.read_map(rig) is None
    assert not any(stored(rig)["by_hand"])
    with pytest.raises(RigError, match="no bone"):
        bonemap.set_bone(rig, "head", "nobody")


def test_an_edit_in_the_panel_is_the_animators_own() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    bonemap.found(rig, mapping(bones, root="Reference"))
    rig.mgpt3_bones.l_foot = bones["l_ankle"]  # what the search field does
    rig.mgpt3_bones.r_foot = ""
    rig.mgpt3_bones.head = ""
    rig.mgpt3_bones.root = ""
    assert bonemap.overrides(rig) == {"l_foot": bones["l_ankle"]}
    assert bonemap.left_out(rig) == {"r_foot"}, "toes may be left out, a head is looked for again"
    assert bonemap.root_override(rig) == ""
    bonemap.found(rig, mapping(bones, root="Reference"))
    now = bonemap.read_map(rig)
    assert (now["head"], now["l_foot"], now.get("r_foot")) == (bones["head"], bones["l_ankle"], None)
    assert rig.mgpt3_bones.root == ""
    together = best_mapping(rig).bones
    assert together["l_foot"] == bones["l_ankle"]
    assert "l_ankle" not in together, "a bone set by hand plays no other part"
    assert "r_foot" not in together
    assert list(together) == [joint for joint in JOINTS if joint in together]
    bonemap.release(rig, "root")
    assert bonemap.root_override(rig) is None


def test_states() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    assert bonemap.state(rig, "head") == "MISSING"
    assert bonemap.state(rig, "l_collar") == bonemap.state(rig, "neck") == bonemap.state(rig, "r_foot") == "OPTIONAL"
    assert bonemap.state(rig, "spine1") == "MISSING"
    assert bonemap.state(rig, "spine2") == "OPTIONAL", "one bone of the spine is enough"
    bonemap.found(rig, mapping(bones, confidence=0.95))
    assert set(bonemap.states(rig).values()) == {"OK"}
    bonemap.found(rig, mapping(bones, confidence=0.6))
    assert set(bonemap.states(rig).values()) == {"GUESSED"}
    bonemap.set_bone(rig, "l_knee", bones["l_knee"])
    assert bonemap.state(rig, "l_knee") == "OK", "what an animator chose is no guess"
    bonemap.found(rig, mapping({j: b for j, b in bones.items() if j not in ("spine1", "spine3")}, confidence=1.0))
    assert bonemap.state(rig, "spine1") == "OPTIONAL"
    bonemap.set_bone(rig, "r_knee", bones["l_knee"])
    assert bonemap.state(rig, "l_knee") == bonemap.state(rig, "r_knee") == "DOUBLE"
    assert bonemap.problem(rig).code == "bones_double"
    bonemap.release(rig, "r_knee")
    bonemap.found(rig, mapping(bones))
    assert bonemap.problem(rig) is None
    rename(rig, bones["l_knee"], "was renamed")
    assert bonemap.state(rig, "l_knee") == "GONE"
    problem = bonemap.problem(rig)
    assert problem.code == "bones_gone"
    assert bones["l_knee"] in problem.message
    assert bonemap.overrides(rig) == {}, "a bone that is gone drives nothing"
    rename(rig, "was renamed", bones["l_knee"])
    assert bonemap.problem(rig) is None
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.remove(rig.data.edit_bones[bones["r_wrist"]])
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bonemap.state(rig, "r_wrist") == "GONE"
    assert bonemap.problem(rig) is None, "it was found, so it is looked for again by itself"


def test_only_what_is_needed_is_asked_for() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    without = ("l_collar", "r_collar", "l_foot", "r_foot", "neck", "spine2", "spine3")
    bonemap.found(rig, mapping({joint: bone for joint, bone in bones.items() if joint not in without}))
    assert bonemap.problem(rig) is None
    for joint in (*NEEDED, "spine1"):
        bonemap.found(rig, mapping({j: b for j, b in bones.items() if j != joint and j not in without}))
        assert bonemap.problem(rig).code == "bones_missing"
        assert bonemap.LABELS[joint] in bonemap.problem(rig).message


def test_the_map_travels_with_the_file(tmp_path: Path) -> None:
    rig, bones = rigs.armature(names("骨 {}"), rigs.heads(30.0)), names("骨 {}")
    rig.name = "Héros"
    bonemap.found(rig, mapping(bones, confidence=0.7, root="骨 0", spine=(bones["spine1"], bones["spine2"])))
    bonemap.set_bone(rig, "l_wrist", bones["l_elbow"])
    rig.mgpt3_bones.r_foot = ""
    before = stored(rig)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    rig = bpy.data.objects["Héros"]
    assert stored(rig) == before
    assert bonemap.overrides(rig) == {"l_wrist": bones["l_elbow"]}
    assert bonemap.left_out(rig) == {"r_foot"}


def test_copies_have_maps_of_their_own() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    bonemap.found(rig, mapping(bones))
    copy = rig.copy()
    bonemap.set_bone(copy, "head", bones["neck"])
    assert bonemap.overrides(rig) == {}
    assert bonemap.read_map(copy)["head"] == bones["neck"]


def test_a_library_override_keeps_a_map_of_its_own(tmp_path: Path) -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    rig.name = rig.data.name = "Hero"
    bonemap.found(rig, mapping(bones))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = ["Hero"]
    linked = bpy.data.objects["Hero"]
    assert bonemap.locked(linked)
    assert bonemap.read_map(linked) == bones, "the map comes along with the character"
    for change in (lambda: bonemap.set_bone(linked, "head", ""), lambda: bonemap.clear_map(linked)):
        with pytest.raises(RigError) as caught:
            change()
        assert caught.value.code == "linked_armature"
    assert not bonemap.found(linked, mapping({}))
    own = linked.override_create()
    bpy.context.scene.collection.objects.link(own)
    assert not bonemap.locked(own)
    bonemap.set_bone(own, "head", bones["neck"])
    own.mgpt3_bones.l_foot = ""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    own = next(o for o in bpy.data.objects if o.override_library)
    assert bonemap.overrides(own) == {"head": bones["neck"]}
    assert bonemap.left_out(own) == {"l_foot"}
    assert bonemap.read_map(own)["l_knee"] == bones["l_knee"]


def test_undo_and_redo() -> None:
    rig, bones = rigs.mixamo(), mixamo_bones()
    name = rig.name
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.mgpt3.bones_find("EXEC_DEFAULT", True) == {"FINISHED"}  # True: with the undo step of its own
    after = stored(bpy.data.objects[name])
    rig = bpy.data.objects[name]
    rig.data.bones.active = rig.data.bones[bones["neck"]]
    bpy.ops.mgpt3.bones_pick("EXEC_DEFAULT", True, joint="head")
    bpy.ops.ed.undo()
    assert stored(bpy.data.objects[name]) == after
    bpy.ops.ed.undo()
    assert bonemap.read_map(bpy.data.objects[name]) is None
    bpy.ops.ed.redo()
    assert stored(bpy.data.objects[name]) == after
    bpy.ops.ed.redo()
    assert bonemap.overrides(bpy.data.objects[name]) == {"head": bones["neck"]}
    bpy.ops.mgpt3.bones_reset("EXEC_DEFAULT", True)
    assert bonemap.read_map(bpy.data.objects[name]) is None
    bpy.ops.ed.undo()
    assert bonemap.overrides(bpy.data.objects[name]) == {"head": bones["neck"]}


def test_without_the_add_on_there_is_no_map_and_no_error() -> None:
    rig = rigs.mixamo()
    bonemap.found(rig, mapping(mixamo_bones()))
    properties_rig.unregister()
    try:
        assert bonemap.read_map(rig) is None
        assert bonemap.overrides(rig) == {}
        assert bonemap.left_out(rig) == set()
        assert bonemap.root_override(rig) is None
        assert map_armature(rig).bones == mixamo_bones()
        assert not bonemap.found(rig, mapping(mixamo_bones()))
    finally:
        properties_rig.register()
