"""The add-on registers whole, unregisters without a trace, and does nothing until asked."""

from __future__ import annotations

import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder

import mgpt3_blender
from mgpt3_blender import jobs, preferences, upkeep
from mgpt3_blender.errors import UserError

PACKAGE = Path(mgpt3_blender.__file__).parent


def traces() -> set[str]:
    """Everything of the add-on that Blender knows."""
    found = {f"type {name}" for name in dir(bpy.types) if name.startswith("MGPT3_")}
    found |= {f"operator {name}" for name in dir(bpy.ops.mgpt3)}
    found |= {f"property of {t.__name__}" for t in (bpy.types.Scene, bpy.types.Object) if hasattr(t, "mgpt3")}
    for name in dir(bpy.app.handlers):
        functions = getattr(bpy.app.handlers, name)
        if isinstance(functions, list):
            found |= {f"handler {name}" for f in functions if f.__module__.startswith("mgpt3_blender")}
    found |= {f"thread {t.name}" for t in threading.enumerate() if t.name.startswith("mgpt3")}
    return found


@pytest.fixture
def registered() -> Iterator[None]:
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def test_one_version() -> None:
    manifest = tomllib.loads((PACKAGE.parent / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert manifest["version"] == mgpt3_blender.VERSION


def test_register_and_unregister_leave_nothing() -> None:
    before = traces()
    assert not before
    for _ in range(3):
        mgpt3_blender.register()
        known = traces()
        assert {"type MGPT3_PT_generate", "operator generate", "property of Scene", "handler load_pre"} <= known
        mgpt3_blender.unregister()
        assert not traces()


def test_a_failed_register_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgpt3_blender import handlers

    def broken() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(handlers, "register", broken)
    with pytest.raises(RuntimeError, match="no"):
        mgpt3_blender.register()
    assert not traces()


@pytest.mark.usefixtures("registered")
def test_registering_starts_nothing() -> None:
    assert jobs._worker is None
    assert not [t for t in threading.enumerate() if t.name.startswith("mgpt3")]
    assert "torch" not in sys.modules


@pytest.mark.usefixtures("registered")
def test_settings_stay_in_the_file_and_in_their_bounds(tmp_path: Path) -> None:
    settings = bpy.context.scene.mgpt3
    settings.prompt, settings.seed, settings.seconds, settings.variations = "歩く", 2**31 - 1, 99.0, 99
    assert (settings.seconds, settings.variations) == (pytest.approx(9.8), 8)
    settings.seconds = 0.1
    assert settings.seconds == 1.0
    assert settings.request().guidance is None
    settings.use_guidance, settings.guidance = True, 3.0
    armature = bpy.data.objects.new("Hero", bpy.data.armatures.new("Hero"))
    bpy.context.scene.collection.objects.link(armature)
    settings.character = armature
    path = str(tmp_path / "file.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=path)
    settings = bpy.context.scene.mgpt3
    request = settings.request()
    assert (request.prompt, request.seed, request.seconds, request.guidance) == ("歩く", 2**31 - 1, 1.0, 3.0)
    assert settings.character.name == "Hero"


@pytest.mark.usefixtures("registered")
def test_nothing_can_be_animated_that_says_how_to_make_motion() -> None:
    settings = bpy.context.scene.mgpt3
    for prop in settings.bl_rna.properties:
        if prop.identifier not in ("rna_type", "name"):
            assert not prop.is_animatable, prop.identifier


@pytest.mark.usefixtures("registered")
def test_everything_has_a_tooltip() -> None:
    owners = [bpy.types.Scene.bl_rna.properties["mgpt3"].fixed_type, preferences.MGPT3_Preferences.bl_rna]
    for owner in owners:
        for prop in owner.properties:
            if prop.identifier not in ("rna_type", "name", "bl_idname"):
                assert prop.description, prop.identifier
    for name in dir(bpy.ops.mgpt3):
        assert getattr(bpy.ops.mgpt3, name).get_rna_type().description, name


@pytest.mark.usefixtures("registered")
def test_preferences_are_read_where_the_add_on_is_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MGPT3_PYTHON", raising=False)
    monkeypatch.delenv("MGPT3_MODEL", raising=False)
    assert preferences.settings() == preferences.Settings()
    with pytest.raises(UserError) as caught:
        preferences.launch()
    assert caught.value.code == "not_set_up"
    preferences.refresh()
    assert upkeep.view.missing is not None

    addon = bpy.context.preferences.addons.new()
    addon.module = "mgpt3_blender"
    chosen = addon.preferences
    chosen.source = "EXISTING"
    with pytest.raises(UserError) as caught:
        preferences.launch()
    assert caught.value.code == "not_set_up"
    chosen.existing_python = str(tmp_path / "nowhere")
    assert upkeep.view.missing.code == "python_missing"
    chosen.existing_python = sys.executable
    assert upkeep.view.missing is None
    chosen.device = "CPU"
    launch = preferences.launch()
    assert (launch.python, launch.model, launch.device) == (Path(sys.executable), None, "cpu")
    assert PACKAGE not in launch.log.parents
    assert PACKAGE not in launch.cache.parents
    monkeypatch.setenv("MGPT3_MODEL", str(tmp_path / "other"))
    assert preferences.launch().model == tmp_path / "other"
    bpy.context.preferences.addons.remove(addon)


@pytest.mark.usefixtures("registered")
def test_check_and_set_up_in_background(core_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_model import make_tiny_model

    monkeypatch.setenv("MGPT3_PYTHON", str(core_python))
    monkeypatch.setenv("MGPT3_MODEL", str(make_tiny_model(tmp_path / "tiny", core_python)))
    assert bpy.ops.mgpt3.check() == {"FINISHED"}
    assert upkeep.view.line.startswith("Ready: tiny random on ")
    monkeypatch.setattr(preferences, "environment_folder", lambda: tmp_path / "environment")
    with pytest.raises(RuntimeError, match="not allowed to use the network"):
        bpy.ops.mgpt3.setup()
    assert upkeep.view.error.code == "offline"


@pytest.mark.usefixtures("registered")
def test_drawing_starts_nothing_and_shows_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgpt3_blender import drawing, panels

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("drawing must not look anything up")

    import subprocess

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(preferences, "python", forbidden)
    monkeypatch.setattr(preferences, "registry", forbidden)

    def drawn(method: str = "draw") -> Recorder:
        panel = type("Panel", (), {"layout": Recorder(), "_draw_action": panels.MGPT3_PT_generate._draw_action})()
        panels.MGPT3_PT_generate.draw(panel, bpy.context)
        return panel.layout

    upkeep.view.missing = None
    assert "mgpt3.generate" in drawn().operators
    assert "MotionGPT3 compact" in drawn().texts  # which model will make the motion
    assert "Add Mannequin and Generate" in drawn().texts or drawn().operators
    upkeep.view.missing = UserError("not_set_up", "Not set up yet.", "Press Set Up.")
    assert "mgpt3.open_preferences" in drawn().operators
    assert "mgpt3.generate" not in drawn().operators
    upkeep.view.missing = None
    jobs.view.job = jobs.Job("Generate", "generate", {}, print, state=jobs.State.RUNNING, message="Sampling")
    assert "Sampling" in drawn().texts
    assert "mgpt3.cancel" in drawn().operators
    jobs.view.job = None
    for code in drawing.REMEDIES:
        jobs.view.error = UserError(code, "Something went wrong.", "Do this.")
        assert {button[0] for button in drawing.REMEDIES[code]} <= set(drawn().operators)
    addon = bpy.context.preferences.addons.new()
    addon.module = "mgpt3_blender"
    for source in ("PRIVATE", "EXISTING"):
        addon.preferences.source = source
        layout = Recorder()
        panels.draw_preferences(addon.preferences, layout)
        assert "mgpt3.check" in layout.operators
    bpy.context.preferences.addons.remove(addon)
