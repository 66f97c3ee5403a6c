"""The words of Blender's own interface, as far as Python can see them: they are Blender's to translate."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import bpy


def _of(struct: bpy.types.Struct, found: set[str]) -> None:
    found.add(struct.name)
    for prop in struct.properties:
        if prop.identifier.startswith("mgpt3"):
            continue
        found.add(prop.name)
        if prop.type == "ENUM":
            found.update(item.name for item in prop.enum_items_static)


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Labels of Blender's types, properties, panels, menus and operators, and every string of its own scripts."""
    found: set[str] = set()
    for name in dir(bpy.types):
        kind = getattr(bpy.types, name)
        if "MGPT3" not in name and hasattr(kind, "bl_rna"):
            _of(kind.bl_rna, found)
            found.add(getattr(kind, "bl_label", ""))
    for module in set(dir(bpy.ops)) - {"mgpt3"}:
        for name in dir(getattr(bpy.ops, module)):
            _of(getattr(getattr(bpy.ops, module), name).get_rna_type(), found)
    scripts = Path(bpy.utils.resource_path("LOCAL")) / "scripts" / "startup"
    for file in scripts.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return frozenset(found)
