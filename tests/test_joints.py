"""`python -m core joints`: files of every kind as plain arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from motions import walk, wave

import core.__main__ as cli
from core.motionfile import write_motion


def bundle(folder: Path, clips: dict[str, tuple[str, np.ndarray]]) -> Path:
    """A bundle of clips: id -> split, joints."""
    joints = np.concatenate([j for _, j in clips.values()])
    local, root = joints.copy(), joints[:, 0, [0, 2]].astype(np.float32)
    local[..., [0, 2]] -= root[:, None]
    offsets = np.cumsum([0, *(len(j) for _, j in clips.values())])
    path = folder / "own_joints.npz"
    np.savez(
        path, local=np.rint(local * 1e4).astype(np.int16), root_xz=root, offsets=offsets, ids=np.array(list(clips))
    )
    lines = [{"id": i, "source": "own", "split": s, "captions": [{"text": "a"}]} for i, (s, _) in clips.items()]
    (folder / "own_captions.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_files_and_clips_come_out_one_after_the_other(tmp_path: Path) -> None:
    write_motion(tmp_path / "stroll.bvh", walk(3.0), {})
    clips = bundle(tmp_path, {"x": ("train", walk(2.0)), "y": ("test", wave(2.5))})
    words = ["joints", str(tmp_path / "stroll.bvh"), str(clips), "--out", str(tmp_path / "all.npz")]
    assert cli.main(words) == 0
    with np.load(tmp_path / "all.npz", allow_pickle=False) as z:
        assert z["files"].tolist() == ["stroll", "own", "own"]
        assert z["ids"].tolist() == ["", "x", "y"]
        assert z["splits"].tolist() == ["", "train", "test"]
        parts = np.split(z["joints"], np.cumsum(z["lengths"])[:-1])
    assert np.abs(parts[1] - walk(2.0)).max() < 1e-4
    assert np.abs(parts[2] - wave(2.5)).max() < 1e-4
    assert parts[0].shape == walk(3.0).shape
    assert cli.main([*words, "--split", "test"]) == 0
    with np.load(tmp_path / "all.npz", allow_pickle=False) as z:
        assert z["ids"].tolist() == ["", "y"]


def test_what_is_wrong_is_said_as_the_add_on_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.bvh").write_text("HIERARCHY nonsense", encoding="utf-8")
    assert cli.main(["joints", str(tmp_path / "bad.bvh"), "--out", str(tmp_path / "o.npz"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["code"]
    assert error["remedy"]
    write_motion(tmp_path / "good.npz", walk(2.0), {})
    assert cli.main(["joints", str(tmp_path / "good.npz"), "--out", str(tmp_path / "none" / "o.npz"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["code"] == "file_not_written"
