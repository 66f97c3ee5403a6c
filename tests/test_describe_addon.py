"""Describe: any character, any frame rate, any way of being animated, with the bundled model in a real worker."""

from __future__ import annotations

import json

import bpy
import numpy as np
import pytest
from describable import (
    SLOTS,
    mirrored,
    playing,
    registered,  # noqa: F401 - fixture
    said_of,
    walk_then_wave,
    worker,  # noqa: F401 - fixture
)
from motions import raise_left_hand, run, walk

from mgpt3_blender import action as actions
from mgpt3_blender import describe, drafts, jobs, metadata
from mgpt3_blender.describe import Request
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.rig.mapping import map_armature

needs_slots = pytest.mark.skipif(not SLOTS, reason="actions have slots from Blender 4.4 on")


def everything() -> dict[str, list[str]]:
    """What there is in the file."""
    return {
        name: sorted(item.name for item in getattr(bpy.data, name))
        for name in ("scenes", "objects", "actions", "armatures", "collections", "meshes")
    }


def measured(draft: object) -> dict[str, object]:
    """The facts of a description."""
    return json.loads(draft.answer)["facts"]  # type: ignore[attr-defined]


def drafted() -> dict[str, int]:
    """How many descriptions each action has."""
    return {action.name: len(action.mgpt3_describe.entries) for action in bpy.data.actions}


def refused(armature: bpy.types.Object | None = None, request: Request | None = None) -> str:
    """The code with which describing is refused; there is a remedy, and nothing in the file has changed."""
    before = everything(), drafted()
    with pytest.raises(UserError) as caught:
        describe.describe_character(armature, request)
    assert caught.value.message
    assert caught.value.remedy
    assert (everything(), drafted()) == before
    return caught.value.code


@pytest.mark.parametrize("make", ["mannequin", "mixamo", "rigify"])
@pytest.mark.parametrize("fps", [12, 24, 29.97, 60])
def test_any_rig_at_any_frame_rate(make: str, fps: float) -> None:
    scene = bpy.context.scene
    scene.render.fps = round(fps)
    scene.render.fps_base = round(fps) / fps
    hero = playing(walk(3.0), make)
    hero.rotation_mode, hero.rotation_euler[2] = "XYZ", 2.0 if make == "mannequin" else 0.0
    scene.frame_set(7, subframe=0.25)
    before, action = everything(), hero.animation_data.action
    outcome = describe.describe_character(hero)
    draft = outcome.description
    if fps > 20:  # with fewer keys than the model reads frames it is another motion, and may have another manner
        assert draft.sentence == said_of(walk(3.0))
    assert "walk" in draft.sentence
    assert 1 <= len(draft.alternatives) <= 2
    assert draft.sentence not in [other.text for other in draft.alternatives]
    facts = measured(draft)
    travelled = np.linalg.norm((walk(3.0)[-1, 0] - walk(3.0)[0, 0])[[0, 2]])
    assert facts["distance_m"] == pytest.approx(travelled, rel=0.06)
    assert facts["seconds"] == pytest.approx(59 / 20, abs=1.5 / min(fps, 20))
    assert facts["direction"] == "forward"
    assert [(part.first, part.last) for part in draft.segments] == [(1, round(action.frame_range[1]))]
    assert everything() == before
    assert (scene.frame_current, scene.frame_subframe, hero.animation_data.action) == (7, 0.25, action)
    assert "described" in outcome.line
    assert metadata.read(action) is None  # nothing is applied yet


@pytest.mark.parametrize("make", ["mannequin", "rigify"])
def test_left_and_right_come_out_right(make: str) -> None:
    for clip, side, other in (
        (raise_left_hand(3.0), "left", "right"),
        (mirrored(raise_left_hand(3.0)), "right", "left"),
    ):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        draft = describe.describe_character(playing(clip, make)).description
        facts = measured(draft)
        assert f"{side} hand" in facts["raised"]
        assert f"{other} hand" not in facts["raised"]
        assert other not in draft.sentence
        assert f"{side} hand raised" in draft.measured


def test_ik_and_the_nla_count() -> None:
    hero = playing(walk(3.0), "rigify", limbs="IK")
    assert describe.describe_character(hero).description.sentence == said_of(walk(3.0))
    data = hero.animation_data
    action = data.action
    track = data.nla_tracks.new()
    track.strips.new("Strip", 101, action)
    data.action = None
    outcome = describe.describe_character(hero)
    assert outcome.action == action
    assert outcome.description.sentence == said_of(walk(3.0))
    assert (outcome.description.first, outcome.description.last) == (101.0, 100.0 + action.frame_range[1])
    assert [part.first for part in outcome.description.segments] == [101]


def test_constraints_count() -> None:
    hero = playing(walk(3.0))
    empty = bpy.data.objects.new("Up", None)
    bpy.context.collection.objects.link(empty)
    empty.rotation_euler = (0.0, 0.0, 0.0)  # a bone along it points up
    empty.rotation_mode = "XYZ"
    assert measured(describe.describe_character(hero).description)["raised"] == []
    for joint in ("r_shoulder", "r_elbow"):
        bone = hero.pose.bones[map_armature(hero).bones[joint]]
        held = bone.constraints.new("DAMPED_TRACK")
        held.target, held.track_axis = empty, "TRACK_Y"
    empty.location = (0.0, 0.0, 1000.0)
    assert measured(describe.describe_character(hero).description)["raised"] == ["right hand"]
    hero.animation_data.action = None
    assert refused(hero) == "no_action"


def test_in_tweak_mode() -> None:
    hero = playing(walk_then_wave())
    data, action = hero.animation_data, hero.animation_data.action
    last = action.frame_range[1]
    strip = data.nla_tracks.new().strips.new("Strip", 301, action)
    data.action = None
    data.nla_tracks.active = data.nla_tracks[0]
    strip.select = True
    data.use_tweak_mode = True
    assert data.action == action
    draft = describe.describe_character(hero).description
    assert (draft.first, draft.last) == (301.0, 300.0 + last)
    bpy.context.scene.mgpt3_describe.markers = "POSE"
    bpy.ops.mgpt3.description_markers()
    assert sorted(m.frame for m in action.pose_markers) == [part.first - 300 for part in draft.segments]


def test_a_part_of_an_action() -> None:
    scene, clip = bpy.context.scene, walk_then_wave()
    hero = playing(clip)
    fps = scene.render.fps
    settings = scene.mgpt3_describe
    settings.which, settings.first, settings.last = "OWN", 1, 1 + 3 * fps
    assert bpy.ops.mgpt3.describe() == {"FINISHED"}
    action, draft = drafts.need(hero)
    assert (draft.first, draft.last) == (1.0, 1.0 + 3 * fps)
    assert measured(draft)["direction"] == "forward"
    assert "walk" in draft.sentence
    scene.frame_start, scene.frame_end = 1 + 7 * fps, 11 * fps
    assert bpy.ops.mgpt3.describe(which="SCENE") == {"FINISHED"}
    assert draft.first == 1.0 + 7 * fps
    assert measured(draft)["in_place"]
    assert measured(draft)["raised"] == ["right hand"]
    assert "walk" not in draft.sentence
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 3, 3 + 2 * fps
    assert bpy.ops.mgpt3.describe(which="SCENE") == {"FINISHED"}
    assert (draft.first, draft.last, len(action.mgpt3_describe.entries)) == (3.0, 3.0 + 2 * fps, 1)
    assert bpy.ops.mgpt3.describe(which="WHOLE") == {"FINISHED"}
    assert draft.last == action.frame_range[1]


def test_what_cannot_be_described_is_refused_in_words() -> None:
    assert refused() == "no_character"
    hero = create_mannequin(bpy.context)
    assert refused(hero) == "no_action"
    hero.animation_data_create().action = bpy.data.actions.new("Empty")
    assert refused(hero) == "empty_action"
    hero.animation_data.action = None
    hero.keyframe_insert("location", frame=1)
    hero.keyframe_insert("location", frame=60)
    assert refused(hero) == "object_action"
    hero.animation_data.action = None
    for frame in (1, 60):
        for bone in hero.pose.bones:
            bone.keyframe_insert("rotation_quaternion", frame=frame)
    assert refused(hero) == "motion_static"
    hero.animation_data.action = None
    for bone in hero.pose.bones:
        bone.keyframe_insert("rotation_quaternion", frame=4)
    assert refused(hero) == "motion_static"
    assert refused(hero, Request(60.0, 1.0)) == "range_empty"
    assert refused(hero, Request(1.0, float("nan"))) == "range_empty"
    assert refused(hero, Request(1.0, 1e6)) == "range_too_long"
    assert refused(hero, Request(alternatives=9)) == "alternatives_out_of_range"
    for bone in hero.pose.bones:
        bone.keyframe_insert("rotation_quaternion", frame=100_000)
    assert refused(hero) == "range_too_long"


def test_half_a_second_is_needed() -> None:
    hero = playing(walk(2.0))
    assert refused(hero, Request(1.0, 10.0)) == "motion_too_short"
    assert refused(hero, Request(1.0, 1.5)) == "motion_too_short"
    assert describe.describe_character(hero, Request(1.0, 20.0)).description.sentence


def test_no_humanoid_is_refused() -> None:
    data = bpy.data.armatures.new("Crane")
    crane = bpy.data.objects.new("Crane", data)
    bpy.context.collection.objects.link(crane)
    bpy.context.view_layer.objects.active = crane
    bpy.ops.object.mode_set(mode="EDIT")
    for n in range(3):
        bone = data.edit_bones.new(f"part{n}")
        bone.head, bone.tail = (0, 0, n), (0, 0, n + 1)
        bone.parent = data.edit_bones.get(f"part{n - 1}")
    bpy.ops.object.mode_set(mode="OBJECT")
    for frame, angle in ((1, 0.0), (60, 1.0)):
        crane.pose.bones[1].rotation_quaternion = (1.0, angle, 0.0, 0.0)
        crane.pose.bones[1].keyframe_insert("rotation_quaternion", frame=frame)
    assert refused(crane) in ("unknown_rig", "missing_bones")


def test_several_actions_in_the_nla_are_not_one() -> None:
    hero = playing(walk(2.0))
    data = hero.animation_data
    first = data.action
    second = apply_motion(hero, run(2.0), scene=bpy.context.scene, name="Run", start_frame=1.0).action
    for action, start in ((first, 1), (second, 101)):
        data.nla_tracks.new().strips.new(action.name, start, action)
    data.action = None
    assert refused(hero) == "several_actions"
    data.nla_tracks[1].is_solo = True  # the other one is not played
    assert describe.subject(hero).action == second


def test_a_cancelled_request_leaves_nothing() -> None:
    hero = playing(walk(3.0))
    job = describe.describe_job(Request(), bpy.context.scene, hero)
    jobs.start(job)
    jobs.cancel()
    assert not jobs.pump()
    assert drafts.shown(hero) is None
    assert describe.describe_character(hero).description.sentence  # the way is free
    with pytest.raises(UserError) as caught:
        describe.describe_character(hero, cancelled=lambda: True)
    assert caught.value.code == "cancelled"


@needs_slots
def test_an_action_whose_slot_belongs_to_another_object() -> None:
    other = playing(walk(3.0))
    action = other.animation_data.action
    other.animation_data.action = None
    hero = create_mannequin(bpy.context)
    bpy.context.view_layer.objects.active = hero
    data = hero.animation_data_create()
    data.action = action
    data.action_slot = None  # assigned, and not played
    outcome = describe.describe_character(hero)
    assert outcome.description.sentence == said_of(walk(3.0))
    assert any("does not play it" in note for note in outcome.warnings)
    assert data.action == action
    assert data.action_slot is None
    assert drafts.need(hero)[1] == outcome.description
    bpy.ops.mgpt3.description_apply()
    assert metadata.read(action)["description"] == outcome.description.sentence


@needs_slots
def test_each_slot_of_an_action_has_its_own_description() -> None:
    first = playing(walk(3.0))
    action = first.animation_data.action
    second = create_mannequin(bpy.context)
    second.location.x = 2.0
    made = apply_motion(second, run(3.0), scene=bpy.context.scene, name="Run", start_frame=1.0).action
    slot = action.slots.new(id_type="OBJECT", name="Second")
    bag = action.layers[0].strips[0].channelbag(slot, ensure=True)
    for curve in actions.fcurves(made, second):
        copy = bag.fcurves.new(curve.data_path, index=curve.array_index)
        copy.keyframe_points.add(len(curve.keyframe_points))
        co = np.empty(len(curve.keyframe_points) * 2, np.float32)
        curve.keyframe_points.foreach_get("co", co)
        copy.keyframe_points.foreach_set("co", co)
        copy.update()
    second.animation_data.action = action
    second.animation_data.action_slot = slot
    one = describe.describe_character(first).description.sentence
    assert drafts.shown(second) is None  # the other slot's is not this character's
    two = describe.describe_character(second).description.sentence
    assert (one, two) == (said_of(walk(3.0)), said_of(run(3.0)))
    assert drafts.need(first)[1].sentence == one
    assert drafts.need(second)[1].sentence == two
    assert len(action.mgpt3_describe.entries) == 2
    bpy.context.view_layer.objects.active = second
    bpy.ops.mgpt3.description_apply()
    told = metadata.read(action)["description"]
    assert one in told
    assert two in told


GOOD = {"sentence": "a person walks", "segments": [{"first": 0, "last": 59, "sentence": "a person walks"}]}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        {"descriptions": []},
        {"descriptions": [GOOD, GOOD]},
        {"descriptions": [{**GOOD, "sentence": " "}]},
        {"descriptions": [{**GOOD, "segments": []}]},
        {"descriptions": [{**GOOD, "segments": [{"first": 9, "last": 2, "sentence": ""}]}]},
        {"descriptions": [{**GOOD, "tags": [7]}]},
        {"descriptions": [{**GOOD, "corrections": ["left"]}]},
    ],
)
def test_an_answer_that_is_none_changes_nothing(wrong: object) -> None:
    hero = playing(walk(3.0))
    job = describe.describe_job(Request(), bpy.context.scene, hero)
    with pytest.raises(UserError) as caught:
        job.apply(wrong)
    assert caught.value.code == "bad_answer"
    assert drafts.shown(hero) is None


def test_an_action_deleted_meanwhile() -> None:
    hero = playing(walk(3.0))
    job = describe.describe_job(Request(), bpy.context.scene, hero)
    bpy.data.actions.remove(hero.animation_data.action)
    with pytest.raises(UserError) as caught:
        job.apply({"descriptions": [GOOD], "model": {}})
    assert caught.value.code == "action_gone"
