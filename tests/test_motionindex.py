"""The search index: what is stored comes back, from several processes at once, and a damaged file is begun anew."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mgpt3_blender import ranking
from mgpt3_blender.errors import UserError
from mgpt3_blender.motionindex import Index, file_name, key_of, stamp_of
from mgpt3_blender.ranking import Entries, phrase, search, stems


def unit(*values: float, width: int = 128) -> np.ndarray:
    row = np.zeros(width, np.float32)
    row[: len(values)] = values
    return row / np.linalg.norm(row)


def told(sentence: str, **more: object) -> dict:
    return {"sentence": sentence, "tags": sentence.split()[2:], "embedder": "matcher 1", **more}


def write_some(path: str, first: int, count: int) -> None:
    """In another process."""
    index = Index(Path(path))
    for number in range(first, first + count):
        index.put(f"{number}", "compact", told(f"a person does {number}"), unit(1, number), unit(2, width=384))
        index.place(f"/lib/{first}.blend", "1", f"Action {number}", "", f"{number}")
    index.close()


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "deeper" / "index.sqlite")
    assert index.get("k", "compact") is None
    description = told("a person waves", facts={"seconds": 2.5}, segments=[{"first": 0, "last": 40}])
    index.put("k", "compact", {**description, "embedding": [1.0, 0.0]}, meaning=unit(0, 1, width=384))
    stored = Index(index.path).get("k", "compact")
    assert stored is not None
    assert stored.description == description  # the vector is not there twice
    assert np.array_equal(stored.vector, [1.0, 0.0])
    assert np.array_equal(stored.meaning, unit(0, 1, width=384))
    assert index.get("k", "another model") is None
    index.put("k", "compact", told("a person bows"), unit(1))
    again = index.get("k", "compact")
    assert again is not None
    assert again.description["sentence"] == "a person bows"


def test_keys_depend_on_all_that_goes_in() -> None:
    values = np.arange(6, dtype=np.float32)
    keys = [
        key_of(["a", "b"]), key_of(["ab"]), key_of(["a", b"b", ""]), key_of([values]), key_of([values.reshape(2, 3)]),
        key_of([values.astype(np.int32)]), key_of([values + np.float32(1e-6)]), key_of([]),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key_of([values]) == key_of([np.ascontiguousarray(values.reshape(3, 2).T.T.ravel())])


def test_places(tmp_path: Path) -> None:
    index = Index(tmp_path / "i.sqlite")
    first, second = tmp_path / "lib" / "a.blend", tmp_path / "library" / "b.blend"
    index.look(first, "1", [("Walk", "", "k1"), ("Run", "Hero", "k2")])
    index.place(second, "7", "Wave", "", "k3")
    assert [(p.action, p.slot) for p in index.places([tmp_path / "lib"])] == [("Run", "Hero"), ("Walk", "")]
    assert {p.action for p in index.places([first, second])} == {"Walk", "Run", "Wave"}
    assert {p.action for p in index.places()} == {"Walk", "Run", "Wave"}
    assert index.places([]) == []
    assert index.stamp(first) == "1"
    assert index.stamp(tmp_path / "c.blend") is None
    index.look(first, "2", [("Walk", "", "k1")])  # Run was deleted there
    assert [p.action for p in index.places([first])] == ["Walk"]
    assert index.stamps() == {file_name(first): "2", file_name(second): "7"}
    index.put("k3", "compact", told("a person waves"), unit(1))
    assert index.undescribed([tmp_path]) == {file_name(first)}
    index.forget(first)
    assert index.stamp(first) is None
    assert index.places([first]) == []


def test_entries_and_what_is_missing(tmp_path: Path) -> None:
    index = Index(tmp_path / "i.sqlite")
    file = tmp_path / "a.blend"
    index.look(file, "1", [("A", "", "a"), ("B", "", "b"), ("C", "", "c"), ("D", "", "d"), ("A copy", "", "a")])
    index.put("a", "compact", told("a person waves"), unit(1), unit(1, width=384))
    index.put("b", "compact", {**told("a person bows"), "embedder": "matcher 0"}, unit(0, 1))
    index.refuse("c", "motion_static")
    entries = index.entries([file], embedder="matcher 1")
    assert entries.names == ["A", "A copy"]
    assert entries.sentences == ["a person waves"] * 2
    assert entries.tags == [("waves",)] * 2
    assert entries.missing == 2  # B, whose vector is another matcher's, and D; C cannot be described at all
    assert len(index.entries([file])) == 3


def test_one_sees_what_another_writes(tmp_path: Path) -> None:
    one, other = Index(tmp_path / "i.sqlite"), Index(tmp_path / "i.sqlite")
    one.put("k", "m", told("a person waves"), unit(1))
    before = other.version()
    assert other.version() == before
    one.place("/lib/a.blend", "1", "Wave", "", "k")
    assert other.version() != before
    before = one.version()
    one.put("k", "m", told("a person bows"), unit(1))
    assert one.version() != before
    assert len(other.entries()) == 1


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_some, args=(str(path), 1000 * k, 60)) for k in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    index = Index(path)
    assert len(index.entries()) == 180
    assert index.note == ""


@pytest.mark.parametrize("damage", ["no database", "torn", "emptied"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "i.sqlite"
    write_some(str(path), 0, 200)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    whole = path.read_bytes()
    if damage == "no database":
        path.write_bytes(b"this is no database" * 400)
    elif damage == "torn":
        path.write_bytes(whole[:5000] + b"\xff" * (len(whole) - 5000))
    else:
        path.write_bytes(b"")
    index = Index(path)
    index.entries()
    index.put("k", "m", told("a person waves"), unit(1))
    index.place("/lib/a.blend", "1", "Wave", "", "k")
    assert "Wave" in index.entries(["/lib/a.blend"]).names
    if damage == "emptied":  # an empty file is an empty database
        assert index.note == ""
    else:
        assert "begun anew" in index.note
        assert (tmp_path / "i.sqlite.damaged").exists()
        assert len(index.entries()) == 1


def test_two_that_find_the_damage_begin_one_file(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    path.write_bytes(b"this is no database" * 400)
    one, other = Index(path), Index(path)
    one.put("a", "m", told("a person waves"), unit(1))
    other.put("b", "m", told("a person bows"), unit(1))
    assert one.get("b", "m") is not None
    assert other.get("a", "m") is not None


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    index = Index(tmp_path / "file" / "i.sqlite")
    for call in (lambda: index.get("k", "m"), lambda: index.put("k", "m", told("x")), index.entries):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.code == "index_unusable"
        assert caught.value.remedy


def test_stamps_of_files(tmp_path: Path) -> None:
    file = tmp_path / "a.blend"
    assert stamp_of(file) == ""
    file.write_bytes(b"one")
    first = stamp_of(file)
    assert first == stamp_of(file)
    file.write_bytes(b"other")
    assert stamp_of(file) != first
    (tmp_path / "link.blend").symlink_to(file)
    assert file_name(tmp_path / "link.blend") == file_name(file)
    assert file_name(tmp_path / "x" / ".." / "a.blend") == file_name(file)


# ---- ranking


def entries(*rows: tuple[str, str, np.ndarray]) -> Entries:
    count = len(rows)
    return Entries(
        [row[0] for row in rows], [""] * count, [""] * count, [str(i) for i in range(count)], [row[1] for row in rows],
        [()] * count, np.stack([row[2] for row in rows]), np.stack([unit(1, width=384)] * count),
    )  # fmt: skip


def test_the_nearest_motion_comes_first() -> None:
    table = entries(("A", "x", unit(0, 1)), ("B", "x", unit(1)), ("C", "x", unit(1, 1)))
    hits = search(table, unit(1), unit(1, width=384), "something")
    assert [hit.row for hit in hits] == [1, 2, 0]
    assert hits[0].score == pytest.approx(1.0)
    assert [hit.row for hit in search(table, unit(1), unit(1, width=384), "something", 1)] == [1]


def test_words_and_names_count() -> None:
    same = unit(1)
    table = entries(("Take 1", "a person walks", same), ("Take 2", "a person kicks", same), ("KickLeft_02", "", same))
    assert [hit.row for hit in search(table, same, unit(1, width=384), "kicking")] == [2, 1, 0]
    assert search(table, same, unit(1, width=384), "swimming")[0].row == 0  # no words in common: their order


def test_vectors_of_another_matcher_do_not_count() -> None:
    table = entries(("A", "a person walks", unit(1)), ("B", "a person kicks", unit(0, 1)))
    hits = search(table, unit(1, width=64), unit(1, width=384), "kick")
    assert hits[0].row == 1
    assert search(Entries([], [], [], [], [], [], np.zeros((0, 0)), np.zeros((0, 0))), same := unit(1), same, "x") == []


def test_words() -> None:
    assert stems("ZombieWalk_02") == {"zombi", "walk", "02"}
    assert stems("a person is walking slowly") == stems("Walks slow")
    assert phrase("  sneaky   walk ") == "a person sneaky walk"
    assert phrase("Someone waves") == "Someone waves"
    assert phrase("anteater") == "a person anteater"


def test_ten_thousand_motions_are_searched_in_no_time(tmp_path: Path, within: Callable[..., None]) -> None:
    """From the disk and in memory; the bounds are several times what it takes."""
    rng = np.random.default_rng(0)
    index = Index(tmp_path / "i.sqlite")
    count = 10_000
    vectors = rng.normal(size=(count, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    meaning = unit(1, width=384).tobytes()
    text = json.dumps(told("a person walks", facts={f"fact {i}": 1.0 for i in range(40)}))
    rows = [
        (f"{i:032x}", "m", text, f"a person walks {i % 700}", "walk\nslow", "matcher 1", vectors[i].tobytes(), meaning)
        for i in range(count)
    ]
    index.get("k", "m")
    with sqlite3.connect(index.path) as db:
        db.executemany("INSERT INTO described VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.close()
    for file in range(100):
        index.look(f"/lib/{file}.blend", "1", [(f"Walk.{i:05d}", "", f"{i:032x}") for i in range(file * 100, file * 100 + 100)])  # fmt: skip  # noqa: E501
    began = time.perf_counter()
    table = index.entries(["/lib"], embedder="matcher 1")
    loaded = time.perf_counter()
    hits = search(table, vectors[4321], unit(1, width=384), "zombie walk", 50)
    searched = time.perf_counter()
    assert len(table) == count
    assert table.names[hits[0].row] == "Walk.04321"
    within(loaded - began, 2.0, "read")
    within(searched - loaded, 0.5, "searched")


def test_weights_are_shares() -> None:
    assert 0 < ranking.MEANING_WEIGHT < 1
    assert ranking.FAIR < ranking.GOOD < 1
