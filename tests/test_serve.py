"""The worker's side of the seam: a real child process with a tiny real model, from hello to shutdown."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motions import walk
from rpc_client import QUICK, SLOW, Client, check_alive, error_of
from tiny_model import ROOT, make_tiny_model

from core.protocol import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, VERSION, decode_array, encode_array
from core.skeleton import JOINTS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable))


@pytest.fixture(scope="module")
def shared_client(model: Path) -> Iterator[Client]:
    client = Client(model)
    client.ask("hello")
    yield client
    client.process.kill()


@pytest.fixture
def client(shared_client: Client) -> Iterator[Client]:
    """One worker for many tests: that it lives on after each of them is part of the promise."""
    yield shared_client
    check_alive(shared_client)


@pytest.fixture
def fresh(model: Path) -> Iterator[Client]:
    client = Client(model)
    yield client
    client.process.kill()


def test_hello(client: Client, model: Path) -> None:
    hello = client.ask("hello", {}, "first")["result"]
    assert hello["protocol"] == 1
    assert hello["core"] == VERSION
    assert hello["device"] == "cpu"
    assert hello["joints"] == list(JOINTS)
    assert (hello["fps"], hello["min_seconds"], hello["max_seconds"]) == (20.0, 1.0, 9.8)
    assert hello["model"]["path"] == str(model)
    assert hello["model"]["parameters"] > 0
    assert {"name", "licence", "data"} <= set(hello["model"])
    assert hello["python"].count(".") == 2
    assert hello["torch"]


def test_generate_streams_progress_and_gives_motion(client: Client) -> None:
    client.send("generate", QUICK | {"variations": 2, "guidance": 1.5}, id=5)
    fractions, messages = [], []
    while (message := client.next()).get("method") == "progress":
        assert message["params"]["id"] == 5
        fractions.append(message["params"]["fraction"])
        messages.append(message["params"]["message"])
    assert len(fractions) >= 4
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert all(messages)
    result = message["result"]
    assert (result["fps"], result["seconds"], result["prompt"]) == (20.0, 1.0, "a person walks")
    assert (result["guidance"], result["steps"]) == (1.5, 3)
    assert set(result["timings"]) == {"sample_s", "decode_s"}
    assert [motion["seed"] for motion in result["motions"]] == [7, 8]
    for motion in result["motions"]:
        joints = decode_array(motion["joints"], "joints", (20, 22, 3))
        assert abs(joints[..., 1].min()) < 1e-4  # on the floor


def test_same_seed_same_motion_and_defaults_are_named(client: Client) -> None:
    first = client.ask("generate", QUICK | {"steps": None, "guidance": None}, 1)["result"]
    again = client.ask("generate", {k: v for k, v in QUICK.items() if k != "steps"}, 2)["result"]
    assert first["motions"] == again["motions"]
    assert first["steps"] > 0
    assert first["guidance"] > 0
    alone = client.ask("generate", QUICK | {"seed": 8}, 3)["result"]["motions"]
    both = client.ask("generate", QUICK | {"variations": 2}, 4)["result"]["motions"]
    one, two = (decode_array(m["joints"], "joints", (20, 22, 3)) for m in (alone[0], both[1]))
    assert np.allclose(one, two, atol=1e-4)  # variation i is seed + i alone


def test_seeds_do_not_overflow(client: Client) -> None:
    result = client.ask("generate", QUICK | {"seed": 2**31 - 1, "variations": 2})["result"]
    assert [motion["seed"] for motion in result["motions"]] == [2**31 - 1, 0]


def test_caption(client: Client) -> None:
    captions = client.ask("caption", {"joints": encode_array(walk())})["result"]["captions"]
    assert len(captions) == 1
    more = client.ask("caption", {"joints": encode_array(walk()), "alternatives": 2})["result"]["captions"]
    assert more[0] == captions[0]
    assert 1 <= len(more) <= 3


def test_ids_are_given_back_as_they_came(client: Client) -> None:
    for request_id in (0, -5, 2**40, "", "a", "1", "ünïcode \u2028"):
        assert client.ask("nothing", request_id=request_id)["id"] == request_id


def test_cancel_ends_the_work_within_a_step(client: Client, within: Callable[..., None]) -> None:
    client.send("generate", SLOW, id="slow")
    client.until_progress("slow", 0.004)
    seen = client.until_progress("slow", 0.02)["fraction"]
    client.send("cancel", {"id": "slow"}, id="c")
    sent = time.monotonic()
    answers: dict[Any, dict[str, Any]] = {}
    while len(answers) < 2:
        message = client.next()
        if message.get("method") == "progress":
            seen = message["params"]["fraction"]
        else:
            answers[message["id"]] = message
    took = time.monotonic() - sent
    assert answers["c"]["result"] == {"cancelled": True}
    assert error_of(answers["slow"]) == (-32800, "cancelled")
    assert seen < 0.6
    # The work itself has ended too, not only its messages: the next request is not kept waiting for the rest.
    client.ask("generate", QUICK, 2)
    within(took, 1.0, "until it is cancelled")
    within(time.monotonic() - sent, 2.0, "until the next is done")  # the rest would take four


def test_cancel_by_notification_and_of_a_waiting_request(client: Client) -> None:
    client.send("generate", SLOW, id=1)
    client.send("generate", SLOW, id="1")  # another id than the number
    client.until_progress(1)
    client.send("cancel", {"id": "1"})
    client.send("cancel", {"id": 1})
    for request_id in (1, "1"):
        message = client.answer()
        assert message["id"] == request_id
        assert error_of(message) == (-32800, "cancelled")


def test_cancel_of_what_is_not_there(client: Client) -> None:
    assert client.ask("cancel", {"id": "nothing"})["result"] == {"cancelled": False}
    client.ask("generate", QUICK, 9)
    assert client.ask("cancel", {"id": 9})["result"] == {"cancelled": False}
    for params in ({}, {"id": None}, {"id": 1.5}, {"id": True}, {"id": [1]}, {"id": 1, "x": 2}):
        assert error_of(client.ask("cancel", params))[0] == INVALID_PARAMS


def test_an_id_cannot_be_used_twice_at_once_and_errors_do_not_wait(client: Client) -> None:
    client.send("generate", SLOW, id="busy")
    client.until_progress("busy")
    client.send("generate", QUICK, id="busy")
    message = client.answer()
    assert error_of(message) == (INVALID_REQUEST, "id_in_use")
    client.raw(b"junk")
    assert error_of(client.answer())[0] == PARSE_ERROR
    client.send("cancel", {"id": "busy"})
    assert error_of(client.answer())[0] == -32800


def test_too_many_waiting_requests_are_refused(client: Client) -> None:
    client.send("generate", SLOW, id="busy")
    client.until_progress("busy")
    for number in range(64):
        client.send("generate", QUICK, id=number)
    message = client.answer()
    assert error_of(message) == (-32000, "busy")
    for request_id in ["busy", *range(64)]:
        client.send("cancel", {"id": request_id})
    cancelled = [client.answer() for _ in range(64)]
    assert {error_of(message)[1] for message in cancelled} == {"cancelled"}


def test_shutdown_ends_the_work_and_the_process(fresh: Client) -> None:
    fresh.send("generate", SLOW, id="slow")
    fresh.until_progress("slow", 0.001)
    fresh.send("shutdown", id="end")
    last = [fresh.answer(), fresh.answer()]
    assert error_of(last[0])[0] == -32800
    assert last[1] == {"jsonrpc": "2.0", "id": "end", "result": None}
    assert fresh.process.wait(30) == 0


def test_the_end_of_stdin_ends_the_process_at_once(fresh: Client, within: Callable[..., None]) -> None:
    fresh.send("generate", SLOW, id="slow")
    fresh.until_progress("slow", 0.001)
    started = time.monotonic()
    assert fresh.close() == 0
    within(time.monotonic() - started, 5.0)


def test_a_client_that_stops_reading_and_leaves_does_not_keep_the_process(model: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "serve", "--model", str(model)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    message = {"jsonrpc": "2.0", "id": 1, "method": "generate", "params": QUICK | {"seconds": 9.8, "variations": 64}}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    while b'"Done"' not in process.stdout.read(1000):
        pass
    time.sleep(0.5)  # now it is blocked in the answer, four megabytes that no pipe holds
    process.stdin.close()
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("damage", "code"),
    [("missing", "model_missing"), ("truncated", "model_broken"), ("text", "model_broken"), ("config", "model_broken")],
)
def test_a_broken_model_is_hellos_error_and_can_be_repaired(
    tmp_path: Path, model: Path, damage: str, code: str
) -> None:
    folder = tmp_path / "modèle with spaces"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "text":
        weights.write_text("not weights")
    else:
        config.write_text("{")
    client = Client(folder)
    try:
        for method in ("hello", "generate"):
            message = client.ask(method, QUICK if method == "generate" else {})
            assert error_of(message) == (-32000, code)
            assert message["error"]["data"]["remedy"]
        for path in model.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        assert client.ask("hello")["result"]["model"]["path"] == str(folder)
    finally:
        client.process.kill()


NOISY = """
import os, sys
from pathlib import Path
import core.tasks.generate as task
real = task.generate
def noisy(model, prompt, *args, **options):
    print("a library prints")
    os.write(1, b"a C library prints\\n")
    os.system("echo a child prints")
    print("stdin holds", repr(sys.stdin.read()))
    if prompt == "fail":
        raise RuntimeError("this was planned")
    if prompt == "memory":
        raise MemoryError
    return real(model, prompt, *args, **options)
task.generate = noisy
from core.serve import serve
serve(Path(sys.argv[1]), "cpu")
"""


def test_nothing_printed_reaches_the_client_and_failures_are_reported(model: Path) -> None:
    client = Client(model, "-c", NOISY, str(model))
    try:
        assert client.ask("generate", QUICK)["result"]["motions"]
        message = client.ask("generate", QUICK | {"prompt": "fail"})
        assert error_of(message) == (-32603, "internal_error")
        assert "this was planned" in message["error"]["message"]
        assert "RuntimeError" in message["error"]["data"]["traceback"]
        assert error_of(client.ask("generate", QUICK | {"prompt": "memory"})) == (-32000, "out_of_memory")
        assert client.ask("generate", QUICK)["result"]["motions"]
        assert client.close() == 0
    finally:
        client.process.kill()
    log = b"".join(client.log)
    for said in (b"a library prints", b"a C library prints", b"a child prints", b"stdin holds ''", b"this was planned"):
        assert said in log
