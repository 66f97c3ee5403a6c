"""Set-ups that meet each other, are stopped or killed, and what is left of them then."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from packageindex import Index
from setup_place import Place, posix
from tinywheels import make_wheel

from mgpt3_blender import runtime, setuplock, setupstep
from mgpt3_blender.errors import UserError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "user", "tiny-wheel==1.0")


def of_folder(folder: Path) -> list[int]:
    """Processes that have a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(entry.name))
    return found


def test_those_who_look_at_the_lock_do_not_see_each_other(tmp_path: Path) -> None:
    lock = setuplock.Lock(tmp_path / "lock")
    assert not setuplock.held(lock.path)
    assert lock.take()
    assert setuplock.held(lock.path)
    lock.free()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(setuplock.held(lock.path) for _ in range(3000))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(True) == 0
    assert lock.take()
    lock.free()


@posix
def test_a_place_where_nothing_can_be_locked(
    place: Place, monkeypatch: pytest.MonkeyPatch, within: Callable[..., None]
) -> None:
    """A network's folder without a service for locks."""
    runtime.lock_path(place.folder).touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(setuplock, "_take", refuse)
    handles = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    started = time.monotonic()
    assert not setuplock.held(runtime.lock_path(place.folder))
    assert place.state() == "missing"  # not "working", for ever
    with pytest.raises(UserError) as caught:
        runtime.remove(place.folder)
    assert caught.value.code == "setup_failed"
    assert os.strerror(errno.ENOLCK) in caught.value.message
    within(time.monotonic() - started, 0.5)  # there is nothing to wait for
    assert handles == (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0)


GUARD_OF_WINDOWS = "import os, subprocess\nos.name = 'nt'\n" + setupstep._GUARD


@posix
def test_on_windows_all_that_a_step_started_is_ended_with_it(tmp_path: Path) -> None:
    """Its guard, with a taskkill that only writes down what it is told."""
    program = tmp_path / "System32" / "taskkill.exe"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > "$SYSTEMROOT/told"\n', encoding="utf-8")
    for there in (True, False):
        program.chmod(0o755 if there else 0o644)
        command = [sys.executable, "-I", "-c", GUARD_OF_WINDOWS, "/bin/sh", "-c", "echo $$; exec sleep 60"]
        environment = {"SYSTEMROOT": str(tmp_path)}
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert guard.stdin is not None
        assert guard.stdout is not None
        child = int(guard.stdout.readline())
        guard.stdin.close()
        assert guard.wait(30) in (75, 128 + signal.SIGKILL)
        guard.stdout.close()
        if there:
            assert (tmp_path / "told").read_text(encoding="utf-8").split() == ["/F", "/T", "/PID", str(child)]
        deadline = time.monotonic() + 30
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{child}").exists()


@posix
def test_one_at_a_time_and_a_killed_one_goes_on_where_it_was(place: Place, tmp_path: Path) -> None:
    place.requirements.write_text("tiny-wheel==1.0\nother-wheel==1.0\n", encoding="utf-8")
    make_wheel(tmp_path / "index", "tiny-wheel", files={"tiny_wheel.py": os.urandom(2000).hex().encode()})
    other = make_wheel(tmp_path / "index", "other-wheel", files={"o.bin": os.urandom(200_000)}, requires=["tiny-wheel"])
    with Index(tmp_path / "index") as index:
        index.hold = other.name
        variables = {**index.settings(), "PATH": os.environ["PATH"]}
        process = place.start(variables, online=True)
        assert index.holding.wait(60)
        assert place.state() == "working"
        with pytest.raises(UserError) as caught:
            runtime.remove(place.folder)
        assert caught.value.code == "setup_elsewhere"
        second = place.run(variables, online=True)[-1]
        assert second["code"] == "setup_elsewhere"
        assert place.folder.is_dir()  # the second has touched nothing
        assert of_folder(place.folder)

        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while of_folder(place.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not of_folder(place.folder)  # no pip goes on without its Blender
        assert place.state() == "interrupted"
        before = list(index.fetched)
        index.release()
        end = place.run(variables, online=True)[-1]
        assert end["state"] == "ready", end
        assert sorted(index.fetched) == sorted({*before, other.name})
        assert before == ["tiny_wheel-1.0-py3-none-any.whl"]  # fetched before the kill, and not again
    assert process.stdout is not None
    process.stdout.close()


@posix
def test_stopping_ends_what_was_started(place: Place, tmp_path: Path, within: Callable[..., None]) -> None:
    other = make_wheel(tmp_path / "index", "tiny-wheel", files={"o.bin": os.urandom(200_000)})
    stop = threading.Event()

    def press_stop() -> None:
        index.holding.wait(60)
        stop.set()

    with Index(tmp_path / "index") as index, pytest.MonkeyPatch.context() as patch:
        for name, value in {**index.settings(), "PIP_CONFIG_FILE": os.devnull}.items():
            patch.setenv(name, value)
        patch.delenv("PIP_FIND_LINKS", raising=False)
        index.hold = other.name
        threading.Thread(target=press_stop, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(UserError) as caught:
            place.here(build="cpu", cancelled=stop.is_set)
        within(time.monotonic() - started, 20.0)  # the index would hold it for a minute
        assert caught.value.code == "cancelled"
        assert not of_folder(place.folder)
        assert place.state() == "interrupted"
