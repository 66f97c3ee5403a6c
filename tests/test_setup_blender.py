"""The set-up as a user meets it: one button whose label goes by the state, in the tab and in the preferences.

The packages come from wheels of a few bytes with the pinned names and versions; that of torch leads to the packages of
the core's environment, so that the test motion at the end is a real one, made by the shipped model.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import pytest
from recorder import Recorder
from tinywheels import make_wheel

import mgpt3_blender
from mgpt3_blender import drawing, i18n, panels, panels_setup, preferences, runtime, setupbuild, upkeep
from mgpt3_blender.errors import UserError
from mgpt3_blender.operators import setup
from mgpt3_blender.setuplock import Lock


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bpy.types.AddonPreferences]:
    """The add-on's preferences, with a folder of the user's that is new."""
    monkeypatch.delenv("MGPT3_PYTHON", raising=False)
    monkeypatch.delenv("MGPT3_MODEL", raising=False)
    folder = tmp_path / "Zoë's files"
    folder.mkdir()
    monkeypatch.setattr(preferences, "user_folder", lambda: folder)
    mgpt3_blender.register()
    addon = bpy.context.preferences.addons.new()
    addon.module = "mgpt3_blender"
    preferences.refresh()
    yield addon.preferences
    bpy.context.preferences.addons.remove(addon)
    mgpt3_blender.unregister()


@pytest.fixture
def wheels(core_python: Path, tmp_path: Path) -> Path:
    """Wheels for all pins."""
    folder = tmp_path / "wheels"
    place = subprocess.run(
        [str(core_python), "-c", "import importlib.util as u; print(u.find_spec('torch').origin)"],
        capture_output=True,
        text=True,
        check=True,
    )
    packages = Path(place.stdout.strip()).parent.parent
    for line in preferences.requirements().read_text(encoding="utf-8").splitlines():
        if pin := re.match(r"([\w-]+)==([\w.]+)", line):
            files = {"core.pth": f"{packages}\n".encode()} if pin[1] == "torch" else {}
            make_wheel(folder, pin[1], pin[2], files)
    assert len(list(folder.iterdir())) > 5
    return folder


class Labels(Recorder):
    """Also knows what the buttons say."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def operator(self, name: str, **words: object) -> object:
        self.labels.append(str(words.get("text", "")))
        return super().__getattr__("operator")(name, **words)


def shown() -> tuple[Labels, Labels]:
    """The tab's first panel and the preferences, as they are drawn now."""
    drawn = Labels()
    panel = type("Panel", (), {"layout": drawn, "_draw_action": panels.MGPT3_PT_generate._draw_action})()
    panels.MGPT3_PT_generate.draw(panel, bpy.context)
    below = Labels()
    panels.draw_preferences(bpy.context.preferences.addons["mgpt3_blender"].preferences, below)
    return drawn, below


def offers(operator: str, label: str) -> bool:
    """Whether both places show this one button for the set-up; the tab shows none where motion can be made."""
    tab, below = shown()
    setting = [name for name in below.operators if name in ("mgpt3.setup", "mgpt3.check", "mgpt3.setup_cancel")]
    in_tab = [name for name in tab.operators if name in ("mgpt3.setup", "mgpt3.check", "mgpt3.setup_cancel")]
    step = upkeep.next_step()
    assert (step.operator, step.label) == (operator, label)
    assert setting == [operator]
    assert label in below.labels
    assert in_tab == ([operator] if upkeep.view.missing is not None else [])
    assert ("mgpt3.generate" in tab.operators) is (upkeep.view.missing is None)
    return True


def test_one_button_does_what_is_next(chosen: bpy.types.AddonPreferences, wheels: Path) -> None:
    assert offers("mgpt3.setup", "Set Up")
    assert "Takes up to " in " ".join(shown()[0].texts)
    chosen.wheels = str(wheels)
    assert bpy.ops.mgpt3.setup() == {"FINISHED"}
    assert re.match(r"Ready: MotionGPT3 compact on \S+.* \(torch 2[\w.+]+\), \d+\.\d MB on disk\.", upkeep.view.line)
    assert offers("mgpt3.check", "Check")
    assert upkeep.view.state.size > 1e6
    preferences.python()

    chosen.build = setupbuild.likely("auto").upper()  # says the same in other words
    assert offers("mgpt3.check", "Check")
    chosen.wheels = ""
    chosen.build = "ROCM" if setupbuild.likely("auto") == "cuda" else "CUDA"  # another build than there is
    assert offers("mgpt3.setup", "Set Up Again")
    chosen.build, chosen.wheels = "AUTO", str(wheels)
    assert bpy.ops.mgpt3.check() == {"FINISHED"}

    folder = preferences.environment_folder()
    next(folder.rglob("core.pth")).unlink()  # what it finds only when it looks inside
    with pytest.raises(RuntimeError, match="lacks the package"):
        bpy.ops.mgpt3.check()
    assert upkeep.view.state.problem.code == "environment_unproven"
    assert offers("mgpt3.setup", "Repair")
    with pytest.raises(UserError, match="Repair"):
        preferences.python()
    assert bpy.ops.mgpt3.setup() == {"FINISHED"}
    assert offers("mgpt3.check", "Check")

    assert bpy.ops.mgpt3.remove_environment(what="DOWNLOADS") == {"FINISHED"}
    assert offers("mgpt3.check", "Check")
    assert bpy.ops.mgpt3.remove_environment(what="ALL") == {"FINISHED"}
    assert "are free again" in upkeep.view.line
    assert offers("mgpt3.setup", "Set Up")
    assert not folder.exists()


def test_the_button_goes_by_the_state(chosen: bpy.types.AddonPreferences, tmp_path: Path) -> None:
    folder = preferences.environment_folder()
    folder.mkdir()
    preferences.refresh()
    assert offers("mgpt3.setup", "Continue Set-up")

    lock = Lock(runtime.lock_path(folder))
    assert lock.take()
    preferences.refresh()
    assert offers("mgpt3.check", "Check Again")  # another Blender is at it
    bpy.context.preferences.system.use_online_access = True
    with pytest.raises(RuntimeError, match="Another Blender"):
        bpy.ops.mgpt3.setup()
    lock.free()
    with pytest.raises(RuntimeError, match="did not come to its end"):
        bpy.ops.mgpt3.check()  # which looks again
    assert offers("mgpt3.setup", "Continue Set-up")

    upkeep.view.task = upkeep.Task("Set-up", message="Fetching torch")
    assert offers("mgpt3.setup_cancel", "Stop")
    upkeep.view.task = None

    assert upkeep.view.disk
    chosen.source = "EXISTING"  # there is nothing to press before one is chosen
    assert not upkeep.view.disk
    tab, below = shown()
    assert "mgpt3.check" not in below.operators + tab.operators
    assert "mgpt3.open_preferences" in tab.operators
    chosen.existing_python = str(tmp_path / "nowhere")
    assert upkeep.view.missing.code == "python_missing"


def test_how_far_it_is_reads_the_same_in_both_places_and_in_german(
    chosen: bpy.types.AddonPreferences, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {key: value for part in i18n.catalogues()["de"].values() for key, value in part.items()}
    monkeypatch.setattr(i18n, "_found", lambda look_up, words: held.get(words, words))
    for message, german in (
        ("Looking for a Python", "Ein Python wird gesucht"),
        ("Downloading torch (180.5 MB)", "torch (180.5 MB) wird heruntergeladen"),
        ("Downloading torch: 1.2 GB written so far", "torch wird heruntergeladen: bisher 1.2 GB geschrieben"),
        ("Installing the packages (a few minutes)", "Die Pakete werden installiert (einige Minuten)"),
    ):
        for draw, about in ((panels_setup.draw_setup, upkeep.SETUP), (drawing.draw_task, upkeep.MODELS)):
            upkeep.view.task = upkeep.Task("Title", about, 0.5, message)
            drawn = Labels()
            draw(drawn)
            assert f"Title: {german}" in drawn.texts
    upkeep.view.task = None


def test_in_a_window_it_works_beside_it_and_can_be_stopped(
    chosen: bpy.types.AddonPreferences, wheels: Path, within: Callable[..., None]
) -> None:
    """As `begin` does it where there is a window: a thread, and a timer that looks at it, which here is the test."""
    chosen.wheels = str(wheels)
    pauses, messages, stopped = [0.0], set(), 0.0
    upkeep.start("Set-up", setup.setup_work())
    last = time.monotonic()
    while upkeep.busy():
        time.sleep(0.01)
        assert upkeep.next_step().label == "Stop"
        messages.add(upkeep.view.task.message)
        if not stopped and "Making a test motion" in messages:
            assert bpy.ops.mgpt3.setup_cancel() == {"FINISHED"}
            stopped = time.monotonic()
        setup._tick()
        pauses.append(time.monotonic() - last)
        last = time.monotonic()
    within(last - stopped, 5.0, "until it has stopped")
    assert {"Looking for a Python", "Creating the environment"} <= messages
    within(max(pauses), 0.5, "longest look")
    assert upkeep.view.error.code == "cancelled"
    assert offers("mgpt3.setup", "Continue Set-up")
    assert bpy.ops.mgpt3.setup() == {"FINISHED"}  # goes on with the motion: the packages are there
    assert "only the test motion is left" in preferences.setup_log().read_text(encoding="utf-8")
    assert offers("mgpt3.check", "Check")


def test_a_set_up_that_failed_says_why_and_goes_on(chosen: bpy.types.AddonPreferences, tmp_path: Path) -> None:
    chosen.wheels = str(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="folder of wheels has no torch"):
        bpy.ops.mgpt3.setup()
    assert upkeep.view.error.code == "wheels_incomplete"
    assert offers("mgpt3.setup", "Continue Set-up")
    tab, _ = shown()
    assert "no torch==" in " ".join(tab.texts)
    assert "mgpt3.open_log" in tab.operators
