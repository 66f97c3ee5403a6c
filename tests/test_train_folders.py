"""Folders of BVH and AMASS files with captions, and bundles: read as meant, and every damage named with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from motions import walk, wave
from smplx_body import write_amass, write_body
from test_train import CAPTIONS, CLIPS, write_bundle

from core.bvh import write_bvh
from core.errors import CoreError
from core.features import canonicalise
from core.train.data import Clip, canonical_bones, describe, featured, load_data_source, prepare
from core.train.sources.captions import split_of

# -- folders of motion files -----------------------------------------------------------------------------------------

LINES = [("walk.bvh", "a person walks, slowly", "train", 0, 0), ("walk.bvh", "someone walks", "train", 0, 0),
         ("walk.bvh", "a step", "train", 0.5, 2), ("more/wave.bvh", "a wave", "val", 0, 0)]  # fmt: skip


@pytest.fixture
def bvh(tmp_path: Path) -> Path:
    folder = tmp_path / "mocap"
    (folder / "more").mkdir(parents=True)
    write_bvh(folder / "walk.bvh", walk(4.0))
    write_bvh(folder / "more/wave.bvh", wave(3.0))
    return folder


def write_lines(folder: Path, kind: str) -> None:
    rows = [[str(v) for v in line] for line in LINES]
    if kind == "captions.csv":
        text = "file,caption,split,start,end\n" + "\n".join(f'{a},"{b}",{c},{d},{e}' for a, b, c, d, e in rows)
    elif kind == "captions.tsv":
        text = "\n".join("\t".join(row) for row in rows)  # no first row with names
    elif kind == "captions.jsonl":
        names = ("file", "caption", "split", "start", "end")
        text = "\n".join(json.dumps(dict(zip(names, line, strict=True))) for line in LINES)
    else:
        text = "\n".join(f"{a}\t{b}" for a, b, *_ in rows)
    (folder / kind).write_text(text + "\n", encoding="utf-8-sig")


@pytest.mark.parametrize("kind", ["captions.csv", "captions.tsv", "captions.jsonl", "captions.txt"])
def test_bvh_folder_with_every_captions_file(bvh: Path, kind: str) -> None:
    write_lines(bvh, kind)
    clips = {c.id: c for c in load_data_source(bvh)}
    if kind == "captions.txt":
        assert clips["walk"].captions == ["a person walks, slowly", "someone walks", "a step"]
        assert {i: c.split for i, c in clips.items()} == {i: split_of(i) for i in ("walk", "more/wave")}
        return
    assert list(clips) == ["walk", "walk@0.5-2", "more/wave"]
    assert clips["walk"].captions == ["a person walks, slowly", "someone walks"]
    assert [c.split for c in clips.values()] == ["train", "train", "val"]
    assert np.abs(clips["walk"].joints - canonicalise(walk(4.0))).max() < 2e-3
    assert np.abs(clips["walk@0.5-2"].joints - canonicalise(walk(4.0)[10:41])).max() < 2e-3
    assert [c.id for c in load_data_source(bvh, split="val")] == ["more/wave"]
    assert len(prepare(list(clips.values()), canonical_bones(list(clips.values())))) == 3


def test_splits_by_name_are_nine_in_ten_and_stay(bvh: Path) -> None:
    found = [split_of(f"trial_{n}") for n in range(4000)]
    assert abs(found.count("train") / 4000 - 0.90) < 0.02
    assert abs(found.count("val") / 4000 - 0.05) < 0.015
    assert found[:40] == [split_of(f"trial_{n}") for n in range(40)]
    assert (split_of("walk"), split_of("trial_7")) == ("train", found[7])


BVH_DAMAGE = {
    "no captions": ("captions.json", "", "has motion files, but no captions"),
    "empty": ("captions.txt", "\n", r"captions\.txt: there is no caption"),
    "no tab": ("captions.txt", "walk.bvh a walk\n", r"captions\.txt, line 1: there are 1 columns"),
    "a tab too many": ("captions.txt", "walk.bvh\ta\tb\n", r"captions\.txt, line 1: there are 3 columns"),
    "no such file": ("captions.txt", "walk.bvh\ta walk\nrun.bvh\ta run\n", r"captions\.txt, line 2: there is no file"),
    "outside": ("captions.txt", "../walk.bvh\ta walk\n", r"captions\.txt, line 1: '\.\./walk\.bvh' is not in this"),
    "other kind": ("captions.txt", "walk.fbx\ta walk\n", r"captions\.txt, line 1: 'walk.fbx' is no \.bvh"),
    "no words": ("captions.txt", "walk.bvh\t \n", r"captions\.txt, line 1: there is no caption"),
    "comma": ("captions.csv", "file,caption\nwalk.bvh,a,b\n", r"captions\.csv, line 2: there are 3 columns"),
    "open quote": ("captions.csv", 'walk.bvh,"a\n', r"captions\.csv, line 1: it cannot be read"),
    "split": ("captions.csv", "walk.bvh,a,dev\n", r"captions\.csv, line 1: the split 'dev' is none"),
    "two splits": ("captions.csv", "walk.bvh,a,val\nwalk.bvh,b,test\n", r"captions\.csv, line 2: .*in the split val"),
    "time": ("captions.csv", "walk.bvh,a,,one,2\n", r"captions\.csv, line 1: the start 'one' is not"),
    "backwards": ("captions.csv", "walk.bvh,a,,3,2\n", r"captions\.csv, line 1: the time span from 3 to 2"),
    "beyond": ("captions.csv", "walk.bvh,a,,3,9\n", r"captions\.csv, line 1: 'walk.bvh' ends after 4\.00"),
    "no JSON": ("captions.jsonl", '{"file": "walk.bvh"\n', r"captions\.jsonl, line 1: it is not JSON"),
    "no object": ("captions.jsonl", "[1]\n", r"captions\.jsonl, line 1: it is not an object"),
    "no list": ("captions.jsonl", '{"file": "walk.bvh", "captions": 3}\n', r"captions\.jsonl, line 1: 'captions' is"),
    "broken file": ("captions.txt", "walk.bvh\ta walk\nbad.bvh\tbad\n", r"bad\.bvh \(captions\.txt, line 2\): .*whole"),
    "strange": ("captions.txt", "odd.bvh\todd\n", r"odd\.bvh \(captions\.txt, line 1\): "),
}


@pytest.mark.parametrize("name", BVH_DAMAGE)
def test_damage_to_a_bvh_folder_is_named(bvh: Path, name: str) -> None:
    file, text, said = BVH_DAMAGE[name]
    (bvh / file).write_text(text)
    whole = (bvh / "walk.bvh").read_text()
    (bvh / "bad.bvh").write_text(whole[:-40])
    if name == "strange":
        box = "HIERARCHY\nROOT box\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}\n"
        (bvh / "odd.bvh").write_text(box + "MOTION\nFrames: 1\nFrame Time: 0.05\n0 0 0\n")
    with pytest.raises(CoreError, match=said) as error:
        load_data_source(bvh)
    assert error.value.code == "data_broken"


def test_two_captions_files_and_files_without_caption(bvh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bvh / "captions.txt").write_text("walk.bvh\ta walk\n")
    assert len(load_data_source(bvh)) == 1
    assert "1 .bvh files without caption (the first: wave.bvh)" in capsys.readouterr().err
    write_lines(bvh, "captions.csv")
    with pytest.raises(CoreError, match=r"captions\.csv and captions\.txt"):
        load_data_source(bvh)


def test_amass_folder(tmp_path: Path) -> None:
    pytest.importorskip("smplx", reason="needs core/requirements-smplx.txt, whose licence is for you to accept")
    folder, body = tmp_path / "amass", write_body(tmp_path / "SMPLX_NEUTRAL.npz")
    (folder / "KIT").mkdir(parents=True)
    write_amass(folder / "KIT/walk_poses.npz", seconds=3.0, layout="smplx")
    (folder / "captions.txt").write_text("KIT/walk_poses.npz\ta person walks in a curve\n")
    clips = load_data_source(folder, body_model=body)
    assert [(c.id, c.captions, len(c.joints)) for c in clips] == [
        ("KIT/walk_poses", ["a person walks in a curve"], 61)
    ]  # fmt: skip
    assert clips[0].joints[:, 15, 1].min() > 1  # upright, in metres
    np.savez(folder / "KIT/walk_poses.npz", poses=np.zeros((9, 156)), mocap_framerate=30)
    with pytest.raises(CoreError, match=r"KIT/walk_poses\.npz \(captions\.txt, line 1\): .*lacks 'trans'"):
        load_data_source(folder, body_model=body)
    (folder / "KIT/walk_poses.npz").write_bytes(b"PK")
    with pytest.raises(CoreError, match=r"KIT/walk_poses\.npz \(captions\.txt, line 1\): It holds no arrays"):
        load_data_source(folder, body_model=body)
    write_amass(folder / "KIT/walk_poses.npz")
    with pytest.raises(CoreError, match="no body model") as error:
        load_data_source(folder, body_model=tmp_path / "none.npz")
    assert error.value.code == "body_model_missing"


def test_amass_without_a_body_model_says_where_to_get_one(tmp_path: Path) -> None:
    write_amass(tmp_path / "walk_poses.npz")
    (tmp_path / "captions.txt").write_text("walk_poses.npz\ta walk\n")
    with pytest.raises(CoreError, match="register at") as error:
        load_data_source(tmp_path)
    assert error.value.code == "body_model_needed"


# -- bundles, and what there is ------------------------------------------------------------------------------------


def test_bundle_and_folder_of_bundles(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, CLIPS, CAPTIONS, "val")
    assert [c.id for c in load_data_source(path)] == [c.id for c in load_data_source(tmp_path)] == ["a", "b", "c"]
    assert load_data_source(path, split="test") == []
    assert all(c.features is not None for c in featured(load_data_source(path)))


def save(**changes: np.ndarray) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with np.load(path) as z:
            content = {key: z[key] for key in z.files} | changes
        np.savez(path, **{key: value for key, value in content.items() if value is not None})

    return damage


def line(n: int, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = path.with_name("made_captions.jsonl")
        lines = file.read_text().splitlines()
        entry = json.loads(lines[n])
        change(entry)
        file.write_text("\n".join([*lines[:n], json.dumps(entry), *lines[n + 1 :]]))

    return damage


ROWS = sum(map(len, CLIPS.values()))
BUNDLE_DAMAGE = {
    "no archive": (lambda p: p.write_bytes(b"PK\x03\x04"), r"made_joints\.npz: it is not a joint bundle"),
    "no key": (save(root_xz=None), r"made_joints\.npz: it is not a joint bundle"),
    "a float": (save(local=np.zeros((ROWS, 22, 3), np.float32)), r"made_joints\.npz: 'local' is float32"),
    "24 joints": (save(local=np.zeros((ROWS, 24, 3), np.int16)), r"made_joints\.npz: 'local' is int16"),
    "offsets": (save(offsets=np.array([0, 60, 90, 100])), r"made_joints\.npz: offsets, ids and rows do not agree"),
    "no frames": (save(offsets=np.array([0, 60, 60, ROWS])), r"made_joints\.npz: the clip b has no frames"),
    "twice": (save(ids=np.array(["a", "b", "a"])), r"made_joints\.npz: the clip a is there twice"),
    "nan": (save(root_xz=np.full((ROWS, 2), np.nan, np.float32)), r"clip a: frame 0 has values that are not finite"),
    "flat": (save(local=np.zeros((ROWS, 22, 3), np.int16)), r"clip a: spine and leg are 0 m"),
    "no captions file": (lambda p: p.with_name("made_captions.jsonl").unlink(), r"made_captions\.jsonl: the file"),
    "no split": (line(1, lambda e: e.pop("split")), r"made_captions\.jsonl, line 2: KeyError\('split'\)"),
    "a split": (line(2, lambda e: e.update(split="dev")), r"made_captions\.jsonl, line 3: the split 'dev'"),
    "no words": (line(0, lambda e: e.update(captions=[])), r"made_captions\.jsonl, line 1: .* is empty"),
    "no text": (line(0, lambda e: e.update(captions=[{"text": 5}])), r"made_captions\.jsonl, line 1: .* no text"),
    "a line twice": (line(1, lambda e: e.update(id="a")), r"made_captions\.jsonl, line 2: the clip a has a line"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLE_DAMAGE)
def test_damage_to_a_bundle_is_named(tmp_path: Path, name: str) -> None:
    damage, said = BUNDLE_DAMAGE[name]
    path = write_bundle(tmp_path, CLIPS, CAPTIONS)
    damage(path)
    with pytest.raises(CoreError, match=said) as error:
        load_data_source(path)
    assert error.value.code == "data_broken"


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CoreError, match="HumanML3D") as error:
            load_data_source(path)
        assert error.value.code == "data_missing"
    (tmp_path / "walk.npz").write_bytes(b"")
    with pytest.raises(CoreError, match=r"not called NAME_joints\.npz"):
        load_data_source(tmp_path / "walk.npz")
    with pytest.raises(CoreError, match="'dev' is none of train, val, test"):
        load_data_source(tmp_path, split="dev")


def test_describe_counts_by_source_and_split() -> None:
    clips = [
        Clip("a", "made", "train", walk(3.0), ["a walk", "a stroll"]),
        Clip("b", "made", "val", walk(6.0), ["a walk"]),
        Clip("c", "kit-ml", "train", np.zeros((76, 21, 3), np.float32), ["a step"], fps=12.5),
    ]
    rows = [row.split() for row in describe(clips).splitlines()]
    assert ["made", "train", "1", "0.0", "2", "2"] in rows
    assert ["made", "all", "2", "0.1", "3", "2"] in rows
    assert ["kit-ml", "train", "1", "0.1", "1", "1"] in rows
    assert rows[-1] == ["all", "all", "3", "0.2", "4", "3"]  # 3 s, 6 s and 6 s
