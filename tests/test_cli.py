"""`blender --command mgpt3 generate …`: the registered function itself, with the real core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from tiny_model import make_tiny_model

import mgpt3_blender
from mgpt3_blender import cli, jobs
from mgpt3_blender.mannequin import create_mannequin


@pytest.fixture(scope="module")
def tiny(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", core_python)


@pytest.fixture(autouse=True)
def _registered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()


def test_from_a_file_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    hero = create_mannequin(bpy.context)
    hero.name = "Héro"
    create_mannequin(bpy.context)
    source, target = tmp_path / "in.blend", tmp_path / "new folder" / "out.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(source))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    arguments = ["generate", "--blend", str(source), "--blend-out", str(target), "--character", "Héro", "--json"]
    arguments += ["--prompt", "a person walks", "--seconds", "1.5", "--seed", "5", "--variations", "2"]
    assert cli.main([*arguments, "--start-frame", "21"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["character"] == "Héro"
    assert [action["seed"] for action in made["actions"]] == [5, 6]
    bpy.ops.wm.open_mainfile(filepath=str(target))
    action = bpy.data.objects["Héro"].animation_data.action
    assert action.name == made["actions"][0]["action"]
    assert action.frame_range[0] == 21
    assert jobs._worker is None  # the worker ended with the command


def test_the_mannequin_and_a_line_for_people(capsys: pytest.CaptureFixture) -> None:
    bpy.ops.mesh.primitive_cube_add()
    assert cli.main(["generate", "--mannequin", "--prompt", "a person walks", "--seconds", "1"]) == 0
    figure = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    assert figure.location.x > 1.0, "it stands in the cube"
    assert "Motion on " in capsys.readouterr().out
    assert len(bpy.data.actions) == 1


def test_errors_are_printed_with_their_remedy(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    create_mannequin(bpy.context).name = "Hero"
    for arguments, words in (
        (["--character", "Nobody", "--prompt", "walk"], '"Hero"'),
        (["--prompt", " "], "Type what"),
        (["--prompt", "walk", "--seconds", "60"], "Choose between 1 and 9.8"),
        (["--prompt", "walk", "--blend", str(tmp_path / "none.blend")], "none.blend"),
    ):
        assert cli.main(["generate", *arguments]) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("Error: ")
        assert words in printed
    assert not bpy.data.actions


def test_wrong_arguments_do_not_end_blender(capsys: pytest.CaptureFixture) -> None:
    assert cli.main([]) == 2
    assert cli.main(["generate"]) == 2
    assert cli.main(["dance"]) == 2
    assert cli.main(["generate", "--help"]) == 0
    assert "--blend-out" in capsys.readouterr().out
