"""Presets of how motion is made, in Blender's own way: a menu in the panel's header, the user's own as files.

A preset holds settings, never the prompt, the character, the seed or the floor, which belong to one scene. Those that
come with the add-on lie in `presets` beside this file; they cannot be removed and leave duration and limbs alone.
"""

from __future__ import annotations

from pathlib import Path

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel
from bpy.props import BoolProperty, StringProperty

from .i18n import tip

SUBFOLDER = "mgpt3/generate"
HERE = Path(__file__).parent
GENERATE = ("seconds", "variations", "use_guidance", "guidance", "clean_feet", "fast", "literal")
RIG = ("limbs", "root", "hands", "feet", "in_place", "loop", "relaxed_hands")


class MGPT3_PT_generate_presets(PresetPanel, bpy.types.Panel):
    """The presets: a click takes one over."""

    bl_idname = "MGPT3_PT_generate_presets"
    bl_label = "Motion Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "mgpt3.generate_preset_add"


class MGPT3_OT_generate_preset_add(AddPresetBase, bpy.types.Operator):
    """Save how motion is made, but not what, as a preset of your own; or remove one of yours"""

    bl_idname = "mgpt3.generate_preset_add"
    bl_label = "Add Motion Preset"
    preset_menu = "MGPT3_PT_generate_presets"

    name: StringProperty(name="Name", description="What to call the preset", maxlen=64, options={"SKIP_SAVE"})
    remove_name: BoolProperty(
        name="Remove", description="Remove the preset of this name", default=False, options={"HIDDEN", "SKIP_SAVE"}
    )
    remove_active: BoolProperty(
        name="Remove Active",
        description="Remove the preset that was used last",
        default=False,
        options={"HIDDEN", "SKIP_SAVE"},
    )

    preset_subdir = SUBFOLDER
    preset_values = [
        *(f"bpy.context.scene.mgpt3.{name}" for name in GENERATE),
        *(f"bpy.context.scene.mgpt3_rig.{name}" for name in RIG),
    ]

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        text = "Remove this preset" if properties.remove_name else "Save how motion is made, but not what, as a preset"
        return tip(text)

    def remove(self, context: bpy.types.Context, filepath: str) -> None:
        """Blender asks this of a preset that it may remove; ours stay wherever the add-on lies. Raises OSError."""
        if Path(filepath).is_relative_to(HERE):
            raise PermissionError(f"{Path(filepath).name} comes with the add-on")
        Path(filepath).unlink()


classes = (MGPT3_OT_generate_preset_add, MGPT3_PT_generate_presets)


def register() -> None:
    bpy.utils.register_preset_path(str(HERE))


def unregister() -> None:
    bpy.utils.unregister_preset_path(str(HERE))
