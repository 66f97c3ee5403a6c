"""Stands between the add-on and the real core and spoils what the core says, as told by a file: run by test_soak.py.

`python soak_garbler.py ORDER COMMAND...`: ORDER holds "KIND SEED"; it is read anew for every answer. Without a kind the
lines pass as they are. What the add-on asks passes as it is, always.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

SPOILT = (None, True, -1, 0, 1e308, 2**80, "", "many", [], [[]], {}, {"joints": 7}, "\x00\ud7ff" * 50)


def spots(value: object, path: tuple = ()) -> list[tuple]:
    """Every place inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [spot for key, entry in inside for spot in spots(entry, (*path, key))]


def spoil(message: dict, dice: random.Random) -> dict:
    """The message with one to three of its places holding something else."""
    for _ in range(dice.randint(1, 3)):
        *way, last = dice.choice([spot for spot in spots(message) if spot != ("id",)])
        place = message
        for key in way:
            place = place[key]
        if dice.random() < 0.2 and isinstance(place, dict):
            del place[last]
        else:
            place[last] = dice.choice(SPOILT)
    return message


def garble(kind: str, line: bytes, dice: random.Random) -> bytes:
    """What is sent in the place of an answer."""
    message = json.loads(line)
    if kind == "noise":  # what a careless library prints; the answer itself is whole
        return b"\n".join(dice.randbytes(dice.randint(0, 300)) for _ in range(20)) + b"\n" + line
    if kind == "cut":  # half a line, and the other half is lost
        return line[: dice.randint(1, len(line) - 2)] + b"\n"
    if kind == "flood":  # more than one poll takes in
        stray = {"jsonrpc": "2.0", "method": "progress", "params": {"id": message["id"], "fraction": "x"}}
        return (json.dumps(stray).encode() + b"\n") * 3000 + line
    if kind == "twice":  # and answers for requests that nobody made
        other = json.dumps({**message, "id": message["id"] + 1}).encode() + b"\n"
        return other + line + line + other
    if kind == "shape":
        answers = ({"result": None}, {"result": []}, {"error": 7}, {"error": {"data": [1]}}, {"error": {"code": "x"}})
        return json.dumps({"id": message["id"], **dice.choice(answers)}).encode() + b"\n"
    if kind == "values":
        return json.dumps(spoil(message, dice)).encode() + b"\n"
    raise ValueError(kind)


def main() -> None:
    order = Path(sys.argv[1])
    core = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert core.stdin is not None
    assert core.stdout is not None
    asked = core.stdin

    def ask() -> None:
        for line in sys.stdin.buffer:
            asked.write(line)
            asked.flush()
        asked.close()

    threading.Thread(target=ask, daemon=True).start()
    for line in core.stdout:
        said = order.read_text(encoding="utf-8").split()
        if said and b'"method"' not in line[:200] and b'"protocol"' not in line:
            line = garble(said[0], line, random.Random(int(said[1])))
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    os._exit(core.wait())


if __name__ == "__main__":
    main()
