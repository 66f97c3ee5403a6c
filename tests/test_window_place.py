"""What the window test stands on, without a window: words found in what was read, chroots that nothing leaks out of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from window_place import Place, PlaceError, own, python_folders, remove
from window_screen import Box, Line

ROW = Line(tuple((word, Box(10 * n, 5, 8, 8)) for n, word in enumerate(["Y", "Cenerate", "Motion", "2"])))


def test_words_are_found_although_a_letter_was_misread() -> None:
    found = ROW.find("Generate Motion")
    assert found == Box(10, 5, 18, 8)


@pytest.mark.parametrize("wanted", ["Motion Generate", "Describe", "Motion 3", "Generate Motion 2 more"])
def test_other_words_are_not_found(wanted: str) -> None:
    assert ROW.find(wanted) is None


def test_short_words_and_numbers_are_taken_exactly() -> None:
    assert Line((("On", Box(0, 0, 1, 1)),)).find("Or") is None
    assert ROW.find("2") == Box(30, 5, 8, 8)


def test_there_is_a_remedy_where_the_program_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="Give the path"):
        own(str(tmp_path / "blender"))


def test_a_pythons_folders_are_those_it_says(core_python: Path) -> None:
    folders = python_folders(core_python)
    assert all(folder.exists() for folder in folders)
    assert core_python.parent.parent in folders


needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting takes root and Linux"
)


@needs_root
def test_what_is_mounted_is_seen_by_the_command_only(tmp_path: Path) -> None:
    """The command inside reads what it may read and cannot write to it; outside nothing is mounted, then or later."""
    root, folder, given = tmp_path / "root", tmp_path / "folder", tmp_path / "given"
    for path in (*(root / name for name in ("proc", "sys", "dev", "usr")), folder, given):
        path.mkdir(parents=True)
    (given / "word").write_text("here\n", encoding="utf-8")
    for name in ("bin", "lib", "lib64"):  # this system's programs do for the chroot's
        (root / name).symlink_to(f"usr/{name}")
    place = Place("own", program="/bin/sh", root=root)
    script = f"cat {given}/word; echo x > {given}/word || echo read-only; echo done > {folder}/out"
    command = place.command(["-c", script], folder, ":0", (given, Path("/usr")))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["here", "read-only"], done.stderr
    assert (folder / "out").read_text(encoding="utf-8") == "done\n"
    assert str(root) not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    remove(root)
    assert not root.exists()
    assert (given / "word").read_text(encoding="utf-8") == "here\n"


@needs_root
def test_a_chroot_in_which_something_is_mounted_is_not_deleted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(root / "dev")], check=True)
    try:
        with pytest.raises(PlaceError, match="mounted by somebody"):
            remove(root)
        assert root.exists()
    finally:
        subprocess.run(["umount", str(root / "dev")], check=True)
