"""The panel Library: what it draws in every state, and that drawing only reads what is there."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import bpy
import pytest
from test_panels_rig import Layout

import mgpt3_blender
from mgpt3_blender import blendfiles, describing, library, preferences, rows
from mgpt3_blender.errors import UserError
from mgpt3_blender.panels_library import ICONS, MGPT3_PT_library, MGPT3_UL_descriptions


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def draw() -> Layout:
    layout = Layout()
    MGPT3_PT_library.draw(SimpleNamespace(layout=layout), bpy.context)
    return layout


def table() -> list[rows.Row]:
    common = {"description_before": "mine", "description_after": "a person walks", "tags_after": ["walk"]}
    told = [
        rows.row("a.blend", f"Action {status}", status, "why", sentence="a person walks", **common)
        for status in rows.STATUSES
    ]
    return [*told, rows.row("deep/broken.blend", "", rows.FAILED, "It is broken.")]


def previewed() -> None:
    library.fill(bpy.context.window_manager, table(), ticked=True)
    library.view.previewed = library.key(bpy.context.scene.mgpt3_library, bpy.context)


def forbidden(*args: object, **kwargs: object) -> None:
    raise AssertionError("drawing must not look anything up")


@pytest.mark.parametrize("scope", [library.SELECTED, library.FILE, library.LIBRARY, library.FOLDER])
def test_every_state_is_drawn_without_looking_anything_up(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blendfiles, "find", forbidden)
    monkeypatch.setattr(preferences, "user_folder", forbidden)
    monkeypatch.setattr(library, "selected_actions", forbidden)
    monkeypatch.setattr(library, "folder_of", forbidden)
    settings, manager = bpy.context.scene.mgpt3_library, bpy.context.window_manager
    settings.scope = scope
    assert "mgpt3.library_preview" in draw().operators
    previewed()
    for active in range(len(manager.mgpt3_library_rows)):
        manager.mgpt3_library_active = active
        assert "mgpt3.library_write" in draw().operators
    settings.mark = not settings.mark
    assert "preview it before" in " ".join(draw().texts)
    library.view.run = SimpleNamespace(fraction=0.5, message="3 of 6 actions", ended=False, cancel=lambda: None)
    drawn = draw()
    assert "mgpt3.library_cancel" in drawn.operators
    assert "mgpt3.library_preview" not in drawn.operators
    assert "3 of 6 actions" in drawn.texts
    library.view.run = None
    library.view.error = UserError("cancelled", "Stopped after 3 of 9 files.", "Resume goes on from there.")
    drawn = draw()
    assert "Stopped after 3" in " ".join(drawn.texts)
    resumes = drawn.operators.count("mgpt3.library_preview") - 1  # a second button that goes on
    assert resumes == (scope in (library.LIBRARY, library.FOLDER))


def test_rows_are_drawn_and_only_those_that_change_something_are_ticked() -> None:
    previewed()
    manager = bpy.context.window_manager
    drawn = {}
    for row in manager.mgpt3_library_rows:
        layout = Layout()
        MGPT3_UL_descriptions.draw_item(
            SimpleNamespace(), bpy.context, layout, manager, row, 0, manager, "mgpt3_library_active"
        )
        drawn[row.action] = [text for text in layout.texts if text]
    assert drawn["Action described"] == ["Action described", "a person walks"]
    assert drawn[""] == ["broken.blend", "It is broken."]
    assert {row.status for row in manager.mgpt3_library_rows if row.use} == {"described", "kept"}
    assert set(ICONS) == set(rows.STATUSES)
    assert manager.mgpt3_library_rows[manager.mgpt3_library_active].use


def test_a_long_table_is_cut_and_the_panel_says_so() -> None:
    entry = table()[0]
    library.fill(bpy.context.window_manager, [entry] * (library.MOST_ROWS + 1), ticked=True)
    assert len(bpy.context.window_manager.mgpt3_library_rows) == library.MOST_ROWS
    assert "the report has all" in " ".join(draw().texts)


def test_everything_has_a_tooltip_and_nothing_can_be_animated() -> None:
    for group in ("MGPT3_LibrarySettings", "MGPT3_LibraryRow"):
        for prop in bpy.types.PropertyGroup.bl_rna_get_subclass_py(group).bl_rna.properties:
            if prop.identifier not in ("rna_type", "name"):
                assert prop.description, prop.identifier
                if group == "MGPT3_LibrarySettings":
                    assert not prop.is_animatable, prop.identifier
    for name in dir(bpy.ops.mgpt3):
        if name.startswith("library_"):
            assert getattr(bpy.ops.mgpt3, name).get_rna_type().description, name


def test_registering_again_leaves_nothing_behind() -> None:
    handlers = len(bpy.app.handlers.load_post)
    for _ in range(2):
        mgpt3_blender.unregister()
        mgpt3_blender.register()
    assert len(bpy.app.handlers.load_post) == handlers
    assert not library.busy()


def test_a_file_that_is_loaded_stops_the_run_and_clears_the_table() -> None:
    previewed()
    run = describing.Run([])
    library.view.run = run
    bpy.ops.wm.read_homefile(use_empty=True)
    assert run.ended
    assert library.view.run is None
    assert not len(bpy.context.window_manager.mgpt3_library_rows)
    assert library.view.previewed is None
