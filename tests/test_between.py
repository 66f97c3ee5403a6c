"""Fill Between, from the keys on a character over the real core to the keys in the gap; and what must not happen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import rigs
from motions import walk
from recorder import Recorder
from splicing import different, joints_at, keep_columns, key_motion, read_curves, straight
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import action, between, cli, gaps, jobs, panels_between, wire
from mgpt3_blender.errors import UserError
from mgpt3_blender.filling import Point
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.poses import space_of
from mgpt3_blender.rig.skeleton22 import INDEX

POSES = [1, 20, 50, 80]


@pytest.fixture
def hero() -> Any:
    """A mannequin with four keyed poses of a walk."""
    rig = rigs.mannequin()
    key_motion(rig, walk(4.0))
    keep_columns(rig, POSES)
    select(rig)
    bpy.context.scene.frame_set(30)
    return rig


def select(rig: Any, *frames: float) -> None:
    """Select the keys at some frames and no others."""
    for curve in action.fcurves(rig.animation_data.action, rig):
        for point in curve.keyframe_points:
            point.select_control_point = round(point.co[0]) in frames


def found(rig: Any, selected: bool = False, hold: bool = True) -> list[tuple[float, float]]:
    bones = gaps.body_bones(map_armature(rig))
    out = gaps.find_gaps(rig.animation_data.action, rig, bpy.context.scene, selected, bones, hold)
    return [(gap.first, gap.last) for gap in out]


def played(rig: Any) -> Any:
    return rig.animation_data.action


def answer(ask: Any, joints: np.ndarray | None = None) -> dict:
    """An answer as the worker gives it: the straight line between the two poses."""
    joints = straight(ask.before[-1], ask.after[0], ask.steps) if joints is None else joints
    return {"motions": [{"joints": wire.encode_array(joints), "seed": 3, "report": {}}], "model": {"name": "test"}}


def test_fill_between_keys_every_frame_and_leaves_the_rest(hero: Any) -> None:
    scene = bpy.context.scene
    before, poses = read_curves(hero), joints_at(hero, POSES)
    assert bpy.ops.mgpt3.fill_between() == {"FINISHED"}
    after = read_curves(hero)
    assert different(before, after, 20, 50) == []
    legs = [k for k in after if '"thigh.L"' in k[0] and "rotation" in k[0]]
    assert legs
    for key in legs:
        frames = after[key]["co"][:, 0]
        assert frames[(frames >= 20) & (frames <= 50)].tolist() == list(range(20, 51))
    assert np.abs(joints_at(hero, POSES) - poses).max() < 1e-5
    assert scene.frame_current == 30
    assert "Filled 29 frames between 20 and 50" in jobs.view.line
    noted = between.fills(played(hero))
    assert [(e["first"], e["last"], e["seed"], e["model"]) for e in noted] == [(20, 50, 0, "tiny random")]
    assert noted[0]["report"]["velocity_jump"] >= 0.0


def test_one_undo_restores_the_animation_exactly(hero: Any) -> None:
    name = hero.name
    bpy.ops.ed.undo_push(message="before")
    before = read_curves(hero)
    assert bpy.ops.mgpt3.fill_between("EXEC_DEFAULT", True) == {"FINISHED"}
    filled = read_curves(hero)
    assert different(before, filled) != []
    bpy.ops.ed.undo()
    again = bpy.data.objects[name]
    assert different(before, read_curves(again)) == []
    assert between.FILLS not in played(again)
    bpy.ops.ed.redo()
    assert different(filled, read_curves(bpy.data.objects[name])) == []


def test_the_next_take_fills_the_same_gap_with_the_next_seed(hero: Any) -> None:
    bpy.ops.mgpt3.fill_between()
    first = read_curves(hero)
    bpy.context.scene.frame_set(75)  # the gap is remembered, wherever the animator looks meanwhile
    assert bpy.ops.mgpt3.fill_next_take() == {"FINISHED"}
    assert different(first, read_curves(hero), 20, 50) == []
    noted = between.fills(played(hero))
    assert [(e["first"], e["last"], e["seed"]) for e in noted] == [(20, 50, 1)]
    assert bpy.context.scene.mgpt3_between.seed == 1


def test_several_gaps_in_one_go_go_on_from_one_another(hero: Any) -> None:
    select(hero, *POSES)
    settings = bpy.context.scene.mgpt3_between
    settings.which = "SELECTED"
    before = read_curves(hero)
    bpy.ops.mgpt3.fill_between()
    assert "Filled 3 gaps" in jobs.view.line
    after = read_curves(hero)
    assert [(e["first"], e["last"]) for e in between.fills(played(hero))] == [(1, 20), (20, 50), (50, 80)]
    kept = [{k: {n: v[np.isin(t["co"][:, 0], np.float32(POSES))] for n, v in t.items()} for k, t in curves.items()}
            for curves in (before, after)]  # fmt: skip
    assert different(*kept) == []


@pytest.mark.parametrize("context", [True, False])
def test_a_gap_goes_on_from_what_was_made_for_the_one_before(
    hero: Any, context: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    select(hero, *POSES)
    asks = watch_asks(monkeypatch)
    job = between.fill_job(hero, bpy.context.scene, between.Request(selected=True, use_context=context))
    job.gather_some(math.inf)
    assert [len(ask.after) for ask in asks] == [1, 1, 1]  # what follows is still to be made
    made = straight(asks[0].before[-1], asks[0].after[0], asks[0].steps)
    wave = np.sin(np.linspace(0.0, 2.0 * np.pi, len(made)))
    made[:, :, 1] += 0.2 * wave[:, None]
    told = wire.decode_array(job.then(answer(asks[0], made))["before"])
    assert len(told) == (11 if context else 1)
    assert np.abs(told[-1] - made[-1]).max() < 1e-5
    if context:
        speed = (told[-1] - told[-2]) / asks[1].step
        assert np.abs(speed - (made[-1] - made[-2]) / asks[0].step).max() < 0.004


def watch_asks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Gets what the worker is asked for each gap, as soon as it is read."""
    asks: list[Any] = []
    plan = between.filling.plan

    def remember(*args: Any) -> list:
        asks.extend(plan(*args))
        return asks

    monkeypatch.setattr(between.filling, "plan", remember)
    return asks


def test_breakdowns_between_selected_poses_stay_or_go(hero: Any) -> None:
    select(hero, 1, 80)
    assert found(hero, True) == [(1, 20), (20, 50), (50, 80)]
    assert found(hero, True, hold=False) == [(1, 80)]
    settings = bpy.context.scene.mgpt3_between
    settings.which, settings.hold = "SELECTED", False
    bpy.ops.mgpt3.fill_between()
    assert "Filled 78 frames between 1 and 80" in jobs.view.line


def test_selected_bones_only(hero: Any) -> None:
    mapping = map_armature(hero)
    arm = {mapping.bones[joint] for joint in ("r_shoulder", "r_elbow", "r_wrist")}
    own = "select" in bpy.types.PoseBone.bl_rna.properties
    for bone in hero.pose.bones:
        (bone if own else bone.bone).select = bone.name in arm
    bpy.context.scene.mgpt3_between.bones = "SELECTED"
    before = read_curves(hero)
    bpy.ops.mgpt3.fill_between()
    after = read_curves(hero)
    changed = {key[0].split('"')[1] for key in before if len(before[key]["co"]) != len(after[key]["co"])}
    assert changed == arm
    assert between.fills(played(hero))[0]["bones"] == sorted(arm)
    for bone in hero.pose.bones:
        (bone if own else bone.bone).select = False
    with pytest.raises(RuntimeError, match="None of the selected bones"):
        bpy.ops.mgpt3.fill_between()


def test_the_gap_around_the_current_frame(hero: Any) -> None:
    scene = bpy.context.scene
    for frame, expected in ((1, (1, 20)), (19, (1, 20)), (20, (20, 50)), (79, (50, 80)), (80, (50, 80))):
        scene.frame_set(frame)
        assert found(hero) == [expected]
    scene.frame_set(90)
    with pytest.raises(UserError) as error:
        found(hero)
    assert error.value.code == "not_between"


def test_keys_of_a_few_bones_make_no_pose(hero: Any) -> None:
    curve = next(
        c for c in action.fcurves(played(hero), hero) if '"hand.L"' in c.data_path or '"hand_l"' in c.data_path
    )
    curve.keyframe_points.insert(35, 0.0)
    assert found(hero) == [(20, 50)]


def test_a_filled_gap_is_filled_again_but_poses_set_in_it_since_stay(hero: Any) -> None:
    bpy.ops.mgpt3.fill_between()
    select(hero, *range(1, 81))
    assert found(hero) == [(20, 50)]
    assert found(hero, True) == [(1, 20), (20, 50), (50, 80)]
    bone = hero.pose.bones[map_armature(hero).bones["l_elbow"]]
    bpy.context.scene.frame_set(37)
    bone.rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bone.keyframe_insert("rotation_quaternion", frame=37)
    bpy.context.scene.frame_set(30)
    assert found(hero) == [(20, 37)]
    before = read_curves(hero)
    bpy.ops.mgpt3.fill_between()
    assert different(before, read_curves(hero), 20, 37) == []


def test_keys_off_the_frame(hero: Any) -> None:
    for curve in action.fcurves(played(hero), hero):
        for point in curve.keyframe_points:
            point.co[0] += 0.4
    bpy.context.scene.frame_set(30)
    poses = joints_at(hero, [20.4, 50.4])
    before = read_curves(hero)
    bpy.ops.mgpt3.fill_between()
    after = read_curves(hero)
    assert different(before, after, 20.5, 50.3) == []
    assert np.abs(joints_at(hero, [20.4, 50.4]) - poses).max() < 1e-4
    frames = next(t for k, t in after.items() if "rotation" in k[0])["co"][:, 0]
    assert frames[(frames > 20.5) & (frames < 50.3)].tolist() == list(range(21, 51))


@pytest.mark.parametrize(
    ("code", "prepare"),
    [
        ("no_keys", lambda rig: rig.animation_data_clear()),
        ("no_keys", lambda rig: keep_columns(rig, [20])),
        ("one_key", lambda rig: setattr(bpy.context.scene.mgpt3_between, "which", "SELECTED")),
        ("not_between", lambda rig: bpy.context.scene.frame_set(200)),
        ("no_gap", lambda rig: (key_motion(rig, walk(3.0)), bpy.context.scene.frame_set(9))),
    ],
)
def test_what_cannot_be_filled_says_why_and_changes_nothing(hero: Any, code: str, prepare: Any) -> None:
    prepare(hero)
    before = read_curves(hero) if hero.animation_data and played(hero) else {}
    with pytest.raises(RuntimeError):
        bpy.ops.mgpt3.fill_between()
    assert jobs.view.error is not None
    assert jobs.view.error.code == code
    assert jobs.view.error.remedy
    assert different(before, read_curves(hero) if before else {}) == []


@pytest.mark.parametrize(
    "reply",
    [None, {}, {"motions": []}, {"motions": [7]}, {"motions": [{"joints": wire.encode_array(np.zeros((3, 22, 3)))}]}],
)
def test_an_answer_that_cannot_be_read_changes_nothing(hero: Any, reply: object) -> None:
    before = read_curves(hero)
    job = between.fill_job(hero, bpy.context.scene, between.Request())
    with pytest.raises(UserError) as error:
        job.apply(reply)
    assert error.value.code == "bad_answer"
    assert different(before, read_curves(hero)) == []


def test_a_failure_at_the_second_gap_takes_the_first_back(hero: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    select(hero, 1, 20, 50)
    asks = watch_asks(monkeypatch)
    job = between.fill_job(hero, bpy.context.scene, between.Request(selected=True))
    job.gather_some(math.inf)
    before = read_curves(hero)
    assert job.then(answer(asks[0]))["frames"] == asks[1].steps - 1
    for curve in action.fcurves(played(hero), hero):  # meanwhile the animator moves a pose
        for point in curve.keyframe_points:
            if round(point.co[0]) == 50:
                point.co[0] = 60.0
    moved = read_curves(hero)
    with pytest.raises(UserError) as error:
        job.apply(answer(asks[1]))
    assert error.value.code == "keys_changed"
    assert different(moved, read_curves(hero)) == []
    assert different(before, moved) != []


def test_another_action_meanwhile_is_not_written_to(hero: Any) -> None:
    job = between.fill_job(hero, bpy.context.scene, between.Request())
    mine = played(hero)
    action.write_keys(hero, "other", np.array([1.0, 9.0]), {"location": np.zeros((2, 3))})
    with pytest.raises(UserError) as error:
        job.apply({})
    assert error.value.code in ("action_changed", "bad_answer")
    assert between.FILLS not in mine


def test_a_hand_reaches_an_object(hero: Any) -> None:
    scene = bpy.context.scene
    mapping = map_armature(hero)
    goal = bpy.data.objects.new("Cup", None)
    scene.collection.objects.link(goal)
    bpy.ops.mgpt3.fill_between()
    wrist = joints_at(hero, [35])[0, INDEX["r_wrist"]] + [0.0, 0.06, 0.03]
    goal.location = space_of(hero, scene, mapping).world(wrist)
    bpy.context.view_layer.objects.active = goal
    scene.mgpt3.character = hero
    scene.frame_set(35)
    bpy.ops.mgpt3.reach_add()
    entry = scene.mgpt3_between.targets[0]
    assert (entry.joint, entry.target, entry.frame) == ("r_wrist", goal, 35)
    bpy.ops.mgpt3.fill_between()
    away = np.linalg.norm(joints_at(hero, [35])[0, INDEX["r_wrist"]] - wrist)
    said = [text for text in jobs.view.warnings if "Cup" in text]
    assert away < 0.03
    assert bool(said) == (away > between.NOTABLE)
    entry.frame = 70
    with pytest.raises(RuntimeError, match="not in the gap"):
        bpy.ops.mgpt3.fill_between()
    bpy.ops.mgpt3.reach_remove()
    assert len(scene.mgpt3_between.targets) == 0


def test_what_is_out_of_reach_is_reported_with_the_error_that_is_left(hero: Any) -> None:
    scene = bpy.context.scene
    goal = bpy.data.objects.new("Moon", None)
    scene.collection.objects.link(goal)
    goal.location = (0.0, 0.0, 40.0)
    outcome = between.fill_between(hero, between.Request(points=(Point("l_wrist", "Moon", 35.0),)))
    said = next(text for text in outcome.warnings if "Moon" in text)
    assert "left hand misses Moon at frame 35 by" in said
    assert 30.0 < float(said.split(" by ")[1].split()[0]) < 41.0


@pytest.mark.parametrize("timed", [False, True])
def test_a_path_is_followed(hero: Any, timed: bool) -> None:
    scene = bpy.context.scene
    start, end = joints_at(hero, [20, 50])[:, 0]
    middle = 0.5 * (start + end) + [0.5, 0.0, 0.0]
    data = bpy.data.curves.new("Way", "CURVE")
    data.dimensions = "3D"
    spline = data.splines.new("POLY")
    spline.points.add(2)
    space = space_of(hero, scene, map_armature(hero))
    for point, place in zip(spline.points, (start, middle, end), strict=True):
        point.co = (*space.world(place * [1.0, 0.0, 1.0]), 1.0)
    way = bpy.data.objects.new("Way", data)
    scene.collection.objects.link(way)
    settings = scene.mgpt3_between
    settings.path, settings.timed = way, timed
    bpy.ops.mgpt3.fill_between()
    report = between.fills(played(hero))[0]["report"]["constraints"]
    assert [entry["kind"] for entry in report] == ["path"]
    aside = joints_at(hero, np.arange(20, 51))[:, 0]
    assert (aside[:, 0] - np.linspace(start[0], end[0], 31)).max() > 0.15
    select(hero, *POSES)
    settings.which = "SELECTED"
    if not timed:
        with pytest.raises(RuntimeError, match="one gap only"):
            bpy.ops.mgpt3.fill_between()


def test_strength_nought_is_plain_interpolation(hero: Any) -> None:
    bpy.context.scene.mgpt3_between.strength = 0.0
    bpy.ops.mgpt3.fill_between()
    first = joints_at(hero, np.arange(20, 51))
    assert between.fills(played(hero))[0]["report"]["model_share"] == 0.0
    bpy.context.scene.mgpt3_between.seed = 99
    bpy.ops.mgpt3.fill_between()
    assert np.abs(joints_at(hero, np.arange(20, 51)) - first).max() < 0.002


def test_a_rig_with_ik_legs_and_fk_arms() -> None:
    rig = rigs.rigify()
    key_motion(rig, walk(4.0), limbs="IK")
    for side in "LR":
        rig.pose.bones[f"upper_arm_parent.{side}"]["IK_FK"] = 1.0
    held = action.container(played(rig), rig, create=False)
    for curve in list(held.fcurves):
        if "upper_arm_parent" in curve.data_path or "hand_ik" in curve.data_path or "arm_ik_t" in curve.data_path:
            held.fcurves.remove(curve)
    for side in "LR":
        for bone in ("upper_arm_fk", "forearm_fk"):
            for frame, angle in ((1, 0.1), (20, 0.2), (50, 0.5), (80, 0.1)):
                rig.pose.bones[f"{bone}.{side}"].rotation_quaternion = (np.cos(angle), np.sin(angle), 0, 0)
                rig.pose.bones[f"{bone}.{side}"].keyframe_insert("rotation_quaternion", frame=frame)
    keep_columns(rig, POSES)
    bpy.context.scene.frame_set(30)
    poses, before = joints_at(rig, POSES), read_curves(rig)
    outcome = between.fill_between(rig)
    assert different(before, {k: t for k, t in read_curves(rig).items() if k in before}, 20, 50) == []
    assert np.abs(joints_at(rig, POSES) - poses).max() < 1e-5
    filled = {k[0].split('"')[1] for k, t in read_curves(rig).items() if np.isin(35, t["co"][:, 0])}
    assert {"foot_ik.L", "foot_ik.R", "upper_arm_fk.L", "forearm_fk.R", "torso"} <= filled
    assert not {"hand_ik.L", "thigh_fk.L", "foot_fk.R"} & filled
    assert outcome.warnings == []


def test_the_panel_draws_and_settings_stay_in_the_file(hero: Any, tmp_path: Path) -> None:
    settings = bpy.context.scene.mgpt3_between
    settings.prompt, settings.strength, settings.which, settings.bones = "a person waves", 0.5, "SELECTED", "SELECTED"
    bpy.ops.mgpt3.reach_add()
    select(hero, 20, 50)
    drawn = type("Panel", (), {"layout": Recorder()})()
    panels_between.MGPT3_PT_between.draw(drawn, bpy.context)
    assert "mgpt3.fill_between" in drawn.layout.operators
    assert "mgpt3.fill_next_take" not in drawn.layout.operators
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    again = bpy.context.scene.mgpt3_between
    assert (again.prompt, again.strength, again.which, again.bones) == ("a person waves", 0.5, "SELECTED", "SELECTED")
    assert len(again.targets) == 1


def test_every_property_and_operator_explains_itself() -> None:
    from mgpt3_blender import properties_between
    from mgpt3_blender.operators import inbetween

    for cls in properties_between.classes:
        for prop in cls.bl_rna.properties:
            assert prop.identifier in ("rna_type", "name") or prop.description, prop.identifier
    for cls in inbetween.classes:
        assert cls.__doc__


def test_what_is_noted_is_read_back_whatever_it_is() -> None:
    made = bpy.data.actions.new("a")
    for text in ("", "[", "7", '{"first": 1}', '[{"first": 1}, 3]'):
        made[between.FILLS] = text
        assert between.fills(made) == [] if text != "7" else True
    made[between.FILLS] = json.dumps([{"first": 1.0, "last": 5.0, "seed": 2, "latest": True}])
    assert panels_between.fill_line(between.fills(made)[0]) == "Frames 1 to 5: seed 2"


def test_the_command_fills_in_a_file(hero: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before, name = read_curves(hero), hero.name
    source, target = tmp_path / "in.blend", tmp_path / "out.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(source))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    arguments = ["fill", "--blend", str(source), "--start", "20", "--end", "50", "--seed", "4"]
    assert cli.main([*arguments, "--blend-out", str(target), "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["character"] == name
    assert [(gap["first"], gap["last"], gap["seed"]) for gap in made["gaps"]] == [(20, 50, 4)]
    bpy.ops.wm.open_mainfile(filepath=str(target))
    assert different(before, read_curves(bpy.data.objects[name]), 20, 50) == []
    assert cli.main(["fill", "--blend", str(source), "--start", "20", "--end", "51"]) == 1
    assert "no keyed pose at frame 51" in capsys.readouterr().err
    assert cli.main(["fill", "--blend", str(source), "--start", "20"]) == 1
