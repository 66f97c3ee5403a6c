"""Download in Blender, from the button to the list, with the real core and a hub on this computer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import bpy
import hub_server
import pytest
from recorder import Recorder
from tiny_model import make_tiny_checkpoint

import mgpt3_blender
from mgpt3_blender import modelwork, panels_models, preferences, upkeep

REPO, GPT2, TOKEN = "OpenMotionLab/motiongpt3", "openai-community/gpt2", "hf_secretsecretsecret"
STATISTICS = ("mean.npy", "std.npy")


@pytest.fixture(scope="module")
def content(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of every official file, with random weights."""
    folder = make_tiny_checkpoint(tmp_path_factory.mktemp("official"), core_python, "gpt2").parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(
    content: dict[str, bytes], core_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[hub_server.Hub]:
    """The server, and an add-on that finds neither the cache nor the login of whoever runs the tests."""
    for name in ("MGPT3_MODEL", "MGPT3_ACCEPT_LICENCE", "MGPT3_CACHE", "HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MGPT3_PYTHON", str(core_python))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(preferences, "user_folder", lambda: tmp_path / "user folder")
    statistics = preferences.core().parts / "statistics"  # their place is no hub: as if fetched before
    statistics.mkdir(parents=True)
    for name in STATISTICS:
        (statistics / name).write_bytes(content[name])
    files = {(REPO, "motiongpt3.ckpt"): content["motiongpt3.ckpt"]}
    files |= {(GPT2, name): content[name] for name in ("vocab.json", "merges.txt")}
    with hub_server.Hub(files, {}, {REPO: {TOKEN}}, tokens={TOKEN}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        mgpt3_blender.register()
        bpy.context.preferences.system.use_online_access = True
        assert bpy.app.online_access
        yield server
        mgpt3_blender.unregister()


def buttons() -> list[str]:
    layout = Recorder()
    panels_models.draw_models(layout)
    return layout.operators


def test_from_no_account_to_a_model_in_the_list(hub: hub_server.Hub, content: dict[str, bytes]) -> None:
    with pytest.raises(RuntimeError, match="signed-in users"):
        bpy.ops.mgpt3.model_download()
    assert upkeep.view.error.code == "login_needed"
    assert {"wm.url_open", "mgpt3.hub_sign_in"} <= set(buttons())
    assert bpy.ops.mgpt3.hub_sign_in(token=TOKEN) == {"FINISHED"}

    # Stopped in the middle, in a thread as the window does it: what came so far stays, and is listed.
    half = len(content["motiongpt3.ckpt"]) // 2
    hub.budgets, hub.stall = [half], True
    task = upkeep.start(
        "Download", modelwork.download_work(preferences.core(), preferences.registry(), True), upkeep.MODELS
    )
    deadline = time.monotonic() + 60
    while "Downloading motiongpt3.ckpt" not in task.message and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0 < task.fraction < 0.5
    bpy.ops.mgpt3.setup_cancel()
    assert task.done.wait(30)
    upkeep.finish()
    assert upkeep.view.error.code == "cancelled"
    assert "kept" in upkeep.view.error.remedy
    preferences.refresh()
    (unfinished,) = upkeep.view.models[1:]
    assert "Not finished" in unfinished.problem
    assert unfinished.bytes > 0

    hub.budgets, hub.stall = [], False
    assert bpy.ops.mgpt3.model_download() == {"FINISHED"}
    (model,) = upkeep.view.models[1:]
    assert (model.problem, model.own) == ("", True)
    assert REPO in model.origin
    assert model.asks
    assert any(part for part in hub.transfers("motiongpt3.ckpt")[1:])  # it went on where it had stopped
    assert TOKEN not in preferences.models_log().read_text(encoding="utf-8")
    with pytest.raises(RuntimeError, match="here already"):
        bpy.ops.mgpt3.model_download()
