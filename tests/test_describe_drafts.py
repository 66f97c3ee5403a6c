"""What is done with a description: edited, applied, set as markers, copied; undone, saved, shown in the panel."""

from __future__ import annotations

import itertools
from pathlib import Path

import bpy
import numpy as np
import pytest
from describable import (
    SLOTS,
    playing,
    registered,  # noqa: F401 - fixture
    said_of,
    walk_then_wave,
    worker,  # noqa: F401 - fixture
)
from motions import stand, walk
from recorder import Recorder

from mgpt3_blender import action as actions
from mgpt3_blender import describe, drafts, jobs, metadata, panels_describe, properties_describe, reading, upkeep
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.rig.apply import apply_motion


def names(markers: object) -> list[tuple[int, str]]:
    return sorted((marker.frame, marker.name) for marker in markers)  # type: ignore[attr-defined]


def test_a_long_clip_has_segments_and_they_become_markers() -> None:
    scene = bpy.context.scene
    hero = playing(walk_then_wave())
    action = hero.animation_data.action
    bpy.ops.mgpt3.describe()
    _, draft = drafts.need(hero)
    parts = list(draft.segments)
    assert len(parts) >= 2
    assert parts[0].first == 1
    assert parts[-1].last == round(action.frame_range[1])
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(parts))
    assert "forward" in parts[0].sentence
    assert "then" in draft.sentence
    border = 1 + 6.5 * scene.render.fps  # the middle of the pause
    assert min(abs(part.first - border) for part in parts[1:]) <= scene.render.fps

    own = scene.timeline_markers.new("mine", frame=parts[1].first)
    parts[1].sentence = "a person greets somebody"
    for _ in range(2):  # replaced, not piled up
        assert bpy.ops.mgpt3.description_markers() == {"FINISHED"}
        assert len(scene.timeline_markers) == len(parts) + 1
    assert (parts[1].first, "greets somebody") in names(scene.timeline_markers)
    moved = next(m for m in scene.timeline_markers if m.name == "greets somebody")
    moved.frame += 3
    assert bpy.ops.mgpt3.description_markers_remove() == {"FINISHED"}
    assert set(scene.timeline_markers) == {own, moved}  # what a person touched is theirs

    scene.mgpt3_describe.markers = "POSE"
    action.pose_markers.new("mine").frame = 5
    for _ in range(2):
        assert bpy.ops.mgpt3.description_markers() == {"FINISHED"}
        assert len(action.pose_markers) == len(parts) + 1
    assert {part.first for part in parts} | {5} == {marker.frame for marker in action.pose_markers}
    assert len(scene.timeline_markers) == 2
    assert bpy.ops.mgpt3.description_markers_remove() == {"FINISHED"}
    assert names(action.pose_markers) == [(5, "mine")]

    draft.active = 1
    assert bpy.ops.mgpt3.description_goto() == {"FINISHED"}
    assert scene.frame_current == parts[1].first
    assert bpy.ops.mgpt3.description_sequence() == {"FINISHED"}
    made = [(item.prompt, item.seconds) for item in scene.mgpt3_sequence.segments]
    assert [prompt for prompt, _ in made] == [part.sentence for part in parts]
    assert sum(seconds for _, seconds in made) == pytest.approx(action.frame_range[1] / scene.render.fps, abs=0.1)


def test_pose_markers_are_at_the_frames_of_the_action() -> None:
    hero = playing(walk_then_wave())
    data, action = hero.animation_data, hero.animation_data.action
    strip = data.nla_tracks.new().strips.new("Strip", 201, action)
    data.action = None
    bpy.ops.mgpt3.describe()
    _, draft = drafts.need(hero)
    expected = [part.first - 200 for part in draft.segments]
    bpy.context.scene.mgpt3_describe.markers = "POSE"
    assert bpy.ops.mgpt3.description_markers() == {"FINISHED"}
    assert sorted(marker.frame for marker in action.pose_markers) == expected
    strip.repeat = 2.0
    with pytest.raises(RuntimeError, match="timeline instead"):
        bpy.ops.mgpt3.description_markers()
    assert sorted(marker.frame for marker in action.pose_markers) == expected


def test_what_is_shown_is_of_the_strip_that_plays() -> None:
    hero = playing(walk(2.0))
    data = hero.animation_data
    muted = data.action
    action = apply_motion(hero, walk(3.0), scene=bpy.context.scene, name="Plays", start_frame=1.0).action
    for one in (muted, action):
        data.nla_tracks.new().strips.new(one.name, 1, one)
    data.nla_tracks[0].mute = True
    data.action = None
    assert describe.describe_character(hero).action == action
    shown = drafts.shown(hero)
    assert shown is not None
    assert shown[0] == action


def test_a_refusal_is_shown_in_the_panel() -> None:
    hero = playing(stand(2.0))

    def drawn() -> Recorder:
        panel = type("Panel", (), {"layout": Recorder()})()
        panels_describe.MGPT3_PT_describe.draw(panel, bpy.context)
        return panel.layout

    upkeep.view.missing = None
    with pytest.raises(RuntimeError, match="nothing moves"):
        bpy.ops.mgpt3.describe()
    assert any("nothing" in text for text in drawn().texts)
    jobs.prepare("Generate")
    assert not any("nothing" in text for text in drawn().texts)
    apply_motion(hero, walk_then_wave(), scene=bpy.context.scene, name="Long", start_frame=1.0)
    bpy.ops.mgpt3.describe()
    layout = drawn()
    _, draft = drafts.need(hero)
    shown = " ".join(layout.texts)
    assert all(line in shown for line in draft.measured.splitlines())
    wanted = {"mgpt3.describe", "mgpt3.description_prompt", "mgpt3.description_copy", "mgpt3.description_apply",
              "mgpt3.description_markers", "mgpt3.description_sequence"}  # fmt: skip
    assert wanted <= set(layout.operators)
    jobs.view.job = jobs.Job("Describe", "describe", {}, print, state=jobs.State.RUNNING, message="Reading")
    assert "Reading" in drawn().texts
    assert "mgpt3.describe" not in drawn().operators
    jobs.view.job = None


def test_each_step_is_one_undo() -> None:
    hero = playing(walk(3.0))
    name = hero.name

    def draft() -> object:
        found = drafts.shown(bpy.data.objects[name])
        return found[1] if found is not None else None

    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.describe("EXEC_DEFAULT", True)
    sentence, other = draft().sentence, draft().alternatives[0].text
    bpy.ops.mgpt3.description_take("EXEC_DEFAULT", True, number=0)
    assert (draft().sentence, draft().alternatives[0].text) == (other, sentence)
    bpy.ops.mgpt3.description_apply("EXEC_DEFAULT", True)
    bpy.ops.mgpt3.description_markers("EXEC_DEFAULT", True)
    assert len(bpy.context.scene.timeline_markers) == 1
    bpy.ops.ed.undo()
    assert not bpy.context.scene.timeline_markers
    action = bpy.data.objects[name].animation_data.action
    assert metadata.read(action)["description"] == other
    bpy.ops.ed.undo()
    assert metadata.read(bpy.data.objects[name].animation_data.action) is None
    bpy.ops.ed.undo()
    assert draft().sentence == sentence
    bpy.ops.ed.undo()
    assert draft() is None
    bpy.ops.ed.redo()
    assert draft().sentence == sentence


def test_what_is_described_stays_in_the_file(tmp_path: Path) -> None:
    hero = playing(walk_then_wave())
    name = hero.name
    settings = bpy.context.scene.mgpt3_describe
    settings.which, settings.first, settings.markers, settings.mark = "SCENE", 4, "POSE", True
    bpy.context.scene.frame_end = 200
    bpy.ops.mgpt3.describe()
    _, draft = drafts.need(hero)
    draft.sentence = "he comes and says hello, 你好"
    before = drafts.described(draft)
    bpy.ops.mgpt3.description_apply()
    path = str(tmp_path / "file.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=path)
    settings = bpy.context.scene.mgpt3_describe
    assert (settings.which, settings.first, settings.markers, settings.mark) == ("SCENE", 4, "POSE", True)
    action, draft = drafts.need(bpy.data.objects[name])
    assert drafts.described(draft) == before
    assert drafts.by_hand(draft)
    assert action.asset_data.description == "he comes and says hello, 你好"
    assert set(drafts.tags_of(draft)) == {tag.name for tag in action.asset_data.tags}
    record = metadata.read(action)
    assert record["facts"]["seconds"] > 5
    assert record["model"]
    assert record["licence"]


def test_applying_keeps_what_a_person_wrote() -> None:
    hero = playing(walk(3.0))
    action = hero.animation_data.action
    action.asset_mark()
    action.asset_data.description = "Walk 03, final"
    action.asset_data.tags.new("Client A")
    bpy.ops.mgpt3.describe()
    _, draft = drafts.need(hero)
    draft.tags = "walk, forward,  , walk"
    bpy.ops.mgpt3.description_apply()
    assert action.asset_data.description == "Walk 03, final"
    assert {tag.name for tag in action.asset_data.tags} == {"Client A", "walk", "forward"}
    assert any("Walk 03, final" in warning for warning in jobs.view.warnings)
    bpy.context.scene.mgpt3_describe.overwrite = True
    bpy.ops.mgpt3.description_apply()
    assert action.asset_data.description == draft.sentence
    assert not jobs.view.warnings
    assert "Client A" in action.asset_data.tags
    bpy.context.scene.mgpt3_describe.overwrite = False
    draft.sentence = "a person strolls along"  # edited here: that is a person's text too
    bpy.ops.mgpt3.description_apply()
    assert action.asset_data.description == "a person strolls along"
    change = metadata.plan(action, {"sentence": "a person walks", "tags": []}, model={})
    assert change.kept


def test_an_action_that_is_no_asset_becomes_one_only_if_asked() -> None:
    hero = playing(walk(3.0))
    action = hero.animation_data.action
    with pytest.raises(RuntimeError, match="poll"):
        bpy.ops.mgpt3.description_apply()
    bpy.ops.mgpt3.describe()
    bpy.ops.mgpt3.description_apply()
    assert action.asset_data is None
    assert metadata.read(action)["description"] == drafts.need(hero)[1].sentence
    assert "Mark as Asset" in jobs.view.line
    curve = actions.fcurves(action, hero)[0]
    curve.keyframe_points[0].co[1] += 0.5
    bpy.context.scene.mgpt3_describe.mark = True
    bpy.ops.mgpt3.description_apply()
    assert action.asset_data.description == drafts.need(hero)[1].sentence
    assert any("was changed since" in warning for warning in jobs.view.warnings)
    drafts.need(hero)[1].sentence = "  "
    with pytest.raises(RuntimeError, match="empty"):
        bpy.ops.mgpt3.description_apply()


def test_the_sentence_becomes_the_prompt() -> None:
    hero = playing(walk(3.0))
    bpy.ops.mgpt3.describe()
    _, draft = drafts.need(hero)
    draft.sentence = "a person tiptoes"
    assert bpy.ops.mgpt3.description_prompt() == {"FINISHED"}
    assert bpy.context.scene.mgpt3.prompt == "a person tiptoes"
    assert bpy.ops.mgpt3.description_copy() == {"FINISHED"}
    with pytest.raises(RuntimeError, match="no such sentence"):
        bpy.ops.mgpt3.description_take(number=99)
    assert draft.sentence == "a person tiptoes"


def test_a_linked_action_is_described_and_not_written_to(tmp_path: Path) -> None:
    playing(walk(3.0), name="Walk")
    path = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    hero = create_mannequin(bpy.context)
    with bpy.data.libraries.load(path, link=True) as (_, into):
        into.actions = ["Walk"]
    action = bpy.data.actions["Walk"]
    data = hero.animation_data_create()
    data.action = action
    if SLOTS:
        data.action_slot = action.slots[0]
    bpy.context.view_layer.objects.active = hero
    assert describe.describe_character(hero).description.sentence == said_of(walk(3.0))
    with pytest.raises(RuntimeError, match="linked from another file"):
        bpy.ops.mgpt3.description_apply()
    bpy.context.scene.mgpt3_describe.markers = "POSE"
    with pytest.raises(RuntimeError, match="linked from another file"):
        bpy.ops.mgpt3.description_markers()
    assert bpy.ops.mgpt3.description_prompt() == {"FINISHED"}


def test_everything_has_a_tooltip_and_nothing_can_be_animated() -> None:
    for group in properties_describe.classes:
        for prop in group.bl_rna.properties:
            if prop.identifier not in ("rna_type", "name"):
                assert prop.description, prop.identifier
                assert not prop.is_animatable, prop.identifier


def test_segments_in_scene_frames_follow_each_other_at_any_frame_rate() -> None:
    segments = [{"first": 0, "last": 30}, {"first": 31, "last": 32}, {"first": 33, "last": 99}]
    for fps in (6.0, 12.0, 23.976, 24.0, 60.0, 120.0):
        step = fps / 20.0
        read = reading.Reading(np.zeros((100, 22, 3), np.float32), 11.0, 11.0 + 99 * step, step, fps, "")
        frames = drafts.scene_frames(segments, read)
        assert frames[0][0] == 11
        assert frames[-1][1] == round(11 + 99 * step)
        assert all(first <= last for first, last in frames)
        if fps > 20:
            assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(frames))


def test_nothing_stays_behind() -> None:
    import mgpt3_blender

    assert hasattr(bpy.types.Action, "mgpt3_describe")
    mgpt3_blender.unregister()
    for owner in (bpy.types.Action, bpy.types.Scene):
        assert not hasattr(owner, "mgpt3_describe")
    assert not [name for name in dir(bpy.ops.mgpt3) if name.startswith("descri")]
    mgpt3_blender.register()
