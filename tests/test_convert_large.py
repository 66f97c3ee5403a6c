"""Converting a checkpoint of a quarter of a gigabyte, in a process of its own: how much memory it takes, and what is
left when the disk is full or the process is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import official_checkpoint as made
import pytest

torch = pytest.importorskip("torch")
from core.convert import Options, convert  # noqa: E402 - after the check that torch is there
from core.prompts import Tokenizer  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

MEASURE = """
import json, sys
import torch
import core.convert, core.prompts, tokenizers
def peak():  # of this program; ru_maxrss would begin with what the process that started it had
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
assert core.convert.main(sys.argv[1:]) == 0
print(json.dumps(peak() - before))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts memory and limits files the way Linux does")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    made.make_tokenizer(folder)
    made.make_statistics(folder)
    state = made.official_state(made.small_config(width=512, layers=6, ff=2304, heads=8), Tokenizer(folder))
    torch.save(made.lightning(state), folder / "large.ckpt")
    return folder / "large.ckpt"


def run(*arguments: object, code: str | None = None, **how: object) -> subprocess.CompletedProcess:
    program = ["-c", code] if code else ["-m", "core", "convert"]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120, **how)


def test_memory_stays_far_below_the_weights(checkpoint, tmp_path):
    weights = checkpoint.stat().st_size
    done = run(checkpoint, "--out", tmp_path / "model", code=MEASURE)
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout.splitlines()[-1])
    # The promise is 2.2 times the weights; what is there is a constant: buffers, and parts of torch that load late.
    assert peak < 150e6 < weights


def test_a_full_disk_leaves_nothing_behind(checkpoint, tmp_path):
    import resource

    done = run(
        checkpoint, "--out", tmp_path / "model", "--json",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000_000, 50_000_000)),
    )  # fmt: skip
    assert done.returncode == 2
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert error["code"] == "disk_full"
    assert not list(tmp_path.iterdir())


def test_killed_at_any_moment_there_is_no_half_model(checkpoint, tmp_path):
    command = [sys.executable, "-m", "core", "convert", str(checkpoint), "--out", str(tmp_path / "model"), "--json"]
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if json.loads(line).get("progress", 0) > 0.4:  # in the middle of the weights
                child.send_signal(signal.SIGKILL)
                break
    assert not (tmp_path / "model").exists()
    assert list((tmp_path / "model.part").rglob("model.safetensors"))  # it was indeed at work
    convert(checkpoint, tmp_path / "model", Options(), lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
