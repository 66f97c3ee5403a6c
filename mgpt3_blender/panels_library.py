"""Sub-panel of the tab: many actions described at once, with a table of what would be written."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import library
from .drawing import draw_text
from .i18n import say
from .panels_shared import SubPanel, draw_run, draw_told, ready, settings_column
from .rows import DESCRIBED, FAILED, KEPT, SKIPPED, UNCHANGED

ICONS = {DESCRIBED: "ADD", UNCHANGED: "CHECKMARK", KEPT: "USER", SKIPPED: "REMOVE", FAILED: "ERROR"}


class MGPT3_UL_descriptions(bpy.types.UIList):
    """One line an action: whether it is written, its name, what it will say."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.WindowManager,
        item: bpy.types.PropertyGroup,
        icon: int,
        active_data: bpy.types.WindowManager,
        active_property: str,
        index: int = 0,
    ) -> None:
        row = layout.row(align=True)
        box = row.row()
        box.enabled = item.status in (DESCRIBED, KEPT)
        box.prop(item, "use", text="")
        split = row.split(factor=0.4)
        split.label(text=item.action or Path(item.file).name, icon=ICONS[item.status], translate=False)
        split.label(text=item.after or item.sentence or item.message, translate=False)


class MGPT3_PT_library(SubPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_library"
    bl_label = "Library"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_library
        view = library.view
        _draw_choice(layout, settings, context)
        over_files = settings.scope in (library.LIBRARY, library.FOLDER)
        if view.run is not None:
            draw_run(layout, view.run, "mgpt3.library_cancel")
        else:
            row = layout.row()
            row.scale_y = 1.2
            row.enabled = ready()
            row.operator("mgpt3.library_preview", text=say("Preview"), icon="VIEWZOOM", translate=False)
        draw_told(layout, view, icon="INFO")
        if view.error is not None and view.error.code == "cancelled" and over_files:
            name = "mgpt3.library_write" if view.writes and view.previewed else "mgpt3.library_preview"
            layout.operator(name, text=say("Resume"), icon="PLAY", translate=False).resume = True
        _draw_table(layout, settings, context)


def _draw_choice(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    column = settings_column(layout)
    column.enabled = library.view.run is None
    column.prop(settings, "scope")
    if settings.scope == library.LIBRARY:
        column.prop_search(settings, "library", context.preferences.filepaths, "asset_libraries", icon="ASSET_MANAGER")
    elif settings.scope == library.FOLDER:
        column.prop(settings, "folder")
    if settings.scope in (library.LIBRARY, library.FOLDER):
        column.prop(settings, "recursive")
        column.prop(settings, "jobs")
    column.prop(settings, "mark")
    column.prop(settings, "overwrite")
    column.prop(settings, "report")


def _draw_table(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    manager = context.window_manager
    table = manager.mgpt3_library_rows
    if not len(table):
        return
    layout.template_list(
        "MGPT3_UL_descriptions", "", manager, "mgpt3_library_rows", manager, "mgpt3_library_active", rows=6
    )
    if 0 <= manager.mgpt3_library_active < len(table):
        _draw_row(layout.box(), table[manager.mgpt3_library_active])
    if len(table) == library.MOST_ROWS:
        draw_text(layout, say("The first {count} are shown; the report has all.", count=library.MOST_ROWS), "INFO")
    if library.view.previewed is None:
        return
    fresh = library.view.previewed == library.key(settings, context)
    if not fresh:
        draw_text(layout, "Something else is chosen now: preview it before it is written.", "INFO")
    row = layout.row(align=True)
    row.operator("mgpt3.library_tick", text="All").on = True
    row.operator("mgpt3.library_tick", text="None").on = False
    row = layout.row()
    row.scale_y = 1.2
    row.enabled = fresh and library.view.run is None
    row.operator_context = "INVOKE_DEFAULT"
    row.operator("mgpt3.library_write", icon="CHECKMARK")


def _told(description: str, tags: str) -> str:
    return f"{description or '-'} [{tags}]" if tags else description or "-"


def _draw_row(box: bpy.types.UILayout, row: bpy.types.PropertyGroup) -> None:
    """All of the active row: before and after."""
    draw_text(box, row.action or row.file, ICONS[row.status], translate=False)
    if row.action:
        draw_text(box, "/".join(Path(row.file).parts[-2:]), translate=False)  # all of it would fill the panel
    if row.message:
        draw_text(box, row.message)
    if row.before or row.tags_before:
        draw_text(box, say("Before: {text}", text=_told(row.before, row.tags_before)))
    if row.after or row.tags_after:
        draw_text(box, say("After: {text}", text=_told(row.after, row.tags_after)))
    if row.status == KEPT:
        draw_text(box, say("The model says: {sentence}", sentence=row.sentence))


classes = (MGPT3_PT_library, MGPT3_UL_descriptions)
