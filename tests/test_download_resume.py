"""Downloads that are broken off: they go on where they stopped, and what arrives is what the server described."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import hub_server
import pytest

pytest.importorskip("torch")
import huggingface_hub.constants as hub_settings

from core.__main__ import main
from core.errors import CoreError
from core.official import fetch
from core.official.fetch import HubFile, WebFile

ROOT = Path(__file__).resolve().parents[1]
REPO, NAME = "someone/something", "weights.ckpt"
DATA = random.Random(5).randbytes(6_000_000)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_settings, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    with hub_server.Hub({(REPO, NAME): DATA, (REPO, "small.txt"): b"small" * 100}) as server:
        yield server


@pytest.fixture
def get(hub, tmp_path):
    """Fetch a file of the server; its bytes."""

    def get(name: str = NAME) -> bytes:
        fetch.fetch(HubFile(REPO, name, endpoint=hub.url), tmp_path / name)
        assert not list(tmp_path.glob("*.incomplete"))
        return (tmp_path / name).read_bytes()

    return get


def test_connections_that_break_are_taken_up_again(hub, get):
    hub.budgets = [2_500_000, 0, 1_000_000]
    assert get() == DATA
    assert len(hub.transfers(NAME)) == 4
    starts = [int(r.removeprefix("bytes=").rstrip("-") or 0) for r in hub.transfers(NAME)]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[-1] > 2_000_000  # what had arrived was not asked for again


def test_progress_counts_what_was_there_before(hub, tmp_path):
    hub.budgets = [3_000_000] + [0] * 50
    with pytest.raises(CoreError) as caught:
        fetch.fetch(HubFile(REPO, NAME, endpoint=hub.url), tmp_path / NAME)
    assert caught.value.code == "no_network"
    assert "goes on where it stopped" in caught.value.remedy
    hub.budgets = []
    seen: list[tuple[int, int]] = []
    fetch.fetch(HubFile(REPO, NAME, endpoint=hub.url), tmp_path / NAME, lambda *now: seen.append(now))
    assert seen[0][0] > 2_000_000
    assert seen[-1] == (len(DATA), len(DATA))
    assert (tmp_path / NAME).read_bytes() == DATA


def test_a_server_that_cannot_send_parts(hub, get):
    hub.budgets, hub.ranges = [2_500_000], False
    assert get() == DATA


def test_a_file_that_changed_in_between_is_begun_anew(hub, get):
    hub.budgets = [3_000_000] + [0] * 50
    with pytest.raises(CoreError):
        get()
    hub.budgets = []
    hub.files[REPO, NAME] = DATA[::-1]
    assert get() == DATA[::-1]
    assert hub.transfers(NAME)[-1] == ""


@pytest.mark.parametrize("name", [NAME, "small.txt"], ids=["sha256", "git's sha1"])
def test_what_is_not_what_was_described_is_deleted(hub, get, tmp_path, name):
    good = hub.files[REPO, name]
    hub.lies[name] = bytes([good[0] ^ 1]) + good[1:]
    with pytest.raises(CoreError) as caught:
        get(name)
    assert caught.value.code == "checksum_wrong"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(name)]
    hub.lies.clear()
    assert get(name) == good


def test_more_than_was_described_is_not_taken(hub, get):
    hub.lies[NAME] = DATA * 4
    with pytest.raises(CoreError) as caught:
        get()
    assert caught.value.code == "checksum_wrong"


def test_plain_files(hub, tmp_path):
    hub.plain["/folder/mean.npy"] = DATA
    hub.budgets = [1_000_000]
    fetch.fetch(WebFile(f"{hub.url}/folder/mean.npy"), tmp_path / "mean.npy")
    assert (tmp_path / "mean.npy").read_bytes() == DATA


def test_a_killed_process_goes_on_where_it_was(hub, tmp_path):
    """The connection stalls, the process is killed, a new one asks only for the rest."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"),
           "MGPT3_CACHE": str(tmp_path / "cache")}  # fmt: skip
    command = [sys.executable, "-m", "core", "download", "--part", "model", "--out", str(tmp_path / "model"),
               "--repo", REPO, "--file", NAME, "--json"]  # fmt: skip
    hub.budgets, hub.stall = [4_500_000], True
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if "Downloading" in line:
                (begun,) = (tmp_path / "model.part").rglob("*.incomplete")
                while begun.stat().st_size < 4_000_000:  # what the server sends before it stalls, in whole pieces
                    time.sleep(0.01)
                child.send_signal(signal.SIGKILL)
                break
    assert not (tmp_path / "model").exists()
    have = begun.stat().st_size
    assert main([*command[3:], "--endpoint", hub.url]) == 0
    assert hub.transfers(NAME)[-1] == f"bytes={have}-"
    file = tmp_path / "model" / NAME
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(DATA).digest()
    assert not (tmp_path / "model.part").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits a file's size the way Linux does")
def test_a_disk_that_fills_up(hub, tmp_path):
    import resource

    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "core", "download", "--part", "model", "--out", str(tmp_path / "model"),
               "--repo", REPO, "--file", NAME, "--json"]  # fmt: skip
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))  # noqa: E731
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, preexec_fn=limit)
    assert done.returncode == 2
    assert json.loads(done.stdout.splitlines()[-1])["error"]["code"] == "disk_full"
    assert not (tmp_path / "model").exists()
