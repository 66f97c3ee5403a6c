"""`python -m core caption` on folders: every kind of file, one report, several processes, kills and going on."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
from captionfolder import begun, blender, ends, make_blend, make_folder, start, until
from motions import run as running
from motions import turn, walk, wave
from smplx_body import write_amass, write_body

import core.__main__ as cli
from core.captions import files, report
from core.captions.batch import describe_files
from core.captions.work import Options
from core.errors import CoreError
from core.motionfile import write_motion

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")


def run(*words: object) -> int:
    return cli.main(["caption", *(str(word) for word in words)])


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a JSON report by file and action."""
    return {(r["file"], r["action"]): r for r in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def reports(folder: Path, name: str) -> tuple[bytes, bytes]:
    return (folder / f"{name}.csv").read_bytes(), (folder / f"{name}.json").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `clips` of every kind of file, and the report `one` of it by one process."""
    place = tmp_path_factory.mktemp("batch")
    make_folder(place / "clips")
    told = start("clips", "--report", "one.csv", "--alternatives", "1", cwd=place)
    out, err = told.communicate(timeout=300)
    assert told.returncode == 1, err
    assert "5 described, 5 skipped, 2 failed" in out
    assert err == ""
    return place


def test_every_kind_of_file_is_in_the_report(made: Path) -> None:
    rows = rows_of(made / "one.json")
    assert {key: row["status"] for key, row in rows.items()} == {
        ("clips/broken.bvh", ""): "failed",
        ("clips/cut.npz", ""): "failed",
        ("clips/deep/deeper/jump, high.json", "jump, high"): "described",
        ("clips/deep/made_joints.npz", "a"): "described",
        ("clips/deep/made_joints.npz", "b"): "described",
        ("clips/deep/made_joints.npz", "c"): "skipped",
        ("clips/deep/wave.npz", "wave"): "described",
        ("clips/pose.json", "pose"): "skipped",
        ("clips/settings.json", ""): "skipped",
        ("clips/shape.npz", ""): "skipped",
        ("clips/short.npz", "short"): "skipped",
        ("clips/walk.bvh", "walk"): "described",
    }
    assert list(rows) == sorted(rows)
    said = {key[0]: row["message"] for key, row in rows.items()}
    for file, words in (("broken.bvh", "BVH"), ("cut.npz", "no motion"), ("pose.json", "pose"), ("short.npz", "half"),
                        ("settings.json", "something else"), ("shape.npz", "something else")):  # fmt: skip
        assert words in said[f"clips/{file}"]


def test_rows_say_what_the_files_hold(made: Path) -> None:
    rows = rows_of(made / "one.json")
    straight, bundled = rows["clips/walk.bvh", "walk"], rows["clips/deep/made_joints.npz", "a"]
    assert (straight["frames"], straight["seconds"]) == (80, 3.95)
    assert straight["facts"]["direction"] == "forward"
    assert straight["facts"]["distance_m"] == pytest.approx(abs(walk(4.0)[-1, 0, 2] - walk(4.0)[0, 0, 2]), abs=0.1)
    assert straight["facts"]["in_place"] is False
    assert rows["clips/deep/wave.npz", "wave"]["facts"]["in_place"] is True
    for row in (straight, bundled):
        assert "walk" in row["sentence"]
        assert row["segments"][0]["first"] == 0
        assert row["segments"][-1]["last"] == row["frames"] - 1
        assert (row["model"], row["licence"]) == ("MotionGPT3 compact", "CC BY-NC 4.0")
    assert straight["sentence"] == bundled["sentence"]
    assert rows["clips/deep/made_joints.npz", "b"]["facts"]["speed_mps"] > 1.2 * straight["facts"]["speed_mps"]
    assert any(row["alternatives"] for row in rows.values())
    made_with = json.loads((made / "one.json").read_text())["made_with"]
    assert made_with["model"] == "MotionGPT3 compact"
    assert made_with["alternatives"] == 1
    assert len(made_with["weights"]) == 64


def test_the_table_says_the_same_as_the_json(made: Path) -> None:
    with (made / "one.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    objects = list(rows_of(made / "one.json").values())
    assert len(table) == len(objects)
    for cells, row in zip(table, objects, strict=True):
        assert tuple(cells) == tuple(row) == report.COLUMNS
        for name, value in row.items():
            if name in ("facts", "segments", "corrections"):
                assert json.loads(cells[name] or str(type(value)())) == value
            elif isinstance(value, list):
                assert cells[name] == "; ".join(value)
            else:
                assert cells[name] == ("" if value is None else str(value))


def test_two_processes_and_other_names_of_the_folder_report_the_same(made: Path) -> None:
    told = start("clips/deep", "clips", "clips/walk.bvh", "--report", "two.json", "--alternatives", "1", "--jobs", "2",
                 cwd=made)  # fmt: skip
    out, err = told.communicate(timeout=300)
    assert told.returncode == 1, err
    assert "two.csv" in out
    assert reports(made, "two") == reports(made, "one")


def test_a_run_that_was_killed_goes_on_where_it_was(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "clips", tmp_path / "clips")
    stop = make_blend(tmp_path / "clips" / "deep" / "waits.blend")  # comes after the bundle and before the wave
    words = ["clips", "--report", "all.csv", "--alternatives", "1", *blender(tmp_path)]
    first = start(*words, cwd=tmp_path)
    until(lambda: bool(begun(stop)), first)
    first.kill()
    first.communicate(timeout=60)
    assert first.returncode == -signal.SIGKILL
    assert not (tmp_path / "all.csv").exists()
    assert all(ends(process) for process in begun(stop)[0][:2])  # neither Blender nor who started it lives on
    journal = tmp_path / "all.journal.jsonl"
    done = [json.loads(line)["name"] for line in journal.read_text().splitlines()]
    bundle = "clips/deep/made_joints.npz[0:3]"
    assert done == ["clips/broken.bvh", "clips/cut.npz", "clips/deep/deeper/jump, high.json", bundle]

    with journal.open("a", encoding="utf-8") as file:
        file.write('{"name": "clips/deep/wave.npz", "rows": [{"file"')  # a kill in the middle of a line
    lines = journal.read_text().replace("a person walks", "a person STROLLS")
    journal.write_text(lines, encoding="utf-8")  # shows which rows come from the journal
    stop.with_suffix(".go").touch()
    second = start(*words, "--resume", "--jobs", "2", cwd=tmp_path)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 1, err
    assert "(files taken from the earlier run: 2)" in out  # the broken ones are tried again
    rows = rows_of(tmp_path / "all.json")
    assert "STROLLS" in rows["clips/deep/made_joints.npz", "a"]["sentence"]
    assert rows["clips/deep/waits.blend", "Walk"]["sentence"] == "a person walks"
    assert len(begun(stop)) == 2
    del rows["clips/deep/waits.blend", "Walk"]
    assert json.dumps(list(rows.values())).replace("STROLLS", "walks") == json.dumps(
        list(rows_of(made / "one.json").values())
    )


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    blend = make_blend(tmp_path / "waits.blend")
    (tmp_path / "broken.bvh").write_text("HIERARCHY", encoding="utf-8")
    stopped = start(".", "--report", "all.csv", *blender(tmp_path), cwd=tmp_path)
    until(lambda: bool(begun(blend)), stopped)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "1 of 2 files are done; --resume goes on with the rest." in err
    assert "Traceback" not in err
    assert all(ends(process) for process in begun(blend)[0][:2])


def test_only_what_is_as_it_was_counts_as_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "clips"
    place.mkdir()
    write_motion(place / "a.npz", walk(2.0))
    write_motion(place / "b.npz", wave(2.0))
    blend = make_blend(place / "c.blend")
    words = [place, "--report", tmp_path / "r.csv", *blender(tmp_path)]
    assert run(*words, "--write") == 0
    assert begun(blend)[0][0] > 0
    assert run(*words, "--write", "--resume") == 0  # also the .blend, which the first run changed
    assert "(files taken from the earlier run: 3)" in capfd.readouterr().out
    write_motion(place / "b.npz", running(2.5))  # the file has changed
    assert run(*words, "--dry-run", "--resume") == 0
    assert "(files taken from the earlier run: 1)" in capfd.readouterr().out
    assert rows_of(tmp_path / "r.json")[(place / "b.npz").as_posix(), "b"]["frames"] == 50
    assert run(*words, "--dry-run", "--resume", "--alternatives", 1) == 0
    assert "(files taken from the earlier run: 1)" in capfd.readouterr().out  # of motions, all is to be described anew


def test_who_dies_with_a_file_costs_that_file_alone(tmp_path: Path) -> None:
    place = tmp_path / "clips"
    place.mkdir()
    for name in ("a.npz", "z.npz"):
        write_motion(place / name, walk(2.0))
    held, deadly = make_blend(place / "waits.blend"), make_blend(place / "kills.blend")
    told = start("clips", "--report", "r.csv", "--jobs", "2", *blender(tmp_path), cwd=tmp_path)
    until(lambda: bool(begun(held)), told)
    held.with_suffix(".go").touch()
    os.kill(begun(held)[0][1], signal.SIGKILL)  # once; the other one kills its process each time
    out, err = told.communicate(timeout=200)
    assert told.returncode == 1, err
    assert "3 described, 1 failed" in out
    rows = {Path(file).name: row for (file, _), row in rows_of(tmp_path / "r.json").items()}
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["kills.blend"]
    assert "died, 3 times out of 3" in rows["kills.blend"]["message"]
    assert len({starter for _, starter, _ in begun(deadly)}) == 3
    assert len({starter for _, starter, _ in begun(held)}) == len(begun(held)) == 2


def test_blend_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blend, wrong = make_blend(tmp_path / "ünï, code.blend"), make_blend(tmp_path / "fails.blend")
    assert run(blend) == 0
    assert "described by Blender" in capfd.readouterr().out
    assert run(blend, *blender(tmp_path), "--report", tmp_path / "r.json") == 0
    row = rows_of(tmp_path / "r.json")[blend.as_posix(), "Walk"]
    assert (row["sentence"], row["tags"], row["facts"]) == ("a person walks", ["walk"], {})
    assert run(wrong, *blender(tmp_path)) == 1
    said = capfd.readouterr().out
    assert "code 1" in said
    assert "from the future" in said
    assert len(begun(wrong)) == 1
    crashes = make_blend(tmp_path / "crashes.blend")
    assert run(crashes, *blender(tmp_path)) == 1
    assert "Blender ended with code -9" in capfd.readouterr().out
    assert len(begun(crashes)) == 3
    assert run(blend, "--blender", '["no-such-blender"]') == 2
    assert "cannot be started" in capfd.readouterr().err


def test_motion_of_a_body_needs_the_body(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("smplx", reason="needs core/requirements-smplx.txt, whose licence is for you to accept")
    place = tmp_path / "amass"
    place.mkdir()
    write_amass(place / "one_poses.npz")
    assert run(place, "--report", tmp_path / "r.csv", "--jobs", 1) == 1
    assert "need a body model" in capfd.readouterr().out
    body = write_body(tmp_path / "SMPLX_NEUTRAL.npz")
    assert run(place, "--report", tmp_path / "r.csv", "--resume", "--body-model", body) == 0
    assert "1 described" in capfd.readouterr().out


def test_one_motion_is_sentences_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_motion(tmp_path / "long.bvh", walk(2.0))
    assert run(tmp_path / "long.bvh", "--alternatives", 2) == 0
    lines = capfd.readouterr().out.splitlines()
    assert 1 <= len(lines) == len(set(lines)) <= 3
    assert "walk" in lines[0]


def test_a_long_motion_is_cut_and_summed_up_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parts = [walk(6.0), turn(), wave(4.0)]
    for before, after in itertools.pairwise(parts):
        after += before[-1, 0] * [1, 0, 1] - after[0, 0] * [1, 0, 1]
    write_motion(tmp_path / "long.npz", np.concatenate(parts))
    assert run(tmp_path / "long.npz", "--jobs", 1, "--report", tmp_path / "r.csv") == 0
    (row,) = rows_of(tmp_path / "r.json").values()
    assert row["frames"] == sum(map(len, parts))
    assert len(row["segments"]) > 1
    for before, after in itertools.pairwise(row["segments"]):
        assert after["first"] == before["last"] + 1
    assert "\n" not in row["sentence"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}/none"], "cannot be read"), (["{tmp}/empty"], "no motion files"), (["{tmp}/a.txt", "{tmp}"], "a.txt"),
        (["{tmp}", "--resume"], "--report"), (["{tmp}", "--report", "{tmp}/r.txt"], ".csv"),
        (["{tmp}", "--report", "{tmp}/none/r.csv"], "no folder"), (["{tmp}", "--jobs", "0"], "1 or more"),
        (["{tmp}", "--jobs", "2", "--ray", "auto"], "one of them"), (["{tmp}", "--write"], "--blender"),
        (["{tmp}", "--alternatives", "-1"], "0 or more"), (["{tmp}", "--model", "{tmp}"], "config.json"),
        (["{tmp}", "--device", "toaster"], "toaster"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_with_a_remedy(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("no motion")
    write_motion(tmp_path / "a.npz", walk(2.0))
    assert run(*[word.format(tmp=tmp_path) for word in words]) == 2
    heard = capfd.readouterr()
    assert heard.out == ""
    assert heard.err.strip().count("\n") == 0
    assert said in heard.err
    assert not (tmp_path / "r.csv").exists()


@pytest.mark.parametrize("words", [["--blender", "{"], ["--blender", "[]"], ["--blender", "[1]"]])
def test_what_is_no_command(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *words)
    assert caught.value.code == 2
    assert "--blender" in capsys.readouterr().err


def test_a_large_bundle_is_several_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "clips")
    monkeypatch.setattr(files, "PART", 2)
    parts = [task for task in files.find([tmp_path]).tasks if task.last]
    assert [(task.first, task.last) for task in parts] == [(0, 2), (2, 3)]
    assert len({task.name for task in parts}) == 2
    assert [[name for name, _ in files.read(task)] for task in parts] == [["b", "a"], ["c"]]


def test_files_whose_names_are_no_text(tmp_path: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/\xff\xfe.npz"
    write_motion(tmp_path / "a.npz", walk(1.0))
    try:
        os.rename(tmp_path / "a.npz", strange)
    except OSError:
        pytest.skip("this file system takes only text")
    (task,) = files.find([tmp_path]).tasks
    assert task.file.endswith("/\\udcff\\udcfe.npz")
    ((name, joints),) = files.read(task)
    assert len(joints) == 20
    report.write_report(tmp_path / "r.csv", [report.row(task.file, name, "described")], {})
    assert name in (tmp_path / "r.csv").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_read_is_in_the_report() -> None:
    outcome = describe_files(files.Found((), (("clips/private", "Permission denied"),)), Options())
    (row,) = outcome.rows
    assert (row["file"], row["status"]) == ("clips/private", "failed")
    assert "Permission denied" in row["message"]
    assert outcome.failed == 1


def test_a_row_has_every_column_and_no_other() -> None:
    made = report.row("a", "b", "kept", tags=["x"])
    assert tuple(made) == report.COLUMNS
    assert made["tags"] == ["x"]
    for status, values in (("great", {}), ("kept", {"colour": "red"})):
        with pytest.raises(ValueError, match="no such"):
            report.row("a", "b", status, **values)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report.write_report(tmp_path / "r.csv", [report.row("a", "b", "kept")], {})
    before = (tmp_path / "r.csv").read_bytes()
    (tmp_path / "r.csv.part").mkdir()
    with pytest.raises(CoreError) as caught:
        report.write_report(tmp_path / "r.csv", [report.row("c", "d", "kept")], {})
    assert caught.value.code == "report_not_written"
    assert (tmp_path / "r.csv").read_bytes() == before
