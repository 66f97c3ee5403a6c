"""Where Blender's menus offer the add-on. What stands in a menu is what F3 finds."""

from __future__ import annotations

import bpy


class MGPT3_MT_motion(bpy.types.Menu):
    bl_idname = "MGPT3_MT_motion"
    bl_label = "MotionGPT3"
    bl_description = "Make, continue, loop and describe the character's motion"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.operator("mgpt3.generate", icon="PLAY")
        layout.operator("mgpt3.sequence")
        layout.separator()
        layout.operator("mgpt3.fill_between")
        layout.operator("mgpt3.fill_next_take")
        layout.operator("mgpt3.extend")
        layout.operator("mgpt3.make_loop")
        layout.separator()
        layout.operator("mgpt3.describe")
        layout.operator("mgpt3.add_example")
        layout.operator("mgpt3.results_clear")


def _draw_animation(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.menu(MGPT3_MT_motion.bl_idname)


def _draw_add(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("mgpt3.add_mannequin", text="Mannequin (MotionGPT3)", icon="OUTLINER_OB_ARMATURE")
    menu.layout.operator("mgpt3.add_example", text="Example Character (MotionGPT3)", icon="OUTLINER_OB_ARMATURE")


def _draw_help(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.operator("mgpt3.copy_report", icon="COPYDOWN")


_MENUS = (
    ("VIEW3D_MT_object_animation", _draw_animation),  # the Pose menu has it, too
    ("VIEW3D_MT_armature_add", _draw_add),
    ("TOPBAR_MT_help", _draw_help),
)

classes = (MGPT3_MT_motion,)


def register() -> None:
    for name, draw in _MENUS:
        getattr(bpy.types, name).append(draw)


def unregister() -> None:
    for name, draw in _MENUS:
        getattr(bpy.types, name).remove(draw)
