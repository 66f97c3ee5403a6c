"""What was found in a library is taken onto the character: appended, linked, by its slot, or put on another rig."""

from __future__ import annotations

from pathlib import Path

import bpy
import motions
import numpy as np
import pytest
import rigs
from describable import SLOTS, registered, worker  # noqa: F401 - fixtures
from searchable import (
    assert_moves,
    character,
    described,
    draw,
    index,  # noqa: F401 - a fixture
    library,
)

from mgpt3_blender import action as actions
from mgpt3_blender import search, taking, transfer
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.reading import read_action
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.options import Options
from mgpt3_blender.searching import Found, Query, Search

# ---- libraries


def test_a_library_is_searched_and_its_action_appended(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    other = library(tmp_path / "lib" / "more", "unseen.blend", {"Take 9": "walk"})
    described(path)
    rig = create_mannequin(bpy.context)
    answer = Search(Query("goodbye", True, (tmp_path / "lib",))).finish()
    found = answer.found[0]
    assert (found.action, Path(found.file), found.uid) == ("Take 2", path, 0)
    assert answer.unseen == [other]
    assert "1 file of the libraries" in answer.lacking
    outcome = taking.take(found, rig)
    assert outcome.appended
    action = rig.animation_data.action
    assert action == outcome.action
    assert action.library is None
    assert "moves.blend" in outcome.line
    assert_moves(rig)
    again = taking.take(found, rig)
    assert (again.action, again.appended) == (action, False)  # not appended twice
    assert len([a for a in bpy.data.actions if a.name.startswith("Take 2")]) == 1
    assert len(bpy.data.objects) == 2  # the mannequin and its body: nothing else came along


def test_linked_and_appended_only(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    described(path)
    found = Search(Query("goodbye", False, (tmp_path / "lib",))).finish().found[0]
    outcome = taking.take(found, None, assign=False)
    assert outcome.action.use_fake_user  # else it were gone with the next save
    bpy.data.actions.remove(outcome.action)
    rig = create_mannequin(bpy.context)
    outcome = taking.take(found, rig, link=True)
    assert outcome.action.library is not None
    assert_moves(rig)


def test_an_appended_copy_is_no_second_asset(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    character({"Take 2": "wave"})
    bpy.data.actions["Take 2"].asset_mark()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "lib" / "a.blend"))
    described(tmp_path / "lib" / "a.blend")
    found = Search(Query("goodbye", False, (tmp_path / "lib",))).finish().found[0]
    assert taking.take(found, create_mannequin(bpy.context)).action.asset_data is None


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    described(path)
    assert search.unseen([tmp_path / "lib"]) == []
    library(tmp_path / "lib", clips={"Take 1": "walk", "New": "squat"})
    assert search.unseen([tmp_path / "lib"]) == [path]
    assert Search(Query("a walk", False, (tmp_path / "lib",))).finish().unseen == [path]


def test_what_cannot_be_taken_says_why_and_changes_nothing(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    described(path)
    rig = character({"Take 1": "walk"})
    found = Search(Query("goodbye", False, (tmp_path / "lib",))).finish().found[0]
    before = rig.animation_data.action
    other = rigs.mixamo()
    names = {action.name for action in bpy.data.actions}

    def refused(code: str, *what: object, **how: object) -> None:
        with pytest.raises(UserError) as caught:
            taking.take(*what, **how)  # type: ignore[arg-type]
        assert caught.value.code == code
        assert caught.value.remedy
        assert {action.name for action in bpy.data.actions} == names

    refused("no_character", found, None)
    refused("other_rig", found, other)
    gone = Found("No such", "", 0, str(path), "", (), 0.5, "?")
    refused("action_gone", gone, rig)
    refused("action_gone", Found("No such", "", 0, "", "", (), 0.5, "?"), rig)
    refused("file_gone", Found("Take 2", "", 0, str(tmp_path / "no.blend"), "", (), 0.5, "?"), rig)
    (tmp_path / "broken.blend").write_bytes(b"this is no blend file")
    refused("file_unreadable", Found("Take 2", "", 0, str(tmp_path / "broken.blend"), "", (), 0.5, "?"), rig)
    assert rig.animation_data.action == before


@pytest.mark.parametrize("where", ["this file", "a library"])
def test_a_motion_of_another_rig_is_put_on_the_character(tmp_path: Path, where: str) -> None:
    clip = motions.wave(3.0)
    if where == "a library":
        described(library(tmp_path / "lib", make="mixamo"))
    else:
        character(make="mixamo")
        search.Indexing(True, []).finish()
    found = Search(Query("goodbye", where != "a library", (tmp_path / "lib",))).finish().found[0]
    hero = create_mannequin(bpy.context)
    bpy.context.view_layer.objects.active = hero
    with pytest.raises(UserError) as caught:
        taking.take(found, hero)
    assert caught.value.code == "other_rig"
    before = {name: len(getattr(bpy.data, name)) for name in ("objects", "armatures", "meshes", "libraries", "scenes")}
    outcome = transfer.transfer(found, hero, bpy.context.scene, Options(foot_lock=False))
    assert {name: len(getattr(bpy.data, name)) for name in before} == before  # nothing of the other file stays
    assert hero.animation_data.action == outcome.action
    assert outcome.action.library is None
    assert "Take 2" in outcome.action[transfer.FROM]
    read = read_action(hero, bpy.context.scene).joints
    count = min(len(read), len(clip))
    apart = np.linalg.norm(read[:count] - clip[:count], axis=-1)
    assert np.median(apart) < 0.06  # metres, of two bodies of different build
    wrists = read[20:count, [20, 21], 1].mean(0)
    assert wrists[1] - wrists[0] > 0.4  # it is still the right hand that waves


def test_put_on_the_character_from_the_panel() -> None:
    character(make="mixamo")
    bpy.ops.mgpt3.search_index()
    hero = create_mannequin(bpy.context)
    bpy.context.view_layer.objects.active = hero
    bpy.context.scene.mgpt3.character = hero
    settings = bpy.context.scene.mgpt3_search
    settings.scope, settings.query = "FILE", "goodbye"
    bpy.ops.mgpt3.search()
    with pytest.raises(RuntimeError, match="does not have"):
        bpy.ops.mgpt3.search_take()
    assert draw().operators.count("mgpt3.search_take") == 2  # assign, and the remedy
    bpy.ops.ed.undo_push(message="before")
    name = hero.name
    assert bpy.ops.mgpt3.search_take("EXEC_DEFAULT", True, retarget=True) == {"FINISHED"}
    assert_moves(hero)
    count = len(bpy.data.actions)
    bpy.ops.ed.undo()
    hero = bpy.data.objects[name]
    assert hero.animation_data is None or hero.animation_data.action is None
    assert len(bpy.data.actions) == count - 1


# ---- slots


@pytest.mark.skipif(not SLOTS, reason="slots came with Blender 4.4")
def test_an_action_of_two_characters_is_two_motions(tmp_path: Path) -> None:
    first = character({"Both": "walk"})
    action = first.animation_data.action
    second = rigs.mixamo()
    apply_motion(second, motions.wave(3.0), scene=bpy.context.scene, name="Second", start_frame=1.0,
                 options=Options(foot_lock=False))  # fmt: skip
    slot = action.slots.new(id_type="OBJECT", name="Waver")
    bag = action.layers[0].strips[0].channelbag(slot, ensure=True)
    for curve in actions.fcurves(second.animation_data.action, second):
        copy = bag.fcurves.new(curve.data_path, index=curve.array_index)
        co = np.empty(len(curve.keyframe_points) * 2, np.float32)
        curve.keyframe_points.foreach_get("co", co)
        copy.keyframe_points.add(len(co) // 2)
        copy.keyframe_points.foreach_set("co", co)
        copy.update()
    data = second.animation_data
    alone, data.action = data.action, None
    bpy.data.actions.remove(alone)
    search.Indexing(True, []).finish()
    found = Search(Query("goodbye")).finish().found
    assert [(one.action, one.slot) for one in found] == [("Both", "Waver"), ("Both", action.slots[0].name_display)]
    outcome = taking.take(found[0], second)
    assert second.animation_data.action_slot == slot  # not the first one, which is the other character's
    assert outcome.action == action
    assert_moves(second)


@pytest.mark.skipif(not SLOTS, reason="slots came with Blender 4.4")
def test_a_slot_made_for_another_object_is_played() -> None:
    first = character({"Take 1": "walk"})
    second = create_mannequin(bpy.context)
    taking.play(second, first.animation_data.action)
    assert second.animation_data.action_slot is not None
    assert_moves(second)


@pytest.mark.skipif(not SLOTS, reason="slots came with Blender 4.4")
def test_a_slot_from_a_library_is_read_on_the_librarys_own_character(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    rig = character({"Both": "wave"})
    action = bpy.data.actions["Both"]
    slot = action.slots[0].name_display
    bag = action.layers[0].strips[0].channelbag(action.slots.new(id_type="OBJECT", name="Other"), ensure=True)
    bag.fcurves.new('pose.bones["hips"].location', index=0).keyframe_points.insert(1.0, 0.0)
    rig.animation_data_clear()  # nobody plays it
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "lib" / "both.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    own = create_mannequin(bpy.context)
    own.name = "AAA"  # comes first in this file, and has the same bones
    found = Found("Both", slot, 0, str(tmp_path / "lib" / "both.blend"), "", (), 0.5, "?")
    with transfer._made_for(found) as (_, _, armature):
        assert armature != own
