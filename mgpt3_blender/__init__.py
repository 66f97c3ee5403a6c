"""MotionGPT3 for Blender: type a prompt and the selected character moves.

Importing the package imports nothing of Blender: the half that knows no bpy (worker, runtime, wire) can be used and
tested without it. `register` brings in the rest.
"""

from __future__ import annotations

from types import ModuleType

VERSION = "0.1.0"


def _modules() -> tuple[ModuleType, ...]:
    """In the order of registration: each module has `classes`, `register` and `unregister`, or some of them."""
    from . import (
        cli,
        generatepresets,
        handlers,
        i18n,
        keymap,
        menus,
        openfiles,
        panels,
        panels_between,
        panels_compose,
        panels_describe,
        panels_library,
        panels_rig,
        panels_search,
        preferences,
        properties,
        properties_between,
        properties_compose,
        properties_describe,
        properties_library,
        properties_rig,
        properties_search,
    )
    from .operators import compose, describe, extend, generate, inbetween, library, models, report, rig, search, setup

    return (
        *(i18n, preferences, properties, properties_rig, properties_between, properties_compose),
        *(properties_describe, properties_library, properties_search),
        *(generate, inbetween, compose, extend, describe, library, search, setup, models, rig, report),
        *(panels, panels_between, panels_compose, panels_describe, panels_library, panels_search, panels_rig),
        *(generatepresets, menus, keymap, cli, handlers, openfiles),
    )


def register() -> None:
    """Register everything, or where that fails nothing."""
    import bpy

    done: list[ModuleType] = []
    try:
        for module in _modules():
            done.append(module)
            for cls in getattr(module, "classes", ()):
                bpy.utils.register_class(cls)
            if hasattr(module, "register"):
                module.register()
    except Exception:
        _unregister(done)
        raise


def unregister() -> None:
    """Take everything back and end the worker."""
    _unregister(list(_modules()))


def _unregister(modules: list[ModuleType]) -> None:
    import bpy

    for module in reversed(modules):
        if hasattr(module, "unregister"):
            module.unregister()
        for cls in reversed(getattr(module, "classes", ())):
            if cls.is_registered:
                bpy.utils.unregister_class(cls)
