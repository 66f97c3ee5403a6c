"""How long the window stands still while a motion is put on a character, and that what is put on is the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import bpy
import numpy as np
import pytest
from motions import walk
from splicing import key_motion
from warm_worker import registered, tiny, worker  # noqa: F401

from mgpt3_blender import ahead, between, compose, describe, describing, finding, generate, jobs
from mgpt3_blender.errors import UserError
from mgpt3_blender.gaps import Gap
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.operators.running import TICK
from mgpt3_blender.reading import read_action
from mgpt3_blender.rig.apply import apply_motion
from mgpt3_blender.wire import encode_array

LONGEST = 0.5  # seconds
MANY = generate.Request("a person walks forward", 9.8, 7, 8, steps=1)
TWO = replace(MANY, seconds=2.0, variations=2)


def rigify() -> bpy.types.Object:
    """A rig of 700 bones and more, most of which the motion has nothing to do with."""
    import addon_utils

    addon_utils.enable("rigify", default_set=True)
    bpy.ops.object.armature_human_metarig_add()
    bpy.ops.pose.rigify_generate()
    assert len(bpy.context.object.data.bones) > 700
    return bpy.context.object


@pytest.fixture
def hero() -> bpy.types.Object:
    return create_mannequin(bpy.context)


def asked(hero: bpy.types.Object, request: generate.Request) -> jobs.Job:
    return generate.character_job(request, bpy.context.scene, hero)


def seen_through(
    job: jobs.Job, meanwhile: Callable[[], object] | None = None, each: Callable[[], object] | None = None
) -> tuple[jobs.Job, float]:
    """Do as the window does, a look at every tick; the job and the longest that one of them took.

    Args:
        meanwhile: done once, after the answer is there and before anything is put on the character.
        each: done after each tick.
    """
    longest = time.monotonic()
    jobs.start(job)
    longest = time.monotonic() - longest
    deadline = time.monotonic() + 60.0
    while not job.ended:
        assert time.monotonic() < deadline
        since = time.monotonic()
        jobs.pump()
        longest = max(longest, time.monotonic() - since)
        if each is not None:
            each()
        if meanwhile is not None and job.preparation is not None:
            meanwhile()
            meanwhile = None
        time.sleep(TICK)
    assert meanwhile is None
    return job, longest


def quickest(ask: Callable[[], jobs.Job], each: Callable[[], object] | None = None) -> tuple[jobs.Job, float]:
    """The same up to three times, until no tick took too long: other programs hold a window up, too."""
    for _ in range(3):
        job, longest = seen_through(ask(), each=each)
        assert job.state is jobs.State.DONE, job.error
        if longest < LONGEST:
            break
    return job, longest


def keys(actions: list[bpy.types.Action]) -> list[dict[tuple[str, int], np.ndarray]]:
    """Every key of each action, by its curve."""
    found = []
    for action in actions:
        found.append({})
        for curve in curves_of(action):
            values = np.empty(2 * len(curve.keyframe_points), np.float32)
            curve.keyframe_points.foreach_get("co", values)
            found[-1][curve.data_path, curve.array_index] = values
    return found


def equal(one: list[dict], other: list[dict]) -> bool:
    """Whether the keys are the same to a hundredth of a degree: Rigify makes no two rigs alike to the bit."""
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(a[k].shape == b[k].shape and np.allclose(a[k], b[k], 0, 1e-4) for k in a)
        for a, b in zip(one, other, strict=True)
    )


def curves_of(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    if "layers" not in action.bl_rna.properties:  # before Blender 4.4
        return list(action.fcurves)
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [curve for bag in bags for curve in bag.fcurves]


@pytest.mark.parametrize("make", [lambda: create_mannequin(bpy.context), rigify], ids=["mannequin", "rigify"])
def test_eight_long_variations_do_not_hold_up_the_window(
    make: Callable[[], bpy.types.Object], within: Callable[..., None]
) -> None:
    bpy.context.scene.render.fps = 60
    hero = make()
    since = time.monotonic()
    at_once = keys(generate.generate_for_character(hero, **given(MANY)).actions)
    at_once_took = time.monotonic() - since
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = 60
    hero = make()
    bpy.context.view_layer.update()
    job, longest = quickest(lambda: asked(hero, MANY))
    assert len(job.outcome.actions) == 8
    within(longest, LONGEST, f"all at once {at_once_took:.2f} s")
    assert equal(keys(job.outcome.actions), at_once)


def given(request: generate.Request) -> dict:
    return {name: getattr(request, name) for name in ("prompt", "seconds", "seed", "variations", "steps")}


def test_a_character_built_otherwise_meanwhile_gets_what_fits_it_now(
    hero: bpy.types.Object,
) -> None:
    def turned() -> None:
        hero.rotation_euler[2] = 1.0
        bpy.context.view_layer.update()
        bpy.ops.object.mode_set(mode="EDIT")
        for bone in hero.data.edit_bones:
            bone.roll += 0.5
        bpy.ops.object.mode_set(mode="OBJECT")

    bpy.context.view_layer.objects.active = hero
    job, _ = seen_through(asked(hero, TWO), turned)
    assert job.state is jobs.State.DONE, job.error
    made = keys(job.outcome.actions)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    hero = create_mannequin(bpy.context)
    turned()
    assert equal(made, keys(generate.generate_for_character(hero, **given(TWO)).actions))


def test_another_frame_rate_meanwhile_counts(hero: bpy.types.Object) -> None:
    job, _ = seen_through(asked(hero, TWO), lambda: setattr(bpy.context.scene.render, "fps", 50))
    first, last = job.outcome.actions[0].frame_range
    assert last - first == pytest.approx(2.0 * 50, abs=3)


def test_a_pose_that_changes_meanwhile_costs_nothing(hero: bpy.types.Object) -> None:
    from mgpt3_blender.rig.apply import read

    before = read(hero)
    bone = hero.pose.bones[before.rig.bones[before.rig.root].name]
    bone.location = (0.1, 0.0, 0.0)
    bone.rotation_mode = "QUATERNION"
    bone.rotation_quaternion = (0.9, 0.1, 0.0, 0.0)
    assert ahead.same(read(hero), before)
    hero.scale = (2.0, 2.0, 2.0)
    bpy.context.view_layer.update()
    assert not ahead.same(read(hero), before)


def test_a_character_deleted_or_undone_meanwhile_does_no_harm(hero: bpy.types.Object) -> None:
    name = hero.name
    bpy.ops.ed.undo_push(message="hero")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    job, _ = seen_through(asked(hero, TWO), bpy.ops.ed.undo)
    assert job.state is jobs.State.DONE, job.error
    hero = bpy.data.objects[name]
    assert hero.animation_data.action == job.outcome.actions[0]
    job, _ = seen_through(asked(hero, TWO), lambda: bpy.data.objects.remove(hero))
    assert (job.state, job.error.code) == (jobs.State.FAILED, "character_gone")


def test_giving_up_meanwhile_changes_nothing(hero: bpy.types.Object) -> None:
    job, _ = seen_through(asked(hero, TWO), jobs.cancel)
    assert job.state is jobs.State.CANCELLED
    assert not bpy.data.actions
    assert job.preparation._given_up


def test_a_minute_of_a_sequence_does_not_hold_up_the_window(within: Callable[..., None]) -> None:
    request = compose.Request(tuple(compose.Segment("a person walks forward", 9.8) for _ in range(6)))
    hero = create_mannequin(bpy.context)
    at_once = keys(compose.compose_for_character(hero, request).actions)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    hero = create_mannequin(bpy.context)
    job, longest = quickest(lambda: compose.sequence_job(request, bpy.context.scene, hero))
    within(longest, LONGEST)
    assert equal(keys(job.outcome.actions), at_once)


def test_reading_a_large_rig_before_it_is_described_does_not_hold_up_the_window(within: Callable[..., None]) -> None:
    hero, scene = rigify(), bpy.context.scene
    made = apply_motion(hero, walk(9.8), scene=scene, name="Walk", start_frame=1.0).action
    bpy.context.view_layer.update()
    whole = read_action(hero, scene).joints
    scenes = len(bpy.data.scenes)
    waited: list[bool] = []
    job = describe.describe_job(describe.Request(), scene, hero)
    jobs.start(job)
    jobs.cancel()  # while it is being read: nothing is asked, nothing is left behind
    assert (job.state, job.id, len(bpy.data.scenes)) == (jobs.State.CANCELLED, None, scenes)

    def look() -> None:
        waited.append(jobs.view.job.state is jobs.State.WAITING)
        assert len(bpy.data.scenes) == scenes  # nothing of it is in the file between two looks

    begun: list[float] = []

    def ask() -> jobs.Job:
        since = time.monotonic()
        asked = describe.describe_job(describe.Request(), scene, hero)
        begun.append(time.monotonic() - since)
        return asked

    job, longest = quickest(ask, look)
    assert (job.params["motions"][0]["joints"]) == encode_array(whole)
    assert any(waited)
    assert made.name in bpy.data.actions
    within(min(begun), LONGEST, "to begin with")
    within(longest, LONGEST, f"{waited.count(True)} pieces")


@pytest.mark.parametrize("count", [1, 10])
def test_filling_gaps_on_a_large_rig_does_not_hold_up_the_window(count: int, within: Callable[..., None]) -> None:
    hero, scene = rigify(), bpy.context.scene
    key_motion(hero, walk(9.6))
    gaps = tuple(Gap(30.0 + 18.0 * n, 48.0 + 18.0 * n) for n in range(count)) if count > 1 else (Gap(30.0, 78.0),)
    bpy.context.view_layer.update()
    begun: list[float] = []

    def ask() -> jobs.Job:
        since = time.monotonic()
        asked = between.fill_job(hero, scene, between.Request(gaps=gaps))
        begun.append(time.monotonic() - since)
        return asked

    job, longest = quickest(ask)
    assert job.outcome.gaps == gaps
    within(min(begun), LONGEST, "read")
    within(longest, LONGEST, "longest look")


def test_an_action_changed_while_it_is_read_is_said(hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)  # a frame a tick
    apply_motion(hero, walk(2.0), scene=bpy.context.scene, name="Walk", start_frame=1.0)
    job = describe.describe_job(describe.Request(), bpy.context.scene, hero)
    hero.animation_data.action = bpy.data.actions.new("Another")
    job, _ = seen_through(job)
    assert (job.state, bool(job.error.remedy)) == (jobs.State.FAILED, True)
    assert not [action for action in bpy.data.actions if action.get("mgpt3_described")]


def test_a_frame_rate_changed_while_it_is_read_is_said(hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)
    apply_motion(hero, walk(2.0), scene=bpy.context.scene, name="Walk", start_frame=1.0)
    job = describe.describe_job(describe.Request(), bpy.context.scene, hero)
    bpy.context.scene.render.fps = 60
    job, _ = seen_through(job)
    assert (job.state, job.error and job.error.code) == (jobs.State.FAILED, "action_changed")


def test_an_action_of_many_keys_costs_one_look_at_all_of_them_a_reading(
    hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)
    looks, key = [], finding.content_key
    monkeypatch.setattr(finding, "content_key", lambda *about: looks.append(about) or key(*about))
    apply_motion(hero, walk(2.0), scene=bpy.context.scene, name="Walk", start_frame=1.0)
    job, _ = seen_through(describe.describe_job(describe.Request(), bpy.context.scene, hero))
    assert job.state is jobs.State.DONE, job.error
    assert len(looks) < 5  # before, when all is read, and when it is kept: not once a frame


def test_reading_the_actions_of_a_file_goes_on_where_it_was_broken_off(
    hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in (2.0, 3.0):
        apply_motion(hero, walk(seconds), scene=bpy.context.scene, name="Walk", start_frame=1.0)
    for action in bpy.data.actions:
        action.use_fake_user = True
    monkeypatch.setattr(jobs, "PIECE", 100.0)
    whole = describing.Run()
    whole._read_some(time.monotonic() + 100.0)
    monkeypatch.setattr(jobs, "PIECE", 0.0)  # a frame a step
    run, steps = describing.Run(), 0
    while run._todo:
        run._read_some(time.monotonic() + 1e-4)
        assert len(bpy.data.scenes) == 1
        steps += 1
    assert steps > 80
    assert [entry[1:] for entry in run._waiting] == [entry[1:] for entry in whole._waiting]
    assert [len(subject.parts) for subject in run._subjects] == [1, 1]

    run = describing.Run()  # a step that has longer takes longer
    run._read_some(time.monotonic() + 100.0)
    assert not run._todo


def test_an_action_changed_between_two_steps_is_read_from_its_start(
    hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)
    action = apply_motion(hero, walk(2.0), scene=bpy.context.scene, name="Walk", start_frame=1.0).action
    looks, key = [], finding.content_key
    monkeypatch.setattr(finding, "content_key", lambda *about: looks.append(about) or key(*about))
    run = describing.Run([action])
    for _ in range(10):
        run._read_some(time.monotonic() + 1e-4)
    assert len(looks) == 1
    for curve in curves_of(action):
        for point in curve.keyframe_points:
            point.co[1] *= 0.9
        curve.update()
    while run._todo:
        run._read_some(time.monotonic() + 1e-4)
    whole = describing.Run([action])
    whole._read_some(time.monotonic() + 100.0)
    assert [entry[1:] for entry in run._waiting] == [entry[1:] for entry in whole._waiting]
    assert [part.key for part in run._subjects[0].parts] == [part.key for part in whole._subjects[0].parts]


def test_where_no_window_waits_no_action_is_broken_off(hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)
    for seconds in (2.0, 3.0):
        apply_motion(hero, walk(seconds), scene=bpy.context.scene, name="Walk", start_frame=1.0)
    for action in bpy.data.actions:
        action.use_fake_user = True
    stages: list[object] = []
    begin = describing.Stage.__enter__
    monkeypatch.setattr(describing.Stage, "__enter__", lambda stage: begin(stages.append(stage) or stage))
    run, step = describing.Run(), describing.Run.step
    monkeypatch.setattr(describing.Run, "step", lambda run, seconds: step(run, 1e-4))  # less than an action takes
    asked: list[int] = []

    def cancelled() -> bool:  # which it is asked between actions
        asked.append(len(run._todo))
        return asked[-1] == 0

    with pytest.raises(UserError, match="Cancelled"):
        run.finish(cancelled=cancelled)
    assert {1, 0} <= set(asked)
    assert len(stages) == 2  # one for each action, and not one for each frame


def test_what_was_seen_of_an_action_that_is_gone_is_not_kept(
    hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PIECE", 0.0)
    action = apply_motion(hero, walk(2.0), scene=bpy.context.scene, name="Walk", start_frame=1.0).action
    run = describing.Run([action])
    while not run._begun:
        run._read_some(time.monotonic() + 1e-4)
    bpy.data.actions.remove(action)
    while run._todo:
        run._read_some(time.monotonic() + 1.0)
    assert not run._begun
    assert not run._subjects
