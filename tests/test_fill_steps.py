"""Several gaps are keyed one after the other, on a copy: what comes of it, and of what happens meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import rigs
from motions import walk
from splicing import MAKERS, different, keep_columns, key_motion, read_curves
from test_between import POSES, answer, hero, played, select  # noqa: F401 - a fixture
from test_channels import _child, _driven
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import action, between, filling, jobs
from mgpt3_blender.action_splice import Backup, copy_channels
from mgpt3_blender.errors import UserError
from mgpt3_blender.rig.mapping import map_armature


def begun(rig: Any, request: between.Request | None = None) -> tuple[jobs.Job, Any]:
    """Gaps between all poses, answered; the job, and the steps of its application."""
    select(rig, *POSES)
    asks: list[filling.Ask] = []
    with pytest.MonkeyPatch.context() as patch:
        plan = filling.plan
        patch.setattr(filling, "plan", lambda *about: asks.extend(plan(*about)) or asks)
        job = between.fill_job(rig, bpy.context.scene, request or between.Request(selected=True))
    job.gather_some(math.inf)
    for ask in asks[:-1]:
        assert job.then(answer(ask)) is not None
    return job, job.apply(answer(asks[-1]))


def seen_out(steps: Any) -> between.Outcome:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def nothing(_: Any) -> None:
    pass


def layered(rig: Any) -> None:
    """Another action in the NLA, to which this one is added."""
    data = rig.animation_data
    strip = data.nla_tracks.new().strips.new("again", 1, data.action.copy())
    strip.blend_type = "ADD"
    data.action_blend_type = "COMBINE"


@pytest.mark.parametrize("change", [nothing, _child, _driven, layered])
@pytest.mark.parametrize("kind", MAKERS)
def test_in_steps_comes_what_comes_at_once(kind: str, change: Callable[[Any], None]) -> None:
    make, limbs = MAKERS[kind]
    rig = make()
    key_motion(rig, walk(4.0), limbs=limbs)
    keep_columns(rig, POSES)
    curve = action.fcurves(played(rig), rig)[0]
    path, index = curve.data_path, curve.array_index
    action.container(played(rig), rig, create=False).fcurves.remove(curve)  # this one comes anew
    change(rig)
    bpy.context.scene.frame_set(30)
    mine, other = played(rig), played(rig).copy()
    before = read_curves(rig)
    _, steps = begun(rig)
    outcome = seen_out(steps)
    filled = read_curves(rig)
    assert played(rig) == mine
    assert len(outcome.gaps) == 3
    assert different(before, filled) != []

    slot = getattr(rig.animation_data, "action_slot", None)
    rig.animation_data.action = other
    if slot is not None:
        rig.animation_data.action_slot = next(s for s in other.slots if s.handle == slot.handle)
    assert different(before, read_curves(rig)) == []
    with pytest.MonkeyPatch.context() as patch:  # each gap on the action itself
        patch.setattr(between.Draft, "possible", lambda _: False)
        assert begun(rig)[1].gaps == outcome.gaps
    there = {(c.data_path, c.array_index): c for c in action.fcurves(mine, rig)}
    assert different(filled, read_curves(rig)) == []
    if (path, index) in filled:
        assert there[path, index].group.name == path.split('"')[1]


@pytest.mark.skipif(bpy.app.version < (4, 4), reason="actions have slots from Blender 4.4 on")
def test_only_the_slot_that_is_played_is_filled(hero: Any) -> None:  # noqa: F811
    """Two characters share an action; this one's slot is not the first."""
    act, data = played(hero), hero.animation_data
    first, keys = data.action_slot, Backup.of(act, hero)
    before = read_curves(hero)
    data.action_slot = second = act.slots.new(id_type="OBJECT", name="Second")
    copy_channels(keys, act, hero)
    assert different(before, read_curves(hero)) == []
    _, steps = begun(hero)
    mine = read_curves(hero)
    assert len(seen_out(steps).gaps) == 3
    assert data.action_slot == second
    assert different(mine, read_curves(hero)) != []
    data.action_slot = first
    assert different(before, read_curves(hero)) == []


def test_an_override_of_a_linked_character_is_filled_at_once(tmp_path: Path) -> None:
    """It would keep a note of each action that it played."""
    name = rigs.mannequin().name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = [name]
    rig = bpy.data.objects[name].override_create()
    bpy.context.scene.collection.objects.link(rig)
    key_motion(rig, walk(4.0))
    keep_columns(rig, POSES)
    mine = played(rig)
    _, outcome = begun(rig)
    assert [(gap.first, gap.last) for gap in outcome.gaps] == [(1, 20), (20, 50), (50, 80)]
    assert played(rig) == mine


def test_between_two_steps_all_is_as_it_was(hero: Any) -> None:  # noqa: F811
    before, act, slot = read_curves(hero), played(hero), getattr(hero.animation_data, "action_slot", None)
    poses = [np.array(bone.matrix_basis) for bone in hero.pose.bones]
    _, steps = begun(hero)
    select(hero)
    before = read_curves(hero)
    for _ in range(3):
        next(steps)
        assert played(hero) == act
        assert getattr(hero.animation_data, "action_slot", None) == slot
        assert different(before, read_curves(hero)) == []
        assert bpy.context.scene.frame_current == 30
        bpy.context.view_layer.update()
        assert np.allclose([np.array(bone.matrix_basis) for bone in hero.pose.bones], poses, atol=1e-6)
    assert not [a for a in bpy.data.actions if a != act and a.use_fake_user]
    seen_out(steps)
    assert list(bpy.data.actions) == [act]


def moved(rig: Any) -> None:
    point = action.fcurves(played(rig), rig)[3].keyframe_points[1]
    point.co[1] += 0.25


def another(rig: Any) -> None:
    action.write_keys(rig, "other", np.array([1.0, 9.0]), {"location": np.zeros((2, 3))})


def none(rig: Any) -> None:
    rig.animation_data_clear()


def undone(rig: Any) -> None:
    bpy.ops.ed.undo()


def removed(rig: Any) -> None:
    bpy.data.objects.remove(rig)


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [(moved, "action_changed"), (another, "action_changed"), (none, "action_changed"), (undone, "action_changed"),
     (removed, "character_gone")],
)  # fmt: skip
def test_what_the_user_does_meanwhile_stays(hero: Any, meanwhile: Callable[[Any], None], code: str) -> None:  # noqa: F811
    name = hero.name
    bpy.ops.ed.undo_push(message="hero")
    select(hero, *POSES)
    bpy.ops.ed.undo_push(message="selected")
    _, steps = begun(hero)
    next(steps)
    meanwhile(hero)
    hero = bpy.data.objects.get(name)
    there = hero is not None and hero.animation_data is not None
    before = read_curves(hero) if there else {}
    with pytest.raises(UserError) as caught:
        seen_out(steps)
    assert caught.value.code == code
    if there:
        assert different(before, read_curves(hero)) == []
        assert between.FILLS not in played(hero)
    assert not [a for a in bpy.data.actions if a.name.endswith(".001")]


def test_giving_up_between_two_steps_leaves_nothing(hero: Any) -> None:  # noqa: F811
    select(hero, *POSES)
    before, act = read_curves(hero), played(hero)
    jobs.start(between.fill_job(hero, bpy.context.scene, between.Request(selected=True)))
    job = jobs.view.job
    while job.applying is None:
        jobs.pump()
        assert not job.ended, job.error
    jobs.cancel()
    assert job.state is jobs.State.CANCELLED
    assert different(before, read_curves(hero)) == []
    assert list(bpy.data.actions) == [act]
    assert not jobs.pump()


def test_a_failure_after_the_last_step_takes_all_back(hero: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    select(hero, *POSES)
    before, act = read_curves(hero), played(hero)
    _, steps = begun(hero)

    def fails(*_: object) -> list[str]:
        raise UserError("no_object", "gone", "again")

    monkeypatch.setattr(filling, "missed", fails)
    with pytest.raises(UserError):
        seen_out(steps)
    assert different(before, read_curves(hero)) == []
    assert list(bpy.data.actions) == [act]
    assert map_armature(hero)
