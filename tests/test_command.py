"""A command of the core as a child process: progress, result, errors, cancel, and programs that misbehave.

The programs are stand-ins that go wrong on purpose; converting itself is tested with the real core in
test_models_addon.py.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mgpt3_blender import command
from mgpt3_blender.errors import UserError


@pytest.fixture
def core(tmp_path: Path) -> command.Core:
    (tmp_path / "core").mkdir()
    return command.Core(Path(sys.executable), tmp_path, tmp_path / "logs" / "models.log", tmp_path / "cache")


def program(core: command.Core, code: str) -> None:
    """Make `python -m core` run this code; `say` prints a line of the protocol."""
    start = "import json, os, sys, time\n\ndef say(**words):\n    print(json.dumps(words), flush=True)\n\n"
    (core.core_parent / "core" / "__main__.py").write_text(start + code, encoding="utf-8")


def fails(core: command.Core, code: str, **options: object) -> UserError:
    program(core, code)
    with pytest.raises(UserError) as caught:
        command.run(core, ["convert"], **options)
    return caught.value


def test_progress_then_the_result(core: command.Core) -> None:
    code = """
say(progress=0.25, message="Reading é")
print("a stray line")
print("[1]")
say(progress="x", message="no number")
say(progress=7, message="too much")
say(result={"arguments": sys.argv[1:], "offline": os.environ["HF_HUB_OFFLINE"], "path": os.environ.get("PYTHONPATH")})
"""
    program(core, code)
    told: list[tuple[float, str]] = []
    result = command.run(core, ["convert", "a é.ckpt"], progress=lambda *words: told.append(words))
    assert result == {"arguments": ["convert", "a é.ckpt", "--json"], "offline": "1", "path": None}
    assert told == [(0.25, "Reading é"), (1.0, "too much")]
    assert command.run(core, ["download"], online=True)["offline"] == "0"


def test_a_reported_error_keeps_its_code_and_remedy(core: command.Core) -> None:
    error = fails(core, 'say(error={"code": "truncated", "message": "Cut off.", "remedy": "Copy it."})\nsys.exit(2)')
    assert (error.code, error.message, error.remedy) == ("truncated", "Cut off.", "Copy it.")
    assert fails(core, "say(error={})\nsys.exit(2)").code == "core_error"


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        ("import no_such_package_here", "packages_missing", "no_such_package_here"),
        ("sys.exit('error: A package is missing: No module named 'a.b'. Install it.')", "packages_missing", "a.b."),
        ("sys.exit('it went wrong')", "command_crashed", "it went wrong"),
        ("say(result={'folder': 'x'})\nsys.exit(1)", "command_crashed", "exit code 1"),
        ("say(result=7)", "command_crashed", "exit code 0"),
        ("pass", "command_crashed", "exit code 0"),
        ("os.kill(os.getpid(), 9)", "command_crashed", "memory runs out"),
    ],
)
def test_a_program_that_ends_without_a_result_is_a_clear_error(
    core: command.Core, code: str, expected: str, words: str
) -> None:
    error = fails(core, code)
    assert error.code == expected
    assert words in error.message
    assert error.remedy


def test_cancelling_ends_the_process_at_once(core: command.Core, within: Callable[..., None]) -> None:
    program(core, "say(progress=0.1, message=str(os.getpid()))\ntime.sleep(60)")
    told: list[str] = []
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        command.run(core, ["convert"], progress=lambda _, text: told.append(text), cancelled=lambda: bool(told))
    assert caught.value.code == "cancelled"
    within(time.monotonic() - started, 10.0)  # of its sixty
    with pytest.raises(ProcessLookupError):
        os.kill(int(told[0]), 0)


def test_a_program_that_says_nothing_is_ended(core: command.Core) -> None:
    error = fails(core, "say(progress=0.1, message='x')\ntime.sleep(60)", silence=1.0)
    assert error.code == "command_stalled"


def test_a_flood_of_log_does_not_block_it_and_is_kept(core: command.Core) -> None:
    program(core, "sys.stderr.write('log\\n' * 50_000)\nsay(result={'done': True})")
    assert command.run(core, ["convert"]) == {"done": True}
    assert core.log.read_text(encoding="utf-8").count("log\n") == 50_000


def test_a_python_that_is_not_there(core: command.Core, tmp_path: Path) -> None:
    program(core, "pass")
    with pytest.raises(UserError) as caught:
        command.run(command.Core(tmp_path / "none", tmp_path, core.log), ["convert"])
    assert caught.value.code == "python_missing"


def test_the_real_core_answers_in_the_protocol(tmp_path: Path) -> None:
    """No checkpoint, no model: the refusal of the program that ships, with its remedy."""
    core = command.Core(Path(sys.executable), Path(__file__).resolve().parents[1], tmp_path / "log", tmp_path / "cache")
    with pytest.raises(UserError) as caught:
        command.run(core, ["convert", str(tmp_path / "none.ckpt"), "--out", str(tmp_path / "out")])
    assert caught.value.code != "command_crashed"
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()
