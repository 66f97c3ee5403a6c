"""Sub-panel of the tab: find actions by what they show, in this file and in libraries, and take them."""

from __future__ import annotations

import bpy

from . import current, search
from .drawing import draw_text
from .i18n import CONTEXT, say
from .panels_shared import OrderedList, SubPanel, draw_run, draw_told, ready, settings_column
from .properties_search import FILE
from .ranking import FAIR, GOOD
from .searching import Answer, Found

RETARGET = {"other_rig": [("mgpt3.search_take", "Put It on This Character", {"retarget": True})]}


def fit(score: float) -> str:
    """A score in a word."""
    return "good" if score >= GOOD else "fair" if score >= FAIR else "far"


class MGPT3_UL_found(OrderedList, bpy.types.UIList):
    """The motions that fit, best first, each with its name and how well it fits."""

    searched = "name"

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
        split = layout.split(factor=0.74)
        split.label(text=item.sentence or item.action, icon="FILE_BLEND" if item.file else "ACTION", translate=False)
        split.progress(factor=min(max(item.score, 0.0), 1.0), text=say(fit(item.score)))


class MGPT3_PT_search(SubPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_search"
    bl_label = "Search"
    bl_translation_context = CONTEXT

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_search
        view = search.view
        row = layout.row(align=True)
        row.prop(settings, "query", text="", icon="VIEWZOOM", placeholder="What does it show?")
        button = row.row(align=True)
        button.enabled = ready()
        button.operator("mgpt3.search", text="", icon="PLAY")
        _draw_scope(layout, settings, context)
        if view.run is not None:
            draw_run(layout, view.run, "mgpt3.search_cancel")
        if view.answer is not None:
            _draw_answer(layout, view.answer, context)
        elif view.run is None:
            layout.operator("mgpt3.search_index", icon="FILE_REFRESH")
        draw_told(layout, view, RETARGET)


def _draw_scope(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    layout.row().prop(settings, "scope", expand=True)
    if settings.scope == FILE:
        return
    column = layout.column(align=True)
    for library in context.preferences.filepaths.asset_libraries:
        on = settings.chosen(library.name)
        icon = "CHECKBOX_HLT" if on else "CHECKBOX_DEHLT"
        button = column.operator("mgpt3.search_library", text=library.name, icon=icon, depress=on)
        button.library = library.name
    settings_column(layout).prop(settings, "folder")


def _draw_answer(layout: bpy.types.UILayout, answer: Answer, context: bpy.types.Context) -> None:
    manager = context.window_manager
    if answer.note:
        draw_text(layout, answer.note, "ERROR")
    draw_text(layout, answer.line, "INFO")
    if answer.lacking:
        draw_text(layout, answer.lacking, "ERROR")
    if search.view.run is None and (answer.lacking or not answer.searched):
        layout.operator("mgpt3.search_index", icon="FILE_REFRESH")
    if len(manager.mgpt3_found):
        layout.template_list("MGPT3_UL_found", "", manager, "mgpt3_found", manager, "mgpt3_found_active", rows=6)
    found = search.chosen(manager)
    if found is not None:
        _draw_found(layout, found, context)


def _draw_found(layout: bpy.types.UILayout, found: Found, context: bpy.types.Context) -> None:
    """The chosen motion, and what can be done with it."""
    box = layout.box()
    alike = [row for row in context.window_manager.mgpt3_found if (row.action, row.file) == (found.action, found.file)]
    name = f"{found.action} / {found.slot}" if len(alike) > 1 else found.action
    draw_text(box, name, "ACTION", translate=False)
    draw_text(box, f"{found.sentence} ({say(fit(found.score))})")
    if found.tags:
        draw_text(box, ", ".join(found.tags), translate=False)
    if found.file:
        draw_text(box, found.file, "FILE_BLEND", translate=False)
    if found.others:
        several = "The same motion is in {count} other places."
        words = several if found.others > 1 else "The same motion is in another place."
        draw_text(box, say(words, count=found.others))
    settings = context.scene.mgpt3_search
    character = current.character(context)
    row = layout.row(align=True)
    row.scale_y = 1.2
    button = row.row(align=True)
    button.enabled = character is not None
    button.operator(
        "mgpt3.search_take",
        text=say(("Link and Assign" if settings.link else "Append and Assign") if found.file else "Assign"),
        icon="ARMATURE_DATA",
        translate=False,
    ).assign = True
    if found.file:
        text = "Link Only" if settings.link else "Append Only"
        row.operator("mgpt3.search_take", text=text, icon="APPEND_BLEND").assign = False
        layout.prop(settings, "link")
    if character is None:
        draw_text(layout, "Select a character to let it play the action.", "INFO")


classes = (MGPT3_PT_search, MGPT3_UL_found)
