"""The sub-panel Fill Between. Drawing reads what is there; it starts and looks up nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import bpy

from . import current, jobs
from .between import FILLS, fills
from .drawing import draw_text
from .i18n import say
from .panels_shared import CharacterPanel, draw_path, draw_seed, settings_column
from .properties_between import ALL, SELECTED


@lru_cache(maxsize=8)
def _latest(noted: str) -> tuple[dict[str, Any], ...]:
    """What is noted on an action of its last fill, an entry a gap."""
    return tuple(entry for entry in fills({FILLS: noted}) if entry.get("latest"))  # type: ignore[arg-type]


def fill_line(entry: dict[str, Any]) -> str:
    """One filled gap in words."""
    report = entry.get("report") if isinstance(entry.get("report"), dict) else {}
    values = {"first": float(entry["first"]), "last": float(entry["last"]), "seed": entry.get("seed", 0)}
    if "slide_mm" not in report:
        return say("Frames {first:g} to {last:g}: seed {seed}", **values)
    values["slide"] = float(report["slide_mm"])
    return say("Frames {first:g} to {last:g}: seed {seed}, feet slide {slide:.1f} mm a frame", **values)


class MGPT3_PT_between(CharacterPanel, bpy.types.Panel):
    bl_idname = "MGPT3_PT_between"
    bl_label = "Fill Between"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.mgpt3_between
        layout.prop(settings, "prompt", text="", placeholder="What happens in between? (optional)")
        layout.row().prop(settings, "which", expand=True)
        if settings.which == SELECTED:
            settings_column(layout).prop(settings, "hold")
        row = layout.row()
        row.prop(settings, "bones", expand=True)
        if settings.bones != ALL and context.mode != "POSE":
            draw_text(layout, "Select bones in Pose Mode.", "INFO")
        column = settings_column(layout)
        column.prop(settings, "use_context")
        column.prop(settings, "strength", slider=True)
        draw_seed(column, settings, "mgpt3.fill_seed_dice")
        column.prop(settings, "takes")
        draw_path(column, settings)
        _draw_targets(layout, settings)
        row = layout.row(align=True)
        row.scale_y = 1.4
        row.enabled = not jobs.busy()
        row.operator("mgpt3.fill_between", icon="ANIM")
        action = current.action(context)
        noted = action.get(FILLS, "") if action is not None else ""
        if isinstance(noted, str) and noted:
            row.operator("mgpt3.fill_next_take", text="Next Take", icon="FRAME_NEXT")
            for entry in _latest(noted):
                draw_text(layout, fill_line(entry), "INFO")


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
