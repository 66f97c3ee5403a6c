"""The one seam: the add-on never imports the core or torch, the core never imports Blender or the add-on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from core.protocol import VERSION

ROOT = Path(__file__).resolve().parents[1]
NOT_IN_ADDON = {"torch", "transformers", "tokenizers", "safetensors", "scipy", "core"}
NOT_IN_CORE = {"bpy", "mathutils", "bmesh", "gpu", "bpy_extras", "mgpt3_blender"}


def imported(source: str) -> set[str]:
    """Top-level names of everything a file imports, at any depth; also by importlib.import_module("...")."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__", "find_spec") and isinstance(node.args[0].value, str):
                names.add(node.args[0].value)
    return {name.split(".")[0] for name in names}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_what_counts_as_an_import() -> None:
    inside = "def f():\n    import torch.nn\n    from core.x import y\n"
    assert imported(inside + "    importlib.import_module('scipy.a')\nfrom . import z") == {"torch", "core", "scipy"}


@pytest.mark.parametrize("path", files("mgpt3_blender"), ids=lambda path: str(path.relative_to(ROOT)))
def test_addon_stays_on_its_side(path: Path) -> None:
    assert not imported(path.read_text(encoding="utf-8")) & NOT_IN_ADDON


@pytest.mark.parametrize("path", files("mgpt3_blender"), ids=lambda path: str(path.relative_to(ROOT)))
def test_addon_imports_itself_relatively(path: Path) -> None:
    # Installed it is called bl_ext.user_default.mgpt3_blender: its own name means nothing there.
    assert "mgpt3_blender" not in imported(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", files("core"), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_stays_on_its_side(path: Path) -> None:
    assert not imported(path.read_text(encoding="utf-8")) & NOT_IN_CORE


def test_there_are_files_on_both_sides() -> None:
    assert len(files("core")) > 10
    assert len(files("mgpt3_blender")) > 5


def test_one_version() -> None:
    for name in ("blender_manifest.toml", "pyproject.toml"):
        assert f'\nversion = "{VERSION}"' in (ROOT / name).read_text(encoding="utf-8"), name
