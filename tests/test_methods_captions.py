"""Describing motions and embedding words over the seam: a real worker process with a tiny real model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motions import stand, walk, wave
from rpc_client import Client, check_alive, error_of
from tiny_model import make_tiny_model

from core.captions.description import Description
from core.protocol import INVALID_PARAMS, encode_array

WALK, WAVE = {"joints": encode_array(walk(3.0))}, {"joints": encode_array(wave(2.0))}


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


def test_motions_are_described(client: Client) -> None:
    result = client.ask("describe", {"motions": [WALK, WAVE], "alternatives": 2})["result"]
    assert set(result) == {"descriptions", "model", "fps"}
    assert result["fps"] == 20
    assert result["model"]["parameters"] > 0
    first, second = (Description(**raw) for raw in result["descriptions"])
    assert first.facts["direction"] == "forward"
    assert second.facts["raised"] == ["right hand"]
    assert len(first.embedding) == len(second.embedding) == 128
    assert first.segments[0]["last"] == 59
    again = client.ask("describe", {"motions": [WALK], "alternatives": 2, "fast": False, "embed": True})["result"]
    assert again["descriptions"][0]["sentence"] == first.sentence


def test_without_vectors(client: Client) -> None:
    result = client.ask("describe", {"motions": [WALK], "embed": False})["result"]
    assert result["descriptions"][0]["embedding"] == []


def test_one_bad_motion_does_not_spoil_the_others(client: Client) -> None:
    motions = [{"joints": encode_array(walk()[:5])}, WALK, {"joints": encode_array(stand())}]
    first, second, third = client.ask("describe", {"motions": motions})["result"]["descriptions"]
    assert first["error"]["code"] == "motion_too_short"
    assert third["error"]["code"] == "motion_static"
    for answer in (first, third):
        assert set(answer["error"]) == {"code", "message", "remedy"}
        assert all(answer["error"].values())
    assert Description(**second).sentence


def test_progress_is_told(client: Client) -> None:
    client.send("describe", {"motions": [WALK, WAVE]}, id="p")
    told = []
    while (message := client.next()).get("method") == "progress":
        told.append(message["params"]["fraction"])
    assert "result" in message
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_cancel(client: Client) -> None:
    client.send("describe", {"motions": [WALK] * 200, "alternatives": 8}, id="slow")
    client.send("cancel", {"id": "slow"})
    assert error_of(client.answer()) == (-32800, "cancelled")


def test_words_become_vectors(client: Client) -> None:
    texts = ["a person walks forward", "someone strolls ahead", "a person kicks"]
    result = client.ask("embed_text", {"texts": texts})["result"]
    described = client.ask("describe", {"motions": [WALK]})["result"]["descriptions"][0]
    assert result["embedder"] == described["embedder"]
    vectors, meanings = np.array(result["vectors"]), np.array(result["meanings"])
    assert vectors.shape == (3, 128)
    assert meanings.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-4)
    assert np.allclose(np.linalg.norm(meanings, axis=-1), 1, atol=1e-4)
    assert meanings[0] @ meanings[1] > meanings[0] @ meanings[2]
    near = vectors @ np.array(described["embedding"])
    assert near[0] > near[2], "the walk is nearer to words of walking"


@pytest.mark.parametrize(
    "params",
    [
        {}, {"motions": []}, {"motions": [{}]}, {"motions": [3]}, {"motions": {"joints": 1}}, {"motions": [WALK] * 257},
        {"motions": [{"joints": encode_array(walk()[:, :5])}]}, {"motions": [WALK | {"name": "a"}]},
        {"motions": [{"joints": encode_array(np.full_like(walk(), np.inf))}]}, {"motions": [WALK], "alternatives": 9},
        {"motions": [WALK], "alternatives": True}, {"motions": [WALK], "fast": 1}, {"motions": [WALK], "embed": "no"},
        {"motions": [WALK], "seed": 1},
    ],
)  # fmt: skip
def test_wrong_params_are_refused_at_once(client: Client, params: dict[str, Any]) -> None:
    assert error_of(client.ask("describe", params))[0] == INVALID_PARAMS


@pytest.mark.parametrize(
    "params",
    [
        {}, {"texts": []}, {"texts": "a"}, {"texts": [1]}, {"texts": ["\ud800"]}, {"texts": ["a"] * 257},
        {"texts": ["a"], "x": 1},
    ],
)  # fmt: skip
def test_wrong_texts_are_refused_at_once(client: Client, params: dict[str, Any]) -> None:
    assert error_of(client.ask("embed_text", params))[0] == INVALID_PARAMS
