"""Presets of the user's own: saved, found again, refused, listed when broken, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
import rigs
from maps import mapping, mixamo_bones, names, registered

from mgpt3_blender import bonemap
from mgpt3_blender.errors import UserError
from mgpt3_blender.rig import userpresets
from mgpt3_blender.rig.families import load_presets, match_names
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.tree import read_tree


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registered(tmp_path, monkeypatch):
        yield


def test_a_preset_is_saved_and_found_again() -> None:
    rig, bones = rigs.armature(names("Körper {}"), rigs.heads(45.0)), names("Körper {}")
    spine = tuple(bones[joint] for joint in ("spine1", "spine2", "spine3"))
    bonemap.found(rig, mapping(bones, spine=spine, neck=(bones["neck"],)))
    path = bonemap.save_preset(rig, "  Mein Körper 体 ")
    assert path.parent == bonemap.preset_folder()
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "Mein Körper 体"
    assert [preset.name for preset in bonemap.view.presets] == ["Mein Körper 体"]
    presets, warnings = load_presets([bonemap.preset_folder()])
    assert warnings == []
    best = match_names(read_tree(rig), presets)[0]
    assert best.mapping.preset == "Mein Körper 体"
    assert best.mapping.bones == bones
    assert best.mapping.spine == spine
    assert best.confidence > 0.95
    other = rigs.armature(names("Körper {}"), rigs.heads(10.0))
    assert bpy.ops.mgpt3.bones_load_preset(file=path.name) == {"FINISHED"}
    assert bonemap.read_map(other) == bonemap.overrides(other) == bones
    stranger = rigs.mixamo()
    with pytest.raises(RuntimeError, match="Too few"):
        bpy.ops.mgpt3.bones_load_preset(file=path.name)
    assert bonemap.read_map(stranger) is None


def test_a_preset_keeps_the_switches_of_a_control_rig_and_no_namespace() -> None:
    rig = rigs.rigify()
    found = map_armature(rig)
    bonemap.found(rig, found)
    bonemap.set_bone(rig, "pelvis", "hips")
    bonemap.save_preset(rig, "My Rigify")
    [match] = match_names(read_tree(rig), load_presets([bonemap.preset_folder()])[0][:1])
    assert match.mapping.bones["pelvis"] == "hips"
    assert match.mapping.switches == found.switches
    assert match.mapping.switches
    assert match.mapping.ik == found.ik
    assert "hips" not in match.mapping.also
    hero = rigs.mixamo("hero:")
    bonemap.found(hero, mapping(mixamo_bones("hero:")))
    path = bonemap.save_preset(hero, "Hero")
    assert json.loads(path.read_text(encoding="utf-8"))["joints"]["l_hip"] == "LeftUpLeg"


def test_names_of_presets(tmp_path: Path) -> None:
    bones = mixamo_bones()
    for name in ("", "  \n "):
        with pytest.raises(UserError) as caught:
            userpresets.save(tmp_path, name, bones)
        assert caught.value.code == "preset_name"
    with pytest.raises(UserError) as caught:
        userpresets.save(tmp_path, "mixamo", bones)
    assert caught.value.code == "preset_builtin"
    with pytest.raises(UserError) as caught:
        userpresets.save(tmp_path, "Mine", {})
    assert caught.value.code == "preset_empty"
    odd = ["a/b", "a:b", "..", "CON", "x" * 60, "体" * 60, "A\\..\\B", "é", ".hidden", "Mine", "tab\there"]
    for name in odd:
        path = userpresets.save(tmp_path, name, bones)
        assert path.parent == tmp_path
        assert len(path.name.encode()) < 130
        assert not path.name.startswith(".")
    listed = userpresets.listing(tmp_path)
    assert sorted(preset.name for preset in listed) == sorted(" ".join(name.split()) for name in odd)
    assert len({preset.path for preset in listed}) == len(odd)
    assert not any(preset.problem for preset in listed)
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".json"], "no half file stays"
    for name in ("Mine", " mine", "e\u0301"):
        with pytest.raises(UserError) as caught:
            userpresets.save(tmp_path, name, bones)
        assert caught.value.code == "preset_exists"
    path = userpresets.save(tmp_path, "mine", {"head": "Kopf"}, overwrite=True)
    assert len(userpresets.listing(tmp_path)) == len(odd)
    assert json.loads(path.read_text(encoding="utf-8"))["joints"] == {"head": "Kopf"}


def test_broken_presets_are_listed_with_the_reason(tmp_path: Path) -> None:
    broken = {
        "json": b"{",
        "bytes": b"\xff\xfe\x00",
        "list": b"[]",
        "nameless": b'{"joints": {"head": "Head"}}',
        "boneless": b'{"name": "x"}',
        "joint": b'{"name": "x", "joints": {"tail": "Tail"}}',
        "number": b'{"name": "x", "joints": {"head": 3}}',
        "switch": b'{"name": "x", "joints": {"head": "Head"}, "switches": [{}]}',
    }
    for name, data in broken.items():
        (tmp_path / f"{name}.json").write_bytes(data)
    userpresets.save(tmp_path, "good", {"head": "Head"})
    listed = {preset.path.stem: preset for preset in userpresets.listing(tmp_path)}
    assert {name for name, preset in listed.items() if preset.problem} == set(broken)
    assert all(f'"{name}.json" cannot be used: ' in listed[name].problem for name in broken)
    for name in broken:
        userpresets.delete(tmp_path, f"{name}.json")
    assert [preset.name for preset in userpresets.listing(tmp_path)] == ["good"]
    outside = tmp_path.parent / "outside.json"
    outside.write_text("{}")
    for name in ("nobody.json", "../outside.json", str(outside)):
        with pytest.raises(UserError) as caught:
            userpresets.delete(tmp_path, name)
        assert caught.value.code == "preset_gone"
    assert outside.exists()
    assert userpresets.listing(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "presets").write_text("a file where the folder should be")
    with pytest.raises(UserError) as caught:
        userpresets.save(tmp_path / "presets", "x", {"head": "Head"})
    assert caught.value.code == "preset_unwritable"


def test_preset_operators() -> None:
    rigs.mixamo()
    bpy.ops.mgpt3.bones_find()
    assert bpy.ops.mgpt3.bones_save_preset(name="Mine") == {"FINISHED"}
    with pytest.raises(RuntimeError, match="already"):
        bpy.ops.mgpt3.bones_save_preset(name="mine")
    assert bpy.ops.mgpt3.bones_save_preset(name="mine", overwrite=True) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="no name"):
        bpy.ops.mgpt3.bones_save_preset(name=" ")
    bpy.ops.mgpt3.bones_presets()
    [preset] = bonemap.view.presets
    assert bpy.ops.mgpt3.bones_delete_preset(file=preset.path.name) == {"FINISHED"}
    assert bonemap.view.presets == ()
    assert not preset.path.exists()
    with pytest.raises(RuntimeError, match="no longer there"):
        bpy.ops.mgpt3.bones_delete_preset(file=preset.path.name)
