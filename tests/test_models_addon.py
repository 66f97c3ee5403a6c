"""The models of the preferences in Blender, from the button to the motion, with the real core."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder
from tiny_model import make_tiny_checkpoint, make_tiny_model

import mgpt3_blender
from mgpt3_blender import cli, drawing, jobs, modelwork, panels_models, preferences, upkeep
from mgpt3_blender.errors import UserError
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.modelfolder import FILES, Model

LICENCE = "Research use only: learnt from AMASS and HumanML3D"


@pytest.fixture(scope="module")
def tiny(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with a licence and an origin, elsewhere on the disk."""
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "tiny é", core_python)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"name": "Tiny", "licence": LICENCE, "origin": "made by a test"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def official(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small checkpoint in the official form."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp("official é"), core_python).parent


@pytest.fixture
def checkpoint(official: Path, tmp_path: Path) -> Path:
    """The same for one test alone, which may spoil it."""
    return shutil.copytree(official, tmp_path / "from the web") / "motiongpt3.ckpt"


@pytest.fixture(autouse=True)
def _registered(core_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MGPT3_MODEL", "MGPT3_ACCEPT_LICENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MGPT3_PYTHON", str(core_python))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # neither the cache nor the login of whoever runs the tests
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "MGPT3_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preferences, "user_folder", lambda: tmp_path / "user folder")
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def names() -> list[str]:
    return [model.name for model in upkeep.view.models]


def shown(name: str) -> Model:
    return next(model for model in upkeep.view.models if model.name == name)


def ask() -> bpy.types.Action:
    """Generate a second of motion with the model in use; the action."""
    character = next((o for o in bpy.data.objects if o.type == "ARMATURE"), None) or create_mannequin(bpy.context)
    bpy.context.scene.mgpt3.seconds = 1.0
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    return character.animation_data.action


def drawn() -> Recorder:
    """The preferences' list as it would be drawn."""
    layout = Recorder()
    panels_models.draw_models(layout)
    return layout


def said(words: str) -> bool:
    """Whether the preferences' list shows these words, wherever its lines break."""
    return "".join(words.split()) in "".join("".join(drawn().texts).split())


def test_from_adding_a_folder_to_a_motion_made_with_it_and_back(tiny: Path) -> None:
    assert names() == ["MotionGPT3 compact"]
    assert bpy.ops.mgpt3.model_add(filepath=str(tiny / "config.json")) == {"FINISHED"}
    assert names() == ["MotionGPT3 compact", "Tiny"]
    assert "Tiny is in the list" in upkeep.view.line
    assert shown("Tiny").folder == tiny  # in place: nothing was copied
    assert upkeep.view.model.bundled  # adding does not use it yet

    assert bpy.ops.mgpt3.model_use(folder=str(tiny)) == {"FINISHED"}
    assert (upkeep.view.model.name, upkeep.view.licence_needed) == ("Tiny", True)
    with pytest.raises(RuntimeError, match="was not accepted yet"):
        ask()
    assert jobs.view.error.code == "licence_not_accepted"
    assert LICENCE in jobs.view.error.message
    assert "mgpt3.accept_licence" in [button[0] for button in drawing.REMEDIES["licence_not_accepted"]]
    assert jobs._worker is None  # nothing was started for it
    assert not bpy.data.actions

    assert bpy.ops.mgpt3.accept_licence() == {"FINISHED"}
    assert jobs.view.error is None
    assert not upkeep.view.licence_needed
    action = ask()
    assert (action["mgpt3_model"], action["mgpt3_licence"]) == ("Tiny", LICENCE)
    assert action["mgpt3_model_origin"] == "made by a test"
    first = jobs._worker.process_id
    ask()
    assert jobs._worker.process_id == first  # the same model: the same worker

    assert bpy.ops.mgpt3.model_remove(folder=str(tiny)) == {"FINISHED"}
    assert "no longer listed" in upkeep.view.line
    assert sorted(file.name for file in tiny.iterdir()) == sorted(FILES)
    assert upkeep.view.model.bundled
    assert jobs._worker is None  # the next motion starts another one
    assert preferences.launch().model is None
    preferences.check_licence()


def test_a_folder_that_is_no_model_is_refused_with_a_remedy(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no config\.json"):
        bpy.ops.mgpt3.model_add(filepath=str(tmp_path))
    assert (upkeep.view.about, upkeep.view.error.code) == (upkeep.MODELS, "model_broken")
    assert said(upkeep.view.error.message)
    with pytest.raises(RuntimeError, match="There is no file"):
        bpy.ops.mgpt3.model_add(filepath=str(tmp_path / "none.ckpt"))
    with pytest.raises(RuntimeError, match="comes with the add-on"):
        bpy.ops.mgpt3.model_remove(folder=str(upkeep.view.models[0].folder))
    assert names() == ["MotionGPT3 compact"]
    whole = tmp_path / "whole"
    shutil.copytree(tiny, whole)
    bpy.ops.mgpt3.model_add(filepath=str(whole))
    (whole / "tokenizer.json").unlink()
    with pytest.raises(RuntimeError, match=r"no tokenizer\.json"):
        bpy.ops.mgpt3.model_use(folder=str(whole))
    preferences.refresh()
    assert said("There is no tokenizer.json in the folder.")


def home() -> list[str]:
    """What lies in the add-on's own folder of models."""
    folder = preferences.registry().home
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def test_an_official_checkpoint_becomes_a_model_that_makes_motion(checkpoint: Path, tmp_path: Path) -> None:
    parts = preferences.core().parts / "gpt2"  # where a download puts what a checkpoint lacks
    parts.mkdir(parents=True)
    aside = tmp_path / "not here" / "yet"
    aside.mkdir(parents=True)
    for file in ("vocab.json", "merges.txt"):
        (checkpoint.parent / file).rename(aside / file)
    with pytest.raises(RuntimeError, match="word list"):
        bpy.ops.mgpt3.model_add(filepath=str(checkpoint))
    assert upkeep.view.error.code == "tokenizer_missing"
    assert "python -m" not in upkeep.view.error.remedy  # said to an animator, not to a command line
    assert "mgpt3.model_parts" in drawn().operators
    with pytest.raises(RuntimeError, match="not allowed to use it"):
        bpy.ops.mgpt3.model_parts()
    for file in ("vocab.json", "merges.txt"):
        (aside / file).rename(parts / file)

    assert bpy.ops.mgpt3.model_add(filepath=str(checkpoint)) == {"FINISHED"}
    model = upkeep.view.models[1]
    assert model.own
    assert (model.problem, model.folder.name) == ("", "motiongpt3")
    assert "is in the list" in upkeep.view.line
    assert model.licence.startswith("Research use only")
    assert model.origin.startswith("converted from motiongpt3.ckpt, sha256 ")
    assert home() == ["motiongpt3"]
    bpy.ops.mgpt3.model_use(folder=str(model.folder))
    bpy.ops.mgpt3.accept_licence()
    action = ask()
    assert action["mgpt3_model"] == model.name
    assert action["mgpt3_licence"] == model.licence
    assert action["mgpt3_model_origin"] == model.origin
    assert bpy.ops.mgpt3.model_remove(folder=str(model.folder)) == {"FINISHED"}
    assert not model.folder.exists()
    assert jobs._worker is None  # nothing keeps its files open
    assert checkpoint.is_file()
    assert names() == ["MotionGPT3 compact"]


def test_a_checkpoint_that_cannot_be_converted_says_why_and_leaves_nothing(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    with pytest.raises(RuntimeError, match=r"motiongpt3\.ckpt"):
        bpy.ops.mgpt3.model_add(filepath=str(checkpoint))
    assert upkeep.view.error.code.startswith("checkpoint_")
    assert upkeep.view.error.remedy
    assert said(upkeep.view.error.remedy)
    assert home() == []
    assert names() == ["MotionGPT3 compact"]


def test_a_conversion_that_is_cancelled_leaves_nothing(checkpoint: Path) -> None:
    """As the window does it: in a thread, with the progress that is drawn, and the button that stops it."""
    work = modelwork.convert_work(preferences.core(), preferences.registry(), checkpoint)
    task = upkeep.start("Conversion", work, upkeep.MODELS)
    deadline = time.monotonic() + 60
    while task.message in ("", "Starting") and time.monotonic() < deadline:
        time.sleep(0.005)
    assert said(f"Conversion: {task.message}")
    assert "mgpt3.setup_cancel" in drawn().operators
    assert bpy.ops.mgpt3.setup_cancel() == {"FINISHED"}
    assert task.done.wait(30)
    assert upkeep.finish()
    assert upkeep.view.error.code == "cancelled"
    assert home() == []
    preferences.refresh()
    assert names() == ["MotionGPT3 compact"]


def test_signing_in_keeps_the_token_where_the_hub_looks_for_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no access token"):
        bpy.ops.mgpt3.hub_sign_in(token="  ")
    assert bpy.ops.mgpt3.hub_sign_in(token=" hf_test \n") == {"FINISHED"}
    file = tmp_path / "hub" / "token"
    assert file.read_text() == "hf_test"
    assert file.stat().st_mode & 0o077 == 0  # for nobody else
    assert "hf_test" not in upkeep.view.line
    bpy.ops.mgpt3.hub_sign_in(token="hf_other")
    assert file.read_text() == "hf_other"


def test_an_override_is_asked_for_its_licence_too(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    assert preferences.launch().model == tiny
    with pytest.raises(UserError) as caught:
        preferences.check_licence()
    assert caught.value.code == "licence_not_accepted"
    assert "models accept" in caught.value.remedy
    monkeypatch.setenv("MGPT3_ACCEPT_LICENCE", "1")
    preferences.check_licence()
    monkeypatch.delenv("MGPT3_ACCEPT_LICENCE")
    bpy.ops.mgpt3.accept_licence()
    preferences.check_licence()
    preferences.refresh()
    assert said("MGPT3_MODEL decides: Tiny")
    monkeypatch.setenv("MGPT3_MODEL", str(upkeep.view.models[0].folder))
    assert preferences.launch().model is None  # the bundled one by its path


def test_the_preferences_of_an_earlier_version_are_taken_over(tiny: Path) -> None:
    addon = bpy.context.preferences.addons.new()
    addon.module = "mgpt3_blender"
    try:
        addon.preferences.model_folder = str(tiny)
        assert names() == ["MotionGPT3 compact", "Tiny"]
        assert preferences.launch().model == tiny
        bpy.ops.mgpt3.model_use(folder=str(upkeep.view.models[0].folder))
        mgpt3_blender.unregister()
        mgpt3_blender.register()
        assert preferences.launch().model is None  # once is enough
        assert names() == ["MotionGPT3 compact", "Tiny"]
    finally:
        bpy.context.preferences.addons.remove(addon)


def test_the_list_shows_each_model_in_a_line(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bpy.ops.mgpt3.model_add(filepath=str(tiny))
    layout = drawn()
    assert layout.operators.count("mgpt3.model_use") == 2
    assert layout.operators.count("mgpt3.model_remove") == 1  # not the bundled one
    assert layout.operators.count("mgpt3.accept_licence") == 2
    assert {shown("Tiny").size, "made by a test", "comes with the add-on"} <= set(layout.texts)
    assert {"mgpt3.model_add", "mgpt3.model_download"} <= set(layout.operators)
    assert not bpy.app.online_access  # as tests run: where to allow it is said
    assert said("To download, allow online access")
    for code in panels_models.MODEL_REMEDIES:
        upkeep.say(upkeep.MODELS, error=UserError(code, "Something went wrong.", "Do this."))
        assert {button[0] for button in panels_models.MODEL_REMEDIES[code]} <= set(drawn().operators)


def test_the_tooltips_say_what_happens_to_which_folder(tiny: Path) -> None:
    from mgpt3_blender.operators import models as operators

    bpy.ops.mgpt3.model_add(filepath=str(tiny))
    properties = type("Properties", (), {"folder": str(tiny)})()
    assert str(tiny) in operators.MGPT3_OT_model_use.description(bpy.context, properties)
    assert "stays as it is" in operators.MGPT3_OT_model_remove.description(bpy.context, properties)
    assert LICENCE in operators.MGPT3_OT_accept_licence.description(bpy.context, properties)


def test_downloading_without_permission_to_go_online_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not allowed"):
        bpy.ops.mgpt3.model_download()
    assert upkeep.view.error.code == "offline"
    assert "mgpt3.open_preferences" in drawn().operators


def test_the_command_line(tiny: Path, capsys: pytest.CaptureFixture) -> None:
    def run(*arguments: str) -> str:
        assert cli.main(["models", *arguments]) == 0
        return capsys.readouterr().out

    assert run().startswith("* MotionGPT3 compact: ")
    assert "Tiny is in the list" in run("add", str(tiny))
    assert LICENCE in run("use", "tiny")
    assert cli.main(["generate", "--mannequin", "--prompt", "a person walks"]) == 1
    assert "models accept" in capsys.readouterr().err
    assert "is accepted" in run("accept")
    listed = json.loads(run("--json"))
    assert [(row["name"], row["used"], row["bundled"]) for row in listed] == [
        ("MotionGPT3 compact", False, True),
        ("Tiny", True, False),
    ]
    assert "* Tiny: " in run("list")
    assert "no longer listed" in run("remove", "Tiny")
    assert cli.main(["models", "use", "Tiny"]) == 1
    assert '"MotionGPT3 compact"' in capsys.readouterr().err
    assert cli.main(["models", "download"]) == 1
    assert "Allow Online Access" in capsys.readouterr().err
