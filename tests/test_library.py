"""Describing many actions of a file: rows, metadata, slots, cache, with the real core."""

from __future__ import annotations

from pathlib import Path

import bpy
import pytest
from libraries import (
    DESCRIPTION,
    character,
    index,  # noqa: F401 - fixture
    load,
    registered,  # noqa: F401 - fixture
    save,
    texts,
    worker,  # noqa: F401 - fixture
)

from mgpt3_blender import action as actions
from mgpt3_blender import finding, jobs, metadata, rows
from mgpt3_blender.described import Options
from mgpt3_blender.describing import Run
from mgpt3_blender.errors import UserError
from mgpt3_blender.motionindex import Index

SLOTS = "slots" in bpy.types.Action.bl_rna.properties


def described(**how: object) -> dict[str, rows.Row]:
    run = Run(**how)  # type: ignore[arg-type]
    return {row["action"]: row for row in run.finish()}


def move_object(name: str = "Camera") -> bpy.types.Action:
    thing = bpy.data.objects.new(name, None)
    bpy.context.scene.collection.objects.link(thing)
    for frame in (1, 50):
        thing.location.x = frame
        thing.keyframe_insert("location", frame=frame)
    return thing.animation_data.action


def test_every_action_has_its_row_and_nothing_is_invented() -> None:
    rig = character(Walk=3.0, Wave=2.0, Blink=0.3)
    bpy.data.actions.new("Empty").use_fake_user = True
    move_object()
    before, action, frame = texts(), rig.animation_data.action, bpy.context.scene.frame_current
    told = described(file="x.blend")
    assert {name: row["status"] for name, row in told.items()} == {
        "Walk": "described", "Wave": "described", "Blink": "skipped", "Empty": "skipped", "CameraAction": "skipped",
    }  # fmt: skip
    assert "person" in told["Walk"]["sentence"]
    assert "forward" in told["Walk"]["tags"]
    assert (told["Walk"]["facts"]["in_place"], told["Wave"]["facts"]["in_place"]) == (False, True)
    assert told["Walk"]["facts"]["distance_m"] > 2.0
    assert (told["Walk"]["frames"], told["Walk"]["seconds"]) == (61, 3.0)
    parts = told["Walk"]["segments"]
    assert (parts[0]["first"], parts[-1]["last"]) == (1, 73)  # the scene's frames, at 24 a second
    assert "half a second" in told["Blink"]["message"]
    assert "no keys" in told["Empty"]["message"]
    assert "moves an object" in told["CameraAction"]["message"]
    assert all(not told[name]["sentence"] for name in ("Blink", "Empty", "CameraAction"))
    assert all(tuple(row) == rows.COLUMNS and row["file"] == "x.blend" for row in told.values())
    assert texts() == before  # a dry run
    assert (rig.animation_data.action, bpy.context.scene.frame_current) == (action, frame)
    assert len(bpy.data.scenes) == 1
    assert len([o for o in bpy.data.objects if o.type == "ARMATURE"]) == 1


def test_written_and_read_back_after_save_and_reload(tmp_path: Path) -> None:
    character(Walk=3.0, Wave=2.0)
    bpy.data.actions["Walk"].asset_mark()
    told = described(options=Options(write=True))
    save(tmp_path / "file.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    load(tmp_path / "file.blend")
    walk, waving = (bpy.data.actions[name] for name in ("Walk", "Wave"))
    assert walk.asset_data.description == told["Walk"]["sentence"] == told["Walk"]["description_after"]
    assert sorted(tag.name for tag in walk.asset_data.tags) == told["Walk"]["tags"]
    assert waving.asset_data is None  # not asked for
    assert metadata.read(waving)["description"] == told["Wave"]["sentence"]
    assert metadata.read(walk)["facts"] == told["Walk"]["facts"]
    assert {row["status"] for row in described(options=Options(write=True)).values()} == {"unchanged"}


def test_what_a_person_wrote_is_kept() -> None:
    character(Walk=3.0)
    made = bpy.data.actions["Walk"]
    made.asset_mark()
    made.asset_data.description = "hero walk"
    made.asset_data.tags.new("hero")
    row = described(options=Options(write=True))["Walk"]
    assert (row["status"], row["description_before"], row["description_after"]) == ("kept", "hero walk", "hero walk")
    assert made.asset_data.description == "hero walk"
    assert {"hero", *row["tags"]} == {tag.name for tag in made.asset_data.tags} == set(row["tags_after"])
    row = described(options=Options(write=True, overwrite=True))["Walk"]
    assert (row["status"], made.asset_data.description) == ("described", row["sentence"])
    assert "hero" in made.asset_data.tags


def test_only_those_that_are_chosen() -> None:
    character(Walk=3.0, Wave=2.0)
    told = described(actions=[bpy.data.actions["Wave"]], options=Options(write=True))
    assert set(told) == {"Wave"}
    assert metadata.read(bpy.data.actions["Walk"]) is None


def test_linked_actions_are_left_alone(tmp_path: Path) -> None:
    character(Walk=3.0)
    save(tmp_path / "other.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "other.blend"), link=True) as (there, here):
        here.objects, here.actions = there.objects, there.actions
    row = described(options=Options(write=True, mark=True))["Walk"]
    assert row["status"] == "skipped"
    assert "linked" in row["message"]


def test_what_is_known_is_not_read_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    character(Walk=3.0, Wave=2.0)
    first = described(index=index)
    sent: list[str] = []
    start = jobs.start
    monkeypatch.setattr(jobs, "start", lambda job, launch=None: (sent.append(job.method), start(job, launch))[1])
    again = described(index=index)
    assert list(again.values()) == list(first.values())
    assert sent == []  # the worker was not asked
    bpy.data.actions["Wave"].name = "Renamed"
    assert described(index=index)["Renamed"]["sentence"] == first["Wave"]["sentence"]
    assert sent == []
    curve = next(c for c in actions.fcurves(bpy.data.actions["Walk"], bpy.context.object) if "location" in c.data_path)
    curve.keyframe_points[5].co.y += 0.3
    assert described(index=index)["Walk"]["status"] == "described"
    assert sent == ["describe", "embed_text"]
    found = index.gather([])
    assert len(found) == 0
    stored = index.get(finding.content_key(bpy.data.actions["Renamed"], slot_of("Renamed"), bpy.context.object), who())
    assert stored is not None
    assert (len(stored.vector), len(stored.meaning)) == (128, 384)


def slot_of(name: str) -> object:
    return bpy.data.actions[name].slots[0] if SLOTS else None


def who() -> str:
    from mgpt3_blender import preferences

    model = preferences.model_in_use()
    return f"{model.name} {model.bytes}"


def test_many_go_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    character(Walk=3.0)
    for n in range(5):
        bpy.data.actions["Walk"].copy().name = f"Walk {n}"
    sizes: list[int] = []
    start = jobs.start
    monkeypatch.setattr("mgpt3_blender.describing.BATCH", 4)

    def count(job: jobs.Job, launch: object = None) -> None:
        sizes.append(len(job.params["motions"]))
        start(job)

    monkeypatch.setattr(jobs, "start", count)
    told = described()
    assert sizes == [4, 2]
    assert len({row["sentence"] for row in told.values()}) == 1


def test_cancelled_before_it_is_through_nothing_is_written() -> None:
    character(Walk=3.0, Wave=2.0)
    run = Run(options=Options(write=True))
    run.step(0.2)
    run.cancel()
    assert run.step()
    assert run.error is not None
    assert run.error.code == "cancelled"
    assert not run.rows
    assert all(metadata.read(action) is None for action in bpy.data.actions)
    assert not jobs.busy()
    assert described()["Walk"]["status"] == "described"  # and the next one goes


def test_an_action_deleted_meanwhile() -> None:
    character(Walk=3.0, Wave=2.0)
    run = Run(options=Options(write=True))
    while run.fraction == 0.0 and not run.step(0.2):
        break
    bpy.data.actions.remove(bpy.data.actions["Wave"])
    assert {row["action"] for row in run.finish()} == {"Walk"}


def test_a_crash_of_the_core_costs_no_more_than_a_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is killed under the first batch; each motion is then asked for alone, in a new one."""
    character(Walk=3.0, Wave=2.0)
    sizes: list[int] = []
    start = jobs.start

    def kill_the_first(job: jobs.Job, launch: object = None) -> None:
        sizes.append(len(job.params["motions"]))
        start(job)
        if len(sizes) == 1:
            jobs.worker()._child.kill()

    monkeypatch.setattr(jobs, "start", kill_the_first)
    told = described()
    assert sizes == [2, 1, 1]
    assert {row["status"] for row in told.values()} == {"described"}


def test_an_action_that_nobody_foresaw_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    character(Walk=3.0, Wave=2.0)
    real = finding.content_key

    def falls_over(action: bpy.types.Action, *rest: object) -> str:
        if action.name == "Wave":
            raise ZeroDivisionError("nobody foresaw this")
        return real(action, *rest)

    monkeypatch.setattr(finding, "content_key", falls_over)
    told = described(options=Options(write=True))
    assert {name: row["status"] for name, row in told.items()} == {"Walk": "described", "Wave": "failed"}
    assert "nobody foresaw this" in told["Wave"]["message"]


# ---- slots


@pytest.mark.skipif(not SLOTS, reason="no slots before Blender 4.4")
def test_an_action_whose_slot_belongs_to_another_object() -> None:
    rig = character(Walk=3.0)
    expected = described()["Walk"]["sentence"]
    made = bpy.data.actions["Walk"]
    other = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(other)
    rig.animation_data_clear()
    other.animation_data_create().action = made
    other.animation_data.action_slot = made.slots[0]
    assert described()["Walk"]["sentence"] == expected
    assert rig.animation_data is None or rig.animation_data.action is None
    assert other.animation_data.action_slot == made.slots[0]


def two_slots() -> bpy.types.Action:
    """One action in which Hero walks and Villain waves."""
    rig = character(Walk=3.0, Wave=2.0)
    villain = rig.copy()
    villain.name = "Villain"
    bpy.context.scene.collection.objects.link(villain)
    both, waving = bpy.data.actions["Walk"], bpy.data.actions["Wave"]
    both.name = "Both"
    both.slots[0].name_display = "Hero"
    slot = both.slots.new(id_type="OBJECT", name="Villain")
    bag = both.layers[0].strips[0].channelbag(slot, ensure=True)
    for curve in actions.fcurves(waving, rig):
        copy = bag.fcurves.new(curve.data_path, index=curve.array_index)
        copy.keyframe_points.add(len(curve.keyframe_points))
        values = [0.0] * (2 * len(curve.keyframe_points))
        curve.keyframe_points.foreach_get("co", values)
        copy.keyframe_points.foreach_set("co", values)
        copy.update()
    for thing, slot in ((rig, both.slots[0]), (villain, both.slots[1])):
        thing.animation_data_create().action = both
        thing.animation_data.action_slot = slot
    return both


@pytest.mark.skipif(not SLOTS, reason="no slots before Blender 4.4")
def test_each_slot_has_its_row_and_the_action_one_description() -> None:
    character(Walk=3.0)
    walks = described()["Walk"]["sentence"]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    both = two_slots()
    alone = described(actions=[bpy.data.actions["Wave"]])["Wave"]["sentence"]
    assert alone != walks
    told = described(actions=[both], options=Options(write=True, mark=True))
    assert set(told) == {"Both / Hero", "Both / Villain"}
    assert told["Both / Hero"]["sentence"] == walks
    assert told["Both / Villain"]["sentence"] == alone
    assert both.asset_data.description == f"Hero: {walks}; Villain: {alone}"
    assert {tag.name for tag in both.asset_data.tags} == {tag for row in told.values() for tag in row["tags"]}
    told = described(actions=[both], options=Options(write=True))
    assert {row["status"] for row in told.values()} == {"unchanged"}


def test_a_model_that_is_not_set_up_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    character(Walk=3.0)
    jobs.stop_worker()
    monkeypatch.setenv("MGPT3_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(UserError) as caught:
        described()
    assert caught.value.code.startswith("python")
    assert metadata.read(bpy.data.actions["Walk"]) is None


def test_the_example_is_like_the_worker_s_answers() -> None:
    """The descriptions in the tests of metadata have the fields of real ones."""
    character(Walk=3.0)
    Run(options=Options(write=True)).finish()
    assert set(DESCRIPTION) - {"sentence"} <= set(metadata.read(bpy.data.actions["Walk"]))
