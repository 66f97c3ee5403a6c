"""A folder of a user's to set up in, for the tests of the set-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mgpt3_blender import runtime

DRIVER = Path(__file__).with_name("setup_driver.py")
posix = pytest.mark.skipif(os.name == "nt", reason="signals, mounts and locales of Linux")


class Place:
    """A folder of the user's with pins, and set-ups in it."""

    def __init__(self, base: Path, *pins: str) -> None:
        self.base = base
        self.folder = base / "environment"
        base.mkdir(parents=True, exist_ok=True)
        self.requirements = base / "requirements.txt"
        self.requirements.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")

    def start(self, variables: dict[str, str], **order: object) -> subprocess.Popen[bytes]:
        """Start a set-up with these environment variables and no others."""
        path = self.base / "order.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        command = [sys.executable, str(DRIVER), str(path)]
        env = {"HOME": str(self.base), "PIP_CONFIG_FILE": os.devnull, **variables}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, variables: dict[str, str], **order: object) -> list[dict]:
        """All that a set-up says; the last is its end."""
        process = self.start(variables, **order)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode(errors="replace")
        return [json.loads(line) for line in said.splitlines()]

    def here(self, **others: Any) -> str:
        """Set up in this process, online where nothing else is said; the last line."""
        usual: dict[str, Any] = {
            "verify": lambda python, stop: "It works",
            "pythons": [Path(sys.executable)],
            "online": True,
            "log": self.base / "setup.log",
        }
        return runtime.set_up(self.folder, self.requirements, **{**usual, **others})

    def log(self) -> str:
        return (self.base / "setup.log").read_text(encoding="utf-8", errors="replace")

    def state(self) -> str:
        return runtime.state(self.folder, self.requirements).name
