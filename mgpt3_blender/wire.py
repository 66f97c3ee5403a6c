"""What crosses to the core: one JSON message a line, arrays as base64 of little-endian float32.

The protocol is JSON-RPC 2.0. The other end of it is `core/protocol.py`; the two share no code on purpose,
because the add-on never imports the core.
"""

from __future__ import annotations

import base64
import binascii
import json
import math

import numpy as np

from .errors import UserError

PROTOCOL = 1
MAX_LINE = 64 * 1024 * 1024
CANCELLED = -32800


def request_line(request_id: int, method: str, params: dict) -> bytes:
    """One request as the UTF-8 line that is sent (NaN and Infinity are refused: they are no JSON)."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8") + b"\n"


def parse_line(line: bytes) -> dict | None:
    """The message on a line, or None where the line is no JSON object (a stray print, a half line)."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def encode_array(array: np.ndarray) -> dict:
    """An array of any shape as the wire's object; values are cast to float32."""
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"dtype": "float32", "shape": list(data.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}


def decode_array(value: object, last: tuple[int, ...] = (22, 3)) -> np.ndarray:
    """The float32 array in a wire object, checked: (T, *last), T at least 1, every number finite.

    Raises UserError("bad_answer") where it is anything else.
    """
    try:
        if value["dtype"] != "float32":  # type: ignore[index]
            raise ValueError("the type of number is not float32")
        shape = tuple(int(n) for n in value["shape"])  # type: ignore[index]
        if len(shape) != 1 + len(last) or shape[1:] != last or shape[0] < 1:
            raise ValueError(f"the shape is {shape}")
        raw = base64.b64decode(value["data"], validate=True)  # type: ignore[index]
        if len(raw) != 4 * math.prod(shape):
            raise ValueError("the length does not fit the shape")
        array = np.frombuffer(raw, dtype="<f4").reshape(shape).astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("there are numbers that are not finite")
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UserError(
            "bad_answer",
            f"The motion model's answer cannot be read: {error}.",
            "Generate again; if it stays so, set the environment up anew in the preferences.",
        ) from error
    return array
