"""Search: content keys, and actions of this file found by what they show."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from describable import SLOTS, registered, worker  # noqa: F401 - fixtures
from searchable import (
    best,
    character,
    index,  # noqa: F401 - a fixture
    key_of,
    slot_of,
)

from mgpt3_blender import action as actions
from mgpt3_blender import bonemap, finding, jobs, search, searching
from mgpt3_blender.errors import UserError
from mgpt3_blender.finding import content_key
from mgpt3_blender.motionindex import Index, stamp_of
from mgpt3_blender.searching import Query, Search

# ---- the content key


def test_a_key_is_of_the_motion_not_of_its_names(tmp_path: Path) -> None:
    rig = character({"Walk": "walk", "Wave": "wave"})
    walk, wave = bpy.data.actions["Walk"], bpy.data.actions["Wave"]
    key = key_of("Walk", rig)
    assert key != key_of("Wave", rig)
    copy = walk.copy()
    assert content_key(copy, slot_of(copy), rig) == key
    walk.name, rig.name, bpy.context.scene.name = "Renamed", "Hero", "Other"
    assert content_key(walk, slot_of(walk), rig) == key
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert key_of("Renamed", bpy.data.objects["Hero"]) == key
    assert wave is not None


def test_curves_baked_to_samples_have_keys_of_their_own() -> None:
    rig = character({"Walk": "walk", "Wave": "wave"})
    keyed = key_of("Walk", rig)
    for name in ("Walk", "Wave"):
        for curve in actions.fcurves(bpy.data.actions[name], rig):
            curve.convert_to_samples(1, 60)
            assert not len(curve.keyframe_points)
    assert len({key_of("Walk", rig), key_of("Wave", rig), keyed}) == 3


@pytest.mark.parametrize("change", ["key", "handle", "range", "mute", "modifier", "fps", "rest", "constraint", "map"])
def test_a_key_changes_with_what_the_motion_depends_on(change: str) -> None:
    rig = character({"Walk": "walk"})
    action = bpy.data.actions["Walk"]
    before = key_of("Walk", rig)
    curve = actions.fcurves(action, rig)[5]
    if change == "key":
        curve.keyframe_points[7].co.y += 0.01
    elif change == "handle":
        for point in curve.keyframe_points:
            point.interpolation = "BEZIER"
        between = key_of("Walk", rig)
        assert between != before
        curve.keyframe_points[7].handle_left.y += 0.1
        assert key_of("Walk", rig) != between
    elif change == "range":
        action.use_frame_range, action.frame_end = True, 20
    elif change == "mute":
        curve.mute = True
    elif change == "modifier":
        curve.modifiers.new("NOISE")
        between = key_of("Walk", rig)
        assert between != before
        curve.modifiers[0].strength = 3
        assert key_of("Walk", rig) != between
    elif change == "fps":
        bpy.context.scene.render.fps = 60
    elif change == "rest":
        bpy.ops.object.mode_set(mode="EDIT")
        rig.data.edit_bones[3].tail.x += 0.1
        bpy.ops.object.mode_set(mode="OBJECT")
    elif change == "constraint":
        rig.pose.bones[3].constraints.new("LIMIT_ROTATION")
    else:
        bonemap.store_map(rig, {"head": rig.data.bones[0].name})
    assert key_of("Walk", rig) != before


def test_a_key_takes_some_milliseconds(within: Callable[..., None]) -> None:
    rig = character({"Walk": "walk"})
    frames = np.arange(200)
    rng = np.random.default_rng(0)
    curves = {f'pose.bones["{b.name}{n}"].rotation_quaternion': rng.random((200, 4)) for b in rig.pose.bones for n in "abc"}  # fmt: skip  # noqa: E501
    action = actions.write_keys(rig, "Many", frames, curves)
    slot = rig.animation_data.action_slot if SLOTS else None
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        content_key(action, slot, rig)
        taken.append(time.perf_counter() - began)
    within(min(taken), 0.1, f"content key of {len(curves) * 4} curves of 200 keys")


# ---- this file


def test_meaning_finds_what_names_do_not_say() -> None:
    character()
    answer = Search(Query("goodbye")).finish()
    assert answer.searched == 0
    assert answer.undescribed == 4
    assert "4 motions" in answer.lacking
    search.Indexing(True, []).finish()
    assert best("goodbye")[0] == "Take 2"
    assert best("leap up into the air")[0] == "Take 3"
    assert best("strolling")[0] == "Take 1"
    answer = Search(Query("someone waves")).finish()
    assert answer.searched == 4
    assert answer.lacking == ""
    assert answer.found[0].uid == bpy.data.actions["Take 2"].session_uid
    assert [one.score for one in answer.found] == sorted((one.score for one in answer.found), reverse=True)


def test_describing_for_the_search_writes_nothing(tmp_path: Path) -> None:
    rig = character({"Take 1": "walk"})
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    before = sorted((data.name, data.users, tuple(data.keys())) for data in bpy.data.actions)
    search.Indexing(True, []).finish()
    assert sorted((data.name, data.users, tuple(data.keys())) for data in bpy.data.actions) == before
    assert rig.animation_data.action.asset_data is None


def test_an_edited_action_is_another_motion_until_the_edit_is_undone() -> None:
    rig = character({"Take 1": "walk", "Take 2": "wave"})
    search.Indexing(True, []).finish()
    bpy.ops.ed.undo_push(message="before")
    played = rig.animation_data.action.name
    rig.pose.bones[3].keyframe_insert("location", frame=20)
    bpy.context.view_layer.update()
    bpy.ops.ed.undo_push(message="edited")
    answer = Search(Query("someone waves")).finish()
    assert answer.undescribed == 1
    assert played not in [one.action for one in answer.found]
    bpy.ops.ed.undo()
    answer = Search(Query("someone waves")).finish()
    assert answer.undescribed == 0
    assert len(answer.found) == 2


def test_renamed_deleted_and_new_actions() -> None:
    character({"Take 1": "walk", "Take 2": "wave"})
    search.Indexing(True, []).finish()
    bpy.data.actions["Take 2"].name = "Hello"
    assert best("someone waves")[0] == "Hello"
    copy = bpy.data.actions["Hello"].copy()
    found = Search(Query("someone waves")).finish().found
    assert found[0].action in ("Hello", copy.name)
    assert found[0].others == 1  # the same motion twice is one line
    bpy.data.actions.remove(bpy.data.actions["Hello"])
    found = Search(Query("someone waves")).finish().found
    assert (found[0].action, found[0].others) == (copy.name, 0)


def test_what_cannot_be_described_is_not_missing() -> None:
    rig = character({"Take 1": "walk"})
    pose = actions.new_action("Pose")
    actions.bind_action(rig, pose)
    for bone in rig.pose.bones:
        bone.keyframe_insert("rotation_quaternion", frame=1)
    thing = bpy.data.objects.new("Thing", None)
    bpy.context.scene.collection.objects.link(thing)
    thing.keyframe_insert("location", frame=1)
    search.Indexing(True, []).finish()
    answer = Search(Query("a walk")).finish()
    assert (answer.searched, answer.undescribed, answer.lacking) == (1, 0, "")


def test_a_file_is_known_after_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    character({"Take 1": "walk", "Take 2": "wave"})
    search.Indexing(True, []).finish()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    Search(Query("a walk")).finish()
    bpy.ops.wm.save_mainfile()
    assert finding.index().stamp(tmp_path / "a.blend") == stamp_of(tmp_path / "a.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    asked = []
    monkeypatch.setattr(finding, "content_key", lambda *a: asked.append(a) or "?")
    assert best("someone waves")[0] == "Take 2"
    assert not asked  # the index has seen this very file


def test_a_copy_saved_elsewhere_says_nothing_of_the_open_file(tmp_path: Path) -> None:
    rig = character({"Take 1": "walk"})
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    Search(Query("a walk")).finish()
    rig.pose.bones[3].keyframe_insert("location", frame=20)
    bpy.context.view_layer.update()
    Search(Query("a walk")).finish()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "b.blend"), copy=True)
    assert finding.index().stamp(tmp_path / "a.blend") != stamp_of(tmp_path / "a.blend")


@pytest.mark.parametrize(
    "reply", [None, {}, {"vectors": [], "meanings": [], "embedder": "m"}, {"vectors": [[1], [2]], "meanings": [[1]]}]
)
def test_an_answer_that_is_none(reply: object) -> None:
    with pytest.raises(UserError) as caught:
        searching._words(reply)
    assert caught.value.code == "bad_answer"


def test_ten_thousand_actions_take_a_few_hundred_milliseconds(
    index: Index,  # noqa: F811
    tmp_path: Path,
    within: Callable[..., None],
) -> None:
    """From the press of the button to the list, the worker warm, the index read anew."""
    folder = tmp_path / "lib"
    folder.mkdir()
    words = jobs.worker().wait(jobs.worker().request("embed_text", {"texts": ["a person walks"]}))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10_000, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    about = {"sentence": "a person walks", "tags": ["walk"], "embedder": words["embedder"]}
    rows = [
        (f"{i:032x}", "m", "{}", f"a person walks {i % 900}", "walk", about["embedder"], vectors[i].tobytes(),
         np.float32(words["meanings"][0]).tobytes())
        for i in range(10_000)
    ]  # fmt: skip
    index._do(lambda db: db.executemany("INSERT INTO described VALUES (?,?,?,?,?,?,?,?)", rows), write=True)
    for n in range(100):
        index.look(folder / f"{n}.blend", "1", [(f"Action.{i:05d}", "", f"{i:032x}") for i in range(n * 100, n * 100 + 100)])  # fmt: skip  # noqa: E501
    taken = []
    run = Search(Query("warm up", False, (folder,)))
    run.finish()
    for text in ("sneaky walk turning left", "zombie", "a person jumps over something"):
        began = time.perf_counter()
        answer = Search(Query(text, False, (folder,))).finish()
        taken.append(time.perf_counter() - began)
        assert answer.searched == 10_000
    within(min(taken), 1.0)
