"""The operators of the panel Library, with the real core: preview, write, undo, reports, what is selected."""

from __future__ import annotations

from pathlib import Path

import bpy
import pytest
from libraries import (
    character,
    index,  # noqa: F401 - fixture
    load,
    registered,  # noqa: F401 - fixture
    save,
    worker,  # noqa: F401 - fixture
)

from mgpt3_blender import action as actions
from mgpt3_blender import library, metadata


@pytest.mark.usefixtures("registered")
def test_preview_then_write_then_undo() -> None:
    character(Walk=3.0, Wave=2.0, Blink=0.3)
    settings, manager = bpy.context.scene.mgpt3_library, bpy.context.window_manager
    settings.mark = True
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.mgpt3.library_preview() == {"FINISHED"}
    table = manager.mgpt3_library_rows
    assert [(row.action, row.status, row.use) for row in table] == [
        ("Blink", "skipped", False), ("Walk", "described", True), ("Wave", "described", True),
    ]  # fmt: skip
    assert all(action.asset_data is None for action in bpy.data.actions)
    assert "2 described, 1 skipped" in library.view.line.lower()
    table[2].use = False
    sentence = table[1].after
    assert bpy.ops.mgpt3.library_write("EXEC_DEFAULT", True) == {"FINISHED"}
    assert bpy.data.actions["Walk"].asset_data.description == sentence
    assert bpy.data.actions["Wave"].asset_data is None  # it was unticked
    assert [row.action for row in table] == ["Walk"]
    bpy.ops.ed.undo()
    assert bpy.data.actions["Walk"].asset_data is None
    assert metadata.DESCRIBED not in bpy.data.actions["Walk"]
    bpy.ops.ed.redo()
    assert bpy.data.actions["Walk"].asset_data.description == sentence


@pytest.mark.usefixtures("registered")
def test_nothing_is_written_that_was_not_previewed() -> None:
    character(Walk=3.0)
    settings = bpy.context.scene.mgpt3_library
    for change in (lambda: None, lambda: setattr(settings, "overwrite", True)):
        change()
        with pytest.raises(RuntimeError, match="not previewed"):
            bpy.ops.mgpt3.library_write("EXEC_DEFAULT")
        assert library.view.error.code == "not_previewed"
        settings.overwrite = False
        assert bpy.ops.mgpt3.library_preview() == {"FINISHED"}
    bpy.ops.mgpt3.library_tick(on=False)
    with pytest.raises(RuntimeError, match="ticked"):
        bpy.ops.mgpt3.library_write("EXEC_DEFAULT")
    bpy.ops.mgpt3.library_tick(on=True)
    assert bpy.ops.mgpt3.library_write("EXEC_DEFAULT") == {"FINISHED"}
    assert metadata.read(bpy.data.actions["Walk"]) is not None


@pytest.mark.usefixtures("registered")
def test_selected_is_what_the_character_plays() -> None:
    rig = character(Walk=3.0, Wave=2.0)
    bpy.context.scene.mgpt3_library.scope = library.SELECTED
    actions.bind_action(rig, bpy.data.actions["Walk"])
    assert library.selected_actions(bpy.context) == [bpy.data.actions["Walk"]]
    assert bpy.ops.mgpt3.library_preview() == {"FINISHED"}
    assert [row.action for row in bpy.context.window_manager.mgpt3_library_rows] == ["Walk"]
    rig.animation_data_clear()
    with pytest.raises(RuntimeError, match="No action is selected"):
        bpy.ops.mgpt3.library_preview()


@pytest.mark.usefixtures("registered")
def test_a_report_beside_it_and_settings_in_the_file(tmp_path: Path) -> None:
    character(Walk=3.0)
    settings = bpy.context.scene.mgpt3_library
    settings.report, settings.jobs, settings.folder = str(tmp_path / "out.csv"), 3, "/lib"
    assert bpy.ops.mgpt3.library_preview() == {"FINISHED"}
    assert {p.name for p in tmp_path.iterdir()} >= {"out.csv", "out.json"}
    save(tmp_path / "file.blend")
    load(tmp_path / "file.blend")
    settings = bpy.context.scene.mgpt3_library
    assert (settings.jobs, settings.folder) == (3, "/lib")
    assert not len(bpy.context.window_manager.mgpt3_library_rows)  # the table went with its file


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("scope", [library.FOLDER, library.LIBRARY])
def test_no_folder_is_an_error_with_a_remedy(scope: str) -> None:
    settings = bpy.context.scene.mgpt3_library
    settings.scope = scope
    for folder in ("", "/nowhere/at/all"):
        settings.folder = settings.library = folder
        with pytest.raises(RuntimeError):
            bpy.ops.mgpt3.library_preview()
        assert library.view.error.code == "no_library"
        assert library.view.error.remedy
