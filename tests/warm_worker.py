"""Fixtures for tests that ask a real worker: a tiny model, one warm process for a file's tests, the add-on registered.

A test file takes them over by importing them: `from warm_worker import registered, tiny, worker  # noqa: F401`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_model import make_tiny_model

import mgpt3_blender
from mgpt3_blender import jobs


@pytest.fixture(scope="module")
def tiny(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", core_python)


@pytest.fixture(scope="module", autouse=True)
def worker() -> Iterator[None]:
    yield
    jobs.stop_worker()


@pytest.fixture(autouse=True)
def registered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MGPT3_MODEL", str(tiny))
    monkeypatch.setattr(jobs, "stop_worker", lambda: None)  # one warm worker for all tests
    mgpt3_blender.register()
    yield
    mgpt3_blender.unregister()
