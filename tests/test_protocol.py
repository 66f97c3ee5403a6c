"""The messages of the seam: what is no message, no request or no valid params is refused, and the worker lives on."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from motions import walk
from rpc_client import QUICK, Client, check_alive, error_of
from tiny_model import make_tiny_model

from core import protocol
from core.protocol import MAX_LINE, Oversized, ProtocolError, decode_array, encode_array, parse, read_lines


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


PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602

BAD_LINES = [
    (b"junk", PARSE, None), (b"{", PARSE, None), (b'{"jsonrpc":"2.0","id":1,"method":"hello"', PARSE, None),
    (b"\xff\xfe\x00", PARSE, None), (b"\x00", PARSE, None), (b"[" * 100_000, PARSE, None), (b"9" * 10_000, PARSE, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"seconds":NaN}}', PARSE, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"seconds":-Infinity}}', PARSE, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"seconds":1e999}}', PARSE, None),
    (b"[]", REQUEST, None), (b'[{"jsonrpc":"2.0","id":1,"method":"hello"}]', REQUEST, None), (b"1", REQUEST, None),
    (b'"hello"', REQUEST, None), (b"null", REQUEST, None), (b"{}", REQUEST, None),
    (b'{"id":1,"method":"hello"}', REQUEST, 1), (b'{"jsonrpc":"1.0","id":1,"method":"hello"}', REQUEST, 1),
    (b'{"jsonrpc":"2.0","id":1}', REQUEST, 1), (b'{"jsonrpc":"2.0","id":"a","method":5}', REQUEST, "a"),
    (b'{"jsonrpc":"2.0","id":null,"method":"hello"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"hello"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"hello"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":[1],"method":"hello"}', REQUEST, None),
    (b'{"jsonrpc":"2.0","id":1,"method":"hello","params":[]}', PARAMS, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"hello","params":null}', PARAMS, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"x":1}}', PARAMS, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"Hello"}', METHOD, 1), (b'{"jsonrpc":"2.0","id":1,"method":""}', METHOD, 1),
    (b'{"jsonrpc":"2.0","id":1,"method":"__init__"}', METHOD, 1),
]  # fmt: skip


@pytest.mark.parametrize(("line", "number", "request_id"), BAD_LINES, ids=[ascii(bad[0][:60]) for bad in BAD_LINES])
def test_bad_lines(client: Client, line: bytes, number: int, request_id: object) -> None:
    client.raw(line)
    message = client.next()
    assert message["id"] == request_id
    assert error_of(message)[0] == number


BAD_PARAMS = [
    {"prompt": None}, {"prompt": 5}, {"prompt": ["a"]}, {"seconds": "4"}, {"seconds": None}, {"seconds": True},
    {"seconds": [4]}, {"seed": -1}, {"seed": 2**31}, {"seed": 1.5}, {"seed": "7"}, {"seed": True}, {"seed": None},
    {"variations": 0}, {"variations": 65}, {"variations": 1.0}, {"variations": "2"}, {"guidance": "strong"},
    {"guidance": {}}, {"steps": 0}, {"steps": -3}, {"steps": 2.5}, {"steps": 10**9}, {"colour": "red"},
    {"prompt": "\ud800"}, {"seconds": 10**400},
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD_PARAMS, ids=lambda wrong: ascii(wrong)[:40])
def test_wrong_types(client: Client, wrong: dict[str, Any]) -> None:
    assert error_of(client.ask("generate", QUICK | wrong)) == (PARAMS, "params_invalid")


@pytest.mark.parametrize("missing", ["prompt", "seconds", "seed"])
def test_missing_params(client: Client, missing: str) -> None:
    message = client.ask("generate", {name: value for name, value in QUICK.items() if name != missing})
    assert error_of(message) == (PARAMS, "params_invalid")
    assert missing in message["error"]["message"]


def array(**changed: Any) -> dict[str, Any]:
    return encode_array(np.zeros((30, 22, 3))) | changed


NOT_FINITE = np.zeros((30, 22, 3), np.float32)
NOT_FINITE[3, 4, 1] = np.nan
BAD_ARRAYS: list[Any] = [
    None, [], "data", {}, array(dtype="float64"), array(shape=[30, 22]), array(shape=[30, 21, 3]), array(shape="30"),
    array(shape=[31, 22, 3]), array(shape=[-30, 22, -3]), array(shape=[30.0, 22, 3]), array(shape=[True, 22, 3]),
    array(shape=[0, 22, 3], data=""), array(shape=[10**18, 22, 3]), array(data="@@@"), array(data=5), array(data="é"),
    array(data=array()["data"][:-8]), encode_array(NOT_FINITE), encode_array(NOT_FINITE * 0 + np.inf),
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD_ARRAYS, ids=range(len(BAD_ARRAYS)))
def test_wrong_arrays(client: Client, wrong: Any) -> None:
    assert error_of(client.ask("caption", {"joints": wrong})) == (PARAMS, "params_invalid")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"seconds": 0.9}, "duration_out_of_range"), ({"seconds": 9.9}, "duration_out_of_range"),
        ({"seconds": -1e300}, "duration_out_of_range"), ({"prompt": "  \n"}, "prompt_empty"),
        ({"prompt": "walk " * 5000}, "prompt_too_long"), ({"guidance": -1}, "guidance_out_of_range"),
    ],
)  # fmt: skip
def test_what_the_core_refuses_has_a_remedy(client: Client, changed: dict[str, Any], code: str) -> None:
    message = client.ask("generate", QUICK | changed)
    assert error_of(message) == (-32000, code)
    assert message["error"]["data"]["remedy"]


def test_a_short_motion_has_no_caption(client: Client) -> None:
    assert error_of(client.ask("caption", {"joints": encode_array(walk(0.5))}))[0] == -32000


def test_a_huge_line_is_refused_and_thrown_away(client: Client) -> None:
    client.raw(b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"x":"' + b"x" * MAX_LINE + b'"}}')
    message = client.next()
    assert message["id"] is None
    assert error_of(message) == (REQUEST, "message_too_large")


def test_a_large_line_is_read(client: Client) -> None:
    # 40 MiB of zeros as joints: allowed, decoded, captioned (of a long motion its middle).
    frames = (30 << 20) // (22 * 3 * 4)
    message = client.ask("caption", {"joints": encode_array(np.zeros((frames, 22, 3)))})
    assert len(message["result"]["captions"]) == 1


def test_empty_lines_and_notifications_get_no_answer(client: Client) -> None:
    client.raw(b"")
    client.raw(b"  \r")
    client.send("nothing")
    client.send("hello")
    client.send("generate", QUICK)
    client.send("generate", {"prompt": 5})
    client.send("cancel", {"id": "nobody"})
    assert client.ask("hello", request_id="next")["result"]  # the first answer is this one's


# -- the messages by themselves, without a process -------------------------------------------------------------------


class Stream(io.BytesIO):
    """Remembers the most that was asked for at once."""

    most = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0, "an unbounded read"
        self.most = max(self.most, size)
        return super().readline(size)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []), (b"\n\r\n \n", []), (b"ab\ncd\n", [b"ab", b"cd"]), (b"ab\r\ncd", [b"ab", b"cd"]),
        (b"12345678\n9\n", [b"12345678", b"9"]), (b"12345678\r\n9\n", [b"12345678", b"9"]),
        (b"123456789\n9\n", [None, b"9"]), (b"1234567890\n9\n", [None, b"9"]), (b"12345678901\n9\n", [None, b"9"]),
        (b"x" * 500_000 + b"\n9\n", [None, b"9"]), (b"x" * 500_000, [None]), (b"12345678\r\rx\n9", [None, b"9"]),
    ],
)  # fmt: skip
def test_lines_are_bounded(content: bytes, expected: list[bytes | None]) -> None:
    stream = Stream(content)
    lines = [None if isinstance(line, Oversized) else line for line in read_lines(stream, limit=8)]
    assert lines == expected
    assert stream.most <= 1 << 16


def test_arrays_survive_the_seam() -> None:
    joints = np.random.default_rng(0).normal(size=(9, 22, 3)).astype(np.float32)
    for given in (joints, joints.astype(">f8"), np.asfortranarray(joints)):
        raw = json.loads(json.dumps(encode_array(given)))
        assert raw["shape"] == [9, 22, 3]
        assert base64.b64decode(raw["data"]) == joints.astype("<f4").tobytes()
        back = decode_array(raw, "joints", (None, 22, 3))
        assert back.dtype == np.float32
        assert np.array_equal(back, joints)
        assert back.flags.writeable


def test_messages_are_one_ascii_line() -> None:
    line = protocol.error_message("ü", -32000, "code", "zwei\nZeilen \u2028 ü", "\ud800")
    assert line.count(b"\n") == 1
    assert line.isascii()
    with pytest.raises(ValueError, match="JSON"):
        protocol.progress_message(1, float("nan"), "")


def test_parse_gives_the_parts() -> None:
    request = parse(b'{"jsonrpc":"2.0","method":"cancel","params":{"id":3}}')
    assert (request.method, request.params, request.id, request.answer) == ("cancel", {"id": 3}, None, False)
    with pytest.raises(ProtocolError):
        parse(b"[1]")
