"""The add-on as a user meets it: a real Blender with windows, driven by mouse and keyboard (`build.py test --window`).

The steps are one session, in the order of the file: a step builds on the one before it, and after one that failed
those that build on it are skipped. State is read back through Python; nothing is done through it. The pictures are
for people: they lie in MGPT3_WINDOW_OUT.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import build

if not os.environ.get("MGPT3_WINDOW"):
    pytest.skip("a window test: run `python3.11 build.py test --window`", allow_module_level=True)

from window_place import Place, python_folders
from window_screen import Box
from window_session import Session, opened
from window_user import User

ADDON = "'bl_ext.user_default.mgpt3_blender' in bpy.context.preferences.addons"
JOB = "addon('jobs').view.job"
FRACTION = f"{JOB}.fraction if {JOB} else None"
ENDED = f"({JOB} is not None and {JOB}.ended)"
BUSY = "addon('jobs').busy()"
ACTION = "bpy.data.objects['Mannequin'].animation_data.action"
PROMPT = "a person walks forward and waves"
MOTIONS = "sorted(a.name for a in bpy.data.actions if a.get('mgpt3_prompt'))"
KEYS = (
    "{f'{c.data_path}[{c.array_index}]': len(c.keyframe_points)"
    f" for c in addon('action').fcurves({ACTION}, bpy.data.objects['Mannequin'])}}"
)
POSES = (
    "[[round(c.evaluate(f), 5) for c in addon('action').fcurves"
    f"({ACTION}, bpy.data.objects['Mannequin'])] for f in (1, 41)]"
)
PAUSE = 0.5  # seconds, the bound of a pause that the add-on may cause, on top of what Blender needs to draw
DRAWING = "frames stepped"
"""The phase that says what Blender itself needs to move the character on and draw the window, in software GL."""
BLENDERS_OWN = ("start", "preferences", "two windows", "a new file", "poses by hand")
"""Phases in which Blender itself does more than that: it opens windows, loads files, compiles shaders."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, core_python: Path) -> Iterator[Session]:
    values = json.loads(os.environ["MGPT3_WINDOW"])
    place = Place(values["name"], values["program"], Path(values["root"]) if values["root"] else None)
    pictures = Path(os.environ["MGPT3_WINDOW_OUT"])
    shutil.rmtree(pictures, ignore_errors=True)  # those of an earlier run
    pictures.mkdir(parents=True)
    with opened(place, python_folders(core_python), pictures) as session:
        try:
            yield session
        finally:
            (pictures / "blender.log").write_text(session.log(), encoding="utf-8")


@pytest.fixture(scope="module")
def user(session: Session) -> User:
    return User(session)


failed: list[str] = []


@pytest.fixture(autouse=True)
def in_order(request: pytest.FixtureRequest, session: Session) -> Iterator[None]:
    """Skip what builds on a step that failed; take a picture where one fails."""
    if failed:
        pytest.skip(f"builds on {failed[0]}, which failed")
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        failed.append(request.node.name)
        session.shot("failed")


def run_to_end(session: Session, seconds: float = 120.0) -> str:
    """Wait for the request under way; how it ended."""
    session.wait(ENDED, seconds=seconds)
    return session.ask(f"{JOB}.state.value")


def test_install_and_enable(session: Session, user: User) -> None:
    """The zip goes in by Blender's own command, the add-on is enabled by a click in the preferences."""
    session.command(
        "--command", "extension", "install-file", "-r", "user_default", str(build.build_zip(session.folder))
    )
    session.start()
    session.phase("start")
    user.start_work()
    assert not session.ask(ADDON)
    session.phase("preferences")
    window = user.open_preferences()
    user.tick_left_of("MotionGPT3", window, 0.7)
    session.wait(ADDON)
    user.tick_left_of("MotionGPT3", window, 1.7)
    session.shot("enabled")


def set_python(session: Session, user: User, window: Box, python: Path) -> None:
    """In the add-on's preferences, unfolded in that window: use this Python, and check it."""
    user.press("Use an Existing Python", window)
    user.fill(user.find("Python", window), str(python), window)
    settings = "bpy.context.preferences.addons['bl_ext.user_default.mgpt3_blender'].preferences"
    assert session.ask(f"{settings}.existing_python") == str(python)
    user.press("Check", window)
    session.wait("not addon('upkeep').busy() and (addon('upkeep').view.line or addon('upkeep').view.error)")
    assert "MotionGPT3 compact" in session.ask("addon('upkeep').view.line")
    user.find("Ready", window)


def test_preferences_take_an_existing_python(session: Session, user: User, core_python: Path) -> None:
    window = list(session.screen.windows().values())[-1]
    set_python(session, user, window, core_python)
    session.shot("ready")
    user.close_window()


def test_prompt_becomes_a_keyed_character(session: Session, user: User) -> None:
    """Type, press, watch, see."""
    user.open_tab()
    session.shot("tab")
    user.type_into(user.find("a person walks forward"), PROMPT)
    assert session.ask("bpy.context.scene.mgpt3.prompt") == PROMPT
    session.phase("first motion")
    session.ask(f"watch({FRACTION!r})")
    user.press("Add Mannequin and Generate")
    session.shot("making")
    assert run_to_end(session) == "done", session.ask(f"str({JOB}.error)")
    progress = [value for value in session.ask("watch('')") if value is not None]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    session.phase("")
    assert session.ask(f"list({ACTION}.frame_range)") == [1, 95]
    assert session.ask(f"{ACTION}.get('mgpt3_prompt')") == PROMPT
    keys = session.ask(KEYS)
    assert sum(count == 95 for count in keys.values()) >= 60  # rotations of 15 bones; what stands still has one key
    session.screen.see("Motion on Mannequin", user.panel)
    session.shot("keyed")


def test_stepping_through_it(session: Session, user: User) -> None:
    session.phase(DRAWING)
    user.go_to_frame(20)
    session.screen.key("shift+Left")
    session.phase("")


def test_escape_cancels(session: Session, user: User) -> None:
    """Esc ends the request under way and leaves the scene as it is; the next request works."""
    before = session.ask(MOTIONS)
    user.type_into(user.right_of("Variations"), "8")
    user.type_into(user.right_of("Duration"), "9.8")
    assert session.ask("[bpy.context.scene.mgpt3.variations, round(bpy.context.scene.mgpt3.seconds, 1)]") == [8, 9.8]
    session.phase("cancelled by Esc")
    with session.held():
        user.press("Generate")
        session.wait(f"{JOB}.state.value == 'running'", seconds=10)
        session.shot("to_be_cancelled")
        session.screen.key("Escape")
        assert session.wait(f"{JOB}.state.value != 'running' and {JOB}.state.value", seconds=5) == "cancelled"
    session.phase("")
    session.screen.see("Cancelled", user.panel)
    session.shot("cancelled")
    assert session.ask(MOTIONS) == before


def test_variations_are_switched_by_a_click(session: Session, user: User) -> None:
    user.type_into(user.find(PROMPT), "a person jumps")
    user.type_into(user.right_of("Variations"), "2")
    user.type_into(user.right_of("Duration"), "3")
    session.phase("two variations")
    user.press("Generate")
    assert run_to_end(session) == "done"
    session.phase("")
    assert len(session.ask(MOTIONS)) == 3
    plays = session.ask(f"{ACTION}.name")
    session.shot("variations")
    below = user.find("Use Its Prompt and Seed")
    said = below.y - 3 * user.unit  # the prompt, once more
    other = [place for place in session.screen.look("jumps", user.panel) if user.find("Motions").y < place.y < said][-1]
    session.phase("variations switched")
    session.screen.click(other)
    session.screen.rest()
    shown = session.wait(f"{ACTION}.name != {plays!r} and {ACTION}.name", seconds=5)
    session.phase("")
    session.shot("another_variation")
    assert shown in session.ask(MOTIONS)


def test_progress_moves_and_one_undo_takes_all_back(session: Session, user: User) -> None:
    """Eight long variations: the progress is seen to move. One Ctrl+Z takes all of them back, Ctrl+Shift+Z brings them
    again."""
    before = session.ask(MOTIONS)
    plays = session.ask(f"{ACTION}.name")
    user.type_into(user.right_of("Variations"), "8")
    user.type_into(user.right_of("Duration"), "9.8")
    session.phase("eight variations")
    session.ask(f"watch({FRACTION!r})")
    with session.slowed():
        user.press("Generate")
        assert run_to_end(session) == "done"
    assert len([value for value in session.ask("watch('')") if value is not None]) >= 5
    assert len(session.ask(MOTIONS)) == len(before) + 8
    session.phase("undo and redo")
    user.point_at_view()
    session.screen.key("ctrl+z")
    session.wait(f"{MOTIONS} == {before!r}", seconds=10)
    assert session.ask(f"{ACTION}.name") == plays
    session.shot("undone")
    session.screen.key("ctrl+shift+z")
    session.wait(f"len({MOTIONS}) == {len(before) + 8}", seconds=10)
    session.screen.key("ctrl+z")
    session.wait(f"{MOTIONS} == {before!r}", seconds=10)
    session.phase("")


def test_describe_says_what_the_action_shows(session: Session, user: User) -> None:
    user.open_part("Describe")
    session.phase("description")
    user.press("Describe", number=1)
    assert run_to_end(session) == "done", session.ask(f"str({JOB}.error)")
    session.phase("")
    sentence = session.ask("addon('drafts').shown(bpy.data.objects['Mannequin'])[1].sentence")
    assert sentence.startswith(("a ", "the ", "someone", "he ", "she ", "A ")), sentence
    session.shot("described")
    user.open_part("Describe")  # folds it again


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_worker_that_fails(session: Session, user: User, fault: signal.Signals) -> None:
    """The window goes on drawing while the worker is killed or hangs; the scene stays; the next motion is made."""
    before = session.ask(MOTIONS)
    user.type_into(user.right_of("Variations"), "8")
    user.type_into(user.right_of("Duration"), "9.8")
    session.phase(f"worker {fault.name}")
    with session.held():
        user.press("Generate")
        session.wait(f"{JOB}.state.value == 'running'", seconds=10)
        if fault is signal.SIGKILL:
            for process in session.workers():
                os.kill(process, fault)
            assert run_to_end(session) == "failed"
            assert session.ask(f"{JOB}.error.code") == "worker_crashed"
        else:
            time.sleep(4)  # nobody says anything; a user waits, and gives up
            session.screen.key("Escape")
            session.wait(f"{JOB}.state.value == 'cancelled'", seconds=5)
            session.wait("addon('jobs')._worker is None or not addon('jobs')._worker.alive", seconds=15)
    session.shot(f"worker_{fault.name.lower()}")
    session.phase("")
    assert session.ask(MOTIONS) == before
    user.type_into(user.right_of("Variations"), "1")
    user.type_into(user.right_of("Duration"), "2")
    user.press("Generate")
    assert run_to_end(session) == "done"


def test_two_windows_one_of_them_closed(session: Session, user: User) -> None:
    """A motion arrives although the other window is closed; it ends where the window it was asked in is closed."""
    user.type_into(user.right_of("Duration"), "9.8")
    user.type_into(user.right_of("Variations"), "4")
    session.phase("two windows")
    windows = set(session.screen.windows())
    user.choose("Window", "New Window")
    user.new_window(windows)
    assert session.ask("len(bpy.context.window_manager.windows)") == 2
    session.shot("two_windows")
    before = len(session.ask(MOTIONS))
    session.screen.raise_first()
    with session.held():
        user.press("Generate")
        session.wait(BUSY, seconds=10)
        user.close_window()
    assert run_to_end(session) == "done"
    assert len(session.ask(MOTIONS)) == before + 4
    user.choose("Window", "New Window")
    second = user.new_window(windows)
    with session.held():
        session.screen.point(second.middle)
        session.screen.key("ctrl+alt+m")  # Generate by its shortcut, in the 3D view of the second window
        session.wait(BUSY, seconds=10)
        user.close_window()
        session.wait(f"not {BUSY}", seconds=10)
    session.phase("")
    assert len(session.ask(MOTIONS)) == before + 4
    session.shot("one_window_left")


def test_new_file_while_a_motion_is_made(session: Session, user: User) -> None:
    """File > New during a request: Blender asks about the changes, the request ends, the new file stays empty."""
    with session.held():
        user.press("Generate")
        session.wait(BUSY, seconds=10)
        session.phase("a new file")
        user.new_file()
        session.wait("'Mannequin' not in bpy.data.objects", seconds=30)
        session.phase("")
    time.sleep(2)
    assert not session.ask(BUSY)
    assert session.ask(MOTIONS) == []
    session.shot("new_file")


def test_fill_between_two_keys(session: Session, user: User) -> None:
    """A character from the Add menu, two poses keyed by hand; the frames between them are filled."""
    session.phase("poses by hand")
    user.point_at_view()
    session.screen.key("a", "x", "Return")  # what a new file has
    session.wait("not bpy.context.scene.objects", seconds=5)
    session.screen.key("shift+a")
    user.choose_here("Armature", "Mannequin")
    session.wait("'Mannequin' in bpy.data.objects", seconds=10)
    session.screen.key("ctrl+Tab")
    session.wait("bpy.context.mode == 'POSE'", seconds=10)
    session.screen.key("a", "i")
    session.wait(f"bpy.data.objects['Mannequin'].animation_data is not None and {ACTION} is not None", seconds=10)
    user.go_to_frame(41)
    session.screen.key("g", "y")
    session.screen.type("-1")
    session.screen.key("Return", "i")
    session.wait(f"list({ACTION}.frame_range) == [1, 41]", seconds=10)
    user.go_to_frame(20)
    session.shot("two_poses")
    user.open_tab()
    user.open_part("Fill Between")
    before, poses = session.ask(KEYS), session.ask(POSES)
    assert set(before.values()) == {2}
    session.phase("fill between")
    user.press("Fill Between", number=1)
    assert run_to_end(session) == "done", session.ask(f"str({JOB}.error)")
    session.phase("")
    session.shot("filled")
    after = session.ask(KEYS)
    assert sum(after[name] > 10 for name in before) > 40, after
    assert list(after) == list(before)
    assert session.ask(POSES) == poses


def test_disabled_while_busy(session: Session, user: User, core_python: Path) -> None:
    """The add-on is switched off in the preferences while a motion is made: its worker goes, Blender stays.

    Blender forgets the preferences of an add-on that is switched off: switched on again it is set up anew.
    """
    with session.held():
        user.press("Generate")
        session.wait(BUSY, seconds=10)
        window = user.open_preferences()
        user.find("MotionGPT3", window)
        user.tick_left_of("MotionGPT3", window, 0.7)
        session.wait(f"not {ADDON}", seconds=10)
    end = time.monotonic() + 15
    while session.workers() and time.monotonic() < end:
        time.sleep(0.2)
    assert session.workers() == []
    user.tick_left_of("MotionGPT3", window, 0.7)
    session.wait(ADDON)
    if not user.screen.look("Python for the Motion Model", window):
        user.tick_left_of("MotionGPT3", window, 1.7)
    set_python(session, user, window, core_python)
    user.close_window()
    user.open_tab()
    user.press("Generate")
    assert run_to_end(session) == "done"
    session.shot("enabled_again")


def test_nothing_went_wrong_unseen(session: Session) -> None:
    """Blender's console has no exception of the whole session."""
    assert "Traceback" not in session.log()


def test_pauses_of_the_window(session: Session) -> None:
    """How long the window stood still, at the longest, in each part of the session."""
    longest = {name: seconds for name, seconds in session.pauses().items() if name}
    print("\nlongest pause of the window:")
    for name, seconds in longest.items():
        print(f"  {name:<24}{seconds:6.2f} s")
    target = session.pictures / "pauses.json"
    target.write_text(json.dumps(longest, indent=2), encoding="utf-8")
    bound = PAUSE + longest[DRAWING]
    over = {name: seconds for name, seconds in longest.items() if name not in BLENDERS_OWN and seconds > bound}
    assert not over
