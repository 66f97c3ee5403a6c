"""The shortcut for Generate in the 3D View: an add-on's entry, which the user changes or switches off as any other."""

from __future__ import annotations

import bpy

OPERATOR = "mgpt3.generate"
KEYMAP, SPACE = "3D View", "VIEW_3D"

# M for motion. With Ctrl and Alt it is free in Object and Pose Mode, in Blender's own keymap and in the industry
# compatible one, from 4.2 to 5.x; a test compares it with what they hold.
KEY = {"type": "M", "value": "PRESS", "ctrl": True, "alt": True}

_added: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


def entry() -> tuple[bpy.types.KeyMap, bpy.types.KeyMapItem] | None:
    """The entry as the user has it now, and its keymap; None where there is none, as in a Blender without keymaps."""
    config = bpy.context.window_manager.keyconfigs.user
    keymap = config.keymaps.get(KEYMAP) if config is not None else None
    if keymap is None:
        return None
    item = next((item for item in keymap.keymap_items if item.idname == OPERATOR), None)
    return (keymap, item) if item is not None else None


def draw(layout: bpy.types.UILayout) -> None:
    """The entry, to be changed in place as in Blender's keymap preferences."""
    found = entry()
    if found is None:
        layout.label(text="There is no shortcut. Restore it in Preferences > Keymap.", icon="INFO")
        return
    keymap, item = found
    row = layout.row()
    row.context_pointer_set("keymap", keymap)  # for the button that restores
    row.prop(item, "active", text="", emboss=False)
    row.label(text="Generate Motion in the 3D View")
    row.prop(item, "type", text="", full_event=True)
    if item.is_user_modified:
        row.operator("preferences.keyitem_restore", text="", icon="BACK").item_id = item.id


def register() -> None:
    config = bpy.context.window_manager.keyconfigs.addon
    if config is None:  # a Blender that runs without a window may have none
        return
    keymap = config.keymaps.new(KEYMAP, space_type=SPACE)
    _added.append((keymap, keymap.keymap_items.new(OPERATOR, **KEY)))


def unregister() -> None:
    for keymap, item in _added:
        keymap.keymap_items.remove(item)
    _added.clear()
