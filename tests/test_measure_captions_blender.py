"""Captions of clips that went through a rig: the table, the figures and the exit status, with the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import measure_captions as measured
from mgpt3_blender.errors import UserError
from mgpt3_blender.measure_captions import RigRow
from mgpt3_blender.motionfiles import Recorded
from tests import motions, rigs


def bundle(folder: Path, name: str, clips: dict[str, np.ndarray], split: str = "test") -> Path:
    """NAME_joints.npz with its captions, as core/train/sources/bundle.py describes it."""
    folder.mkdir(parents=True, exist_ok=True)
    joints = np.concatenate(list(clips.values())).astype(np.float64)
    root = joints[:, 0, [0, 2]].astype(np.float32)
    local = joints.copy()
    local[..., 0] -= root[:, None, 0]
    local[..., 2] -= root[:, None, 1]
    offsets = np.cumsum([0, *[len(clip) for clip in clips.values()]])
    path = folder / f"{name}_joints.npz"
    np.savez(path, local=np.round(local * 1e4).astype(np.int16), root_xz=root, offsets=offsets, ids=list(clips))
    lines = [json.dumps({"id": i, "source": name, "split": split, "captions": [{"text": "a person"}]}) for i in clips]
    (folder / f"{name}_captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bundle(tmp_path / "data" / "deep", "one", {"walk": motions.walk(3.0), "wave": motions.wave(3.0)})
    bundle(tmp_path / "data", "two", {"squat": motions.squat(2.0)})
    bundle(tmp_path / "data", "three", {"run": motions.run(2.0)}, split="train")
    return tmp_path / "data"


def run(*arguments: object) -> int:
    return measured.main([str(a) for a in arguments])


def test_clips_come_through_the_mannequin_with_their_captions(data, core_python, tmp_path, capfd):
    out = tmp_path / "new" / "figures.json"
    assert run(data, "--only", "mannequin", "--json", out) == 0
    told = capfd.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["holds"]
    assert sorted(found["made_with"]["data"]) == ["one_joints.npz", "three_joints.npz", "two_joints.npz"]
    assert found["made_with"]["clips"] == 3  # the clip of the other split is left out
    (row,) = found["rows"]
    assert (row["rig"], row["same"], row["different"], row["failed"]) == ("mannequin", 1.0, [], "")
    assert row["by_bundle"] == {"one": 1.0, "two": 1.0}
    assert 0.0 < row["mm"] < 120.0  # the tests' motions are on another body than the data
    assert row["read_ms"] > 0.0
    assert "bound 95% on each rig: holds" in told
    assert "3 clips" in told


def test_a_rig_that_cannot_be_loaded_breaks_the_bound_and_no_other_rig(data, core_python, tmp_path, capfd):
    rigs.armature(rigs.names_of("Unreal mannequin"), rigs.heads(30.0), rolls=8)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "good.blend"))
    (tmp_path / "broken.fbx").write_bytes(b"no FBX")
    entries = [{"file": "broken.fbx"}, {"file": "good.blend", "armature_object": "Character"}]
    (tmp_path / "rigs.json").write_text(json.dumps({"rigs": entries}), encoding="utf-8")
    out = tmp_path / "figures.json"
    assert run(data, "--rigs", tmp_path, "--limit", 2, "--fps", 30, "--json", out) == 1
    broken, good = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert "cannot load" in broken["failed"]
    assert broken["same"] == 0.0
    assert (good["clips"], good["failed"], good["family"]) == (2, "", "Unreal mannequin")
    assert good["same"] == 1.0
    assert "BROKEN" in capfd.readouterr().out


def test_what_cannot_be_measured_is_said(data, core_python, tmp_path, capfd):
    assert run(tmp_path / "nowhere") == 2
    assert "There is no bundle" in capfd.readouterr().out
    assert run(data, "--split", "val") == 2
    assert 'no clips of the split "val"' in capfd.readouterr().out
    (data / "two_joints.npz").write_bytes(b"broken")
    assert run(data) == 2
    assert "two_joints.npz" in capfd.readouterr().out
    with pytest.raises(UserError) as error:
        measured.rigs_of(None, ["no such rig"])
    assert error.value.code == "no_rigs"


def test_only_equal_sentences_count_as_the_same():
    def said(text: str, *tags: str) -> dict[str, Any]:
        return {"sentence": text, "tags": list(tags)}

    refused = {"error": {"code": "motion_static", "message": "", "remedy": ""}}
    still = np.zeros((20, 22, 3), np.float32)
    clips = [Recorded(bundle, name, still) for bundle, name in (("a", "1"), ("a", "2"), ("b", "3"), ("b", "4"))]
    own = [said("a person walks", "walk"), said("a person runs", "run"), refused, said("a person waves", "wave")]
    read = [said("a person walks", "walk"), said("a person jogs", "run"), refused, refused]
    row = RigRow("rig")
    measured.judge(row, clips, own, read)
    assert row.same == 0.5
    assert row.by_bundle == {"a": 0.5, "b": 0.5}
    assert row.tags == 0.75
    assert [d["clip"] for d in row.different] == ["2", "4"]
    assert row.different[1]["read"] == "(motion_static)"


def test_each_of_the_own_rigs_is_a_character_that_is_known():
    from mgpt3_blender.rig.mapping import map_armature

    families = {name: map_armature(make()).preset for name, make in measured.OWN.items()}
    assert families == {
        "mannequin": "MotionGPT3 mannequin",
        "Rigify meta-rig": "Rigify meta-rig",
        "Rigify, generated": "Rigify (FK controls)",
    }
