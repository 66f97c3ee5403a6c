"""A client for the worker's tests: starts `python -m core serve` and speaks to it line by line."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tiny_model import ROOT

QUICK = {"prompt": "a person walks", "seconds": 1.0, "seed": 7, "steps": 3}
SLOW = {"prompt": "a person walks", "seconds": 9.8, "seed": 7, "steps": 1000, "variations": 32}
LONG = 60.0  # seconds before a test gives up; nothing here takes that long


class Client:
    """Speaks to a worker, line by line, and keeps what it says in order."""

    def __init__(self, model: Path, *command: str) -> None:
        command = command or ("-m", "core", "serve", "--model", str(model), "--device", "cpu")
        self.process = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.log: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_log(self) -> None:
        assert self.process.stderr
        self.log.extend(self.process.stderr)

    def raw(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: Any = None, **extra: Any) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **extra}).encode())

    def next(self) -> dict[str, Any]:
        """The next message; every line on stdout must be one."""
        line = self.lines.get(timeout=LONG)
        assert line is not None, b"".join(self.log).decode()
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def answer(self) -> dict[str, Any]:
        """The next message that is no progress."""
        while (message := self.next()).get("method") == "progress":
            pass
        return message

    def ask(self, method: str, params: Any = None, request_id: str | int = 1) -> dict[str, Any]:
        self.send(method, params, id=request_id)
        message = self.answer()
        assert message["id"] == request_id
        return message

    def until_progress(self, request_id: str | int, least: float = 0.0) -> dict[str, Any]:
        while not ((message := self.next()).get("method") == "progress" and message["params"]["id"] == request_id
                   and message["params"]["fraction"] > least):  # fmt: skip
            assert "result" not in message, message
        return message["params"]

    def close(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(LONG)


def error_of(message: dict[str, Any]) -> tuple[int, str]:
    assert "result" not in message
    error = message["error"]
    assert error["message"]
    assert isinstance(error["data"]["remedy"], str)
    return error["code"], error["data"]["code"]


def check_alive(client: Client) -> None:
    """That the worker lives on and has said nothing that nobody asked for."""
    assert client.process.poll() is None
    assert "result" in client.ask("hello", request_id="still there?")
    assert client.lines.empty()
