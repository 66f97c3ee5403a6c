"""Many generations in a row in which everything goes wrong: nothing is lost, nothing waits, the next one works."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
from soak import everything, memory
from tiny_model import ROOT
from warm_worker import tiny  # noqa: F401 - a fixture

import mgpt3_blender
from mgpt3_blender import generate, jobs, preferences
from mgpt3_blender.mannequin import create_mannequin
from mgpt3_blender.worker import Launch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="stops and limits another process")

QUICK = generate.Request("a person walks forward", 1.0, 7, steps=5)
SLOW = replace(QUICK, seconds=9.8, variations=8, steps=1000)
GARBAGE = ("noise", "cut", "flood", "twice", "shape", "values", "values", "values")
LONGEST = 0.5  # seconds that the window may stand still


@pytest.fixture(autouse=True)
def _registered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: F811
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    mgpt3_blender.register()
    yield
    if hasattr(bpy.types.Scene, "mgpt3"):
        mgpt3_blender.unregister()
    jobs.stop_worker()


@pytest.fixture
def hero() -> bpy.types.Object:
    return create_mannequin(bpy.context)


class Window:
    """Asks and takes in answers as the window does, and notes how long it stood still."""

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch
        self.longest = 0.0

    def ask(self, hero: bpy.types.Object, request: generate.Request = QUICK) -> jobs.Job:
        job = generate.character_job(request, bpy.context.scene, hero)
        self.timed(lambda: jobs.start(job, self.launch))
        jobs.worker(self.launch).grace = 0.3
        return job

    def timed(self, what: Callable[[], object]) -> None:
        since = time.monotonic()
        what()
        self.longest = max(self.longest, time.monotonic() - since)

    def until(self, test: Callable[[], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not test():
            assert time.monotonic() < deadline, jobs.view
            if jobs.view.job is not None and jobs.view.job.state is jobs.State.READY:
                jobs.pump()  # the work of putting the motion on the character, no waiting: measured elsewhere
            else:
                self.timed(lambda: jobs.pump(may_apply=False))
            time.sleep(0.005)

    def done(self, job: jobs.Job) -> jobs.Job:
        self.until(lambda: job.ended)
        return job


def works(window: Window, hero: bpy.types.Object) -> None:
    """The next request works; its motion is taken off again, so that a long row of them is as fast as a short one."""
    job = window.done(window.ask(hero))
    assert (job.state, job.error) == (jobs.State.DONE, None)
    tidy()


def unchanged(before: dict[str, str], what: object) -> None:
    """Everything in the file is as it was; where not, the properties that differ."""
    after = everything()
    for name in before.keys() | after.keys():
        one, two = (set(side.get(name, "").split("\n")) for side in (before, after))
        assert not one ^ two, (what, name, sorted(one ^ two)[:6])


def tidy() -> None:
    for action in list(bpy.data.actions):
        bpy.data.actions.remove(action)


def strike(kind: str) -> None:
    """Do something to the worker that is at work."""
    worker = jobs._worker
    assert worker is not None
    process = worker.process_id
    if process is None:  # it has ended already
        return
    if kind == "kill":
        os.kill(process, signal.SIGKILL)
    elif kind == "full":
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
        used = int(next(line.split()[1] for line in lines if line.startswith("VmSize"))) * 1024
        resource.prlimit(process, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    else:
        os.kill(process, signal.SIGSTOP)
        for pending in worker._pending.values():
            pending.silence = 0.5  # not two minutes


@pytest.mark.parametrize("seed", [1, 2])
def test_a_worker_that_is_killed_hung_or_out_of_memory_loses_nothing(hero: bpy.types.Object, seed: int) -> None:
    dice, window = random.Random(seed), Window()
    works(window, hero)
    kinds = ["kill", "hang", "full", "give up"]
    dice.shuffle(kinds)
    for kind in kinds:
        before = everything()
        job = window.ask(hero, SLOW)
        at = dice.choice([0.0, dice.random() * 0.5])
        window.until(lambda job=job, at=at: job.fraction >= at)  # type: ignore[misc]
        strike(kind)
        if kind == "give up":  # the user presses Esc, for nothing moves any more
            window.timed(jobs.cancel)
        window.done(job)
        assert job.state is (jobs.State.CANCELLED if kind == "give up" else jobs.State.FAILED), kind
        if kind != "give up":
            expected = {"kill": "worker_crashed", "hang": "worker_silent", "full": "out_of_memory"}[kind]
            assert (job.error.code, bool(job.error.remedy)) == (expected, True)
        unchanged(before, kind)
        works(window, hero)
    assert window.longest < LONGEST


def test_a_worker_that_writes_garbage_loses_nothing(hero: bpy.types.Object, tmp_path: Path) -> None:
    order, usual = tmp_path / "order", preferences.launch()
    order.write_text("", encoding="utf-8")
    command = (sys.executable, "-u", str(ROOT / "tests" / "soak_garbler.py"), str(order), *usual.arguments())
    window = Window(replace(usual, command=command))
    ended: dict[str, list[jobs.State]] = {}
    works(window, hero)
    blender = memory()
    for number in range(24):
        kind = GARBAGE[number % len(GARBAGE)]
        before = everything()
        order.write_text(f"{kind} {number}", encoding="utf-8")
        job = window.ask(hero)
        for pending in jobs._worker._pending.values():
            pending.silence = 2.0
        window.done(job)
        order.write_text("", encoding="utf-8")
        ended.setdefault(kind, []).append(job.state)
        if job.state is jobs.State.FAILED:
            assert job.error.code in ("bad_answer", "internal_error", "worker_silent", "core_error", "bad_params"), kind
            unchanged(before, (kind, number, job.error))
        tidy()
        if job.state is jobs.State.FAILED:
            works(window, hero)
    done = {kind for kind, states in ended.items() if set(states) == {jobs.State.DONE}}
    assert {"noise", "flood", "twice"} <= done  # the answer itself is whole
    assert set(ended["cut"]) == set(ended["shape"]) == {jobs.State.FAILED}
    assert window.longest < LONGEST
    assert memory() - blender < 150


# --- what the user does meanwhile


def running(window: Window, hero: bpy.types.Object, request: generate.Request = SLOW) -> jobs.Job:
    job = window.ask(hero, request)
    window.until(lambda: job.fraction > 0)
    return job


@pytest.mark.parametrize("way", ["new file", "open file"])
def test_a_motion_for_the_file_that_went_does_not_arrive_in_the_next(
    hero: bpy.types.Object, way: str, tmp_path: Path
) -> None:
    window = Window()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    job = running(window, hero)
    if way == "new file":
        bpy.ops.wm.read_homefile(use_empty=True)
    else:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    assert (job.state, jobs.busy()) == (jobs.State.CANCELLED, False)
    before = everything()
    time.sleep(0.5)
    assert not jobs.pump()
    unchanged(before, way)
    works(window, next((o for o in bpy.data.objects if o.type == "ARMATURE"), None) or create_mannequin(bpy.context))


def test_undo_redo_and_new_names_meanwhile_do_no_harm(hero: bpy.types.Object) -> None:
    window, name = Window(), hero.name
    bpy.ops.ed.undo_push(message="hero")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    job = running(window, hero, replace(QUICK, steps=200))
    bpy.ops.ed.undo()
    bpy.ops.ed.redo()
    bpy.ops.ed.undo()
    bpy.data.objects[name].name = "Renamed"
    assert window.done(job).state is jobs.State.DONE
    assert bpy.data.objects["Renamed"].animation_data.action["mgpt3_prompt"] == QUICK.prompt


def test_with_two_scenes_the_motion_goes_where_it_was_asked_for(hero: bpy.types.Object) -> None:
    window, first = Window(), bpy.context.scene
    second = bpy.data.scenes.new("Second")
    other = hero.copy()
    second.collection.objects.link(other)
    job = running(window, hero, replace(QUICK, steps=200))
    if bpy.context.window is not None:
        bpy.context.window.scene = second
    second.frame_set(90)
    assert window.done(job).state is jobs.State.DONE
    assert hero.animation_data.action.frame_range[0] == first.frame_current
    assert other.animation_data is None or other.animation_data.action is None


def test_a_character_deleted_meanwhile_is_named_and_nothing_is_changed(hero: bpy.types.Object) -> None:
    window = Window()
    job = running(window, hero, replace(QUICK, steps=200))
    bpy.data.objects.remove(hero)
    before = everything()
    assert window.done(job).state is jobs.State.FAILED
    assert job.error.code == "character_gone"
    unchanged(before, "character")


def test_the_add_on_can_be_disabled_while_it_is_busy(hero: bpy.types.Object) -> None:
    window = Window()
    job = running(window, hero)
    process = jobs._worker.process_id
    os.kill(process, signal.SIGSTOP)  # even where it does not listen
    window.timed(mgpt3_blender.unregister)
    assert job.state is jobs.State.CANCELLED
    assert not Path(f"/proc/{process}").exists()
    assert not bpy.data.actions
    mgpt3_blender.register()
    works(window, hero)
    assert window.longest < LONGEST
