"""worker.py against the real core, and against processes that misbehave in ways the core cannot be made to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_model import ROOT, make_tiny_model

from mgpt3_blender import child, wire
from mgpt3_blender.errors import UserError
from mgpt3_blender.failure import WorkerError
from mgpt3_blender.worker import Failure, Launch, Progress, Result, Worker

SLOW = {"prompt": "a person walks forward", "seconds": 9.8, "seed": 1, "variations": 32, "steps": 1000}
QUICK = {"prompt": "a person walks forward", "seconds": 2.0, "seed": 1, "variations": 2, "steps": 5}

# A stand-in that greets properly and then does what the test puts in its place.
STAND_IN = """
import json, sys, time, os, signal
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "hello":
        say(id=request["id"], result={"protocol": 1})
    elif request["method"] == "shutdown":
        break
    else:
"""


@pytest.fixture(scope="module")
def model(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", core_python)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Makes workers and ends them."""
    made: list[Worker] = []

    def make(python: Path = Path(sys.executable), grace: float = 3.0, **options: object) -> Worker:
        options.setdefault("core_parent", ROOT)
        made.append(Worker(Launch(python=python, log=tmp_path / "logs" / "worker.log", **options), grace=grace))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


@pytest.fixture
def real(start: Callable[..., Worker], core_python: Path, model: Path) -> Worker:
    return start(core_python, model=model, device="cpu")


@pytest.fixture
def stand_in(start: Callable[..., Worker], tmp_path: Path) -> Callable[..., Worker]:
    def make(body: str, grace: float = 0.3) -> Worker:
        path = tmp_path / "stand_in.py"
        path.write_text(STAND_IN + "".join(f"        {line}\n" for line in body.splitlines()), encoding="utf-8")
        return start(command=(sys.executable, "-u", str(path)), core_parent=tmp_path, grace=grace)

    return make


def until(worker: Worker, kind: type, request_id: int, timeout: float = 60.0) -> object:
    """Poll until an event of this kind for this request is there."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for event in worker.poll():
            if event.id == request_id and isinstance(event, kind):
                return event
            assert not isinstance(event, Failure), event
        time.sleep(0.01)
    raise AssertionError(f"no {kind.__name__} within {timeout} s")


def gone(process_id: int, timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_generate_tells_progress_and_gives_motion(real: Worker) -> None:
    told: list[float] = []
    reply = real.wait(real.request("generate", QUICK), progress=lambda fraction, message: told.append(fraction))
    assert [entry["seed"] for entry in reply["motions"]] == [1, 2]
    assert wire.decode_array(reply["motions"][0]["joints"]).shape == (40, 22, 3)
    assert told == sorted(told)
    assert len(told) >= 5
    assert real.info is not None
    assert real.info["model"]["name"] == "tiny random"
    assert real.info["device"] == "cpu"


def test_the_core_stays_warm(real: Worker, within: Callable[..., None]) -> None:
    real.wait(real.request("generate", QUICK))
    process = real.process_id
    started = time.monotonic()
    real.wait(real.request("generate", QUICK))
    assert real.process_id == process
    within(time.monotonic() - started, 5.0)


def test_an_array_goes_out_and_an_answer_comes_back(real: Worker) -> None:
    joints = np.zeros((40, 22, 3), np.float32)
    joints[..., 1] = np.linspace(0, 1.7, 22)
    reply = real.wait(real.request("caption", {"joints": wire.encode_array(joints)}))
    assert isinstance(reply["captions"][0], str)


def test_cancel_leaves_nothing_stale_and_the_core_warm(real: Worker) -> None:
    slow = real.request("generate", SLOW)
    until(real, Progress, slow)
    process = real.process_id
    real.cancel(slow)
    reply = real.wait(real.request("generate", QUICK))
    assert len(reply["motions"]) == 2
    assert real.process_id == process
    assert not [event for event in real.poll() if event.id == slow]


def test_wait_can_be_cancelled(real: Worker) -> None:
    seen: list[float] = []
    slow = real.request("generate", SLOW)
    with pytest.raises(WorkerError) as caught:
        real.wait(slow, progress=lambda fraction, message: seen.append(fraction), cancelled=lambda: bool(seen))
    assert caught.value.code == "cancelled"


def test_killed_while_generating(real: Worker) -> None:
    slow = real.request("generate", SLOW)
    until(real, Progress, slow)
    os.kill(real.process_id, signal.SIGKILL)
    failure = until_failure(real, slow)
    assert failure.code == "worker_crashed"
    assert "SIGKILL" in failure.message
    assert failure.log is not None
    assert failure.log.is_file()
    assert len(real.wait(real.request("generate", QUICK))["motions"]) == 2  # the next request works


def until_failure(worker: Worker, request_id: int, timeout: float = 30.0) -> WorkerError:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for event in worker.poll():
            if event.id == request_id and isinstance(event, Failure):
                return event.error
            assert not isinstance(event, Result), event
        time.sleep(0.01)
    raise AssertionError("no failure")


def test_a_frozen_core_is_killed_after_a_cancel_and_the_next_request_goes_to_a_new_one(
    start: Callable[..., Worker], core_python: Path, model: Path
) -> None:
    worker = start(core_python, model=model, device="cpu", grace=0.3)
    slow = worker.request("generate", SLOW)
    until(worker, Progress, slow)
    frozen = worker.process_id
    os.kill(frozen, signal.SIGSTOP)
    worker.cancel(slow)
    quick = worker.request("generate", QUICK)  # asked while the frozen one is not yet known to be frozen
    assert len(worker.wait(quick)["motions"]) == 2
    assert worker.process_id != frozen


def test_the_cores_own_errors_come_through(real: Worker) -> None:
    with pytest.raises(WorkerError) as caught:
        real.wait(real.request("generate", {**QUICK, "seconds": 30.0}))
    assert caught.value.code == "duration_out_of_range"
    assert caught.value.remedy
    with pytest.raises(WorkerError):
        real.wait(real.request("no such method"))
    assert len(real.wait(real.request("generate", QUICK))["motions"]) == 2


def test_broken_models_are_clear_errors(start: Callable[..., Worker], core_python: Path, model: Path, tmp_path: Path):
    def error_for(folder: Path) -> WorkerError:
        worker = start(core_python, model=folder, device="cpu")
        with pytest.raises(WorkerError) as caught:
            worker.wait(worker.request("generate", QUICK))
        assert worker.alive  # the process lives on, the next request says the same
        with pytest.raises(WorkerError) as again:
            worker.wait(worker.request("generate", QUICK))
        assert again.value.code == caught.value.code
        return caught.value

    assert error_for(tmp_path / "nowhere").code == "model_missing"
    broken = shutil.copytree(model, tmp_path / "truncated")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert error_for(broken).code == "model_broken"
    (broken / "model.safetensors").write_bytes(b"PK\x03\x04 this is a pickled checkpoint")
    error = error_for(broken)
    assert error.code == "model_broken"
    assert error.message
    assert error.remedy


def test_unicode_prompt_and_a_folder_with_spaces_and_foreign_letters(
    start: Callable[..., Worker], core_python: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"):  # bytecode goes where it goes for a user
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "Zoë's añ folder 動き"
    shutil.copytree(ROOT / "core", home / "core", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    there = shutil.copytree(model, home / "modèle")
    worker = start(core_python, core_parent=home, model=there, device="cpu", cache=home / "cache")
    prompt = "ein Mann läuft vorwärts und winkt 👋 歩く"
    reply = worker.wait(worker.request("generate", {**QUICK, "prompt": prompt}))
    assert reply["prompt"] == prompt
    assert reply["model"]["path"] == str(there)
    assert list((home / "cache").rglob("protocol.*.pyc"))
    assert not list((home / "core").rglob("__pycache__"))  # the add-on's own folder is not written to


def test_it_ends_when_asked_and_when_blender_dies(real: Worker, core_python: Path, model: Path, tmp_path: Path) -> None:
    real.wait(real.request("hello"))
    process = real.process_id
    real.stop()
    assert gone(process)
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from mgpt3_blender.worker import Launch, Worker\n"
        "launch = Launch(Path(sys.argv[2]), Path(sys.argv[1]), Path(sys.argv[4]), Path(sys.argv[3]), 'cpu')\n"
        "worker = Worker(launch)\n"
        "worker.wait(worker.request('hello'))\n"
        "print(worker.process_id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(core_python), str(model), str(tmp_path / "other.log")],
        capture_output=True,
        timeout=120,
    )
    assert gone(int(done.stdout))


def test_garbage_on_stdout_is_skipped(stand_in: Callable[..., Worker]) -> None:
    worker = stand_in(
        "print('loading…', flush=True)\n"
        "os.write(1, bytes([0xff, 0xfe, 0x0a]))\n"
        "print('[1, 2]\\n42\\n{\"jsonrpc\": \"2.0\"}\\n' + '[' * 5000, flush=True)\n"
        "say(method='progress', params={'id': request['id'], 'fraction': 'half'})\n"
        "say(method='progress', params=None)\n"
        "say(id=[1], result=1)\n"
        "say(id=999, result='of nobody')\n"
        "say(id=request['id'], result='fine')"
    )
    assert worker.wait(worker.request("generate")) == "fine"
    assert "not a message" in worker.launch.log.read_text(encoding="utf-8")


def test_a_silent_core_is_given_up(stand_in: Callable[..., Worker]) -> None:
    worker = stand_in("time.sleep(60)")
    worker.wait(worker.request("hello"))
    process = worker.process_id
    with pytest.raises(WorkerError) as caught:
        worker.wait(worker.request("generate", silence=0.5))
    assert caught.value.code == "worker_silent"
    assert gone(process)


def test_a_crash_says_what_was_said_last(stand_in: Callable[..., Worker]) -> None:
    worker = stand_in("raise RuntimeError('the sky fell')")
    with pytest.raises(WorkerError) as caught:
        worker.wait(worker.request("generate"))
    assert caught.value.code == "worker_crashed"
    assert "the sky fell" in caught.value.message
    assert "exit code 1" in caught.value.message


def test_a_python_without_torch_names_the_remedy(start: Callable[..., Worker], tmp_path: Path) -> None:
    worker = start(command=(sys.executable, "-c", "import a_package_nobody_has"), core_parent=tmp_path)
    with pytest.raises(WorkerError) as caught:
        worker.wait(worker.request("generate"))
    assert caught.value.code == "packages_missing"
    assert "a_package_nobody_has" in caught.value.message
    assert "Set Up" in caught.value.remedy


def test_another_version_of_the_core_is_refused(start: Callable[..., Worker], tmp_path: Path) -> None:
    reply = "print(json.dumps({'id': json.loads(line)['id'], 'result': {'protocol': 9}}))"
    code = f"import json, sys\nfor line in sys.stdin: {reply}"
    worker = start(command=(sys.executable, "-u", "-c", code), core_parent=tmp_path)
    with pytest.raises(WorkerError) as caught:
        worker.wait(worker.request("generate"))
    assert caught.value.code == "protocol_mismatch"


def test_what_cannot_be_started_says_so(start: Callable[..., Worker], tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as caught:
        start(tmp_path / "python").request("hello")
    assert caught.value.code == "python_missing"
    with pytest.raises(WorkerError) as caught:
        start(core_parent=tmp_path).request("hello")
    assert caught.value.code == "core_missing"


def test_a_talkative_core_fills_no_pipe_and_no_disk(stand_in: Callable[..., Worker]) -> None:
    worker = stand_in(
        "for i in range(40000): sys.stderr.write('x' * 100 + '\\n')\n"
        "say(id=request['id'], result=len(request['params']['data']))"
    )
    assert worker.wait(worker.request("generate", {"data": "y" * 500_000})) == 500_000
    worker.stop()
    logs = list(worker.launch.log.parent.iterdir())
    assert len(logs) == 2
    assert sum(log.stat().st_size for log in logs) < 2.2 * child.LOG_LIMIT


def test_sending_to_a_process_that_does_not_read_does_not_block(
    stand_in: Callable[..., Worker], within: Callable[..., None]
) -> None:
    worker = stand_in("time.sleep(60)")
    worker.wait(worker.request("hello"))
    started = time.monotonic()
    for _ in range(4):
        worker.request("generate", {"data": "y" * 1_000_000})
    worker.poll()
    within(time.monotonic() - started, 0.5)  # of sixty
    worker.stop(timeout=0.2)
    assert not worker.alive


def test_blenders_python_is_kept_out_of_the_childs_environment(tmp_path: Path) -> None:
    base = {"PYTHONPATH": "/b", "PYTHONHOME": "/b", "PATH": "/bin", "LC_ALL": "C"}
    env = child.child_environment(base, tmp_path)
    assert "PYTHONPATH" not in env
    assert "PYTHONHOME" not in env
    assert env["PATH"] == "/bin"
    assert (env["PYTHONUTF8"], env["HF_HUB_OFFLINE"], env["TRANSFORMERS_OFFLINE"]) == ("1", "1", "1")
    assert env["PYTHONPYCACHEPREFIX"] == str(tmp_path)


def test_bytecode_is_kept_where_a_container_forbids_it_and_where_a_user_put_it(tmp_path: Path) -> None:
    forbidden = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": ""}
    assert child.child_environment(forbidden)["PYTHONDONTWRITEBYTECODE"] == "1"  # there is no folder of ours for it
    env = child.child_environment(forbidden, tmp_path)
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env["PYTHONPYCACHEPREFIX"] == str(tmp_path)
    assert child.child_environment({"PYTHONPYCACHEPREFIX": "/own"}, tmp_path)["PYTHONPYCACHEPREFIX"] == "/own"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"dtype": "float64", "shape": [1, 22, 3], "data": ""},
        {"dtype": "float32", "shape": [1, 22, 3], "data": "AAAA"},
        {"dtype": "float32", "shape": [0, 22, 3], "data": ""},
        {"dtype": "float32", "shape": [1, 21, 3], "data": ""},
        {"dtype": "float32", "shape": "x", "data": ""},
        {"dtype": "float32", "shape": [1, 22, 3], "data": "not base64 !"},
        {"dtype": "float32", "shape": [1, 22, 3], "data": 7},
        wire.encode_array(np.full((2, 22, 3), np.nan)),
    ],
)
def test_arrays_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(UserError):
        wire.decode_array(value)


def test_arrays_come_back_as_they_went() -> None:
    array = np.random.default_rng(0).normal(size=(7, 22, 3)).astype(np.float32)
    assert np.array_equal(wire.decode_array(wire.encode_array(array)), array)


@pytest.mark.parametrize("home", ["/home/ann lee", "C:\\Users\\Ann Lee"])
def test_a_log_says_nothing_of_the_home_folder_and_of_tokens(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_swordfish")
    monkeypatch.setattr("os.path.expanduser", lambda path: home)
    log = child.LogFile(tmp_path / "worker.log")
    log.write(f"loaded {home}/models/x in 3 s, token hf_swordfish\n".encode())
    log.write(f"  File {home + '/a.py'!r}, {home.replace(chr(92), '/')}/b, {str(home)!r}\n".encode())
    log.note(f"started {home}")
    said = log.path.read_text(encoding="utf-8")
    assert "ann" not in said.lower()
    assert "swordfish" not in said
    assert said.startswith("loaded ~/models/x in 3 s, token <secret>\n")
