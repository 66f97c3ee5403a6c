"""Filling and going on over the seam: a real worker process with a tiny real model, asked line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motions import stand, walk
from rpc_client import Client, check_alive, error_of
from tiny_model import make_tiny_model

from core.protocol import INVALID_PARAMS, decode_array, encode_array

WALK = walk(3.0)
FRAMES = 12
BETWEEN: dict[str, Any] = {
    "before": encode_array(WALK[:11]), "after": encode_array(WALK[23:34]), "frames": FRAMES, "seed": 5,
}  # fmt: skip
ON: dict[str, Any] = {"before": encode_array(WALK), "frames": 20, "seed": 5}


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable)))
    client.ask("hello")
    yield client
    client.process.kill()


@pytest.fixture
def client(shared_client: Client) -> Iterator[Client]:
    """One worker for all tests: it lives on after each of them."""
    yield shared_client
    check_alive(shared_client)


def motions(message: dict[str, Any], frames: int) -> list[np.ndarray]:
    """What holds of every answer. Its motions."""
    assert "result" in message, message
    result = message["result"]
    assert set(result) == {"motions", "fps", "model", "prompt", "timings"}
    assert result["fps"] == 20.0
    assert result["model"]["parameters"] > 0
    assert result["timings"]["all_s"] > 0
    found = [decode_array(m["joints"], "joints", (frames, 22, 3)) for m in result["motions"]]
    assert all(np.isfinite(joints).all() for joints in found)
    return found


def test_a_gap_is_filled(client: Client) -> None:
    message = client.ask("inbetween", BETWEEN)
    (joints,) = motions(message, FRAMES + 2)
    assert np.array_equal(joints[0], WALK[10])
    assert np.array_equal(joints[-1], WALK[23])
    (motion,) = message["result"]["motions"]
    assert motion["seed"] == 5
    assert motion["report"].keys() >= {"boundary_mm", "velocity_jump", "slide_mm", "jerk", "model_share", "constraints"}
    assert message["result"]["prompt"] == ""
    again = client.ask("inbetween", BETWEEN | {"prompt": None, "strength": None, "constraints": None})
    assert np.array_equal(motions(again, FRAMES + 2)[0], joints)


def test_keys_alone_words_and_takes(client: Client) -> None:
    alone = {"before": encode_array(WALK[10:11]), "after": encode_array(WALK[23:24])}
    message = client.ask("inbetween", BETWEEN | alone | {"prompt": "a person walks", "variations": 3, "strength": 0.5})
    found = motions(message, FRAMES + 2)
    assert sorted(m["seed"] for m in message["result"]["motions"]) == [5, 6, 7]
    assert all(np.array_equal(j[[0, -1]], WALK[[10, 23]]) for j in found)
    assert message["result"]["prompt"] == "a person walks"


def test_constraints_come_through(client: Client) -> None:
    pose = stand()[0] + WALK[16, 0] - stand()[0, 0]
    target = WALK[19, 20].astype(float) + np.array([0.02, 0.03, 0.02])
    asked = [
        {"kind": "pose", "frame": 6, "joints": encode_array(pose[None])},
        {"kind": "point", "frame": 9, "joint": "l_wrist", "position": target.tolist()},
        {"kind": "path", "points": encode_array(WALK[10:24, :1]), "timed": True},
    ]
    message = client.ask(
        "inbetween", BETWEEN | {"constraints": asked, "strength": 0}
    )  # random weights tear the arms out
    (joints,) = motions(message, FRAMES + 2)
    assert np.abs(joints[6] - pose).max() < 1e-5
    assert np.abs(joints[9, 20] - target).max() < 1e-4
    found = message["result"]["motions"][0]["report"]["constraints"]
    assert [c["kind"] for c in found] == ["pose", "point", "path"]
    assert all(c["error_mm"] >= 0 for c in found)


def test_progress_is_told(client: Client) -> None:
    client.send("inbetween", BETWEEN | {"variations": 4}, id="p")
    told = []
    while (message := client.next()).get("method") == "progress":
        assert message["params"]["id"] == "p"
        told.append(message["params"]["fraction"])
    motions(message, FRAMES + 2)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 4


def test_cancel(client: Client) -> None:
    for method, params in (("inbetween", BETWEEN | {"frames": 150}), ("predict", ON | {"frames": 150})):
        client.send(method, params | {"variations": 8}, id="slow")
        client.send("cancel", {"id": "slow"})
        assert error_of(client.answer()) == (-32800, "cancelled")


def test_a_motion_goes_on(client: Client) -> None:
    message = client.ask("predict", ON | {"variations": 2, "prompt": "a person walks"})
    found = motions(message, 21)
    assert [m["seed"] for m in message["result"]["motions"]] == [5, 6]
    for joints in found:
        assert np.array_equal(joints[0], WALK[-1])  # the last frame that was given
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(motions(client.ask("predict", ON | {"prompt": "a person walks"}), 21)[0], found[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"before": None}, {"before": [1.0]}, {"before": encode_array(WALK[:0])}, {"after": encode_array(WALK[:4, :5])},
        {"after": encode_array(WALK[:2] * np.float32(np.nan))}, {"frames": 0}, {"frames": 2.5}, {"frames": True},
        {"frames": None}, {"seed": -1}, {"seed": 2**31}, {"variations": 0}, {"variations": 9}, {"strength": "1"},
        {"prompt": 3}, {"nonsense": 1}, {"constraints": {}}, {"constraints": [3]}, {"constraints": [{"kind": "wish"}]},
        {"constraints": [{"frame": 3}]},
        {"constraints": [{"kind": "point", "frame": 3, "joint": "tail", "position": [0, 0, 0]}]},
        {"constraints": [{"kind": "point", "frame": 3, "joint": "head", "position": [0, 0]}]},
        {"constraints": [{"kind": "point", "frame": 3, "joint": "head", "position": [0, 0, "up"]}]},
        {"constraints": [{"kind": "point", "frame": 99, "joint": "head", "position": [0, 0, 0]}]},
        {"constraints": [{"kind": "point", "frame": 3, "joint": "head", "position": [0, 0, 0], "weight": 2}]},
        {"constraints": [{"kind": "pose", "frame": 3, "joints": encode_array(WALK[:2])}]},
        {"constraints": [{"kind": "path", "points": encode_array(WALK[:9]), "timed": False}]},
        {"constraints": [{"kind": "path", "points": encode_array(WALK[:9, :1]), "timed": "yes"}]},
        {"constraints": [{"kind": "path", "points": encode_array(WALK[:9, :1])}] * 300},
    ],
)  # fmt: skip
def test_wrong_params_of_a_gap_are_refused_at_once(client: Client, changed: dict[str, Any]) -> None:
    code, name = error_of(client.ask("inbetween", BETWEEN | changed))
    assert code == INVALID_PARAMS
    assert name


@pytest.mark.parametrize(
    "changed",
    [{"before": None}, {"frames": 0}, {"variations": 9}, {"seed": 1.5}, {"strength": 1.0}, {"prompt": ["a"]}],
)
def test_wrong_params_of_going_on_are_refused_at_once(client: Client, changed: dict[str, Any]) -> None:
    assert error_of(client.ask("predict", ON | changed))[0] == INVALID_PARAMS


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("inbetween", BETWEEN | {"frames": 191}, "gap_out_of_range"),
        ("inbetween", BETWEEN | {"strength": 1.5}, "strength_out_of_range"),
        ("inbetween", BETWEEN | {"constraints": [{"kind": "path", "points": encode_array(WALK[:1, :1])}]},
         "constraint_wrong"),
        ("inbetween", BETWEEN | {"constraints": [{"kind": "pose", "frame": 0, "joints": encode_array(WALK[:1])}]},
         "constraint_wrong"),
        ("predict", ON | {"before": encode_array(WALK[:3])}, "motion_too_short"),
        ("predict", ON | {"frames": 1000}, "duration_out_of_range"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_a_remedy(
    client: Client, method: str, params: dict[str, Any], name: str
) -> None:
    message = client.ask(method, params)
    assert error_of(message)[1] == name
    assert message["error"]["data"]["remedy"]
