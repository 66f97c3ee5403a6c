"""Generate, from the operator to the keys, with the real core; and what must not happen on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from motions import walk
from warm_worker import registered, tiny, worker  # noqa: F401 - fixtures

from mgpt3_blender import action, generate, jobs, results, wire
from mgpt3_blender.errors import RigError, UserError
from mgpt3_blender.mannequin import create_mannequin

PROMPT = "a person walks forward"


@pytest.fixture(autouse=True)
def _request(registered: None) -> None:  # noqa: F811 - the fixture taken over above
    scene = bpy.context.scene.mgpt3
    scene.prompt, scene.seconds, scene.seed = PROMPT, 2.0, 7


@pytest.fixture
def hero() -> bpy.types.Object:
    return create_mannequin(bpy.context)


def everything() -> dict[str, set[str]]:
    """What is in the file, to see that nothing was added."""
    kinds = ("objects", "actions", "armatures", "meshes", "collections", "materials")
    return {kind: {data.name for data in getattr(bpy.data, kind)} for kind in kinds}


def current(armature: bpy.types.Object) -> bpy.types.Action | None:
    return armature.animation_data.action if armature.animation_data else None


def moves(armature: bpy.types.Object, start: int, end: int) -> float:
    """How far a hand travels between two frames: that what is assigned really plays."""
    scene, points = bpy.context.scene, []
    before = scene.frame_current
    for frame in (start, end):
        scene.frame_set(frame)
        points.append(np.concatenate([np.array(bone.head) for bone in armature.pose.bones]))
    scene.frame_set(before)
    return float(np.abs(points[1] - points[0]).max())


def reply(*motions: np.ndarray, seed: int = 7) -> dict:
    """An answer as the worker gives it."""
    return {
        "motions": [{"joints": wire.encode_array(m), "seed": seed + i} for i, m in enumerate(motions)],
        "fps": 20.0,
        "guidance": 2.5,
        "steps": 20,
        "model": {"name": "test", "licence": "none"},
    }


def apply(hero: bpy.types.Object, *motions: np.ndarray, prompt: str = PROMPT, seed: int = 7) -> generate.Outcome:
    request = generate.Request(prompt, 3.0, seed, len(motions))
    return generate.apply_reply(reply(*motions, seed=seed), request, hero, bpy.context.scene)


def test_generate_puts_a_new_action_on_the_character(hero: bpy.types.Object) -> None:
    scene = bpy.context.scene
    scene.frame_current, scene.frame_end, scene.render.fps = 11, 20, 30
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    made = current(hero)
    assert made.name == PROMPT
    assert made["mgpt3_prompt"] == PROMPT
    assert (made["mgpt3_seed"], made["mgpt3_seconds"]) == (7, 2.0)
    assert made["mgpt3_model"] == "tiny random"
    assert made["mgpt3_licence"] == "none: random weights"
    assert "mgpt3_model_origin" not in made  # its config states none
    assert made["mgpt3_steps"] == 20
    assert json.loads(made["mgpt3_report"])["mean_deg"] >= 0.0
    assert made.frame_range[0] == 11
    assert 67 <= made.frame_range[1] <= 71  # two seconds at 30 a second
    assert (scene.frame_current, scene.frame_start, scene.frame_end, scene.render.fps) == (11, 1, 20, 30)
    assert "plays frames 1 to 20 only" in jobs.view.line
    assert results.results_of(hero) == [made]
    assert len(action.fcurves(made, hero)) > 60


def test_fast_asks_for_the_models_quick_recipe(hero: bpy.types.Object) -> None:
    bpy.context.scene.mgpt3.fast = True
    assert bpy.context.scene.mgpt3.request().params()["fast"] is True
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    assert current(hero)["mgpt3_steps"] == 12  # of the tiny model's fast recipe


def test_the_second_generation_plays_too(hero: bpy.types.Object) -> None:
    first = apply(hero, walk(3.0)).actions[0]
    assert moves(hero, 1, 30) > 0.1
    second = apply(hero, walk(3.0), seed=8).actions[0]
    assert current(hero) == second != first
    assert moves(hero, 1, 30) > 0.1
    assert results.results_of(hero)[0] == second
    assert {first, second} == set(results.results_of(hero))


def test_variations_are_all_kept_and_the_first_is_shown(hero: bpy.types.Object, tmp_path: Path) -> None:
    made = apply(hero, walk(1.0), walk(2.0), walk(3.0)).actions
    assert [a["mgpt3_seed"] for a in made] == [7, 8, 9]
    assert current(hero) == made[0]
    assert results.results_of(hero) == made
    assert [a.name for a in made] == [f"{PROMPT} #{i}" for i in (1, 2, 3)]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    hero = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    assert [a["mgpt3_seed"] for a in results.results_of(hero)] == [7, 8, 9]


def test_switching_and_removing_results(hero: bpy.types.Object) -> None:
    mine = bpy.data.actions.new("My own")
    action.bind_action(hero, mine)
    one, two = apply(hero, walk(3.0), walk(2.0)).actions
    names = one.name, two.name
    hero.mgpt3.shown = bpy.data.actions.find(two.name)  # a click in the list
    assert current(hero) == two
    assert hero.mgpt3.shown == bpy.data.actions.find(two.name)
    assert moves(hero, 1, 20) > 0.1
    bpy.ops.mgpt3.result_show(action=one.name)
    assert current(hero) == one
    hero.mgpt3.shown = bpy.data.actions.find(mine.name)  # not in the list: nothing happens
    assert current(hero) == one

    bpy.ops.mgpt3.result_remove(action=names[0])
    assert names[0] not in bpy.data.actions
    assert current(hero) == two
    bpy.context.scene.mgpt3.prompt = "else"
    bpy.ops.mgpt3.result_reuse(action=names[1])
    assert (bpy.context.scene.mgpt3.prompt, bpy.context.scene.mgpt3.seed) == (PROMPT, 8)
    bpy.ops.mgpt3.result_remove(action=names[1])
    assert current(hero) == bpy.data.actions["My own"]  # what the character had before comes back
    assert hero.mgpt3.shown == -1
    with pytest.raises(RuntimeError, match="no longer there"):
        bpy.ops.mgpt3.result_remove(action=names[1])


def test_a_result_used_elsewhere_is_not_removed(hero: bpy.types.Object) -> None:
    made = apply(hero, walk(3.0)).actions[0]
    track = hero.animation_data.nla_tracks.new()
    track.strips.new("strip", 1, made)
    with pytest.raises(RuntimeError, match="used elsewhere"):
        bpy.ops.mgpt3.result_remove(action=made.name)
    assert made.name in bpy.data.actions


def test_each_character_has_its_own_results(hero: bpy.types.Object) -> None:
    other = create_mannequin(bpy.context)
    mine, theirs = apply(hero, walk(2.0)).actions, apply(other, walk(2.0)).actions
    hero.name = "Renamed"
    assert results.results_of(hero) == mine
    assert results.results_of(other) == theirs


def test_the_users_own_action_stays_in_the_file(hero: bpy.types.Object, tmp_path: Path) -> None:
    action.bind_action(hero, bpy.data.actions.new("My own"))
    apply(hero, walk(2.0))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    assert "My own" in bpy.data.actions


def test_one_undo_takes_all_of_it_back() -> None:
    bpy.context.scene.mgpt3.variations = 2
    bpy.ops.ed.undo_push(message="before")
    before = everything()
    result = bpy.ops.mgpt3.generate("EXEC_DEFAULT", True, create_mannequin=True)
    assert result == {"FINISHED"}
    assert len(bpy.data.actions) == 2
    assert any(o.type == "ARMATURE" for o in bpy.data.objects)
    bpy.ops.ed.undo()
    assert everything() == before
    bpy.ops.ed.redo()
    hero = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    assert len(results.results_of(hero)) == 2
    assert moves(hero, 1, 20) > 0.0


def test_one_undo_gives_the_earlier_action_back(hero: bpy.types.Object) -> None:
    name = hero.name
    first = apply(hero, walk(2.0)).actions[0].name
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.generate("EXEC_DEFAULT", True)
    assert current(bpy.data.objects[name]).name != first
    bpy.ops.ed.undo()
    assert current(bpy.data.objects[name]).name == first
    assert [a.name for a in bpy.data.actions] == [first]


def test_without_a_character_generate_says_so_and_offers_the_mannequin() -> None:
    before = everything()
    with pytest.raises(RuntimeError, match="no character in the scene"):
        bpy.ops.mgpt3.generate()
    assert everything() == before
    assert bpy.ops.mgpt3.generate(create_mannequin=True) == {"FINISHED"}
    hero = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    assert current(hero)["mgpt3_prompt"] == PROMPT


def test_with_several_characters_one_must_be_chosen() -> None:
    heroes = [create_mannequin(bpy.context) for _ in range(2)]
    scene = bpy.context.scene
    bpy.context.view_layer.objects.active = None
    with pytest.raises(RuntimeError, match="several characters"):
        bpy.ops.mgpt3.generate(create_mannequin=True)
    bpy.context.view_layer.objects.active = heroes[1]
    assert generate.find_character(scene, None, heroes[1]) == heroes[1]
    body = next(o for o in bpy.data.objects if o.type == "MESH" and o.find_armature() == heroes[0])
    assert generate.find_character(scene, None, body) == heroes[0]
    scene.mgpt3.character = heroes[0]
    bpy.ops.mgpt3.generate()
    assert current(heroes[0]) is not None
    assert current(heroes[1]) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"prompt": "  "}, "prompt_empty"),
        ({"prompt": "x" * 1001}, "prompt_too_long"),
        ({"seconds": 0.9}, "duration_out_of_range"),
        ({"seconds": 9.9}, "duration_out_of_range"),
        ({"seconds": float("nan")}, "duration_out_of_range"),
        ({"seed": -1}, "seed_out_of_range"),
        ({"seed": 2**31}, "seed_out_of_range"),
        ({"variations": 0}, "variations_out_of_range"),
        ({"variations": 9}, "variations_out_of_range"),
    ],
)
def test_requests_that_cannot_be_made_are_refused_before_anything_starts(change: dict, code: str) -> None:
    with pytest.raises(UserError) as caught:
        generate.generate_for_character(None, **{"prompt": "walk", "create_mannequin": True, **change})
    assert caught.value.code == code
    assert caught.value.remedy
    assert not bpy.data.objects


def test_an_unknown_rig_is_refused_before_the_model_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    bpy.ops.object.armature_add()
    monkeypatch.setattr(jobs, "start", lambda *a: pytest.fail("the model was asked"))
    with pytest.raises(RigError):
        generate.generate_for_character(bpy.context.object, PROMPT)
    assert not bpy.data.actions


def interrupted(what: Callable[[], None], **options: object) -> UserError:
    """Generate something slow, do `what` at the first progress; the error that comes of it."""
    done: list[float] = []

    def progress(fraction: float, message: str) -> None:
        if fraction > 0 and not done:
            done.append(fraction)
            what()

    with pytest.raises(UserError) as caught:
        generate.generate_for_character(
            None, PROMPT, seconds=9.8, variations=8, steps=1000, progress=progress, **options
        )
    assert done
    return caught.value


def test_cancelling_mid_way_leaves_no_action(hero: bpy.types.Object) -> None:
    before = everything()
    asked: list[bool] = []
    error = interrupted(lambda: asked.append(True), cancelled=lambda: bool(asked))
    assert error.code == "cancelled"
    assert everything() == before
    time.sleep(0.5)
    assert not jobs.pump()  # nothing stale arrives
    assert everything() == before
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}


def test_killing_the_worker_mid_way_changes_nothing_and_the_next_request_works(hero: bpy.types.Object) -> None:
    before = everything()
    error = interrupted(lambda: os.kill(jobs._worker.process_id, signal.SIGKILL))
    assert error.code == "worker_crashed"
    assert "SIGKILL" in error.message
    assert error.remedy
    assert everything() == before
    assert current(hero) is None
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}


def test_a_character_deleted_meanwhile_is_a_clear_error(hero: bpy.types.Object) -> None:
    job = generate.character_job(generate.Request(PROMPT), bpy.context.scene, hero)
    hero.name = "New name"
    job.apply(reply(walk(2.0)))  # renaming does no harm
    assert current(hero) is not None
    job = generate.character_job(generate.Request(PROMPT), bpy.context.scene, hero)
    bpy.data.objects.remove(hero)
    before = everything()
    with pytest.raises(UserError) as caught:
        job.apply(reply(walk(2.0)))
    assert caught.value.code == "character_gone"
    assert "New name" in caught.value.message
    assert everything() == before


def test_a_scene_deleted_meanwhile_is_a_clear_error() -> None:
    scene = bpy.data.scenes.new("Other")
    job = generate.character_job(generate.Request(PROMPT), scene, create_mannequin=True)
    bpy.data.scenes.remove(scene)
    with pytest.raises(UserError) as caught:
        job.apply(reply(walk(2.0)))
    assert caught.value.code == "scene_gone"


def test_undo_meanwhile_does_no_harm(hero: bpy.types.Object) -> None:
    name = hero.name
    bpy.ops.ed.undo_push(message="hero")
    job = generate.character_job(generate.Request(PROMPT), bpy.context.scene, hero)
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    bpy.ops.ed.undo()
    job.apply(reply(walk(2.0)))
    assert current(bpy.data.objects[name]) is not None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"motions": []},
        {"motions": [7]},
        {"motions": [{"joints": {}, "seed": 1}]},
        {"motions": [{"joints": wire.encode_array(np.full((9, 22, 3), np.inf)), "seed": 1}]},
    ],
)
def test_an_answer_that_is_none_changes_nothing(answer: object) -> None:
    job = generate.character_job(generate.Request(PROMPT), bpy.context.scene, create_mannequin=True)
    before = everything()
    with pytest.raises(UserError) as caught:
        job.apply(answer)
    assert caught.value.code == "bad_answer"
    assert everything() == before


def test_a_failure_half_way_through_the_variations_changes_nothing(
    hero: bpy.types.Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgpt3_blender.rig import apply as rig_apply

    mine = bpy.data.actions.new("My own")
    action.bind_action(hero, mine)
    before, real, calls = everything(), rig_apply.apply_motion, []

    def failing(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RigError("unknown_rig", "No.", "")
        return real(*args, **kwargs)

    monkeypatch.setattr(rig_apply, "apply_motion", failing)
    with pytest.raises(RigError):
        apply(hero, walk(1.0), walk(2.0), walk(3.0))
    assert everything() == before
    assert current(hero) == mine
    if "action_slot" in hero.animation_data.bl_rna.properties:
        assert hero.animation_data.action_slot is not None


@pytest.mark.parametrize("make", ["missing", "truncated", "pickle"])
def test_a_model_that_is_none_is_a_clear_error(
    make: str,
    hero: bpy.types.Object,
    tiny: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    folder = tmp_path / "model"
    if make != "missing":
        shutil.copytree(tiny, folder)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000] if make == "truncated" else b"PK\x03\x04 archive/data.pkl")
    monkeypatch.setenv("MGPT3_MODEL", str(folder))
    before = everything()
    with pytest.raises(UserError) as caught:
        generate.generate_for_character(hero, PROMPT)
    assert caught.value.code == ("model_missing" if make == "missing" else "model_broken")
    assert caught.value.remedy
    assert everything() == before


def test_names_fit_whatever_the_prompt() -> None:
    for prompt in ("歩く" * 40, "ÄÖ" * 60, "a" * 500, "  two\n lines "):
        for number in (None, 8):
            name = generate.action_name(prompt, number)
            assert len(name.encode()) <= 59
            assert "�" not in name
            assert "\n" not in name
    assert generate.action_name(PROMPT) == PROMPT


def test_a_unicode_prompt_goes_the_whole_way(hero: bpy.types.Object) -> None:
    bpy.context.scene.mgpt3.prompt = "eine Person läuft 🚶 歩く"
    bpy.ops.mgpt3.generate()
    assert current(hero)["mgpt3_prompt"] == "eine Person läuft 🚶 歩く"
    assert current(hero).name == "eine Person läuft 🚶 歩く"


def test_the_dice_stay_in_range() -> None:
    seen = set()
    for _ in range(20):
        bpy.ops.mgpt3.seed_dice()
        seen.add(bpy.context.scene.mgpt3.seed)
    assert len(seen) > 15
    assert all(0 <= seed <= 2**31 - 1 for seed in seen)


def test_the_same_seed_gives_the_same_keys(hero: bpy.types.Object) -> None:
    bpy.ops.mgpt3.generate()
    bpy.ops.mgpt3.generate()
    second, first = results.results_of(hero)
    a, b = action.read_fcurves(first, hero), action.read_fcurves(second, hero)
    assert a.keys() == b.keys()
    assert all(np.allclose(a[key][1], b[key][1], atol=1e-6) for key in a)
