"""What the panel says where the model took a prompt for something else: with the real core in a real child process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder
from tiny_model import ROOT, make_tiny_model

import mgpt3_blender
from mgpt3_blender import cli, jobs, panels, results
from mgpt3_blender.mannequin import create_mannequin

KNOWN = ["a person walks forward", "a person walks backward", "a person raises the left hand up"]
CODE = """
import sys
from pathlib import Path
from core.language.known import write_known
write_known(Path(sys.argv[1]), sys.argv[2:])
"""
UNDERSTOOD = "Understood as: a person walks backward"
CLOSEST = "Closest thing I know: "


@pytest.fixture(scope="module")
def tiny(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", core_python)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([str(core_python), "-c", CODE, str(folder), *KNOWN], env=env, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _worker() -> Iterator[None]:
    yield
    jobs.stop_worker()


@pytest.fixture(autouse=True)
def _registered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    monkeypatch.setattr(jobs, "stop_worker", lambda: None)  # one warm worker for all tests
    mgpt3_blender.register()
    settings = bpy.context.scene.mgpt3
    settings.seconds, settings.seed = 1.0, 7
    yield
    mgpt3_blender.unregister()


class Drawn(Recorder):
    """Remembers the icon of each text too, and what properties are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.icons: dict[str, str] = {}
        self.shown: set[str] = set()

    def __getattr__(self, name: str) -> object:
        recorded = super().__getattr__(name)

        def call(*args: object, **kwargs: object) -> object:
            if name == "label":
                self.icons[str(kwargs.get("text"))] = str(kwargs.get("icon"))
            if name == "prop":
                self.shown.add(str(args[1]))
            return recorded(*args, **kwargs)  # type: ignore[operator]

        return call

    @property
    def said(self) -> str:
        """All text, wrapped lines joined."""
        return " ".join(self.texts)


def drawn() -> tuple[Drawn, Drawn]:
    """The main panel and the list of motions."""
    out = []
    for kind in (panels.MGPT3_PT_generate, panels.MGPT3_PT_results):
        panel = type("Panel", (), {"layout": Drawn()})()
        if hasattr(kind, "_draw_action"):
            panel._draw_action = kind._draw_action.__get__(panel)
        kind.draw(panel, bpy.context)
        out.append(panel.layout)
    return out[0], out[1]


def make(prompt: str, literal: bool = False) -> bpy.types.Action:
    settings = bpy.context.scene.mgpt3
    settings.prompt, settings.literal = prompt, literal
    assert bpy.ops.mgpt3.generate() == {"FINISHED"}
    return next(o for o in bpy.data.objects if o.type == "ARMATURE").animation_data.action


def test_the_panel_says_what_was_understood() -> None:
    create_mannequin(bpy.context)
    made = make("somebody strolled backwards leisurely")
    assert made.name == "somebody strolled backwards leisurely"  # what was typed stays the name and the prompt
    assert made["mgpt3_prompt"] == "somebody strolled backwards leisurely"
    assert made["mgpt3_prompt_used"] == "a person walks backward"
    assert made["mgpt3_understood"] == "understood as"
    assert made["mgpt3_note"] == "understood as: a person walks backward"
    main, motions = drawn()
    assert "literal" in main.shown
    for panel in (main, motions):
        assert UNDERSTOOD in panel.said
        assert next(icon for text, icon in panel.icons.items() if text.startswith("Understood")) == "INFO"


def test_far_from_everything_is_marked() -> None:
    create_mannequin(bpy.context)
    made = make("photosynthesis in green plants")
    assert made["mgpt3_understood"] == results.CLOSEST
    for panel in drawn():
        assert CLOSEST + made["mgpt3_prompt_used"] in panel.said
        assert next(icon for text, icon in panel.icons.items() if text.startswith("Closest")) == "ERROR"


def test_known_and_literal_prompts_pass_without_a_word() -> None:
    create_mannequin(bpy.context)
    make("photosynthesis")
    for prompt, literal in (("a person walks forward", False), ("photosynthesis", True)):
        made = make(prompt, literal)
        assert "mgpt3_note" not in made
        for panel in drawn():
            assert "nderstood" not in panel.said
            assert "Closest" not in panel.said
    bpy.context.scene.mgpt3.literal = False
    bpy.ops.mgpt3.result_reuse(action=made.name)
    assert bpy.context.scene.mgpt3.literal  # the same motion again needs it


def test_on_blenders_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--prompt", "wanders backwards", "--mannequin", "--seconds", "1", "--steps", "2"]
    assert cli.main(words) == 0
    assert UNDERSTOOD + "." in capsys.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["note"] == UNDERSTOOD
    assert cli.main([*words, "--literal"]) == 0
    assert "nderstood" not in capsys.readouterr().out
