"""build.py measure gaps: the table, the figures and the exit status, on a bundle made here, with the bundled model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
from motions import run, walk
from test_train import write_bundle
from tiny_model import ROOT

from core.errors import CoreError
from core.evaluate import gaps
from core.evaluate.study import CMU_ACCAD
from core.train.data import Clip


def bundle(folder: Path, split: str = "test") -> Path:
    """A folder with a bundle of three clips of two sources, in a folder of its own."""
    inside = folder / "deep"
    inside.mkdir(parents=True)
    clips = {"a": walk(2.6), "b": run(2.0), "c": walk(1.1)}
    write_bundle(inside, clips, dict.fromkeys(clips, ""))
    sources = {"a": "cmu_x", "b": "elsewhere", "c": "accad"}
    lines = [
        json.dumps({"id": i, "source": s, "split": split, "captions": [{"text": "a person walks"}]})
        for i, s in sources.items()
    ]
    (inside / "made_captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def clip(seconds: float, source: str = "cmu") -> Clip:
    return Clip("w", source, "test", walk(seconds), ["a person walks"])


def row(**changed: float) -> dict[str, float]:
    return {"l2p": 1.0, "npss": 0.1, "boundary_mm": 0.0, "jump": 0.1, "real_jump": 0.2, "slide": 1.0} | changed


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict, str]:
    """Exit status, figures and what was printed, as from the command line."""
    folder = bundle(tmp_path_factory.mktemp("gaps"))
    out = folder / "new" / "gaps.json"
    command = [sys.executable, "-m", "core", "gaps", str(folder), "--gaps", "3", "30", "--device", "cpu", "--json", out]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(out.read_text(encoding="utf-8")), done.stdout


def test_every_gap_of_every_group_with_context_and_without(measured) -> None:
    _, figures, text = measured
    assert set(figures["groups"]) == {CMU_ACCAD, "elsewhere"}
    assert figures["groups"][CMU_ACCAD].keys() == {"10", "0"}
    assert figures["groups"][CMU_ACCAD]["10"].keys() == {"3", "30"}
    assert figures["groups"]["elsewhere"]["10"].keys() == {"3"}  # 40 frames have no room for a gap of 30
    assert "elsewhere: no clip is long enough for a gap of 30 frames" in text
    for said in ("gap of 3 frames, ten frames of context", "gap of 30 frames, keys only", "L2Q", "made with: model"):
        assert said in text


def test_every_way_is_measured_and_ours_meets_the_keys(measured) -> None:
    _, figures, text = measured
    found = figures["groups"][CMU_ACCAD]
    assert set(found["10"]["3"]) == {*gaps.ROWS, "missed"}
    assert set(found["0"]["3"]) == {*gaps.ROWS, "missed"} - {gaps.RAW}  # two poses show the model no movement
    for context in found.values():
        for figure in context.values():
            for name in (gaps.OURS, gaps.WORDS, gaps.LINEAR, gaps.BEZIER):
                assert figure[name]["boundary_mm"] == 0.0
                assert figure[name]["boundary_deg"] == pytest.approx(0.0, abs=0.01)
                assert all(np.isfinite(v) for v in figure[name].values()), name
    assert found["10"]["30"][gaps.RAW]["boundary_mm"] > 1.0
    assert found["10"]["30"][gaps.OURS]["jump"] < found["10"]["30"][gaps.LINEAR]["jump"]
    assert all(name in text for name in gaps.ROWS)


def test_the_exit_status_says_whether_bounds_hold(measured) -> None:
    code, figures, text = measured
    missed = [m for g in figures["groups"].values() for c in g.values() for f in c.values() for m in f["missed"]]
    assert len(missed) == len(figures["broken"])
    assert code == int(bool(missed))
    assert ("All bounds hold." in text) == (not missed)
    assert all(m in text for m in missed)
    assert figures["made_with"]["data"] == ["made_joints.npz"]
    assert figures["made_with"].keys() >= {"model", "split", "seed", "machine", "context"}


def test_the_bounds() -> None:
    plain = {gaps.LINEAR: row(), gaps.BEZIER: row(l2p=1.1, npss=0.2)}
    good = {**plain, gaps.OURS: row(l2p=0.9, npss=0.09)}
    assert gaps.wanted(good, 20, 10) == []
    assert gaps.wanted(plain, 20, 10) == []
    worse = {**plain, gaps.OURS: row(l2p=1.01, npss=0.101)}
    assert gaps.wanted(worse, 5, 10) == []
    assert len(gaps.wanted(worse, 20, 10)) == 2  # in a long gap interpolation is to be beaten
    for changed, said in (
        ({"boundary_mm": 0.001}, "keys"), ({"jump": 0.3}, "jumps"), ({"l2p": 1.03}, "L2P"), ({"npss": 0.11}, "NPSS"),
        ({"slide": 1.5}, "slide"),
    ):  # fmt: skip
        (text,) = gaps.wanted({**plain, gaps.OURS: row(**changed)}, 5, 10)
        assert said in text
    assert gaps.wanted({**plain, gaps.OURS: row(jump=0.3)}, 5, 0) == []  # without context nothing is carried on


def test_gaps_are_cut_out_of_clips() -> None:
    pieces = gaps.stretches([clip(3.0), clip(1.0)], 10)
    assert 1 < len(pieces) <= gaps.EACH
    for piece in pieces:
        assert piece.joints.shape == (32, 22, 3)
        assert np.abs(piece.joints[10, 0, [0, 2]]).max() < 1e-6
        assert piece.caption == "a person walks"
    assert len(gaps.stretches([clip(1.6)] * 300, 10)) == gaps.MOST
    assert gaps.stretches([clip(1.0)], 10) == []


def test_a_folder_is_searched_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "some")
    assert [p.name for p in gaps.find_bundles([folder])] == ["made_joints.npz"]
    with pytest.raises(CoreError, match='"nowhere"') as caught:
        gaps.main([str(tmp_path / "nowhere")])
    assert caught.value.code == "data_missing"


@pytest.mark.parametrize("wrong", [["--gaps", "0"], ["--gaps", "171"]])
def test_gaps_out_of_range_are_refused(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(CoreError) as caught:
        gaps.main([str(tmp_path), *wrong])
    assert caught.value.code == "gap_out_of_range"


def test_a_split_without_clips_is_told(tmp_path: Path) -> None:
    with pytest.raises(CoreError) as caught:
        gaps.main([str(bundle(tmp_path / "b", "train")), "--device", "cpu"])
    assert caught.value.code == "data_empty"
