"""Downloading the model, its tokenizer and its statistics from a hub on this computer, until a model works offline."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import hub_server
import numpy as np
import official_checkpoint as made
import pytest

torch = pytest.importorskip("torch")
import huggingface_hub.constants as hub_settings  # noqa: E402 - after the check that torch is there

from core.__main__ import main  # noqa: E402
from core.model.checkpoint import load_model  # noqa: E402
from core.official import fetch  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
REPO, GPT2, TOKEN = "OpenMotionLab/motiongpt3", "openai-community/gpt2", "hf_secretsecretsecret"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of every official file, with random weights behind GPT-2's vocabulary."""
    folder = made.make_gpt2_like(tmp_path_factory.mktemp("official"))
    made.make_statistics(folder)
    state = made.official_state(made.small_config(), Tokenizer(folder))
    data = io.BytesIO()
    torch.save(made.lightning(state), data)
    return {"motiongpt3.ckpt": data.getvalue(), **{path.name: path.read_bytes() for path in folder.iterdir()}}


@pytest.fixture
def hub(content, tmp_path, monkeypatch):
    """The server; this process knows no login and no cache of the person who runs the tests."""
    monkeypatch.setenv("MGPT3_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_settings, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(hub_settings, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    files = {(REPO, "motiongpt3.ckpt"): content["motiongpt3.ckpt"]}
    files.update({(GPT2, name): content[name] for name in ("vocab.json", "merges.txt")})
    plain = {f"/meta/{name}": content[name] for name in ("mean.npy", "std.npy")}
    with hub_server.Hub(files, plain, {REPO: {TOKEN}}, tokens={TOKEN, "hf_other"}) as server:
        yield server


def download(hub, capsys, *arguments: object) -> dict:
    """Run the command in this process; its last line."""
    places = ["--endpoint", hub.url, "--statistics-url", f"{hub.url}/meta"]
    code = main(["download", *map(str, arguments), *places, "--json"])
    captured = capsys.readouterr()
    assert TOKEN not in captured.out + captured.err
    *progress, last = [json.loads(line) for line in captured.out.splitlines()]
    assert all(0 <= line["progress"] <= 1 for line in progress)
    assert [line["progress"] for line in progress] == sorted(line["progress"] for line in progress)
    assert code == (0 if "result" in last else 2)
    if "error" in last:
        assert last["error"]["message"].endswith(".")
        assert last["error"]["remedy"]
        return last["error"]
    return last["result"]


def test_everything_at_once_and_then_no_network(hub, capsys, tmp_path, content, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    result = download(hub, capsys, "--out", tmp_path / "official")
    assert result["folder"] == str(tmp_path / "official")
    assert REPO in result["origin"]
    assert hub_server.COMMIT[:12] in result["origin"]
    assert load_model(tmp_path / "official", "cpu").info["origin"] == result["origin"]
    assert not (tmp_path / "official.part").exists()  # the checkpoint is not kept a second time

    # The login went to the hub, not to where large files are, and nowhere on the disk.
    asked = {(place, "authorization" in headers) for place, _, headers in hub.requests}
    assert ("hub", True) in asked
    assert ("large", True) not in asked
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes()

    # A second checkpoint needs nothing from the network any more.
    hub.requests.clear()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "second.ckpt").write_bytes(content["motiongpt3.ckpt"])
    assert main(["convert", str(tmp_path / "elsewhere" / "second.ckpt"), "--out", str(tmp_path / "second")]) == 0
    assert not hub.requests


def test_a_login_from_the_standard_file(hub, capsys, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    assert download(hub, capsys, "--part", "model", "--out", tmp_path / "ckpt")["name"] == "motiongpt3.ckpt"
    assert [path.name for path in (tmp_path / "ckpt").iterdir()] == ["motiongpt3.ckpt"]


def test_parts_go_to_the_cache_once(hub, capsys, tmp_path):
    for part, place, names in (
        ("tokenizer", "gpt2", ["merges.txt", "vocab.json"]),
        ("statistics", "statistics", ["mean.npy", "std.npy"]),
    ):
        folder = tmp_path / "cache" / place
        assert download(hub, capsys, "--part", part)["folder"] == str(folder)
        assert sorted(path.name for path in folder.iterdir()) == names
        hub.requests.clear()
        assert "already" in download(hub, capsys, "--part", part)["lines"][1]
        assert not hub.requests
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["gpt2", "statistics"]
    (tmp_path / "cache" / "gpt2" / "vocab.json").write_text("{}")  # damaged: fetched anew
    assert len(download(hub, capsys, "--part", "tokenizer")["lines"]) == 1
    assert hub.requests


def test_parts_go_where_they_are_wanted(hub, capsys, tmp_path):
    download(hub, capsys, "--part", "tokenizer", "--out", tmp_path / "words")
    assert Tokenizer(tmp_path / "words").text_vocab == 50259
    assert download(hub, capsys, "--part", "tokenizer", "--out", tmp_path / "words")["code"] == "out_exists"
    assert download(hub, capsys, "--part", "model")["code"] == "out_missing"


def test_what_other_programs_fetched_is_used(hub, capsys, tmp_path, content):
    """The checkpoint and the tokenizer in the Hugging Face cache: only the statistics are asked for."""
    for repo, names in ((REPO, ["motiongpt3.ckpt"]), (GPT2, ["vocab.json", "merges.txt"])):
        snapshot = tmp_path / "hub" / ("models--" + repo.replace("/", "--")) / "snapshots" / hub_server.COMMIT
        snapshot.mkdir(parents=True)
        for name in names:
            (snapshot / name).write_bytes(content[name])
    result = download(hub, capsys, "--out", tmp_path / "official")
    assert "cache" in result["origin"]
    assert {line.rpartition("/")[2] for _, line, _ in hub.requests} == {"mean.npy", "std.npy"}
    assert (snapshot / "vocab.json").exists()


# -- what can go wrong -----------------------------------------------------------------------------------------------


def test_gate_and_login(hub, capsys, tmp_path, monkeypatch):
    def code() -> dict:
        return download(hub, capsys, "--out", tmp_path / "official")

    error = code()
    assert error["code"] == "login_needed"
    assert "hf auth login" in error["remedy"]
    assert REPO in error["remedy"]
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert code()["code"] == "access_needed"
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert code()["code"] == "token_refused"
    assert not list(tmp_path.glob("official*"))  # nothing came, so nothing looks begun either


def test_repository_or_file_not_there(hub, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    out = tmp_path / "official"
    assert download(hub, capsys, "--out", out, "--repo", "nobody/nothing")["code"] == "repo_missing"
    monkeypatch.delenv("HF_TOKEN")
    error = download(hub, capsys, "--out", out, "--repo", "nobody/nothing")
    assert error["code"] == "repo_missing"
    assert "hf auth login" in error["remedy"]
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.files[REPO, "motiongpt3_stage3.ckpt"] = b"x"
    error = download(hub, capsys, "--out", out, "--file", "other.ckpt")
    assert error["code"] == "file_missing"
    assert "motiongpt3.ckpt, motiongpt3_stage3.ckpt" in error["remedy"]


def test_no_network(hub, capsys, tmp_path):
    hub.__exit__()
    error = download(hub, capsys, "--out", tmp_path / "official")
    assert error["code"] == "no_network"
    assert "127.0.0.1" in error["message"]
    assert download(hub, capsys, "--part", "statistics")["code"] == "no_network"


def test_a_busy_server(hub, capsys, tmp_path):
    hub.busy = 2
    assert download(hub, capsys, "--part", "tokenizer")["name"] == "GPT-2 tokenizer"  # tried again
    hub.busy = 100
    assert download(hub, capsys, "--part", "tokenizer", "--out", tmp_path / "words")["code"] == "hub_busy"


def test_statistics_that_are_none(hub, capsys, tmp_path):
    hub.plain["/meta/std.npy"] = b"<html>Sign in</html>"
    assert download(hub, capsys, "--part", "statistics")["code"] == "statistics_broken"
    kit = io.BytesIO()
    np.save(kit, np.ones(251, np.float32))
    hub.plain["/meta/std.npy"] = kit.getvalue()
    assert "KIT" in download(hub, capsys, "--part", "statistics")["message"]
    del hub.plain["/meta/std.npy"]
    assert not list(tmp_path.glob("cache/*"))
    assert download(hub, capsys, "--part", "statistics")["code"] == "file_missing"
    assert not (tmp_path / "cache" / "statistics").exists()


def test_a_tokenizer_that_is_not_gpt2s(hub, capsys, tmp_path):
    made.make_tokenizer(tmp_path / "small")
    for name in ("vocab.json", "merges.txt"):
        hub.files[GPT2, name] = (tmp_path / "small" / name).read_bytes()
    assert download(hub, capsys, "--part", "tokenizer")["code"] == "tokenizer_wrong"
    assert not list(tmp_path.glob("cache/*"))


def test_a_disk_without_room_is_told_before_the_transfer(hub, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.sizes["motiongpt3.ckpt"] = 10**16
    error = download(hub, capsys, "--out", tmp_path / "official")
    assert error["code"] == "disk_full"
    assert not hub.transfers("motiongpt3.ckpt")


def test_a_checkpoint_that_is_bad_is_not_made_a_model(hub, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    data = io.BytesIO()
    torch.save({"vae.global_motion_token": torch.zeros(2, 40_000)}, data)
    hub.files[REPO, "motiongpt3.ckpt"] = data.getvalue()
    assert download(hub, capsys, "--out", tmp_path / "official")["code"] == "checkpoint_vae_only"
    assert not (tmp_path / "official").exists()


def test_as_a_command_of_its_own_with_the_environments_settings(hub, tmp_path):
    """HF_ENDPOINT and HF_HUB_OFFLINE, which are read when a program starts."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "core", "download", "--part", "tokenizer"]
    done = subprocess.run(command, env={**env, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE" in done.stderr
    assert not hub.requests
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "cache" / "gpt2") in done.stdout
