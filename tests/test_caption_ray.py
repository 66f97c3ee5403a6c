"""`python -m core caption … --ray`: a real cluster on this machine, a worker killed in the middle, the same report."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs core/requirements-ray.txt")
from captionfolder import begun, blender, ends, make_blend, make_folder, start, until
from motions import walk

import core.__main__ as cli
from core.motionfile import write_motion

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MEMORY = 80_000_000
"""Bytes of the cluster's object store: the least that Ray takes, and more than enough for rows."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def below(process: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        except OSError:
            continue
    found = [process]
    for one in found:
        found += parents.get(one, [])
    return found


def title(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, Path]]:
    """Address and folder of a cluster of two processors, started as a person would; all of it ends with the module."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="ray"))  # a socket's path must be short
    home = {"HOME": str(folder), "RAY_TMPDIR": str(folder)}  # nothing in the home of whoever runs the tests
    log = (folder / "head.log").open("w")
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2", "--block",
         f"--object-store-memory={MEMORY}", "--include-dashboard=false", "--disable-usage-stats",
         "--node-ip-address=127.0.0.1"],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **home},
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert head.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < end, (folder / "head.log").read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", folder
    finally:
        every = below(head.pid)
        for process in every:
            if Path(f"/proc/{process}").exists():
                os.kill(process, signal.SIGKILL)
        head.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_workers_that_are_killed_and_the_same_report(cluster: tuple[str, Path], tmp_path: Path) -> None:
    make_folder(tmp_path / "clips")
    held = make_blend(tmp_path / "clips" / "deep" / "waits.blend")
    deadly = make_blend(tmp_path / "clips" / "kills.blend")  # kills its worker each time
    words = ["clips", "--alternatives", "1", *blender(tmp_path)]
    address, folder = cluster
    home = {"HOME": str(tmp_path), "RAY_TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    on_ray = start(*words, "--report", "ray.csv", "--ray", address, cwd=tmp_path, **home)
    until(lambda: bool(begun(held)), on_ray, seconds=180)
    (program, worker, _), *_ = begun(held)
    assert title(worker).startswith("ray::")
    held.with_suffix(".go").touch()
    os.kill(worker, signal.SIGKILL)
    assert ends(program)  # what the dead worker had started does not go on with the file
    out, err = on_ray.communicate(timeout=240)
    assert on_ray.returncode == 1, err
    assert "6 described, 5 skipped, 3 failed" in out
    assert len({starter for _, starter, _ in begun(held)}) == len(begun(held)) == 2
    assert len({starter for _, starter, _ in begun(deadly)}) == len(begun(deadly)) == 3

    here = start(*words, "--report", "here.csv", cwd=tmp_path)
    out, err = here.communicate(timeout=240)
    assert here.returncode == 1, err
    for ending in ("csv", "json"):
        assert (tmp_path / f"ray.{ending}").read_bytes() == (tmp_path / f"here.{ending}").read_bytes()
    lines = [sorted((tmp_path / f"{one}.journal.jsonl").read_text().splitlines()) for one in ("ray", "here")]
    done = [[line for line in each if "kills.blend" not in line] for each in lines]  # a dead one has no key
    assert done[0] == done[1]  # so either goes on with the other's run


def test_a_cluster_that_is_started_here_reports_nothing_home(tmp_path: Path) -> None:
    blend = make_blend(tmp_path / "a.blend")
    place = Path(tempfile.mkdtemp(prefix="ray"))
    settings = {"HOME": str(tmp_path), "RAY_TMPDIR": str(place), "RAY_USAGE_STATS_ENABLED": "1"}
    on_ray = start("a.blend", "--ray", "local", *blender(tmp_path), cwd=tmp_path, **settings)
    out, err = on_ray.communicate(timeout=240)
    shutil.rmtree(place, ignore_errors=True)
    assert on_ray.returncode == 0, err
    assert "1 described" in out
    assert [statistics for _, _, statistics in begun(blend)] == ["0"]


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere.invalid:6379"])
def test_an_address_at_which_there_is_nothing(address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / "a.npz", walk(2.0))
    assert cli.main(["caption", str(tmp_path), "--ray", address.format(port=free_port())]) == 2
    assert "no Ray cluster" in capfd.readouterr().err


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / "a.npz", walk(2.0))
    monkeypatch.setitem(sys.modules, "ray", None)  # what Python sees where it is not installed
    assert cli.main(["caption", str(tmp_path), "--ray", "auto"]) == 2
    assert "requirements-ray.txt" in capfd.readouterr().err
