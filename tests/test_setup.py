"""Set-ups under the conditions that people have: odd folders and languages, proxies, no network, full disks, breaks.

Each runs pip (and uv, where the index has it) for real, on wheels of a few bytes, in a process of its own.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packageindex import HOST, Index
from tinywheels import make_wheel

from mgpt3_blender import runtime, setupbuild, setupfetch, setuplock, setupstep
from mgpt3_blender.child import LogFile
from mgpt3_blender.errors import UserError
from mgpt3_blender.pythons import candidates, environment_python

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

    def log(self) -> str:
        return (self.base / "setup.log").read_text(encoding="utf-8", errors="replace")

    def state(self) -> str:
        return runtime.state(self.folder, self.requirements).name


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "user", "tiny-wheel==1.0")


# -- folders, languages, bare environments -----------------------------------------------------------------------------


@posix
def test_a_start_from_the_desktop_in_a_folder_with_odd_letters(tmp_path: Path) -> None:
    """As `env -i` starts a Blender: no PATH, no language (so C), in a folder with spaces, umlauts and kanji."""
    place = Place(tmp_path / "Zoë Müller's Ordner 歩く" / "a  b", "tiny-wheel==1.0")
    make_wheel(place.base / "meine räder", "tiny-wheel")
    said = place.run({"LC_ALL": "C"}, wheels="meine räder")
    assert said[-1]["state"] == "ready", said[-1]
    assert said[-1]["line"].startswith("Python 3.")


@posix
def test_a_language_without_unicode(tmp_path: Path) -> None:
    """A locale in Latin-1, in which neither the kanji in the path nor what pip prints can be written."""
    made = tmp_path / "locales"
    made.mkdir()
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef, to make a locale in Latin-1")
    command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(made / "de_DE.ISO-8859-1")]
    if subprocess.run(command, capture_output=True).returncode > 1:  # 1: made, with warnings
        pytest.skip("needs the sources of locales (Debian's package of that name)")
    place = Place(tmp_path / "Zoë 歩く", "tiny-wheel==1.0")
    make_wheel(place.base / "wheels", "tiny-wheel")
    said = place.run({"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(made), "PATH": os.environ["PATH"]}, wheels="wheels")
    assert said[0]["encoding"].replace("-", "") == "iso88591"
    assert said[-1]["state"] == "ready", said[-1]


@posix
def test_pip_settings_that_send_packages_elsewhere_do_not_count(place: Place, tmp_path: Path) -> None:
    make_wheel(place.base / "wheels", "tiny-wheel")
    settings = tmp_path / "pip.conf"
    settings.write_text("[install]\nuser = true\n[global]\nrequire-virtualenv = true\n", encoding="utf-8")
    elsewhere = {"PIP_TARGET": str(tmp_path / "elsewhere"), "PIP_USER": "1", "PYTHONPATH": "/nowhere", "PYTHONHOME": ""}
    said = place.run({**elsewhere, "PIP_CONFIG_FILE": str(settings)}, wheels="wheels")
    assert said[-1]["state"] == "ready", said[-1]
    assert list(place.folder.rglob("tiny_wheel.py"))
    assert not (tmp_path / "elsewhere").exists()


# -- what cannot be fetched --------------------------------------------------------------------------------------------


def test_a_folder_of_wheels_that_lacks_one(place: Place) -> None:
    place.requirements.write_text("tiny-wheel==1.0\nother-wheel==2.0\n", encoding="utf-8")
    make_wheel(place.base / "wheels", "tiny-wheel", requires=["third-wheel"])
    make_wheel(place.base / "wheels", "other-wheel", "2.0")
    end = place.run({}, wheels="wheels")[-1]
    assert end["code"] == "wheels_incomplete"
    assert "third-wheel" in end["message"]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"Python {version}" in end["remedy"]
    assert place.state() == "interrupted"


@posix
def test_which_python_a_folder_of_wheels_is_to_fit_is_asked_of_itself(place: Place) -> None:
    """Not of the environment's own file, which another tool may have written, or nobody."""
    (place.folder / "bin").mkdir(parents=True)
    (place.folder / "bin" / "python").symlink_to(sys.executable)

    class Lacking(setupstep.Runner):
        def run(self, command: Sequence[str], heard: object = None) -> None:
            raise UserError("package_missing", "There is no tiny-wheel for this computer and this Python.")

    log = LogFile(place.base / "setup.log")
    runner = Lacking(Path(sys.executable), place.folder, place.base, log, lambda: False, lambda *words: None)
    with pytest.raises(UserError) as caught:
        setupfetch.fetch(runner, place.requirements, [], place.base, "cpu")
    assert caught.value.code == "wheels_incomplete"
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]}." in caught.value.remedy


def test_no_network(place: Place) -> None:
    nowhere = {"PIP_INDEX_URL": f"https://{HOST}/simple", "PIP_RETRIES": "1", "PATH": os.environ["PATH"]}
    end = place.run(nowhere, online=True)[-1]
    assert end["code"] == "network_failed", end
    assert "Wheels Folder" in end["remedy"]
    assert place.state() == "interrupted"


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uv_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real uv, as the set-up takes it."""
    folder = tmp_path_factory.mktemp("uv")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    if subprocess.run([*pip, setupfetch.UV], capture_output=True, timeout=120).returncode != 0:
        pytest.skip(f"needs {setupfetch.UV}, which pip cannot fetch here")
    return next(folder.glob("uv-*.whl"))


def test_all_goes_through_the_proxy_and_pip_steps_in_for_uv(place: Place, tmp_path: Path) -> None:
    make_wheel(tmp_path / "index", "tiny-wheel")
    with Index(tmp_path / "index") as index:
        said = place.run({**index.settings(proxy=True), "PATH": os.environ["PATH"]}, online=True)
        assert said[-1]["state"] == "ready", said[-1]
        assert index.fetched == ["tiny_wheel-1.0-py3-none-any.whl"]
    assert "Everything came by pip, since uv could not be had" in said[-1]["line"]  # the index has no uv
    assert "there is no uv to be had" in place.log()


def test_uv_goes_through_the_proxy_too(place: Place, tmp_path: Path, uv_wheel: Path) -> None:
    make_wheel(tmp_path / "index", "tiny-wheel")
    shutil.copy(uv_wheel, tmp_path / "index")
    with Index(tmp_path / "index") as index:
        variables = {**index.settings(proxy=True), "PATH": os.environ["PATH"]}
        said = place.run(variables, online=True)
        assert said[-1]["state"] == "ready", said[-1]
        fetched = list(index.fetched)  # a small file twice: uv looks into it first
        assert fetched[0] == uv_wheel.name
        assert set(fetched[1:]) == {"tiny_wheel-1.0-py3-none-any.whl"}
        assert "by pip" not in said[-1]["line"]
        assert "Installed 1 package" in place.log()  # which is how uv says it
        assert (runtime.downloads_folder(place.folder) / "uv").is_dir()

        # Repaired: all is made anew, and nothing is fetched again.
        runtime.distrust(place.folder, UserError("packages_missing", "It lacks a package."))
        assert place.state() == "broken"
        assert place.run(variables, online=True)[-1]["state"] == "ready"
        assert index.fetched == fetched


def test_a_proxy_that_refuses(place: Place, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    with Index(tmp_path / "index") as index:
        secret = index.settings(proxy=True, secure=True)
        secret = {name: value.replace("http://127", "http://zoe:swordfish@127") for name, value in secret.items()}
        end = place.run({**secret, "PATH": os.environ["PATH"]}, online=True)[-1]
        assert index.tunnels
    assert end["code"] == "proxy_refused", end
    assert "HTTPS_PROXY" in end["remedy"]
    assert "swordfish" not in place.log() + json.dumps(end)


# -- PyTorch by pip ----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("reached", [True, False])
def test_pip_fetches_the_small_build_too(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    """The package index has no uv, and its torch is the large one; PyTorch's has the small one and nothing else."""
    place.requirements.write_text("torch==2.13.0\n", encoding="utf-8")
    large = make_wheel(tmp_path / "index", "torch", "2.13.0", requires=["tiny-wheel"])
    tiny = make_wheel(tmp_path / "index", "tiny-wheel")
    small = make_wheel(tmp_path / "small", "torch", "2.13.0+cpu", requires=["tiny-wheel"])
    monkeypatch.setattr(setupbuild, "backend", lambda choice: "cpu")
    monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cpu", 1)

    def fetch() -> str:
        return runtime.set_up(
            place.folder,
            place.requirements,
            verify=lambda python, stop: "It works",
            pythons=[Path(sys.executable)],
            online=True,
            build="cpu",
            log=place.base / "setup.log",
        )

    with Index(tmp_path / "index") as index, Index(tmp_path / "small") as own:
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(name)
        for name, value in {**index.settings(), "PIP_CONFIG_FILE": os.devnull}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{index.place}/simple")  # of a studio: it has the large one
        monkeypatch.setattr(setupbuild, "CPU_INDEX", f"http://{own.place}/simple")
        if reached:
            monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1 << 60)  # for which there is no room
            assert "by pip from the package index" not in fetch()
            assert (own.fetched, index.fetched) == ([small.name], [tiny.name])
            return
        own.refuses = True
        monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1 << 60)
        with pytest.raises(UserError) as caught:
            fetch()
        assert caught.value.code == "disk_full"
        assert "1152921504.6 GB" in caught.value.message
        assert (own.fetched, index.fetched) == ([], [])
        monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1)
        assert "PyTorch came by pip from the package index" in fetch()
        assert sorted(index.fetched) == [tiny.name, large.name]


# -- disks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name == "nt" or os.getuid() != 0:
        pytest.skip("needs the right to mount (root, on Linux)")
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(mounted: Path) -> None:
    place = Place(mounted / "user", "large==1.0")
    make_wheel(place.base / "wheels", "large", files={"large.bin": bytes(60 << 20)})  # unpacked; packed it is small
    end = place.run({}, wheels="wheels")[-1]
    assert (end["code"], end["message"]) == ("disk_full", "The disk is full.")
    assert place.state() == "interrupted"


def test_a_disk_that_cannot_be_written_to(mounted: Path) -> None:
    place = Place(mounted / "user", "tiny-wheel==1.0")
    make_wheel(place.base / "wheels", "tiny-wheel")
    (place.base / "order.json").write_text('{"wheels": "wheels"}', encoding="utf-8")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(UserError) as caught:
        runtime.set_up(
            place.folder,
            place.requirements,
            verify=lambda python, stop: "never",
            pythons=[Path(sys.executable)],
            online=False,
            wheels=place.base / "wheels",
            log=place.base / "setup.log",
        )
    assert caught.value.code == "folder_unwritable"
    assert str(place.base) in caught.value.message
    assert place.state() == "missing"


# -- two at once, and one that is killed -------------------------------------------------------------------------------


def of_folder(folder: Path) -> list[int]:
    """Processes that have a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(entry.name))
    return found


def test_those_who_look_at_the_lock_do_not_see_each_other(tmp_path: Path) -> None:
    lock = setuplock.Lock(tmp_path / "lock")
    assert not setuplock.held(lock.path)
    assert lock.take()
    assert setuplock.held(lock.path)
    lock.free()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(setuplock.held(lock.path) for _ in range(3000))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(True) == 0
    assert lock.take()
    lock.free()


@posix
def test_a_place_where_nothing_can_be_locked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's folder without a service for locks."""
    runtime.lock_path(place.folder).touch()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(setuplock, "_take", refuse)
    handles = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    started = time.monotonic()
    assert not setuplock.held(runtime.lock_path(place.folder))
    assert place.state() == "missing"  # not "working", for ever
    with pytest.raises(UserError) as caught:
        runtime.remove(place.folder)
    assert caught.value.code == "setup_failed"
    assert os.strerror(errno.ENOLCK) in caught.value.message
    assert time.monotonic() - started < 0.5  # there is nothing to wait for
    assert handles == (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0)


GUARD_OF_WINDOWS = "import os, subprocess\nos.name = 'nt'\n" + setupstep._GUARD


@posix
def test_on_windows_all_that_a_step_started_is_ended_with_it(tmp_path: Path) -> None:
    """Its guard, with a taskkill that only writes down what it is told."""
    program = tmp_path / "System32" / "taskkill.exe"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > "$SYSTEMROOT/told"\n', encoding="utf-8")
    for there in (True, False):
        program.chmod(0o755 if there else 0o644)
        command = [sys.executable, "-I", "-c", GUARD_OF_WINDOWS, "/bin/sh", "-c", "echo $$; exec sleep 60"]
        environment = {"SYSTEMROOT": str(tmp_path)}
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert guard.stdin is not None
        assert guard.stdout is not None
        child = int(guard.stdout.readline())
        guard.stdin.close()
        assert guard.wait(10) in (75, 128 + signal.SIGKILL)
        guard.stdout.close()
        if there:
            assert (tmp_path / "told").read_text(encoding="utf-8").split() == ["/F", "/T", "/PID", str(child)]
        deadline = time.monotonic() + 5
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{child}").exists()


@posix
def test_one_at_a_time_and_a_killed_one_goes_on_where_it_was(place: Place, tmp_path: Path) -> None:
    place.requirements.write_text("tiny-wheel==1.0\nother-wheel==1.0\n", encoding="utf-8")
    make_wheel(tmp_path / "index", "tiny-wheel", files={"tiny_wheel.py": os.urandom(2000).hex().encode()})
    other = make_wheel(tmp_path / "index", "other-wheel", files={"o.bin": os.urandom(200_000)}, requires=["tiny-wheel"])
    with Index(tmp_path / "index") as index:
        index.hold = other.name
        variables = {**index.settings(), "PATH": os.environ["PATH"]}
        process = place.start(variables, online=True)
        assert index.holding.wait(60)
        assert place.state() == "working"
        with pytest.raises(UserError) as caught:
            runtime.remove(place.folder)
        assert caught.value.code == "setup_elsewhere"
        second = place.run(variables, online=True)[-1]
        assert second["code"] == "setup_elsewhere"
        assert place.folder.is_dir()  # the second has touched nothing
        assert of_folder(place.folder)

        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while of_folder(place.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not of_folder(place.folder)  # no pip goes on without its Blender
        assert place.state() == "interrupted"
        before = list(index.fetched)
        index.release()
        end = place.run(variables, online=True)[-1]
        assert end["state"] == "ready", end
        assert sorted(index.fetched) == sorted({*before, other.name})
        assert before == ["tiny_wheel-1.0-py3-none-any.whl"]  # fetched before the kill, and not again
    assert process.stdout is not None
    process.stdout.close()


@posix
def test_stopping_ends_what_was_started(place: Place, tmp_path: Path) -> None:
    other = make_wheel(tmp_path / "index", "tiny-wheel", files={"o.bin": os.urandom(200_000)})
    stop = threading.Event()

    def press_stop() -> None:
        index.holding.wait(60)
        stop.set()

    with Index(tmp_path / "index") as index, pytest.MonkeyPatch.context() as patch:
        for name, value in {**index.settings(), "PIP_CONFIG_FILE": os.devnull}.items():
            patch.setenv(name, value)
        patch.delenv("PIP_FIND_LINKS", raising=False)
        index.hold = other.name
        threading.Thread(target=press_stop, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(UserError) as caught:
            runtime.set_up(
                place.folder,
                place.requirements,
                verify=lambda python, stop: "never",
                pythons=[Path(sys.executable)],
                online=True,
                build="cpu",
                log=place.base / "setup.log",
                cancelled=stop.is_set,
            )
        assert time.monotonic() - started < 50
        assert caught.value.code == "cancelled"
        assert not of_folder(place.folder)
        assert place.state() == "interrupted"


# -- command lines and choices of other systems, which this one cannot run: only their words are looked at -------------


def test_the_command_lines_of_windows_and_macos() -> None:
    windows = Path("C:/Users/Zoë Müller/environment/Scripts/python.exe")
    command = setupfetch.uv_command(windows, "torch==2.13.0", backend="cu130")
    assert Path(command[0]) == windows.with_name("uv.exe")
    assert command[command.index("--python") + 1] == str(windows)
    assert command[-3:] == ["--torch-backend", "cu130", "torch==2.13.0"]
    mac = Path("/Users/zoë/Library/Application Support/Blender/5.2/extensions/environment/bin/python")
    command = setupfetch.uv_command(mac, "torch==2.13.0", backend=None)
    assert Path(command[0]) == mac.with_name("uv")
    assert "--torch-backend" not in command
    for alone in (True, False):
        command = setupfetch.pip_command(windows, "torch==2.13.0", alone=alone)
        assert command[:4] == [str(windows), "-I", "-m", "pip"]
        assert ("--isolated" in command) is alone
        assert command[command.index("--only-binary") + 1] == ":all:"  # nothing is built here


@pytest.mark.parametrize(
    ("choice", "system", "found", "backend"),
    [
        ("auto", "Linux", "cuda", "auto"),
        ("auto", "Linux", "rocm", "auto"),
        ("auto", "Linux", "", "cpu"),
        ("cpu", "Linux", "cuda", "cpu"),
        ("cuda", "Linux", "cuda", "auto"),
        ("cuda", "Linux", "", None),
        ("rocm", "Linux", "", "auto"),
        ("auto", "Windows", "cuda", "auto"),
        ("auto", "Windows", "", None),
        ("cpu", "Windows", "cuda", None),
        ("cuda", "Windows", "", "cu130"),
        ("auto", "Darwin", "", None),
        ("cpu", "Darwin", "", None),
    ],
)
def test_the_build_goes_by_the_machine(choice: str, system: str, found: str, backend: str | None) -> None:
    assert setupbuild.backend(choice, system, found) == backend


def test_a_driver_is_seen_by_its_files(tmp_path: Path) -> None:
    assert setupbuild.graphics("Linux", tmp_path) == ""
    assert setupbuild.likely("auto", "Linux", "") == "cpu"
    for name, system, kind in (("proc/driver/nvidia/version", "Linux", "cuda"), ("dev/kfd", "Linux", "rocm"),
                               ("System32/nvcuda.dll", "Windows", "cuda")):  # fmt: skip
        root = tmp_path / kind / system
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
        assert setupbuild.graphics(system, root) == kind
        assert setupbuild.graphics("Darwin", root) == ""


def test_a_build_that_is_another_than_asked_for_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("__version__: str = '2.13.0+cpu'\n", encoding="utf-8")
    version = setupbuild.installed(tmp_path)
    assert version == "2.13.0+cpu"
    for choice in ("auto", "cpu"):
        setupbuild.check_installed(choice, version)
    for choice in ("cuda", "rocm"):
        with pytest.raises(UserError) as caught:
            setupbuild.check_installed(choice, version)
        assert caught.value.code == "build_unavailable"
    setupbuild.check_installed("cuda", "2.13.0+cu130")


def test_machines_that_pytorch_is_not_made_for() -> None:
    with pytest.raises(UserError) as caught:
        setupbuild.check_machine("Darwin", "x86_64")
    assert caught.value.code == "machine_unsupported"
    for system, machine in (("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "x86_64"), ("Linux", "aarch64")):
        setupbuild.check_machine(system, machine)


def test_the_environments_python_of_this_system(tmp_path: Path) -> None:
    assert environment_python(tmp_path).parent.name == ("Scripts" if os.name == "nt" else "bin")
    assert next(candidates([Path(sys.executable)])) == Path(sys.executable)
