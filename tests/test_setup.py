"""Set-ups under the conditions that people have: odd folders and languages, proxies, no network, full disks, breaks.

Each runs pip (and uv, where the index has it) for real, on wheels of a few bytes, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packageindex import HOST, Index
from setup_place import Place, posix
from tinywheels import make_wheel

from mgpt3_blender import runtime, setupbuild, setupfetch, setupstep
from mgpt3_blender.child import LogFile
from mgpt3_blender.errors import UserError

# -- folders, languages, bare environments -----------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "user", "tiny-wheel==1.0")


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

    with Index(tmp_path / "index") as index, Index(tmp_path / "small") as own:
        for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
            monkeypatch.delenv(name)
        for name, value in {**index.settings(), "PIP_CONFIG_FILE": os.devnull}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://{index.place}/simple")  # of a studio: it has the large one
        monkeypatch.setattr(setupbuild, "CPU_INDEX", f"http://{own.place}/simple")
        if reached:
            monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1 << 60)  # for which there is no room
            assert "by pip from the package index" not in place.here(build="cpu")
            assert (own.fetched, index.fetched) == ([small.name], [tiny.name])
            return
        own.refuses = True
        monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1 << 60)
        with pytest.raises(UserError) as caught:
            place.here(build="cpu")
        assert caught.value.code == "disk_full"
        assert "1152921504.6 GB" in caught.value.message
        assert (own.fetched, index.fetched) == ([], [])
        monkeypatch.setitem(setupbuild.NEEDED_BYTES, "cuda", 1)
        assert "PyTorch came by pip from the package index" in place.here(build="cpu")
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
        place.here(online=False, wheels=place.base / "wheels")
    assert caught.value.code == "folder_unwritable"
    assert str(place.base) in caught.value.message
    assert place.state() == "missing"
