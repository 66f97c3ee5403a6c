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
LONGEST = 0.5  # seconds that the window may stand still


@pytest.fixture(scope="module", autouse=True)
def _worker() -> Iterator[None]:
    yield
    jobs.stop_worker()


@pytest.fixture(autouse=True)
def _registered(
    tiny: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    if "disabled" not in request.node.name:
        monkeypatch.setattr(jobs, "stop_worker", lambda: None)  # a warm worker goes on from test to test
    mgpt3_blender.register()
    yield
    if hasattr(bpy.types.Scene, "mgpt3"):
        mgpt3_blender.unregister()


@pytest.fixture
def hero() -> bpy.types.Object:
    return create_mannequin(bpy.context)


class Window:
    """Asks and takes in answers as the window does, and notes how long it stood still."""

    def __init__(self, launch: Launch | None = None) -> None:
        self.launch = launch
        self.pauses = [0.0, 0.0]

    @property
    def longest(self) -> float:
        """The longest that it stood still, seconds."""
        return self.pauses[-1]

    @property
    def again(self) -> float:
        """The longest but one, of thousands: once it may have been the machine, which has other things to do."""
        return self.pauses[-2]

    def ask(self, hero: bpy.types.Object, request: generate.Request = QUICK) -> jobs.Job:
        job = generate.character_job(request, bpy.context.scene, hero)
        self.timed(lambda: jobs.start(job, self.launch))
        jobs.worker(self.launch).grace = 0.3
        return job

    def timed(self, what: Callable[[], object]) -> None:
        since = time.monotonic()
        what()
        self.pauses = sorted([*self.pauses, time.monotonic() - since])[-2:]

    def until(self, test: Callable[[], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not test():
            assert time.monotonic() < deadline, jobs.view
            self.timed(jobs.pump)
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


def core_of(garbler: int) -> int:
    """The core that stands behind the program that spoils what it says."""
    return int(Path(f"/proc/{garbler}/task/{garbler}/children").read_text(encoding="ascii").split()[0])


def strike(kind: str, dice: random.Random) -> None:
    """Do something to the worker that is at work."""
    worker = jobs._worker
    assert worker is not None
    process = worker.process_id
    assert process is not None
    core = core_of(process)
    if kind == "kill":
        os.kill(dice.choice([process, core]), signal.SIGKILL)
    elif kind == "full":
        lines = Path(f"/proc/{core}/status").read_text(encoding="utf-8").splitlines()
        used = int(next(line.split()[1] for line in lines if line.startswith("VmSize"))) * 1024
        resource.prlimit(core, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    else:
        os.kill(dice.choice([process, core]), signal.SIGSTOP)
        for pending in worker._pending.values():
            pending.silence = 0.5  # not two minutes


STRUCK = {"kill": "worker_crashed", "hang": "worker_silent", "full": "out_of_memory", "give up": "cancelled"}
REFUSED = ("bad_answer", "internal_error", "worker_silent", "core_error", "bad_params")


def test_fifty_generations_that_go_wrong_at_random_lose_nothing(
    hero: bpy.types.Object, tmp_path: Path, within: Callable[..., None]
) -> None:
    order, usual, dice = tmp_path / "order", preferences.launch(), random.Random(1)
    order.write_text("", encoding="utf-8")
    command = (sys.executable, "-u", str(ROOT / "tests" / "soak_garbler.py"), str(order), *usual.arguments())
    window = Window(replace(usual, command=command))
    kinds = [*STRUCK] * 2 + ["cut"] * 2 + ["noise", "flood", "twice", "shape"] * 5 + ["values"] * 20
    dice.shuffle(kinds)
    assert len(kinds) == 50
    works(window, hero)
    blender = memory()
    ended: dict[str, list[jobs.State]] = {}
    for number, kind in enumerate(kinds):
        before = everything()
        if kind in STRUCK:
            job = window.ask(hero, SLOW)
            # Half way through it may have all the memory that it will ever need.
            at = 0.0 if kind == "full" else dice.choice([0.0, dice.random() * 0.5])
            window.until(lambda job=job, at=at: job.fraction >= at)  # type: ignore[misc]
            strike(kind, dice)
            if kind == "give up":  # the user presses Esc, for nothing moves any more
                window.timed(jobs.cancel)
            window.done(job)
            assert kind == "give up" or (job.error.code, bool(job.error.remedy)) == (STRUCK[kind], True)
            assert job.state is (jobs.State.CANCELLED if kind == "give up" else jobs.State.FAILED), kind
        else:
            order.write_text(f"{kind} {number}", encoding="utf-8")
            job = window.ask(hero)
            for pending in jobs._worker._pending.values():
                pending.silence = 1.0 if kind == "cut" else 10.0
            window.done(job)
            order.write_text("", encoding="utf-8")
            assert job.state is jobs.State.DONE or job.error.code in REFUSED, (kind, job.error)
        ended.setdefault(kind, []).append(job.state)
        if job.state is not jobs.State.DONE:
            unchanged(before, (kind, number, job.error))
            works(window, hero)
        tidy()
    done = {kind for kind, states in ended.items() if set(states) == {jobs.State.DONE}}
    assert {"noise", "flood", "twice"} <= done  # the answer itself is whole
    assert set(ended["cut"]) == set(ended["shape"]) == {jobs.State.FAILED}
    print(f"longest pause {window.longest:.2f} s, Blender grew by {memory() - blender:.0f} MB")
    within(window.again, LONGEST)
    assert memory() - blender < 150


def test_blender_needs_no_more_memory_after_200_requests(hero: bpy.types.Object, within: Callable[..., None]) -> None:
    window, used = Window(), []
    shortest = replace(QUICK, steps=1)
    for number in range(200):
        if number % 4 < 2:  # one that is made, one that is given up
            job = window.ask(hero, replace(shortest, seed=number))
            if number % 4:
                window.timed(jobs.cancel)
        elif number % 4 == 2:  # one that the core refuses, one about words
            job = jobs.Job("Generate", "generate", {"prompt": "", "seconds": 99.0, "seed": 0}, list)
            window.timed(lambda job=job: jobs.start(job))  # type: ignore[misc]
        else:
            job = jobs.Job("Search", "embed_text", {"texts": [f"a person walks {number}"] * 8}, list)
            window.timed(lambda job=job: jobs.start(job))  # type: ignore[misc]
        ended = (jobs.State.DONE, jobs.State.CANCELLED, jobs.State.FAILED, jobs.State.DONE)[number % 4]
        assert window.done(job).state is ended, (number, job.error)
        tidy()
        used.append(memory())
    print(f"{used[50]:.0f} MB after 50 requests, {used[-1]:.0f} MB after 200")
    assert max(used[150:]) - max(used[40:60]) < 12, used[::10]  # MB
    within(window.again, LONGEST)


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
    job = running(window, hero, replace(QUICK, steps=1000))
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
    job = running(window, hero, replace(QUICK, steps=1000))
    if bpy.context.window is not None:
        bpy.context.window.scene = second
    second.frame_set(90)
    assert window.done(job).state is jobs.State.DONE
    assert hero.animation_data.action.frame_range[0] == first.frame_current
    assert other.animation_data is None or other.animation_data.action is None


def test_a_scene_deleted_meanwhile_is_named_and_nothing_is_changed(hero: bpy.types.Object) -> None:
    window, scene = Window(), bpy.context.scene
    bpy.data.scenes.new("Second")
    job = running(window, hero, replace(QUICK, steps=1000))
    bpy.data.scenes.remove(scene)
    before = everything()
    assert window.done(job).state is jobs.State.FAILED
    assert job.error.code == "scene_gone"
    unchanged(before, "scene")


def test_a_character_deleted_meanwhile_is_named_and_nothing_is_changed(hero: bpy.types.Object) -> None:
    window = Window()
    job = running(window, hero, replace(QUICK, steps=1000))
    bpy.data.objects.remove(hero)
    before = everything()
    assert window.done(job).state is jobs.State.FAILED
    assert job.error.code == "character_gone"
    unchanged(before, "character")


def test_the_add_on_can_be_disabled_while_it_is_busy(hero: bpy.types.Object, within: Callable[..., None]) -> None:
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
    within(window.longest, LONGEST)
