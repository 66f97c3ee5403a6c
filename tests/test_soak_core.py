"""What holds for the worker over a long time and against ill will, without Blender: memory, ports, what is shipped."""

from __future__ import annotations

import ast
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_model import ROOT, make_tiny_model

import build
from mgpt3_blender.failure import WorkerError
from mgpt3_blender.worker import Launch, Worker

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and limits another process")

LARGE = {"prompt": "a person walks forward", "seconds": 9.8, "seed": 1, "variations": 64, "steps": 30}
QUICK = {"prompt": "a person walks forward", "seconds": 2.0, "seed": 1, "variations": 2, "steps": 5}


@pytest.fixture(scope="module")
def model(core_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", core_python)


@pytest.fixture
def start(core_python: Path, model: Path, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(megabytes: int = 0) -> Worker:
        launch = Launch(core_python, ROOT, tmp_path / "worker.log", model, "cpu")
        if megabytes:
            line = f'ulimit -v {megabytes * 1024}; exec "$@"'
            launch = Launch(core_python, ROOT, launch.log, command=("/bin/sh", "-c", line, "sh", *launch.arguments()))
        made.append(Worker(launch))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


def status(process_id: int | None, name: str) -> int:
    """KB of one line of /proc/PID/status."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":")))


def failed(worker: Worker, params: dict, **options: object) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        worker.wait(worker.request("generate", params), **options)  # type: ignore[arg-type]
    return caught.value


@linux
def test_memory_stays_flat_over_200_requests_of_all_kinds(start: Callable[..., Worker]) -> None:
    worker = start()
    motion = worker.wait(worker.request("generate", QUICK))["motions"][0]["joints"]  # type: ignore[index]
    used, own = [], []
    for number in range(200):
        kind = number % 4
        if kind == 0:
            failed(worker, {**QUICK, "seconds": 99.0})
        elif kind == 1:
            worker.wait(worker.request("caption", {"joints": motion}))
        elif kind == 2:  # asked for, and no longer wanted: what it makes is dropped
            worker.cancel(worker.request("generate", QUICK))
        else:
            worker.wait(worker.request("generate", {**QUICK, "seed": number, "seconds": 2.0 + number % 7}))
        used.append(status(worker.process_id, "VmRSS") / 1024)
        own.append(status(os.getpid(), "VmRSS") / 1024)
    assert max(used[150:]) - max(used[40:60]) < 12, used[::10]  # MB
    assert max(own[150:]) - max(own[40:60]) < 12, own[::10]
    assert len(os.listdir(f"/proc/{worker.process_id}/task")) < 40  # threads of a cancel or a request do not pile up


@linux
@pytest.mark.parametrize("megabytes", [60, 150, 300])
def test_too_little_memory_to_start_says_so(start: Callable[..., Worker], megabytes: int) -> None:
    error = failed(start(megabytes), QUICK)
    assert (error.code, bool(error.remedy)) == ("out_of_memory", True)
    assert "Set" not in error.remedy  # the packages are whole: installing them again would not help


@linux
@pytest.mark.parametrize(("spare", "at"), [(0, 0.0), (1, 0.5)])
def test_memory_that_runs_out_at_work_says_so_and_the_next_request_works(
    start: Callable[..., Worker], spare: int, at: float
) -> None:
    worker = start()
    worker.wait(worker.request("hello"))
    full = worker.process_id

    def limit(fraction: float, message: str) -> None:
        if worker.process_id == full and fraction >= at:
            room = (status(full, "VmSize") + spare * 1024) * 1024
            resource.prlimit(full, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))

    error = failed(worker, LARGE, progress=limit)
    assert (error.code, bool(error.remedy)) == ("out_of_memory", True)
    assert len(worker.wait(worker.request("generate", QUICK))["motions"]) == 2  # type: ignore[index, arg-type]
    assert worker.process_id != full  # not the one that could not load its libraries


@linux
def test_the_worker_listens_nowhere(start: Callable[..., Worker]) -> None:
    worker = start()
    worker.wait(worker.request("generate", QUICK))
    folder = Path(f"/proc/{worker.process_id}/fd")
    held = [os.readlink(file) for file in folder.iterdir()]
    assert any(name.startswith("pipe:") for name in held)  # this is how it is spoken to
    assert not [name for name in held if name.startswith("socket:")]
    assert not Path(f"/proc/{worker.process_id}/task/{worker.process_id}/children").read_text(encoding="utf-8")


# --- what is shipped

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "code", "runpy"}
SERVERS = {"socketserver", "http.server", "xmlrpc.server", "wsgiref", "flask", "fastapi", "uvicorn", "aiohttp"}
CALLS = {"torch.load", "os.system", "os.popen", "torch.jit.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load"}


def offences(source: str, name: str) -> list[str]:
    """What in a Python file could run what a file of somebody else's says, or wait for somebody to call.

    The training commands keep checkpoints in their own folder of runs and read them as weights only, which calls
    nothing; the add-on starts none of them, and a model comes out of them as safetensors.
    """
    training = name.startswith("core/train/")
    found = []
    for node in ast.walk(ast.parse(source)):
        said = ""
        if isinstance(node, ast.Import):
            said = " ".join(alias.name for alias in node.names if alias.name in MODULES | SERVERS)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
            said = " ".join(sorted(whole & (MODULES | SERVERS | CALLS)))
        elif isinstance(node, ast.Attribute) and node.attr in ("driver_namespace", "listen", "unsafe_load"):
            said = node.attr
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            safe = called == "torch.load" and given.get("weights_only") == "True" and training
            if (called in RUNS_CODE | CALLS and not safe) or given.get("shell") == "True":
                said = called
            if given.get("allow_pickle", "False") != "False" or given.get("trust_remote_code", "False") != "False":
                said = called
            if given.get("use_scripts", "False") != "False":  # not given: as the user has set Blender
                said = called
        if said:
            found.append(f"{name}:{node.lineno}: {said}")  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "from torch import load",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",  # fine in the training commands, which read what they wrote
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "from http import server\nimport http.server",
        "bpy.app.driver_namespace['f'] = f",
        "bpy.ops.wm.open_mainfile(filepath=path, use_scripts=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_search_for_dangerous_code_finds_it(line: str) -> None:
    assert offences(line, "core/model/x.py")
    assert offences(line, "core/train/x.py") or "weights_only" in line


def test_nothing_that_is_shipped_runs_what_a_file_says() -> None:
    files = {name: file for name, file in build.zip_members().items() if name.endswith(".py")}
    assert len(files) > 100
    found = [line for name, file in files.items() for line in offences(file.read_text(encoding="utf-8"), name)]
    assert found == []


def test_no_weights_that_are_shipped_are_of_a_kind_that_can_run() -> None:
    kinds = {Path(name).suffix for name in build.zip_members() if "/weights/" in name}
    assert ".safetensors" in kinds
    assert kinds <= {".safetensors", ".json", ".txt", ".md", ""}, kinds
