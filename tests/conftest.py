"""What every test shares: where it runs, a fresh Blender around each, and an end that Blender cannot hang.

One rule sorts the files: a test file that imports bpy (at its top or through `pytest.importorskip("bpy")`) runs in
the environments that have bpy; every other file runs in the core's, which has torch. `build.py test` visits both, so
each file runs somewhere; a file in the wrong place fails loudly there, at its import.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the add-on as the plain package `mgpt3_blender`, and `core`

import build  # noqa: E402

HAS_BPY = importlib.util.find_spec("bpy") is not None
ended: list[int] = []

if HAS_BPY and "BLENDER_USER_RESOURCES" not in os.environ:
    # Before bpy is first imported: tests neither see nor touch the settings of whoever runs them.
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="mgpt3-blender-user-")
if build.core_environment().python.exists():
    os.environ.setdefault("MGPT3_PYTHON", str(build.core_environment().python))


BOUNDS = "MGPT3_BOUNDS"
"""Set by `build.py measure pauses` to the file for its figures: then only tests that use `within` run."""
HUNG = 30.0


class Elsewhere(pytest.Module):
    """A test file that belongs to the other kind of environment: known here, run there."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return []


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if build.imports_bpy(module_path) != HAS_BPY:
        return Elsewhere.from_parent(parent, path=module_path)
    return None


def pytest_report_header() -> str:
    return f"files that {'import' if HAS_BPY else 'do not import'} bpy run here"


@pytest.fixture(autouse=HAS_BPY)
def fresh_blender() -> None:
    """An empty file with factory settings before every Blender test: nothing of one test reaches the next."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared motion and rigs beside the checkout; no part of the project, so without it a test skips."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared/ folder (rigs, BVH files, captioned motion) beside the checkout")
    return folder


@pytest.fixture(scope="session")
def core_python() -> Path:
    """The Python that can run the core."""
    python = os.environ.get("MGPT3_PYTHON")
    if not python or not Path(python).exists():
        pytest.skip("needs the core's environment: run `python3.11 build.py test`, or set MGPT3_PYTHON")
    return Path(python)


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's zip as it ships, built from this checkout."""
    return build.build_zip(tmp_path_factory.mktemp("zip"))


@pytest.fixture
def within(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Say what took how long, in seconds, and what it may take.

    `build.py measure pauses` holds it to that. A run of all tests shares its processors and now and then waits a
    second for one: there only what hangs fails, whatever stood before it.
    """
    figures = os.environ.get(BOUNDS)

    def check(seconds: float, bound: float, what: str = "") -> None:
        name = " ".join(filter(None, (request.node.nodeid.removeprefix("tests/"), what)))
        print(f"{name}: {seconds:.4f} s (bound {bound:g} s)")
        if figures:
            with Path(figures).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"what": name, "seconds": seconds, "bound": bound}) + "\n")
        assert seconds < (bound if figures else bound + HUNG), what

    return check


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get(BOUNDS):
        kept = [item for item in items if "within" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_sessionfinish(exitstatus: int) -> None:
    ended.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Leave without Blender's own exit, which hangs (4.5) or crashes (4.2) on a timer or CLI command left behind."""
    if "bpy" in sys.modules and ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended[0])
