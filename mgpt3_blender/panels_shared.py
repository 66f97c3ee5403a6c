"""What the tab's panels share: where they stand, how settings are laid out, lists whose order means something."""

from __future__ import annotations

from typing import Protocol

import bpy

from . import current, upkeep
from .drawing import Remedies, draw_error, draw_text
from .errors import UserError


class SidePanel:
    """Mixin: a panel of the tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "MotionGPT3"


class SubPanel(SidePanel):
    """Mixin: a panel that folds, below the first one."""

    bl_parent_id = "MGPT3_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}


class CharacterPanel(SubPanel):
    """Mixin: a sub-panel that is only there where a character is."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return current.character(context) is not None


class OrderedList:
    """Mixin: a list that is filtered by one of its items' texts and never sorted, since its order says something."""

    searched = ""
    """Which property of an item is searched."""

    def filter_items(
        self, context: bpy.types.Context, data: bpy.types.bpy_struct, propname: str
    ) -> tuple[list[int], list[int]]:
        wanted = self.filter_name.lower()  # type: ignore[attr-defined]
        shown = self.bitflag_filter_item  # type: ignore[attr-defined]
        return [shown if wanted in getattr(item, self.searched).lower() else 0 for item in getattr(data, propname)], []


class Run(Protocol):
    """Work under way, as far as it is shown."""

    @property
    def fraction(self) -> float: ...

    @property
    def message(self) -> str: ...


def ready() -> bool:
    """Whether there is a model to ask; where not, the first panel says so."""
    return upkeep.view.missing is None


def settings_column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column of settings with their names at the left, without dots for keys."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def draw_run(layout: bpy.types.UILayout, run: Run, cancel: str, height: float = 1.0) -> None:
    """How far something under way is, and the button that ends it.

    Args:
        cancel: the button's operator.
        height: of the row, in usual rows.
    """
    row = layout.row(align=True)
    row.scale_y = height
    row.progress(factor=run.fraction, text=run.message)
    row.operator(cancel, text="", icon="X")


class View(Protocol):
    """What a panel keeps of how its last work ended."""

    error: UserError | None
    line: str


def draw_told(layout: bpy.types.UILayout, view: View, first: Remedies | None = None, icon: str = "CHECKMARK") -> None:
    """What went wrong, or else the line that says what was done.

    Args:
        first: buttons for its errors, before those of every panel.
        icon: of the line.
    """
    if view.error is not None:
        draw_error(layout, view.error, first)
    elif view.line:
        draw_text(layout, view.line, icon)


def draw_seed(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, dice: str) -> None:
    """The seed, and the button that throws the dice for another.

    Args:
        dice: the button's operator.
    """
    row = layout.row(align=True)
    row.prop(settings, "seed")
    row.operator(dice, text="", icon="FILE_REFRESH")


def draw_choice(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup, name: str, heading: str) -> None:
    """A value that counts only where its tick is set: the properties `use_<name>` and `<name>`."""
    row = layout.row(align=True, heading=heading)
    row.prop(settings, f"use_{name}", text="")
    value = row.row(align=True)
    value.active = getattr(settings, f"use_{name}")
    value.prop(settings, name, text="")


def draw_path(layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
    """The curve to follow, and whether its timing counts."""
    layout.prop(settings, "path", icon="CURVE_DATA")
    row = layout.row()
    row.active = settings.path is not None
    row.prop(settings, "timed")
