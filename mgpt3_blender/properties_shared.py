"""Properties that several panels have alike: prompt, seed, duration, frame, a curve to follow.

None can be animated: they say how to make motion, they are none. Seconds are drawn as seconds, frames as Blender's own
frames are.
"""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import FloatProperty, IntProperty, PointerProperty, StringProperty

from .generate import MAX_PROMPT, MAX_SEED


def prompt_property(description: str, default: str = "") -> Any:
    """What a character does, in words."""
    return StringProperty(name="Prompt", description=description, default=default, maxlen=MAX_PROMPT, options=set())


def seed_property(description: str) -> Any:
    """Which take is made."""
    return IntProperty(name="Seed", description=description, default=0, min=0, max=MAX_SEED, options=set())


def seconds_property(name: str, description: str, default: float, least: float, most: float, **others: Any) -> Any:
    """A time in seconds.

    Args:
        others: further arguments of FloatProperty.
    """
    return FloatProperty(
        name=name,
        description=description,
        default=default,
        min=least,
        max=most,
        precision=2,  # with fewer Blender shows 9.5 as "10 s"
        subtype="TIME_ABSOLUTE",
        options=set(),
        **others,
    )


def typed(seconds: float) -> float:
    """A time as it was typed: Blender keeps 9.8 as 9.8000002, which is more than 9.8."""
    return round(seconds, 3)


def frame_property(name: str, description: str, default: int = 0) -> Any:
    """A frame of the scene."""
    return IntProperty(name=name, description=description, default=default, subtype="TIME", options=set())


def _is_curve(settings: bpy.types.PropertyGroup, candidate: bpy.types.Object) -> bool:
    return candidate.type == "CURVE" and candidate.name in settings.id_data.objects


def path_property(description: str) -> Any:
    """A curve of the scene that is followed."""
    return PointerProperty(name="Path", description=description, type=bpy.types.Object, poll=_is_curve)
