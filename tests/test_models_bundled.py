"""Two bundled models in Blender: each under its own name and licence, chosen by a click, made motion with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder
from tiny_model import ROOT, make_tiny_model

import mgpt3_blender
from mgpt3_blender import cli, panels_models, preferences, runtime, upkeep
from mgpt3_blender.mannequin import create_mannequin

SETS = {
    "compact": ("Tiny compact", "CC BY-NC 4.0", "made up, all of it"),
    "compact-commercial": ("Tiny commercial", "CC BY 4.0", "made up, half of it"),
}


@pytest.fixture(scope="module")
def core(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core's files in a folder of their own, with two small models for weights."""
    parent = tmp_path_factory.mktemp("core é")
    shutil.copytree(ROOT / "core", parent / "core", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    made = make_tiny_model(parent / "made", core_python)
    for folder, (name, licence, data) in SETS.items():
        place = shutil.copytree(made, parent / "core" / "weights" / folder)
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        config |= {"name": name, "licence": licence, "data": data}
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return parent


@pytest.fixture(autouse=True)
def _registered(core: Path, core_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MGPT3_MODEL", "MGPT3_ACCEPT_LICENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MGPT3_PYTHON", str(core_python))
    monkeypatch.setattr(preferences, "user_folder", lambda: tmp_path / "user")
    monkeypatch.setattr(runtime, "core_parent", lambda package: core)
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


class Words(Recorder):
    """The words on buttons too: a model and its licence are buttons."""

    def operator(self, name: str, **kwargs: object) -> object:
        self.texts.append(str(kwargs.get("text", "")))
        return self.__getattr__("operator")(name, **kwargs)  # type: ignore[operator]


def drawn(draw: object) -> list[str]:
    layout = Words()
    draw(layout)  # type: ignore[operator]
    return layout.texts


def made() -> tuple[str, str]:
    """Model and licence of a second of motion made now."""
    character = next((o for o in bpy.data.objects if o.type == "ARMATURE"), None) or create_mannequin(bpy.context)
    bpy.context.scene.mgpt3.seconds = 1.0
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    action = character.animation_data.action
    return action["mgpt3_model"], action["mgpt3_licence"]


def test_both_are_listed_with_what_their_licences_allow_and_either_makes_motion() -> None:
    first, second = upkeep.view.models
    assert [(model.name, model.licence, model.data) for model in (first, second)] == list(SETS.values())
    assert all(model.bundled and not model.problem for model in (first, second))
    texts = drawn(panels_models.draw_models)
    assert {"Tiny compact", "CC BY-NC 4.0, non-commercial"} <= set(texts)
    assert {"Tiny commercial", "CC BY 4.0, commercial use allowed"} <= set(texts)
    assert drawn(panels_models.draw_model_in_use)[-3:] == ["Tiny compact", "Non-commercial", ""]
    assert made() == SETS["compact"][:2]

    assert bpy.ops.mgpt3.model_use(folder=str(second.folder)) == {"FINISHED"}
    assert not upkeep.view.licence_needed  # it came with the add-on, as did its licence
    assert drawn(panels_models.draw_model_in_use)[-3:] == ["Tiny commercial", "Commercial use allowed", ""]
    assert preferences.launch().model == second.folder
    assert made() == SETS["compact-commercial"][:2]
    with pytest.raises(RuntimeError, match="comes with the add-on"):
        bpy.ops.mgpt3.model_remove(folder=str(second.folder))
    assert bpy.ops.mgpt3.model_use(folder=str(first.folder)) == {"FINISHED"}
    assert preferences.launch().model is None


def test_the_command_line_and_the_environment_name_them(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["models", "use", "compact-commercial"]) == 0
    assert cli.main(["models"]) == 0
    assert "* Tiny commercial: " in (said := capsys.readouterr().out)
    assert "CC BY 4.0, commercial use allowed" in said
    assert cli.main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["use"], row["used"]) for row in rows] == [
        ("Tiny compact", "non-commercial", False),
        ("Tiny commercial", "commercial use allowed", True),
    ]
    assert cli.main(["models", "use", "compact"]) == 0
    monkeypatch.setenv("MGPT3_MODEL", "compact-commercial")
    assert preferences.model_in_use().name == "Tiny commercial"


def test_one_that_this_build_lacks_is_not_shown(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(core / "core" / "weights" / "compact", tmp_path / "core" / "weights" / "compact")
    monkeypatch.setattr(runtime, "core_parent", lambda package: tmp_path)
    preferences.refresh()
    assert [model.name for model in upkeep.view.models] == ["Tiny compact"]
