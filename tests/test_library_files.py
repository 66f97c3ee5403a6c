"""Files of a library from outside: headers, locks, replacing one whole, reports and journals."""

from __future__ import annotations

import csv
import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mgpt3_blender import blendfiles, openfiles, rows
from mgpt3_blender.blendfiles import Header, Stamp
from mgpt3_blender.errors import UserError

OLD, NEW = b"BLENDER-v405RENDH" + bytes(200), b"BLENDER17-01v0500REND" + bytes(200)


def blend(path: Path, data: bytes = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- what a file says of itself


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (OLD, Header((4, 5), False)),
        (b"BLENDER_V293RENDH" + bytes(99), Header((2, 93), False)),
        (NEW, Header((5, 0), False)),
        (b"BLENDER17-01v1203REND", Header((12, 3), False)),
        (gzip.compress(OLD), Header((4, 5), True)),
    ],
)
def test_headers(tmp_path: Path, data: bytes, header: Header) -> None:
    assert blendfiles.read_header(blend(tmp_path / "a.blend", data)) == header


@pytest.mark.parametrize(
    "data", [b"", b"BLEND", b"BLENDER-x405", b"junk" * 99, gzip.compress(OLD)[:12], gzip.compress(b"x")]
)
def test_what_is_no_blend_file(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        blendfiles.read_header(blend(tmp_path / "a.blend", data))
    assert caught.value.code == "file_broken"
    assert caught.value.remedy


def test_newer_files_are_not_for_this_blender() -> None:
    for fits in (Header((4, 5), False), Header((4, 2), True), Header((2, 79), False), Header(None, True)):
        blendfiles.check_version(fits, (4, 5, 3))
    for newer in (Header((4, 6), False), Header((5, 0), True)):
        with pytest.raises(UserError) as caught:
            blendfiles.check_version(newer, (4, 5, 3))
        assert caught.value.code == "file_newer"


def test_which_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.blend", "a.BLEND", "sub/c d é.blend", "sub/deep/e.blend"):
        blend(tmp_path / name)
    for name in ("a.blend1", ".hidden.blend", ".git/x.blend", f"x{blendfiles.PART}-1.blend", "x.txt"):
        blend(tmp_path / name)
    found = [path.relative_to(tmp_path).as_posix() for path in blendfiles.find([tmp_path, tmp_path / "b.blend"])]
    assert found == ["a.BLEND", "b.blend", "sub/c d é.blend", "sub/deep/e.blend"]
    found = [path.name for path in blendfiles.find([tmp_path], recursive=False)]
    assert found == ["a.BLEND", "b.blend"]
    monkeypatch.chdir(tmp_path)
    assert [blendfiles.shown(path) for path in blendfiles.find([Path("sub")])] == [
        "sub/c d é.blend",
        "sub/deep/e.blend",
    ]
    with pytest.raises(UserError) as caught:
        blendfiles.find([tmp_path / "nothing"])
    assert caught.value.code == "path_missing"


# ---- who has a file


def locked(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        blendfiles.check_writable(path)
    assert caught.value.code == "file_locked"
    return caught.value.message


def test_write_protection(tmp_path: Path) -> None:
    path = blend(tmp_path / "a.blend")
    blendfiles.check_writable(path)
    path.chmod(0o444)
    assert "write-protected" in locked(path)


@pytest.mark.parametrize("beside", ["a.blend.lock", ".~lock.a.blend#", "~$a.blend"])
def test_a_lock_file_beside_it(tmp_path: Path, beside: str) -> None:
    path = blend(tmp_path / "a.blend")
    (tmp_path / beside).touch()
    assert beside in locked(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_the_system_s_lock_in_another_process(tmp_path: Path, kind: str) -> None:
    path = blend(tmp_path / "a.blend")
    script = "import fcntl, sys; f = open(sys.argv[1], 'r+b')\n"
    script += f"fcntl.{kind}(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"1"
        with pytest.raises(UserError) as caught, blendfiles.held(path):
            pass
        assert caught.value.code == "file_locked"
    finally:
        other.communicate(b"\n")
    with blendfiles.held(path):
        pass


def test_files_open_in_another_blender(tmp_path: Path) -> None:
    path, root = blend(tmp_path / "a.blend"), Path(__file__).parents[1]
    script = "import sys; from mgpt3_blender import openfiles as o; from pathlib import Path\n"
    script += "o.note(Path(sys.argv[1]), sys.argv[2]); print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "user"), str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline().strip() == b"1"
    assert openfiles.opened(tmp_path / "user") == {str(path.resolve()): other.pid}
    openfiles.note(tmp_path / "user", str(tmp_path / "mine.blend"))  # our own is no other's
    assert list(openfiles.opened(tmp_path / "user").values()) == [other.pid]
    other.communicate(b"\n")  # it ends without tidying up
    assert openfiles.opened(tmp_path / "user") == {}
    assert [note.stem for note in (tmp_path / "user" / "open").iterdir()] == [str(os.getpid())]
    openfiles.forget(tmp_path / "user")
    assert not list((tmp_path / "user" / "open").iterdir())


def test_a_note_of_a_process_number_that_was_given_out_again(tmp_path: Path) -> None:
    if not blendfiles.started(os.getppid()):
        pytest.skip("this system does not say when a process began")
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / f"{os.getppid()}.json").write_text(
        json.dumps({"pid": os.getppid(), "started": "1", "file": "/x.blend"}), encoding="utf-8"
    )
    (folder / "broken.json").write_text("{", encoding="utf-8")
    assert openfiles.opened(tmp_path) == {}


# ---- replacing a file


def test_replaced_whole(tmp_path: Path) -> None:
    path = blend(tmp_path / "a.blend")
    path.chmod(0o640)
    stamp = Stamp.of(path)
    seen = []

    def save(part: Path) -> None:
        part.write_bytes(NEW)
        seen.append((part.parent, part.suffix, path.read_bytes()))

    after = blendfiles.replace(path, save, stamp)
    assert seen == [(tmp_path, ".blend", OLD)]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (NEW, 0o640)
    assert after == Stamp.of(path) != stamp
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.blend"]


def fails(path: Path, save: object, stamp: Stamp) -> str:
    with pytest.raises(UserError) as caught:
        blendfiles.replace(path, save, stamp)  # type: ignore[arg-type]
    assert path.read_bytes() in (OLD, OLD + b"mine")
    assert [entry.name for entry in path.parent.iterdir()] == ["a.blend"]
    return caught.value.code


def test_what_goes_wrong_leaves_the_file_alone(tmp_path: Path) -> None:
    path = blend(tmp_path / "a.blend")
    stamp = Stamp.of(path)

    def full(part: Path) -> None:
        part.write_bytes(NEW[:50])
        raise OSError(28, "No space left on device")

    def blender_says(part: Path) -> None:
        raise RuntimeError("Error: Cannot open file for writing")

    def nonsense(part: Path) -> None:
        part.write_bytes(b"not a blend file")

    def somebody_saves(part: Path) -> None:
        part.write_bytes(NEW)
        path.write_bytes(OLD + b"mine")

    assert fails(path, full, stamp) == "not_saved"
    assert fails(path, blender_says, stamp) == "not_saved"
    assert fails(path, nonsense, stamp) == "not_saved"
    assert fails(path, lambda part: None, stamp) == "not_saved"
    assert fails(path, somebody_saves, stamp) == "file_changed"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = blend(tmp_path / "real" / "a.blend")
    link = tmp_path / "link.blend"
    link.symlink_to(real)
    blendfiles.replace(link, lambda part: part.write_bytes(NEW) and None, Stamp.of(link))
    assert link.is_symlink()
    assert real.read_bytes() == NEW


def test_parts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living = (blend(tmp_path / f".a{blendfiles.PART}-{pid}.blend") for pid in (ended.pid, os.getpid()))
    half = blend(tmp_path / f".a{blendfiles.PART}-{ended.pid}.blend@")
    other = blend(tmp_path / "a.blend")
    assert blendfiles.clean(tmp_path) == 2
    assert not half.exists()
    assert (dead.exists(), living.exists(), other.exists()) == (False, True, True)


# ---- reports and journals


def some_rows() -> list[rows.Row]:
    return [
        rows.row("b.blend", "Walk", rows.DESCRIBED, tags=["walk", "forward"], facts={"seconds": 3.0}, frames=61),
        rows.row("a.blend", "Zoom", rows.SKIPPED, 'an "object", moved; ünï\nline'),
        rows.row("a.blend", "Bow", rows.KEPT, segments=[{"first": 1, "last": 9, "sentence": "x", "raw": "x"}]),
    ]


def test_a_report_is_the_core_s(tmp_path: Path) -> None:
    """Both halves write the same columns and the same bytes, so that one run's report is like the other's."""
    core = pytest.importorskip("core.captions.report")
    assert rows.COLUMNS == core.COLUMNS
    table = rows.ordered(some_rows())
    as_csv, as_json = rows.write_report(tmp_path / "ours.csv", some_rows(), {"model": "x"})
    assert as_csv.read_bytes().decode() == core.as_csv(table)
    assert as_json.read_bytes().decode() == core.as_json(table, {"model": "x"})


def test_a_report_can_be_read(tmp_path: Path) -> None:
    as_csv, as_json = rows.write_report(tmp_path / "deep" / "out.json", some_rows(), {"model": "x"})
    with as_csv.open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    assert [(r["file"], r["action"]) for r in told] == [("a.blend", "Bow"), ("a.blend", "Zoom"), ("b.blend", "Walk")]
    assert told[2]["tags"] == "walk; forward"
    assert json.loads(told[2]["facts"]) == {"seconds": 3.0}
    assert told[1]["message"] == 'an "object", moved; ünï\nline'
    report = json.loads(as_json.read_text(encoding="utf-8"))
    assert report["made_with"] == {"model": "x"}
    assert [tuple(r) for r in report["rows"]] == [rows.COLUMNS] * 3
    assert sorted(p.name for p in as_csv.parent.iterdir()) == ["out.csv", "out.json"]
    assert rows.counted(some_rows()) == "1 described, 1 kept, 1 skipped"


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        rows.write_report(tmp_path / "file" / "out.csv", some_rows(), {})
    assert caught.value.code == "report_unwritable"


def test_a_journal_is_gone_on_from(tmp_path: Path) -> None:
    path, about = tmp_path / "out.journal.jsonl", {"write": True}
    journal = rows.Journal(path, about, resume=False)
    done = [rows.row("a.blend", "Walk", rows.DESCRIBED)]
    journal.add("a.blend", "1.1", done)
    journal.add("b.blend", "2.2", [rows.row("b.blend", "", rows.FAILED)])
    journal.add("c.blend", "3.3", [rows.row("c.blend", "", rows.SKIPPED)])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"file": "d.blend", "stamp": "4.4", "ro')  # killed here
    again = rows.Journal(path, about, resume=True)
    assert again.rows("a.blend", "1.1") == done
    assert again.rows("a.blend", "1.2") is None  # changed since
    assert again.rows("b.blend", "2.2") is None  # failed: tried again
    assert again.rows("c.blend", "3.3") is None  # locked then, perhaps not now
    assert again.rows("d.blend", "4.4") is None
    again.add("b.blend", "2.2", [rows.row("b.blend", "Bow", rows.DESCRIBED)])
    again.close()
    third = rows.Journal(path, about, resume=True)
    assert third.rows("a.blend", "1.1") == done
    assert third.rows("b.blend", "2.2") == [rows.row("b.blend", "Bow", rows.DESCRIBED)]
    assert rows.Journal(path, {"write": False}, resume=True).rows("a.blend", "1.1") is None  # another run
    assert rows.Journal(path, about, resume=False).rows("a.blend", "1.1") is None
    path.write_bytes(b"\xff\xfe junk")
    assert rows.Journal(path, about, resume=True).done == {}
