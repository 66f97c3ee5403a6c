"""The sub-panel Describe. Drawing reads what is there; it starts and looks up nothing."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from . import current, drafts, jobs, metadata, segmentmarkers
from .describe import TITLE
from .drawing import draw_text
from .i18n import say
from .panels_shared import CharacterPanel, OrderedList, draw_run, draw_told, ready, settings_column
from .properties_describe import OWN, POSE

LETTER = 6.6  # pixels of a letter in the usual size


class MGPT3_UL_described_segments(OrderedList, bpy.types.UIList):
    """The described segments in their order, each with its frames."""

    searched = "sentence"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.PropertyGroup,
        item: bpy.types.PropertyGroup,
        icon: int,
        active_data: bpy.types.PropertyGroup,
        active_property: str,
        index: int = 0,
    ) -> None:
        row = layout.split(factor=0.36, align=True)
        row.label(text=f"{item.first}-{item.last}", translate=False)
        row.prop(item, "sentence", text="", emboss=False)


class MGPT3_PT_describe(CharacterPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_describe"
    bl_label = TITLE

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.mgpt3_describe
        column = settings_column(layout)
        column.prop(settings, "which")
        if settings.which == OWN:
            row = column.row(align=True, heading="From, To")
            row.prop(settings, "first", text="")
            row.prop(settings, "last", text="")
        job = jobs.view.job
        if job is not None and not job.ended and job.title == TITLE:
            draw_run(layout, job, "mgpt3.cancel")
        else:
            row = layout.row()
            row.scale_y = 1.2
            row.enabled = ready()
            row.operator("mgpt3.describe", text=say("Describe"), icon="TEXT", translate=False)
        if jobs.view.about == TITLE:  # the last request was this panel's
            draw_told(layout, jobs.view)
            for warning in jobs.view.warnings:
                draw_text(layout, warning, "ERROR")
        character = current.character(context)
        found = drafts.shown(character)
        if character is None:
            return
        if found is not None:
            _draw_description(layout, context, character, *found)
            return
        action = current.action(context)  # a library may have been described, or a person may have written something
        said = metadata.current(action).description if action is not None else ""
        if said:
            draw_text(layout, say('The action says: "{sentence}"', sentence=said), "INFO")


def _draw_description(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    character: bpy.types.Object,
    action: bpy.types.Action,
    draft: Any,
) -> None:
    box = layout.box()
    box.label(text=action.name, icon="ACTION", translate=False)
    _draw_whole_sentence(box, draft)
    box.prop(draft, "sentence", text="")
    column = box.column(align=True)
    for number, other in enumerate(draft.alternatives):
        column.operator("mgpt3.description_take", text=other.text, translate=False).number = number
    for line in draft.corrected.splitlines():
        draw_text(box, line, "INFO")
    row = box.row(align=True)
    row.operator("mgpt3.description_prompt")
    row.operator("mgpt3.description_copy", icon="COPYDOWN")
    column = box.column(align=True)
    for line in draft.measured.splitlines():
        draw_text(column, line, "DOT")
    _draw_segments(box, context, character, action, draft)
    _draw_apply(box, context, action, draft)


def _draw_whole_sentence(layout: bpy.types.UILayout, draft: Any) -> None:
    """The sentence over several lines: the field below it shows only so much of it.

    There are always as many lines as the longest of the sentences takes: the buttons stay where they are while one
    after the other is tried.
    """
    region, scale = bpy.context.region, bpy.context.preferences.system.ui_scale or 1.0
    letters = max(int((region.width if region else 300) / (LETTER * scale)) - 7, 16)
    lines = {
        text: len(textwrap.wrap(text, letters)) for text in (draft.sentence, *(o.text for o in draft.alternatives))
    }
    most = max(lines.values())
    if most > 1:
        column = layout.column(align=True)
        draw_text(column, draft.sentence, letters=letters, translate=False)
        for _ in range(most - max(lines[draft.sentence], 1)):
            draw_text(column, "", letters=letters)


def _draw_segments(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    character: bpy.types.Object,
    action: bpy.types.Action,
    draft: Any,
) -> None:
    settings = context.scene.mgpt3_describe
    if len(draft.segments) > 1:
        row = layout.row()
        rows = min(len(draft.segments) + 1, 6)
        row.template_list("MGPT3_UL_described_segments", "", draft, "segments", draft, "active", rows=rows)
        column = row.column(align=True)
        column.operator("mgpt3.description_goto", text="", icon="TIME")
        column.operator("mgpt3.description_sequence", text="", icon="SEQUENCE")
        if 0 <= draft.active < len(draft.segments):
            layout.prop(draft.segments[draft.active], "sentence", text="")
    row = layout.row(align=True)
    row.prop(settings, "markers", expand=True)
    row = layout.row(align=True)
    row.operator("mgpt3.description_markers", icon="MARKER")
    if segmentmarkers.there(character, context.scene, action, draft, pose=settings.markers == POSE):
        row.operator("mgpt3.description_markers_remove", text="", icon="X")


def _draw_apply(layout: bpy.types.UILayout, context: bpy.types.Context, action: bpy.types.Action, draft: Any) -> None:
    settings = context.scene.mgpt3_describe
    layout.prop(draft, "tags", icon="BOOKMARKS")
    column = layout.column(align=True)
    if action.asset_data is None:
        column.prop(settings, "mark")
    column.prop(settings, "overwrite")
    row = layout.row()
    row.scale_y = 1.2
    row.enabled = action.library is None
    row.operator("mgpt3.description_apply", icon="ASSET_MANAGER")
    if action.library is not None:
        draw_text(layout, "The action is linked from another file: describe it there to apply it.", "INFO")
    elif (said := metadata.current(action).description) and said != draft.sentence:
        draw_text(layout, say('The action says: "{sentence}"', sentence=said), "INFO")


classes = (MGPT3_UL_described_segments, MGPT3_PT_describe)
