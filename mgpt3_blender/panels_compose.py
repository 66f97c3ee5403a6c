"""Sub-panels of the tab: a list of prompts that becomes one motion, and going on with a motion."""

from __future__ import annotations

import bpy

from . import current, jobs
from .compose import SEQUENCE
from .drawing import draw_text
from .i18n import say
from .panels_shared import OrderedList, SubPanel, draw_path, draw_seed, ready, settings_column


class MGPT3_UL_segments(OrderedList, bpy.types.UIList):
    """The segments in their order, each with its duration."""

    searched = "prompt"

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
        row = layout.split(factor=0.74, align=True)
        row.prop(item, "prompt", text="", emboss=False)
        row.prop(item, "seconds", text="", emboss=False)


class MGPT3_PT_sequence(SubPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_sequence"
    bl_label = "Sequence"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_sequence
        row = layout.row()
        row.template_list("MGPT3_UL_segments", "", settings, "segments", settings, "active", rows=4)
        column = row.column(align=True)
        column.operator("mgpt3.segment_add", text="", icon="ADD")
        column.operator("mgpt3.segment_remove", text="", icon="REMOVE")
        column.operator("mgpt3.segment_duplicate", text="", icon="DUPLICATE")
        column.separator()
        column.operator("mgpt3.segment_move", text="", icon="TRIA_UP").direction = "UP"
        column.operator("mgpt3.segment_move", text="", icon="TRIA_DOWN").direction = "DOWN"
        if 0 <= settings.active < len(settings.segments):
            layout.prop(settings.segments[settings.active], "prompt", text="")
        else:
            draw_text(layout, "Add a segment: a prompt and how long it takes.", "INFO")
        column = settings_column(layout)
        column.prop(settings, "transition")
        draw_seed(column, settings, "mgpt3.sequence_dice")
        draw_path(column, settings)
        button = layout.row()
        button.scale_y = 1.2
        button.enabled = bool(settings.segments) and ready()
        seconds = sum(segment.seconds for segment in settings.segments)
        text = say("Make Sequence ({seconds:.1f} s)", seconds=seconds) if settings.segments else say("Make Sequence")
        button.operator(
            "mgpt3.sequence", text=text, icon="SEQUENCE", translate=False
        ).create_mannequin = current.has_none(context)
        action = current.action(context)
        if action is not None and SEQUENCE in action:
            layout.operator("mgpt3.sequence_reuse", icon="LOOP_BACK")


class MGPT3_PT_extend(SubPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_extend"
    bl_label = "Continue and Loop"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        character = current.character(context)
        return character is not None and character.animation_data is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_extend
        if current.action(context) is None:
            draw_text(layout, "The character plays no action yet.", "INFO")
            return
        layout.prop(settings, "prompt", text="", placeholder="What comes next? May be left empty")
        column = settings_column(layout)
        column.prop(settings, "seconds")
        draw_seed(column, settings, "mgpt3.extend_dice")
        row = layout.row()
        row.enabled = ready()
        row.operator("mgpt3.extend", text=say("Continue"), icon="FORWARD", translate=False)
        layout.separator()
        settings_column(layout).prop(settings, "in_place")
        row = layout.row()
        row.enabled = not jobs.busy()
        row.operator("mgpt3.make_loop", icon="FILE_REFRESH")


classes = (MGPT3_PT_sequence, MGPT3_PT_extend, MGPT3_UL_segments)
