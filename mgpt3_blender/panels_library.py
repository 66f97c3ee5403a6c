"""Sub-panel of the tab: many actions described at once, with a table of what would be written."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import library, upkeep
from .drawing import draw_error, draw_text
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


class MGPT3_PT_library(bpy.types.Panel):
    bl_idname = "MGPT3_PT_library"
    bl_label = "Library"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "MotionGPT3"
    bl_parent_id = "MGPT3_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_library
        view = library.view
        _draw_choice(layout, settings, context)
        over_files = settings.scope in (library.LIBRARY, library.FOLDER)
        if view.run is not None:
            row = layout.row(align=True)
            row.progress(factor=view.run.fraction, text=view.run.message)
            row.operator("mgpt3.library_cancel", text="", icon="X")
        else:
            row = layout.row()
            row.scale_y = 1.2
            row.enabled = upkeep.view.missing is None
            row.operator("mgpt3.library_preview", icon="VIEWZOOM")
        if view.error is not None:
            draw_error(layout, view.error)
            if view.error.code == "cancelled" and over_files:
                name = "mgpt3.library_write" if view.writes and view.previewed else "mgpt3.library_preview"
                layout.operator(name, text="Resume", icon="PLAY").resume = True
        elif view.line:
            draw_text(layout, view.line, "INFO")
        _draw_table(layout, settings, context)


def _draw_choice(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
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
        draw_text(layout, f"The first {library.MOST_ROWS} are shown; the report has all.", "INFO")
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


def _draw_row(box: bpy.types.UILayout, row: bpy.types.PropertyGroup) -> None:
    """All of the active row: before and after."""
    draw_text(box, row.action or row.file, ICONS[row.status])
    if row.action:
        draw_text(box, "/".join(Path(row.file).parts[-2:]))  # all of it would fill the panel
    if row.message:
        draw_text(box, row.message)
    if row.before or row.tags_before:
        draw_text(box, f"Before: {row.before or '-'}" + (f" [{row.tags_before}]" if row.tags_before else ""))
    if row.after or row.tags_after:
        draw_text(box, f"After: {row.after or '-'}" + (f" [{row.tags_after}]" if row.tags_after else ""))
    if row.status == KEPT:
        draw_text(box, f"The model says: {row.sentence}")


classes = (MGPT3_PT_library, MGPT3_UL_descriptions)
