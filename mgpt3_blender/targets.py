"""The character and scene that a request is for, found again when its answer comes."""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from .errors import UserError
from .results import Reference


@dataclass(frozen=True)
class Target:
    """By identity: between asking and answering, things may be renamed, undone or deleted."""

    armature: Reference
    scene: Reference

    @classmethod
    def to(cls, armature: bpy.types.Object, scene: bpy.types.Scene) -> Target:
        return cls(Reference.to(armature), Reference.to(scene))

    def find(self) -> tuple[bpy.types.Object, bpy.types.Scene]:
        """Both. Raises UserError("scene_gone", "character_gone")."""
        scene = self.scene.find(bpy.data.scenes)
        if scene is None:
            raise UserError("scene_gone", "The scene was deleted while its motion was being made.", "Try again.")
        armature = self.armature.find(scene.objects)
        if armature is None:
            raise UserError(
                "character_gone",
                f'The character "{self.armature.name}" was deleted while its motion was being made.',
                "Undo the deletion and try again, or choose another character.",
            )
        return armature, scene
