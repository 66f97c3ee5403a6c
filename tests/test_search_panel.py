"""The panel Search: its operators, its states, libraries indexed by background Blenders."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
import pytest
from describable import registered, worker  # noqa: F401 - fixtures
from searchable import (
    INDEX,
    character,
    described,
    draw,
    index,  # noqa: F401 - a fixture
    library,
)
from test_panels_rig import Layout

from mgpt3_blender import finding, jobs, panels_search, properties_search, search
from mgpt3_blender.errors import UserError
from mgpt3_blender.motionindex import file_name
from mgpt3_blender.searching import Query, Search
from mgpt3_blender.thisfile import census

# ---- the panel


def test_from_the_panel(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    described(path)
    rig = character({"Mine": "squat"})
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "here.blend"))
    settings, manager = bpy.context.scene.mgpt3_search, bpy.context.window_manager
    settings.query, settings.folder = "goodbye", str(tmp_path / "lib")
    assert bpy.ops.mgpt3.search() == {"FINISHED"}
    assert manager.mgpt3_found[0].action == "Take 2"
    assert search.view.answer is not None
    assert "1 motion." in search.view.answer.lacking
    bpy.ops.ed.undo_push(message="before")
    mine = rig.animation_data.action
    mine.use_fake_user = False
    bpy.ops.ed.undo_push(message="before taking")
    name = rig.name
    assert bpy.ops.mgpt3.search_take("EXEC_DEFAULT", True) == {"FINISHED"}
    assert rig.animation_data.action.name == "Take 2"
    assert bpy.data.actions["Mine"].use_fake_user  # it is played no more, and not lost either
    bpy.ops.ed.undo()
    assert bpy.data.objects[name].animation_data.action.name == "Mine"
    assert "Take 2" not in bpy.data.actions
    assert len(manager.mgpt3_found) > 0  # the list is the window's, not the file's
    settings = bpy.context.scene.mgpt3_search
    settings.scope = "FILE"
    assert bpy.ops.mgpt3.search_index() == {"FINISHED"}
    assert bpy.ops.mgpt3.search() == {"FINISHED"}
    assert [row.action for row in manager.mgpt3_found] == ["Mine"]
    assert bpy.ops.mgpt3.search_take("EXEC_DEFAULT", True) == {"FINISHED"}
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "here.blend"))
    settings = bpy.context.scene.mgpt3_search
    assert (settings.query, settings.scope, settings.folder) == ("goodbye", "FILE", str(tmp_path / "lib"))
    assert len(bpy.context.window_manager.mgpt3_found) == 0
    assert search.view.answer is None


def test_a_library_is_indexed_by_background_blenders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = library(tmp_path / "lib", clips={"Take 1": "walk", "Take 2": "wave"})
    (tmp_path / "lib" / "broken.blend").write_bytes(b"this is no blend file")
    before = path.read_bytes()
    monkeypatch.setattr(finding, "index", INDEX)  # the one that other processes write, too
    settings = bpy.context.scene.mgpt3_search
    settings.scope, settings.folder, settings.query = "LIBRARIES", str(tmp_path / "lib"), "goodbye"
    for library_of_user in bpy.context.preferences.filepaths.asset_libraries:
        settings.choose(library_of_user.name, False)
    bpy.context.scene.mgpt3_library.jobs = 1
    assert bpy.ops.mgpt3.search_index() == {"FINISHED"}
    assert path.read_bytes() == before
    assert "failed" in search.view.line
    assert "broken.blend" in search.view.line
    assert bpy.ops.mgpt3.search() == {"FINISHED"}
    found = search.chosen(bpy.context.window_manager)
    assert found is not None
    assert (found.action, found.file) == ("Take 2", file_name(path))
    assert search.view.answer is not None
    assert search.view.answer.lacking == ""  # the broken file is not asked for again until it changes
    assert bpy.ops.mgpt3.search_take(assign=False) == {"FINISHED"}
    assert "Take 2" in bpy.data.actions


def test_libraries_are_chosen_one_by_one(tmp_path: Path) -> None:
    libraries = bpy.context.preferences.filepaths.asset_libraries
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        libraries.new(name=name, directory=str(tmp_path / name))
    settings = bpy.context.scene.mgpt3_search
    assert {path.name for path in settings.folders(bpy.context)} >= {"one", "two"}
    bpy.ops.mgpt3.search_library(library="one")
    assert "one" not in {path.name for path in settings.folders(bpy.context)}
    bpy.ops.mgpt3.search_library(library="one")
    bpy.ops.mgpt3.search_library(library="two")
    assert {path.name for path in settings.folders(bpy.context)} & {"one", "two"} == {"one"}
    settings.scope = "FILE"
    assert settings.folders(bpy.context) == ()


@pytest.mark.parametrize(
    ("query", "code"),
    [(Query("  "), "query_empty"), (Query("x" * 400), "query_too_long"), (Query("walk", False), "no_library")],
)
def test_what_cannot_be_searched_says_so(query: Query, code: str) -> None:
    with pytest.raises(UserError) as caught:
        search.start(query)
    assert caught.value.code == code
    assert caught.value.remedy
    assert not search.busy()


def test_the_operator_shows_what_went_wrong() -> None:
    bpy.context.scene.mgpt3_search.query = " "
    with pytest.raises(RuntimeError, match="Nothing was typed"):
        bpy.ops.mgpt3.search()
    assert search.view.error is not None
    assert search.view.error.code == "query_empty"


def test_the_panel_in_all_its_states(tmp_path: Path) -> None:
    path = library(tmp_path / "lib")
    described(path)
    character({"Mine": "squat"})
    settings = bpy.context.scene.mgpt3_search
    assert draw().operators[0] == "mgpt3.search"
    assert "mgpt3.search_index" in draw().operators  # nothing was searched yet: it may be done at once
    settings.query, settings.folder = "goodbye", str(tmp_path / "lib")
    run = search.start(settings.wanted(bpy.context))
    assert "mgpt3.search_cancel" in draw().operators
    run.finish()
    search.conclude(bpy.context.window_manager)
    shown = draw()
    assert shown.operators.count("mgpt3.search_take") == 2  # append and assign, append only
    assert "mgpt3.search_index" in shown.operators
    assert any("Not searched" in text for text in shown.texts)
    assert any("Take 2" in text for text in shown.texts)
    row = bpy.context.window_manager.mgpt3_found[0]
    layout = Layout()
    panels_search.MGPT3_UL_found.draw_item(None, bpy.context, layout, None, row, 0, None, "")
    assert panels_search.fit(row.score) in layout.texts
    search.view.error = UserError("file_gone", "It is gone.", "Search again.")
    assert {"It is gone.", "Search again."} <= set(draw().texts)
    settings.scope = "FILE"
    search.view.error, settings.query = None, "squatting"
    bpy.ops.mgpt3.search_index()
    bpy.ops.mgpt3.search()
    assert draw().operators.count("mgpt3.search_take") == 1
    assert not any("Not searched" in text for text in draw().texts)


def test_results_come_while_the_file_is_still_being_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the window does it, a slice at a time."""
    character({"Take 1": "walk", "Take 2": "wave"})
    search.Indexing(True, []).finish()
    Search(Query("someone waves")).finish()
    slow = census.step
    monkeypatch.setattr(census, "step", lambda seconds: False)
    run = search.start(Query("someone waves"))
    assert not run.step()
    search.show(bpy.context.window_manager)
    assert bpy.context.window_manager.mgpt3_found[0].action == "Take 2"
    monkeypatch.setattr(census, "step", slow)
    for _ in range(100):
        if run.step():
            break
        time.sleep(0.02)
    assert run.ended
    assert search.conclude(bpy.context.window_manager) is None
    assert not search.busy()


def test_every_property_and_button_says_what_it_is_for() -> None:
    for cls in (properties_search.MGPT3_SearchSettings, properties_search.MGPT3_Found):
        for prop in cls.bl_rna.properties:
            assert prop.description or prop.identifier in ("rna_type", "name"), prop.identifier
    for name in ("search", "search_index", "search_cancel", "search_take", "search_library"):
        assert getattr(bpy.ops.mgpt3, name).get_rna_type().description


def test_cancelled_and_busy() -> None:
    character({"Take 1": "walk"})
    run = search.start(Query("a query that was never asked before"))
    with pytest.raises(UserError) as caught:
        search.start(Query("walk"))
    assert caught.value.code == "busy"
    run.cancel()
    error = search.conclude(bpy.context.window_manager)
    assert error is not None
    assert error.code == "cancelled"
    assert search.view.error is None
    assert not jobs.busy()
    assert Search(Query("walk")).finish() is not None
