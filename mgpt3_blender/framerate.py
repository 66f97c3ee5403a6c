"""How many frames of a scene are a second."""

from __future__ import annotations

import bpy


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames a second, as the scene plays and renders: 24000/1001 is 24 over a base of 1.001."""
    return scene.render.fps / scene.render.fps_base
