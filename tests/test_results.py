"""The list of a character's motions: rename, star, apply, remove, and removing those without a star."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from motions import walk
from recorder import Recorder

import mgpt3_blender
from mgpt3_blender import action, generate, panels, results, wire
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin

PROMPT = "a person walks forward"


@pytest.fixture
def hero() -> Iterator[bpy.types.Object]:
    mgpt3_blender.register()
    yield create_mannequin(bpy.context)
    mgpt3_blender.unregister()


def make(hero: bpy.types.Object, count: int) -> list[bpy.types.Action]:
    """Motions as the worker's answer makes them."""
    motions: list[np.ndarray] = [walk(1.0 + 0.5 * number) for number in range(count)]
    reply = {
        "motions": [{"joints": wire.encode_array(m), "seed": 7 + i} for i, m in enumerate(motions)],
        "fps": 20.0,
        "guidance": 2.5,
        "steps": 20,
        "model": {"name": "test", "licence": "none"},
    }
    request = generate.Request(PROMPT, 3.0, 7, count)
    return list(generate.apply_reply(reply, request, hero, bpy.context.scene).actions)


def playing(hero: bpy.types.Object) -> bpy.types.Action | None:
    return hero.animation_data.action if hero.animation_data else None


def test_a_renamed_motion_stays_in_the_list_with_its_star(hero: bpy.types.Object, tmp_path: Path) -> None:
    first, second = make(hero, 2)
    second.name, second.mgpt3_favourite = "The good one", True
    assert results.results_of(hero) == [first, second]
    first.name = "Z"  # the list does not jump under the mouse
    assert results.results_of(hero) == [first, second]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    hero = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    assert {a.name: results.favourite(a) for a in results.results_of(hero)} == {"Z": False, "The good one": True}
    assert bpy.ops.mgpt3.result_show(action="The good one") == {"FINISHED"}
    assert playing(hero).name == "The good one"


def test_removing_all_but_favourites(hero: bpy.types.Object) -> None:
    mine = bpy.data.actions.new("My own")
    action.bind_action(hero, mine)
    other = create_mannequin(bpy.context)
    theirs = make(other, 1)[0].name
    bpy.context.view_layer.objects.active = hero
    bpy.context.scene.mgpt3.character = hero
    made = make(hero, 4)
    with pytest.raises(RuntimeError, match="Click the star"):
        bpy.ops.mgpt3.results_clear()
    with pytest.raises(UserError) as caught:
        results.remove_without_star(hero)
    assert caught.value.code == "no_favourite"
    kept, used = made[2], made[3]
    kept.mgpt3_favourite = True
    hero.animation_data.nla_tracks.new().strips.new("strip", 1, used)
    stay = {kept.name, used.name, theirs, "My own"}
    assert playing(hero) == made[0]
    assert bpy.ops.mgpt3.results_clear() == {"FINISHED"}
    assert {a.name for a in bpy.data.actions} == stay
    assert playing(hero) == kept
    bpy.ops.mgpt3.result_remove(action=kept.name)  # the star is no lock: asked for, it goes
    bpy.ops.mgpt3.result_show(action=used.name)
    used.mgpt3_favourite = True
    with pytest.raises(RuntimeError, match="no motions without a star"):
        bpy.ops.mgpt3.results_clear()


def test_what_is_shown_stays_where_it_has_a_star(hero: bpy.types.Object) -> None:
    made = make(hero, 3)
    made[1].mgpt3_favourite = made[2].mgpt3_favourite = True
    results.activate(hero, made[2])
    assert results.remove_without_star(hero) == (1, 0)
    assert playing(hero) == made[2]


def test_one_undo_brings_the_removed_ones_back(hero: bpy.types.Object) -> None:
    made = make(hero, 3)
    made[1].mgpt3_favourite = True
    names, starred = {a.name for a in made}, made[1].name
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.mgpt3.results_clear()
    assert {a.name for a in bpy.data.actions} == {starred}
    bpy.ops.ed.undo_push(message="after")  # in a window the operator's own UNDO does this
    bpy.ops.ed.undo()
    assert {a.name for a in bpy.data.actions} == names


def test_the_list_draws_and_filters(hero: bpy.types.Object) -> None:
    made = make(hero, 3)
    made[1].mgpt3_favourite = True
    made[2].name = "Jump"
    layout = Recorder()
    listing = SimpleNamespace(filter_name="", only_favourites=False, bitflag_filter_item=1)
    kind = panels.MGPT3_UL_results
    for index, item in enumerate(bpy.data.actions):
        kind.draw_item(listing, bpy.context, layout, hero, item, 0, hero.mgpt3, "shown", index)
    assert {"mgpt3.result_show", "mgpt3.result_remove"} <= set(layout.operators)

    def listed(name: str, only: bool) -> list[bpy.types.Action]:
        listing.filter_name, listing.only_favourites = name, only
        flags, order = kind.filter_items(listing, bpy.context, bpy.data, "actions")
        shown = [(place, item) for flag, place, item in zip(flags, order, bpy.data.actions, strict=True) if flag]
        return [item for _, item in sorted(shown, key=lambda pair: pair[0])]

    assert listed("", False) == results.results_of(hero)
    assert listed("", True) == [made[1]]
    assert listed("jump", False) == [made[2]]  # by the name the user gave it
    assert len(listed("walks", False)) == 3  # and by its prompt
