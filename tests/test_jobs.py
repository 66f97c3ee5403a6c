"""jobs.py: one request at a time, and whatever happens on its way, the scene changes only by a whole result."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_model import ROOT, make_tiny_model

from mgpt3_blender import jobs
from mgpt3_blender.errors import UserError
from mgpt3_blender.worker import Launch

SLOW = {"prompt": "walk", "seconds": 9.8, "seed": 1, "variations": 32, "steps": 1000}
QUICK = {"prompt": "walk", "seconds": 2.0, "seed": 1, "steps": 5}


@pytest.fixture(scope="module")
def launch(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    folder = tmp_path_factory.mktemp("jobs")
    yield Launch(core_python, ROOT, folder / "worker.log", make_tiny_model(folder / "tiny", core_python), "cpu")
    jobs.stop_worker()


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    jobs.reset()


class Scene:
    """What a job would change."""

    def __init__(self) -> None:
        self.applied: list[object] = []

    def job(self, params: dict = QUICK) -> jobs.Job:
        return jobs.Job("Generate", "generate", params, self.apply)

    def apply(self, reply: object) -> object:
        self.applied.append(reply)
        return type("Outcome", (), {"line": "Done it", "warnings": ["but"]})()


def pump_until(test: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not test():
        assert time.monotonic() < deadline
        jobs.pump()
        time.sleep(0.01)


def test_from_start_to_result(launch: Launch) -> None:
    scene = Scene()
    job = scene.job()
    assert not jobs.busy()
    jobs.start(job, launch)
    assert jobs.busy()
    assert job.state is jobs.State.RUNNING
    with pytest.raises(UserError, match="Another motion"):
        jobs.start(scene.job(), launch)
    pump_until(lambda: job.ended)
    assert job.state is jobs.State.DONE
    assert len(scene.applied) == 1
    assert (jobs.view.line, jobs.view.warnings, jobs.view.error) == ("Done it", ("but",), None)
    assert not jobs.pump()


def test_an_answer_waits_until_it_may_be_applied(launch: Launch) -> None:
    scene = Scene()
    job = scene.job()
    jobs.start(job, launch)
    deadline = time.monotonic() + 60
    while job.state is not jobs.State.READY:
        assert time.monotonic() < deadline
        jobs.pump(may_apply=False)
        time.sleep(0.01)
    jobs.pump(may_apply=False)
    assert not scene.applied
    assert "leave this editing mode" in job.message
    jobs.pump()
    assert len(scene.applied) == 1


def test_cancel_applies_nothing_and_frees_the_way(launch: Launch) -> None:
    scene = Scene()
    job = scene.job(SLOW)
    jobs.start(job, launch)
    pump_until(lambda: job.fraction > 0)
    jobs.cancel()
    assert job.state is jobs.State.CANCELLED
    assert not jobs.busy()
    assert "Cancelled" in jobs.view.line
    jobs.run_blocking(scene.job(), launch)
    assert len(scene.applied) == 1


def test_a_killed_worker_is_an_error_and_the_next_request_works(launch: Launch) -> None:
    scene = Scene()
    job = scene.job(SLOW)
    jobs.start(job, launch)
    pump_until(lambda: job.fraction > 0)
    os.kill(jobs.worker(launch).process_id, signal.SIGKILL)
    pump_until(lambda: job.ended)
    assert job.state is jobs.State.FAILED
    assert jobs.view.error is not None
    assert jobs.view.error.code == "worker_crashed"
    assert not scene.applied
    jobs.run_blocking(scene.job(), launch)
    assert len(scene.applied) == 1
    assert jobs.view.error is None


def test_what_goes_wrong_while_applying_ends_the_job(launch: Launch, capsys: pytest.CaptureFixture) -> None:
    def gone(reply: object) -> object:
        raise UserError("character_gone", "The character was deleted.", "Undo that.")

    def bug(reply: object) -> object:
        raise ZeroDivisionError("a bug")

    for apply, code in ((gone, "character_gone"), (bug, "internal_error")):
        with pytest.raises(UserError) as caught:
            jobs.run_blocking(jobs.Job("Generate", "generate", QUICK, apply), launch)
        assert caught.value.code == code
        assert jobs.view.error is caught.value
        assert not jobs.busy()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_cancels(launch: Launch) -> None:
    scene = Scene()

    def interrupt(fraction: float, message: str) -> None:
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(UserError) as caught:
        jobs.run_blocking(scene.job(SLOW), launch, progress=interrupt)
    assert caught.value.code == "cancelled"
    assert jobs.view.error is None
    assert not scene.applied


def test_other_settings_start_another_worker(launch: Launch, tmp_path: Path) -> None:
    first = jobs.worker(launch)
    assert jobs.worker(launch) is first
    other = jobs.worker(Launch(launch.python, ROOT, tmp_path / "worker.log", tmp_path / "nowhere", "cpu"))
    assert other is not first
    assert not first.alive
    scene = Scene()
    with pytest.raises(UserError) as caught:
        jobs.run_blocking(scene.job(), other.launch)
    assert caught.value.code == "model_missing"
    assert not scene.applied


def in_parts(scene: Scene, fail: Exception | None = None) -> tuple[jobs.Job, list[object]]:
    """A job of three requests, and the answers that led on to another one."""
    answers: list[object] = []

    def then(answer: object) -> dict | None:
        if fail is not None:
            raise fail
        if len(answers) == 2:
            return None
        answers.append(answer)
        return {**QUICK, "seed": 1 + len(answers)}

    return jobs.Job("Fill", "generate", QUICK, scene.apply, then, 3), answers


def seeds(answers: list[object]) -> list[int]:
    return [answer["motions"][0]["seed"] for answer in answers]  # type: ignore[index]


@pytest.mark.parametrize("way", ["window", "blocking"])
def test_one_answer_leads_to_the_next_request(launch: Launch, way: str) -> None:
    scene = Scene()
    job, answers = in_parts(scene)
    told: list[tuple[float, str]] = []
    if way == "blocking":
        jobs.run_blocking(job, launch, progress=lambda fraction, message: told.append((fraction, message)))
    else:
        jobs.start(job, launch)
        pump_until(lambda: told.append((job.fraction, job.message)) or job.ended)  # type: ignore[func-returns-value]
    assert job.state is jobs.State.DONE
    assert (seeds(answers), seeds(scene.applied)) == ([1, 2], [3])  # only the last answer is applied
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert any(message.startswith("2 of 3: ") for _, message in told)


@pytest.mark.parametrize(
    ("fail", "code"),
    [(UserError("bad_answer", "No motion.", "Try again."), "bad_answer"), (ZeroDivisionError(), "internal_error")],
)
def test_an_answer_that_leads_nowhere_ends_the_job(launch: Launch, fail: Exception, code: str) -> None:
    scene = Scene()
    job, _ = in_parts(scene, fail)
    jobs.start(job, launch)
    pump_until(lambda: job.ended)
    assert job.state is jobs.State.FAILED
    assert jobs.view.error is not None
    assert jobs.view.error.code == code
    assert not scene.applied
    assert not jobs.busy()


def test_what_is_shown_is_known_to_belong_to_a_request(launch: Launch) -> None:
    scene = Scene()
    jobs.run_blocking(scene.job(), launch)
    assert (jobs.view.about, jobs.view.line) == ("Generate", "Done it")
    jobs.prepare("Describe")
    assert (jobs.view.about, jobs.view.line, jobs.view.warnings, jobs.view.job) == ("Describe", "", (), None)
    jobs.start(scene.job(SLOW), launch)
    jobs.prepare("Describe")  # another one is under way: it stays
    assert jobs.busy()
    assert jobs.view.about == "Generate"


def test_reset_forgets_everything(launch: Launch) -> None:
    scene = Scene()
    jobs.start(scene.job(SLOW), launch)
    jobs.reset()
    assert (jobs.view.job, jobs.view.line, jobs.busy()) == (None, "", False)
    assert not jobs.pump()
