"""The sub-panel Fill Between. Drawing reads what is there; it starts and looks up nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import bpy

from . import jobs
from .between import FILLS, fills
from .drawing import draw_text
from .generate import find_character
from .properties_between import ALL, SELECTED


@lru_cache(maxsize=8)
def _latest(noted: str) -> tuple[str, ...]:
    """What is noted on an action of its last fill, a line a gap."""
    return tuple(fill_line(entry) for entry in fills({FILLS: noted}) if entry.get("latest"))  # type: ignore[arg-type]


def fill_line(entry: dict[str, Any]) -> str:
    """One filled gap in words."""
    report = entry.get("report") if isinstance(entry.get("report"), dict) else {}
    parts = [f"Frames {float(entry['first']):g} to {float(entry['last']):g}: seed {entry.get('seed', 0)}"]
    if "slide_mm" in report:
        parts.append(f"feet slide {float(report['slide_mm']):.1f} mm a frame")
    return ", ".join(parts)


class MGPT3_PT_between(bpy.types.Panel):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "MotionGPT3"
    bl_idname = "MGPT3_PT_between"
    bl_label = "Fill Between"
    bl_parent_id = "MGPT3_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return (
            find_character(context.scene, context.scene.mgpt3.character, context.view_layer.objects.active) is not None
        )

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.mgpt3_between
        layout.prop(settings, "prompt", text="", placeholder="What happens in between? (optional)")
        layout.row().prop(settings, "which", expand=True)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        if settings.which == SELECTED:
            column.prop(settings, "hold")
        row = layout.row()
        row.prop(settings, "bones", expand=True)
        if settings.bones != ALL and context.mode != "POSE":
            draw_text(layout, "Select bones in Pose Mode.", "INFO")
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "use_context")
        column.prop(settings, "strength", slider=True)
        row = column.row(align=True)
        row.prop(settings, "seed")
        row.operator("mgpt3.fill_seed_dice", text="", icon="FILE_REFRESH")
        column.prop(settings, "takes")
        column.prop(settings, "path", icon="CURVE_DATA")
        row = column.row()
        row.active = settings.path is not None
        row.prop(settings, "timed")
        _draw_targets(layout, settings)
        row = layout.row(align=True)
        row.scale_y = 1.4
        row.enabled = not jobs.busy()
        row.operator("mgpt3.fill_between", icon="ANIM")
        character = find_character(context.scene, context.scene.mgpt3.character, context.view_layer.objects.active)
        data = character.animation_data if character is not None else None
        noted = data.action.get(FILLS, "") if data is not None and data.action is not None else ""
        if isinstance(noted, str) and noted:
            row.operator("mgpt3.fill_next_take", text="Next Take", icon="FRAME_NEXT")
            for line in _latest(noted):
                draw_text(layout, line, "INFO")


def _draw_targets(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
    row = layout.row(align=True)
    row.label(text="Places to Reach")
    row.operator("mgpt3.reach_add", text="", icon="ADD")
    if not len(settings.targets):
        return
    row.operator("mgpt3.reach_remove", text="", icon="REMOVE")
    layout.template_list(
        "MGPT3_UL_reach", "", settings, "targets", settings, "target_index", rows=min(len(settings.targets) + 1, 4)
    )


class MGPT3_UL_reach(bpy.types.UIList):
    """Places that parts of the body are to reach."""

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
        row = layout.row(align=True)
        row.prop(item, "joint", text="", emboss=False)
        row.prop(item, "target", text="")
        row.prop(item, "frame", text="", emboss=False)


classes = (MGPT3_UL_reach, MGPT3_PT_between)
