"""The zip in a real Blender: install, enable, disable, enable again, generate, uninstall; nothing stays behind.

Each run is a process of its own with a user folder of its own, and (but for 4.2) it ends the way Blender ends: a timer
or a CLI command left registered would hang or crash it there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("bpy")

LIFE = '''
import importlib, json, os, sys, threading
import bpy

ARCHIVE, GENERATE = sys.argv[1], sys.argv[2] == "generate"
MODULE = "bl_ext.user_default.mgpt3_blender"
HOLDERS = ("Scene", "Object", "Action", "Armature", "PoseBone", "WindowManager", "Collection", "Material", "Mesh")


def snapshot():
    """Everything an add-on can leave behind, as lists of strings by kind."""
    bases = ("Operator", "Panel", "Menu", "UIList", "PropertyGroup", "AddonPreferences")
    handlers = {name: getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)}
    keys = bpy.context.window_manager.keyconfigs.addon
    return {
        "types": dir(bpy.types),
        "classes": [c.__name__ for base in bases for c in getattr(bpy.types, base).__subclasses__()
                    if "mgpt3" in c.__module__ and "bl_rna" in vars(c)],
        "operators": dir(bpy.ops.mgpt3),
        "properties": [h + "." + key for h in HOLDERS for key in getattr(bpy.types, h).bl_rna.properties.keys()],
        "handlers": [name + " " + getattr(f, "__module__", "?")
                     for name, value in handlers.items() if isinstance(value, list) for f in value],
        "drawn": [name + " " + getattr(f, "__module__", "?") for name in dir(bpy.types)
                  for f in getattr(getattr(getattr(bpy.types, name), "draw", None), "_draw_funcs", ())
                  # once a menu was added to, Blender lists its own draw function there, too, and keeps it
                  if not getattr(f, "__module__", "?").startswith("bl_ui.")],
        "keymaps": [m.name + " " + item.idname for m in (keys.keymaps if keys else ()) for item in m.keymap_items],
        "threads": [t.name for t in threading.enumerate()],
    }


def differences(before, after):
    found = {key: sorted(set(after[key]) - set(before[key])) for key in after}
    return {key: value for key, value in found.items() if value}


report = {}
before = snapshot()
assert bpy.ops.extensions.package_install_files(
    filepath=ARCHIVE, repo="user_default", enable_on_install=False) == {"FINISHED"}
for turn in ("first", "second"):
    assert bpy.ops.preferences.addon_enable(module=MODULE) == {"FINISHED"}, turn
    report[turn + " enabled"] = differences(before, snapshot())
    assert MODULE in bpy.context.preferences.addons
    if turn == "second" and GENERATE:
        generate = importlib.import_module(MODULE + ".generate")
        outcome = generate.generate_for_character(
            None, "a person walks forward", seconds=1.0, seed=3, create_mannequin=True)
        report["generated"] = {"actions": len(outcome.actions), "prompt": outcome.actions[0].get("mgpt3_prompt"),
                               "bones": len(outcome.armature.pose.bones)}
    assert bpy.ops.preferences.addon_disable(module=MODULE) == {"FINISHED"}, turn
    report[turn + " disabled"] = differences(before, snapshot())
assert bpy.ops.preferences.addon_enable(module=MODULE) == {"FINISHED"}
repositories = list(bpy.context.preferences.extensions.repos)
index = next(i for i, repository in enumerate(repositories) if repository.module == "user_default")
assert bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="mgpt3_blender") == {"FINISHED"}
report["uninstalled"] = differences(before, snapshot())
report["kept in preferences"] = MODULE in bpy.context.preferences.addons
print("REPORT" + json.dumps(report), flush=True)
if bpy.app.version < (4, 4):
    # Blender 4.2's wheel crashes at exit once any add-on with a property callback was disabled, its own Rigify too.
    os._exit(0)
'''


def live(archive: Path, folder: Path, what: str) -> dict:
    """Run LIFE in a process of its own; its report. Fails on an error, a traceback or a bad end."""
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder)}
    command = [sys.executable, "-c", LIFE, str(archive), what]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=240)
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"Blender ended with {result.returncode}\n{output}"
    assert "Traceback" not in output, output
    assert "Warning: " not in output, output
    return json.loads(next(line for line in result.stdout.splitlines() if line.startswith("REPORT"))[len("REPORT") :])


def check(report: dict, folder: Path) -> None:
    for turn in ("first", "second"):
        added = report[f"{turn} enabled"]
        assert any(name.startswith("MGPT3_OT_") for name in added["types"])
        assert any(name.startswith("MGPT3_PT_") for name in added["types"])
        assert "generate" in added["operators"]
        assert "Scene.mgpt3" in added["properties"]
        assert "threads" not in added, "enabling starts nothing"
        assert report[f"{turn} disabled"] == {}, "disabled, and still something is registered"
    assert report["uninstalled"] == {}
    assert not report["kept in preferences"]
    extensions = folder / "extensions" / "user_default"
    assert not (extensions / "mgpt3_blender").exists()


def test_install_enable_disable_enable_uninstall(extension_zip: Path, tmp_path: Path) -> None:
    check(live(extension_zip, tmp_path, "only register"), tmp_path)


def test_the_installed_extension_generates_and_leaves_nothing(
    extension_zip: Path, tmp_path: Path, core_python: Path
) -> None:
    """The core that travels in the zip and the model bundled with it, in a folder with a space and an umlaut."""
    folder = tmp_path / "Bücher und Filme"
    folder.mkdir()
    report = live(extension_zip, folder, "generate")
    assert report["generated"]["actions"] == 1
    assert report["generated"]["prompt"] == "a person walks forward"
    check(report, folder)
