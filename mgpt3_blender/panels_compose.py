"""Sub-panels of the tab: a list of prompts that becomes one motion, and going on with a motion."""

from __future__ import annotations

import bpy

from . import jobs, upkeep
from .compose import SEQUENCE
from .drawing import draw_text
from .generate import find_character


def _character(context: bpy.types.Context) -> bpy.types.Object | None:
    return find_character(context.scene, context.scene.mgpt3.character, context.view_layer.objects.active)


def _ready() -> bool:
    """Whether there is a model to ask; where not, the panel above says so."""
    return upkeep.view.missing is None


class _SubPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "MotionGPT3"
    bl_parent_id = "MGPT3_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}


class MGPT3_UL_segments(bpy.types.UIList):
    """The segments in their order, each with its duration."""

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

    def filter_items(
        self, context: bpy.types.Context, data: bpy.types.PropertyGroup, propname: str
    ) -> tuple[list[int], list[int]]:
        wanted = self.filter_name.lower()  # by prompt, and never sorted: the order is what happens when
        items = getattr(data, propname)
        return [self.bitflag_filter_item if wanted in item.prompt.lower() else 0 for item in items], []


class MGPT3_PT_sequence(_SubPanel, bpy.types.Panel):
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
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "transition")
        row = column.row(align=True)
        row.prop(settings, "seed")
        row.operator("mgpt3.sequence_dice", text="", icon="FILE_REFRESH")
        column.prop(settings, "path", icon="CURVE_DATA")
        row = column.row()
        row.active = settings.path is not None
        row.prop(settings, "timed")
        character = _character(context)
        button = layout.row()
        button.scale_y = 1.2
        button.enabled = bool(settings.segments) and _ready()
        seconds = sum(segment.seconds for segment in settings.segments)
        empty = character is None and not any(o.type == "ARMATURE" for o in context.scene.objects)
        text = f"Make Sequence ({seconds:.1f} s)" if settings.segments else "Make Sequence"
        button.operator("mgpt3.sequence", text=text, icon="SEQUENCE").create_mannequin = empty
        data = character.animation_data if character is not None else None
        if data is not None and data.action is not None and SEQUENCE in data.action:
            layout.operator("mgpt3.sequence_reuse", icon="LOOP_BACK")


class MGPT3_PT_extend(_SubPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_extend"
    bl_label = "Continue and Loop"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        character = _character(context)
        return character is not None and character.animation_data is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.mgpt3_extend
        character = _character(context)
        data = character.animation_data if character is not None else None
        if data is None or data.action is None:
            draw_text(layout, "The character plays no action yet.", "INFO")
            return
        layout.prop(settings, "prompt", text="", placeholder="What comes next? May be left empty")
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "seconds")
        row = column.row(align=True)
        row.prop(settings, "seed")
        row.operator("mgpt3.extend_dice", text="", icon="FILE_REFRESH")
        row = layout.row()
        row.enabled = _ready()
        row.operator("mgpt3.extend", text="Continue", icon="FORWARD")
        layout.separator()
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "in_place")
        row = layout.row()
        row.enabled = not jobs.busy()
        row.operator("mgpt3.make_loop", icon="FILE_REFRESH")


classes = (MGPT3_PT_sequence, MGPT3_PT_extend, MGPT3_UL_segments)
