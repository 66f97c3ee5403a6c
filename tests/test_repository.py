"""`build.py zip --repository`: a real Blender subscribes to the folder, installs from it, and is offered an update."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import build

pytest.importorskip("bpy")

SUBSCRIBE = """
import json, os, subprocess, sys
import bpy

ADDRESS, NEXT, GENERATE = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
bpy.context.preferences.system.use_online_access = True  # Blender asks for it whatever the address; this one is a file
repositories = bpy.context.preferences.extensions.repos
mine = repositories.new(name="Ours", module="ours", remote_url=ADDRESS)
index = list(repositories).index(mine)


def sync_and_install():
    assert bpy.ops.extensions.repo_sync(repo_index=index) == {"FINISHED"}
    assert bpy.ops.extensions.package_install(
        repo_index=index, pkg_id="mgpt3_blender", enable_on_install=True) == {"FINISHED"}
    with open(os.path.join(mine.directory, "mgpt3_blender", "blender_manifest.toml"), encoding="utf-8") as file:
        return next(line.split('"')[1] for line in file if line.startswith("version"))


report = {"installed": sync_and_install(), "enabled": "bl_ext.ours.mgpt3_blender" in bpy.context.preferences.addons}
subprocess.run([*GENERATE, NEXT], check=True)
report["updated"] = sync_and_install()
print("REPORT" + json.dumps(report), flush=True)
os._exit(0)  # Blender 4.2's wheel crashes at exit once an add-on with property callbacks was switched off
"""

PUBLISH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import build
build.build_repository(Path(sys.argv[2]), Path(sys.argv[4]), Path(sys.argv[3]))
"""


@pytest.fixture
def python() -> Path:
    """The Python of the environment whose bpy carries Blender's tool for repositories."""
    found = build.blender_environment("4.5").python
    if not found.exists():
        pytest.skip("needs the environment bpy-4.5: run `python3.11 build.py test`")
    return found


def next_version(archive: Path, folder: Path) -> Path:
    """The same extension as version 99.0.0: what a later release would be."""
    target = folder / "mgpt3_blender-99.0.0.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "blender_manifest.toml":
                was = f'version = "{archive.stem.rsplit("-", 1)[1]}"'.encode()
                assert data.count(b"\n" + was) == 1
                data = data.replace(b"\n" + was, b'\nversion = "99.0.0"')
            new.writestr(name, data)
    return target


def test_index_is_as_blender_writes_it_and_others_stay(extension_zip: Path, tmp_path: Path, python: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "mgpt3_blender-0.0.1.zip").write_bytes(extension_zip.read_bytes())
    index = build.build_repository(folder, extension_zip, python)
    (entry,) = json.loads(index.read_text(encoding="utf-8"))["data"]
    assert entry["archive_url"] == f"./{extension_zip.name}"
    assert entry["archive_size"] == extension_zip.stat().st_size
    assert (folder / extension_zip.name).read_bytes() == extension_zip.read_bytes()
    assert {file.name for file in folder.iterdir()} == {"index.json", "notes.txt", extension_zip.name}
    before = index.read_bytes()
    build.build_repository(folder, folder / extension_zip.name, python)  # the zip may lie there already
    assert index.read_bytes() == before


def test_blender_installs_and_updates_from_the_folder(extension_zip: Path, tmp_path: Path, python: Path) -> None:
    """Over file://, in a folder with a space and an umlaut: nothing is served, so nothing goes online."""
    site, user = tmp_path / "Für alle", tmp_path / "user"
    index = build.build_repository(site, extension_zip, python)
    later = next_version(extension_zip, tmp_path)
    publish = [str(python), "-c", PUBLISH, str(build.ROOT), str(site), str(python)]
    command = [sys.executable, "-c", SUBSCRIBE, index.as_uri(), str(later), json.dumps(publish)]
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(user)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=240)
    output = result.stdout + result.stderr
    assert "Traceback" not in output, output
    found = [line for line in result.stdout.splitlines() if line.startswith("REPORT")]
    assert found, output
    report = json.loads(found[0][len("REPORT") :])
    version = extension_zip.stem.rsplit("-", 1)[1]
    assert report == {"installed": version, "enabled": True, "updated": "99.0.0"}
