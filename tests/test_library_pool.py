"""The pool's processes: one file each, crashes and hangs that cost no other file, an end at once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mgpt3_blender import blendfiles
from mgpt3_blender.errors import UserError
from mgpt3_blender.librarypool import Done, Fleet, Pool, Told

CHILD = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] != "describe": break
    number, params = request["id"], request["params"]
    def say(**message): print(json.dumps(message), flush=True)
    say(method="progress", params={"id": number, "fraction": 0.5, "message": "half"})
    print("noise on stdout {", flush=True)
    if params.get("crash") and not os.path.exists(params["crash"]):
        open(params["crash"], "w").close(); os.abort()
    if params.get("always"): sys.stderr.write("out of luck\\n"); sys.exit(3)
    if params.get("hang"): time.sleep(60)
    if params.get("fatal"):
        say(id=number, error={"message": "No model.", "data": {"code": "not_set_up", "remedy": "Set it up."}})
    time.sleep(params.get("sleep", 0.0))
    say(id=number, result={"rows": [{"pid": os.getpid()}], "stamp": "s"})
"""


def pool(tmp_path: Path, jobs: int, silence: float = 20.0) -> Pool:
    fleet = Fleet((sys.executable, "-u", "-c", CHILD), tmp_path, dict(os.environ), tmp_path / "log")
    return Pool(fleet, jobs, silence=silence)


def drained(crew: Pool, seconds: float = 20.0) -> list:
    events, until = [], time.monotonic() + seconds
    while not crew.idle and time.monotonic() < until:
        events += crew.poll()
        time.sleep(0.01)
    assert crew.idle
    return events


def test_each_file_goes_to_one_process(tmp_path: Path) -> None:
    crew = pool(tmp_path, 2)
    for n in range(6):
        crew.submit(f"{n}", {"sleep": 0.05})
    events = drained(crew)
    done = [event for event in events if isinstance(event, Done)]
    assert sorted(event.name for event in done) == list("012345")
    assert len({event.rows[0]["pid"] for event in done if event.rows}) == 2
    assert {event.message for event in events if isinstance(event, Told)} == {"half"}
    processes = crew.processes
    assert len(processes) == 2
    crew.stop()
    assert not any(blendfiles.alive(process) for process in processes)


def test_a_crash_costs_its_file_a_second_try_and_no_more(tmp_path: Path) -> None:
    crew = pool(tmp_path, 2)
    crew.submit("once", {"crash": str(tmp_path / "crashed")})
    crew.submit("always", {"always": True})
    for n in range(3):
        crew.submit(f"{n}", {})
    done = {event.name: event for event in drained(crew) if isinstance(event, Done)}
    crew.stop()
    assert {name for name, event in done.items() if event.rows} == {"once", "0", "1", "2"}
    error = done["always"].error
    assert error is not None
    assert error.code == "blender_crashed"
    assert "exit code 3" in error.message
    assert "out of luck" in error.message


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    crew = pool(tmp_path, 1, silence=3.0)
    crew.submit("hangs", {"hang": True})
    crew.submit("next", {})
    done = {event.name: event for event in drained(crew) if isinstance(event, Done)}
    crew.stop()
    assert done["hangs"].rows is None
    assert done["next"].rows


def test_what_every_file_would_run_into_ends_the_run(tmp_path: Path) -> None:
    crew = pool(tmp_path, 1)
    crew.submit("a", {"fatal": True})
    with pytest.raises(UserError) as caught:
        drained(crew)
    crew.stop()
    assert (caught.value.code, caught.value.remedy) == ("not_set_up", "Set it up.")


def test_what_others_finished_is_told_before_the_run_ends(tmp_path: Path) -> None:
    crew = pool(tmp_path, 2)
    crew.submit("a", {"fatal": True})
    crew.submit("b", {})
    crew.poll()
    until = time.monotonic() + 20.0
    while crew._inbox.qsize() < 4 and time.monotonic() < until:  # a word and an answer of each
        time.sleep(0.01)
    assert [event.name for event in crew.poll() if isinstance(event, Done)] == ["b"]
    assert not crew.idle
    with pytest.raises(UserError) as caught:
        crew.poll()
    crew.stop()
    assert caught.value.code == "not_set_up"


def test_stop_is_at_once(tmp_path: Path, within: Callable[..., None]) -> None:
    crew = pool(tmp_path, 2)
    for n in range(4):
        crew.submit(f"{n}", {"hang": True})
    crew.poll()
    processes = crew.processes
    began = time.monotonic()
    crew.stop()
    within(time.monotonic() - began, 5.0)
    assert crew.idle
    assert not any(blendfiles.alive(process) for process in processes)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    crew = Pool(Fleet((str(tmp_path / "blender"),), tmp_path, {}, tmp_path / "log"), 1)
    crew.submit("a", {})
    with pytest.raises(UserError) as caught:
        crew.poll()
    assert caught.value.code == "blender_missing"
