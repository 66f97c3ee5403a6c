"""The language of the seam: JSON-RPC 2.0, one UTF-8 JSON message a line, arrays as base64 float32.

Only the messages themselves: reading a line without trusting it, checking it, and making replies. `serve.py` acts on
them. Reference: https://www.jsonrpc.org/specification; batches are not part of this protocol.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np

VERSION = "0.1.0"
"""Version of the core, the same as the extension's."""

PROTOCOL = 1
"""Version of this protocol, in the hello message."""

MAX_LINE = 64 * 1024 * 1024
"""Longest message, bytes without the line's end."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
CANCELLED = -32800
CORE_ERROR = -32000

Id = str | int | None


class ProtocolError(Exception):
    """What is wrong with a message.

    Args:
        number: the JSON-RPC error code.
        code: stable identifier, e.g. "params_invalid".
        message: one sentence.
        remedy: what to do about it.
        request_id: the request it answers, None where the message does not say.
    """

    def __init__(self, number: int, code: str, message: str, remedy: str = "", request_id: Id = None) -> None:
        super().__init__(message)
        self.number, self.code, self.message, self.remedy, self.request_id = number, code, message, remedy, request_id


@dataclass
class Request:
    """A checked message. `id` is None and `answer` False for a notification."""

    method: str
    params: dict[str, Any]
    id: Id
    answer: bool


class Oversized:
    """Stands for a line longer than the limit; its bytes were thrown away."""


def read_lines(stream: BinaryIO, limit: int = MAX_LINE) -> Iterator[bytes | Oversized]:
    """The lines of a stream until its end. Never holds more than `limit` bytes of one line; skips empty lines."""
    while line := stream.readline(limit + 2):  # + 2: a line of exactly `limit` bytes may end in \r\n
        content = line.rstrip(b"\r\n")
        cut = len(line) == limit + 2 and not line.endswith(b"\n")
        if len(content) > limit or cut:
            while not line.endswith(b"\n") and (line := stream.readline(1 << 16)):
                pass
            yield Oversized()
        elif content.strip():
            yield content


def parse(line: bytes) -> Request:
    """A message from one line.

    Raises:
        ProtocolError: -32700 if it is not JSON (NaN and Infinity are not), -32600 if it is not a request.
    """
    try:
        raw = json.loads(line.decode("utf-8"), parse_constant=_reject, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ProtocolError(PARSE_ERROR, "parse_error", f"The message is not valid JSON: {_short(error)}.") from None
    if isinstance(raw, list):
        raise _invalid("Batches of messages are not supported.", "Send one message a line.")
    if not isinstance(raw, dict):
        raise _invalid("A message must be a JSON object.")
    request_id = raw.get("id")
    if "id" in raw and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        raise _invalid("A request's id must be a string or an integer.")
    if raw.get("jsonrpc") != "2.0":
        raise _invalid('A message must say "jsonrpc": "2.0".', request_id=request_id)
    method = raw.get("method")
    if not isinstance(method, str):
        raise _invalid("A message must name its method.", request_id=request_id)
    params = raw.get("params", {})
    if not isinstance(params, dict):
        raise params_error("The params must be an object of named values.", request_id)
    return Request(method, params, request_id, "id" in raw)


def result_message(request_id: Id, result: Any) -> bytes:
    return _line({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_message(
    request_id: Id, number: int, code: str, message: str, remedy: str = "", traceback: str | None = None
) -> bytes:
    data = {"code": code, "remedy": remedy}
    if traceback:
        data["traceback"] = traceback
    error = {"code": number, "message": message, "data": data}
    return _line({"jsonrpc": "2.0", "id": request_id, "error": error})


def progress_message(request_id: Id, fraction: float, message: str) -> bytes:
    params = {"id": request_id, "fraction": fraction, "message": message}
    return _line({"jsonrpc": "2.0", "method": "progress", "params": params})


def encode_array(array: np.ndarray) -> dict[str, Any]:
    """Any array as {"dtype": "float32", "shape": [...], "data": base64, little-endian, C order}."""
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"dtype": "float32", "shape": list(data.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}


def decode_array(raw: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The float32 array of a message.

    Args:
        raw: what stands in the message.
        name: the parameter's name, for the error.
        shape: the shape it must have, None where any positive size will do.
    Raises:
        ProtocolError: -32602 if it is not such an array, its size is wrong, or it holds NaN or infinity.
    """
    wanted = " x ".join("N" if size is None else str(size) for size in shape)
    if not isinstance(raw, dict) or raw.get("dtype") != "float32":
        raise params_error(f'"{name}" must be an array of dtype "float32" and shape {wanted}.')
    got = raw.get("shape")
    if not isinstance(got, list) or len(got) != len(shape) or not all(map(_size_fits, got, shape)):
        raise params_error(f'"{name}" must have the shape {wanted}.')
    data = raw.get("data")
    if not isinstance(data, str):
        raise params_error(f'"{name}" must carry its data as base64 text.')
    try:
        binary = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise params_error(f'The data of "{name}" is not base64.') from None
    if len(binary) != 4 * math.prod(got):
        raise params_error(f'The data of "{name}" has {len(binary)} bytes, its shape needs {4 * math.prod(got)}.')
    array = np.frombuffer(binary, "<f4").reshape(got).astype(np.float32)
    if not np.isfinite(array).all():
        raise params_error(f'"{name}" holds values that are not finite numbers.')
    return array


class Params:
    """The params of one request, taken one by one with their types checked; `done` refuses what is left.

    Every method raises ProtocolError -32602.
    """

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = dict(raw)

    def text(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str):
            raise params_error(f'"{name}" must be text.')
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # half a surrogate pair: valid JSON, but no character
            raise params_error(f'"{name}" holds characters that do not exist.') from None
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._take(name, default)
        if type(value) is not int or not low <= value <= high:
            raise params_error(f'"{name}" must be a whole number from {low} to {high}.')
        return value

    def number(self, name: str) -> float:
        value = self._take(name)
        if type(value) not in (int, float) or abs(value) > 1e300:
            raise params_error(f'"{name}" must be a number.')
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._raw.pop(name, default)
        if type(value) is not bool:
            raise params_error(f'"{name}" must be true or false.')
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        return None if self._raw.get(name) is None and self._skip(name) else self.integer(name, low, high)

    def optional_number(self, name: str) -> float | None:
        return None if self._raw.get(name) is None and self._skip(name) else self.number(name)

    def array(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        return decode_array(self._take(name), name, shape)

    def has(self, name: str) -> bool:
        """Whether the parameter is there and not null; one that is null is taken off."""
        return self._raw.get(name) is not None or not self._skip(name)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) != count or any(type(v) not in (int, float) for v in value):
            raise params_error(f'"{name}" must be {count} numbers.')
        if any(abs(v) > 1e9 for v in value):
            raise params_error(f'"{name}" holds a number that is too large.')
        return [float(v) for v in value]

    def texts(self, name: str, limit: int) -> list[str]:
        """A list of 1 to `limit` texts."""
        value = self._take(name)
        if not isinstance(value, list) or not 1 <= len(value) <= limit:
            raise params_error(f'"{name}" must be a list of 1 to {limit} texts.')
        return [Params({name: item}).text(name) for item in value]

    def objects(self, name: str, limit: int = 256) -> list[Params]:
        """A list of objects, empty where it is missing; the params of each, which want their own `done`."""
        value = self._raw.pop(name, None)
        value = [] if value is None else value
        if not isinstance(value, list) or len(value) > limit or not all(isinstance(item, dict) for item in value):
            raise params_error(f'"{name}" must be a list of at most {limit} objects.')
        return [Params(item) for item in value]

    def request_id(self, name: str) -> str | int:
        value = self._take(name)
        if type(value) not in (str, int):
            raise params_error(f'"{name}" must be a request\'s id: a string or an integer.')
        return value

    def done(self) -> None:
        if self._raw:
            raise params_error(f'Unknown parameter "{_short(next(iter(self._raw)))}".')

    def _take(self, name: str, default: Any = None) -> Any:
        if name not in self._raw and default is None:
            raise params_error(f'The parameter "{name}" is missing.')
        return self._raw.pop(name, default)

    def _skip(self, name: str) -> bool:
        self._raw.pop(name, None)
        return True


def _size_fits(size: Any, wanted: int | None) -> bool:
    return type(size) is int and size > 0 and wanted in (None, size)


def params_error(message: str, request_id: Id = None) -> ProtocolError:
    return ProtocolError(INVALID_PARAMS, "params_invalid", message, request_id=request_id)


def _invalid(message: str, remedy: str = "", request_id: Id = None) -> ProtocolError:
    return ProtocolError(INVALID_REQUEST, "request_invalid", message, remedy, request_id)


def _line(message: dict[str, Any]) -> bytes:
    # ASCII only: no locale and no half surrogate can make a line that is not UTF-8.
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{_short(digits)} is too large a number")
    return value


def _short(thing: object, limit: int = 120) -> str:
    """What is quoted of a message that may be megabytes long."""
    text = str(thing)
    return text if len(text) <= limit else text[:limit] + "..."
