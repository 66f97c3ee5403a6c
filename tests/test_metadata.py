"""What an action says of itself: ours told from a person's, written and read back, through save, reload and undo."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import pytest
from libraries import DESCRIPTION, MODEL, load, save

from mgpt3_blender import metadata
from mgpt3_blender.errors import UserError


def action(name: str = "Walk", *, asset: bool = False) -> bpy.types.Action:
    made = bpy.data.actions.new(name)
    made.use_fake_user = True
    if asset:
        made.asset_mark()
    return made


def tags(of: bpy.types.Action) -> set[str]:
    return {tag.name for tag in of.asset_data.tags}


def run_again(of: bpy.types.Action, sentence: str = "a person runs", names: tuple[str, ...] = ("run",), **how: object):
    return metadata.write(of, DESCRIPTION | {"sentence": sentence, "tags": list(names)}, model=MODEL, **how)


def test_written_and_read_back_after_save_and_reload(tmp_path: Path) -> None:
    made = action(asset=True)
    change = metadata.write(made, DESCRIPTION, model=MODEL, key="abc")
    assert (change.status, change.before, change.kept) == ("described", metadata.Text(), False)
    save(tmp_path / "file.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    load(tmp_path / "file.blend")
    again = bpy.data.actions["Walk"]
    assert again.asset_data.description == "a person walks forward"
    assert tags(again) == {"forward", "walk"}
    record = metadata.read(again)
    assert record is not None
    assert {name: record[name] for name in ("facts", "segments", "alternatives", "key")} == {
        "facts": DESCRIPTION["facts"], "segments": DESCRIPTION["segments"], "alternatives": ["someone walks"],
        "key": "abc",
    }  # fmt: skip
    assert metadata.plan(again, DESCRIPTION, model=MODEL, key="abc").status == "unchanged"


def test_provenance_speaks_of_the_description_only() -> None:
    made = action(asset=True)
    metadata.write(made, DESCRIPTION, model=MODEL)
    assert made.asset_data.author == "Description by MotionGPT3 compact"
    assert "MotionGPT3 compact (CC BY-NC 4.0)" in made.asset_data.license
    assert "says nothing about the animation" in made.asset_data.license
    other = action("Other", asset=True)
    other.asset_data.author, other.asset_data.license = "Ada", "CC0"
    metadata.write(other, DESCRIPTION, model=MODEL, overwrite=True)
    assert (other.asset_data.author, other.asset_data.license) == ("Ada", "CC0")
    run = metadata.write(made, DESCRIPTION, model={"name": "Another", "licence": ""})
    assert made.asset_data.author == "Description by Another"  # ours, so it follows the model
    assert run.status == "described"


def test_a_sentence_that_a_person_wrote_is_not_signed_by_the_model() -> None:
    made = action(asset=True)
    made.asset_data.description = "Hero walk, approved"
    metadata.write(made, DESCRIPTION, model=MODEL)
    assert (made.asset_data.description, made.asset_data.author) == ("Hero walk, approved", "")
    assert made.asset_data.license.startswith("The tags were written by MotionGPT3 compact")
    other = action("Other", asset=True)
    metadata.write(other, DESCRIPTION, model=MODEL)
    assert other.asset_data.author == "Description by MotionGPT3 compact"
    other.asset_data.description = "mine now"
    metadata.write(other, DESCRIPTION, model=MODEL)
    assert (other.asset_data.description, other.asset_data.author) == ("mine now", "")
    assert metadata.plan(other, DESCRIPTION, model=MODEL).status == "kept"


def test_an_action_that_is_no_asset_keeps_it_to_itself() -> None:
    made = action()
    assert metadata.write(made, DESCRIPTION, model=MODEL).status == "described"
    assert made.asset_data is None
    assert metadata.current(made) == metadata.Text("a person walks forward", ("forward", "walk"))
    change = metadata.write(made, DESCRIPTION, model=MODEL, mark=True)
    assert change.marks
    assert made.asset_data.description == "a person walks forward"
    assert tags(made) == {"forward", "walk"}


def test_a_dry_run_changes_nothing() -> None:
    made = action(asset=True)
    made.asset_data.description = "mine"
    plain = action("Plain")
    before = {a.name: (dict(a.items()), metadata.current(a), a.asset_data is None) for a in bpy.data.actions}
    for of in (made, plain):
        for overwrite in (False, True):
            metadata.plan(of, DESCRIPTION, model=MODEL, mark=True, overwrite=overwrite)
    assert {a.name: (dict(a.items()), metadata.current(a), a.asset_data is None) for a in bpy.data.actions} == before


def test_a_dry_run_says_what_writing_then_does() -> None:
    for number, (overwrite, mark, text) in enumerate(
        [(o, m, t) for o in (False, True) for m in (False, True) for t in ("", "mine")]
    ):
        made = action(f"A{number}", asset=bool(number % 3))
        if made.asset_data is not None:
            made.asset_data.description = text
        how = {"model": MODEL, "overwrite": overwrite, "mark": mark}
        planned = metadata.plan(made, DESCRIPTION, **how)
        assert metadata.write(made, DESCRIPTION, **how) == planned
        assert metadata.current(made).same(planned.after)
        assert metadata.read(made) == planned.record


def test_what_a_person_wrote_is_kept_and_found_again() -> None:
    made = action(asset=True)
    made.asset_data.description = "hero's favourite walk"
    made.asset_data.tags.new("hero")
    change = run_again(made)
    assert (change.status, change.kept) == ("kept", True)
    assert made.asset_data.description == "hero's favourite walk"
    assert tags(made) == {"hero", "run"}
    assert run_again(made).status == "kept"
    assert metadata.read(made)["description"] == "a person runs"  # the model's, for the search
    assert run_again(made, overwrite=True).status == "described"
    assert made.asset_data.description == "a person runs"
    assert tags(made) == {"hero", "run"}  # a person's tags stay in any case
    assert run_again(made, "a person jumps", ("jump",)).status == "described"  # now it is ours
    assert (made.asset_data.description, tags(made)) == ("a person jumps", {"hero", "jump"})


def test_our_text_edited_by_a_person_is_theirs() -> None:
    made = action(asset=True)
    metadata.write(made, DESCRIPTION, model=MODEL)
    made.asset_data.description += " proudly"
    assert run_again(made).kept
    assert made.asset_data.description == "a person walks forward proudly"


def test_a_tag_that_a_person_took_away_does_not_come_back() -> None:
    made = action(asset=True)
    metadata.write(made, DESCRIPTION, model=MODEL)
    made.asset_data.tags.remove(made.asset_data.tags["forward"])
    for _ in range(3):
        metadata.write(made, DESCRIPTION, model=MODEL)
        assert tags(made) == {"walk"}
    metadata.write(made, DESCRIPTION, model=MODEL, overwrite=True)
    assert tags(made) == {"forward", "walk"}


@pytest.mark.parametrize("asset", [False, True])
def test_a_sentence_that_was_edited_before_it_was_applied_is_a_person_s(asset: bool) -> None:
    made = action(asset=asset)
    metadata.write(made, DESCRIPTION | {"sentence": "a tired hero trudges home"}, model=MODEL, by_hand=True)
    assert metadata.current(made).description == "a tired hero trudges home"
    for _ in range(2):
        assert run_again(made).kept
        assert metadata.current(made).description == "a tired hero trudges home"
    assert run_again(made, mark=True).kept  # also where it becomes an asset
    assert made.asset_data.description == "a tired hero trudges home"
    assert not run_again(made, overwrite=True).kept
    assert made.asset_data.description == "a person runs"


def test_several_slots_are_told_in_one() -> None:
    other = DESCRIPTION | {"sentence": "a person bows", "tags": ["bow"]}
    whole = metadata.combined([("Hero", DESCRIPTION), ("Villain", other)])
    assert whole["sentence"] == "Hero: a person walks forward; Villain: a person bows"
    assert whole["tags"] == ["bow", "forward", "walk"]
    assert [part["slot"] for part in whole["segments"]] == ["Hero", "Villain"]
    assert metadata.combined([("Hero", DESCRIPTION)]) == DESCRIPTION


def test_texts_of_any_kind() -> None:
    made = action(asset=True)
    long = "walk " * 2000
    odd = DESCRIPTION | {"sentence": f"Ünïcode 走る 🚶 {long}".strip(), "tags": ["ä" * 80, "ä" * 80, "", "x"]}
    metadata.write(made, odd, model=MODEL)
    assert made.asset_data.description == odd["sentence"]
    assert tags(made) == {"ä" * 31, "x"}
    assert metadata.write(made, odd, model=MODEL).status == "unchanged"


def test_what_cannot_be_read_counts_for_nothing() -> None:
    made = action()
    for wrong in ("", "{", "[]", "7", "{}", json.dumps({"description": 3}), 5, [1.0]):
        made[metadata.DESCRIBED] = wrong
        assert metadata.read(made) is None
        assert metadata.plan(made, DESCRIPTION, model=MODEL).status == "described"


def test_refused() -> None:
    made = action()
    with pytest.raises(UserError) as caught:
        metadata.write(made, DESCRIPTION | {"sentence": " "}, model=MODEL)
    assert caught.value.code == "nothing_described"
    assert metadata.DESCRIBED not in made


def test_an_action_of_another_file_is_left_alone(tmp_path: Path) -> None:
    action()
    save(tmp_path / "other.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "other.blend"), link=True) as (there, here):
        here.actions = there.actions
    linked = bpy.data.actions["Walk"]
    for act in (metadata.plan, metadata.write):
        with pytest.raises(UserError) as caught:
            act(linked, DESCRIPTION, model=MODEL)
        assert caught.value.code == "linked_action"


def test_one_undo_takes_it_back() -> None:
    made = action(asset=True)
    made.asset_data.description = "mine"
    bpy.ops.ed.undo_push(message="before")
    metadata.write(made, DESCRIPTION, model=MODEL, overwrite=True)
    plain = action("Plain")
    metadata.write(plain, DESCRIPTION, model=MODEL, mark=True)
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    again = bpy.data.actions["Walk"]
    assert again.asset_data.description == "mine"
    assert not tags(again)
    assert metadata.DESCRIBED not in again
    bpy.ops.ed.redo()
    assert bpy.data.actions["Walk"].asset_data.description == "a person walks forward"
    assert tags(bpy.data.actions["Plain"]) == {"forward", "walk"}
