"""Set-ups under the conditions that people have: odd folders and languages, proxies, no network, full disks, breaks.

Each runs pip (and uv, where the index has it) for real, on wheels of a few bytes, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packageindex import HOST, Index
from tinywheels import make_wheel

from mgpt3_blender import runtime, setupbuild, setupfetch
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
