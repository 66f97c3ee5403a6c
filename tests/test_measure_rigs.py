"""`measure rigs` on folders that the tests make, with a wrong description and broken files among them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from mgpt3_blender import measure_motions, measure_rigs, rigcompare, rigfiles, rigwatch
from mgpt3_blender.errors import UserError
from mgpt3_blender.measure_motions import Motion
from mgpt3_blender.rig.mapping import map_armature
from mgpt3_blender.rig.options import Options
from mgpt3_blender.rig.report import Report, judge
from mgpt3_blender.rig.skeleton22 import INDEX as J
from mgpt3_blender.rig.skeleton22 import JOINTS, NEUTRAL
from tests import motions, rigs

LOCKED = Options(foot_lock=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An Unreal-like .blend, a Mixamo-like .fbx, the former again with a wrong description, and bad entries."""
    unreal = rigs.names_of("Unreal mannequin")
    rigs.armature(unreal, rigs.heads(30.0), rolls=8, root="root")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "unreal.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    mixamo = {joint: "mixamorig:" + name for joint, name in rigs.names_of("Mixamo").items()}
    rigs.mixamo()
    bpy.ops.export_scene.fbx(filepath=str(tmp_path / "mixamo.fbx"), add_leaf_bones=False, bake_anim=False)
    entries: list[Any] = [
        {"file": "unreal.blend", "mapping": unreal, "armature_object": "Character", "null_joints": []},
        {"file": "mixamo.fbx", "mapping": mixamo, "importer": "bpy.ops.import_scene.fbx (or wm.fbx_import)"},
        {"file": "unreal.blend", "mapping": {**unreal, "l_knee": "calf_r", "neck": "elsewhere"}},
    ]
    (tmp_path / "broken.fbx").write_bytes(b"not an FBX file")
    entries += [{"file": "broken.fbx"}, {"file": "gone.glb"}, {"convention": "an entry without a file"}, 7]
    (tmp_path / "rigs.json").write_text(json.dumps({"rigs": entries}), encoding="utf-8")
    return tmp_path


def npz(path: Path, joints: np.ndarray, **more: Any) -> Path:
    np.savez(path, joints=joints, **more)
    return path


def test_two_rigs_keep_the_bounds_and_a_wrong_description_breaks_them(folder):
    entries = rigfiles.read_listing(folder)
    assert [entry.name for entry in entries] == [
        "unreal.blend",
        "mixamo.fbx",
        "unreal.blend",
        "broken.fbx",
        "gone.glb",
    ]
    wave = Motion("wave", motions.wave(2.0))
    rows = [measure_rigs.measure(entry, [wave], LOCKED, timed=False) for entry in entries]
    for row in rows[:2]:
        assert row.broken == []
        assert (row.right, row.joints) == (22, 22)
        assert row.motions[0].report.limb_mean_deg < 2.0
        assert row.motions[0].travel is None
        assert row.motions[0].round_trip_mm > 0.0
    assert rows[2].wrong == {"l_knee": "calf_l", "neck": "neck_01"}
    assert any(text.startswith("l_knee is") for text in rows[2].broken)
    assert not any(text.startswith("neck is") for text in rows[2].broken)  # optional
    assert "cannot load" in rows[3].reason
    assert "no file" in rows[4].reason
    table = "\n".join(measure_rigs.table_row(row) for row in rows)
    assert table.count("FAILED") == 2
    json.dumps([measure_rigs.row_json(row) for row in rows], allow_nan=False)


def a_row(**changes: Any) -> measure_rigs.RigRow:
    """A row that keeps every bound but for what is changed: of the row, its motion or the motion's report."""
    told = Report(limb_mean_deg=1.0, limb_p95_deg=3.0, slide_source_mm=1.0, slide_after_mm=1.2, fps=24.0)
    told = replace(told, **{name: value for name, value in changes.items() if hasattr(told, name)})
    one = rigwatch.MotionRow("walk", told, told, 1.0, changes.get("round_trip_mm", 9.0))
    one.unmapped = changes.get("unmapped", ())
    row = measure_rigs.RigRow("x.fbx", family="X", bones=60, right=22, joints=22, motions=[one], milliseconds=30.0)
    for name in ("wrong", "bones", "controls", "reason"):
        setattr(row, name, changes.get(name, getattr(row, name)))
    row.milliseconds = changes.get("took", row.milliseconds)
    return row


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"limb_mean_deg": 2.1}, "on average"),
        ({"limb_p95_deg": 6.1}, "95 %"),
        ({"limb_mean_deg": None, "limb_p95_deg": None}, "no limb"),
        ({"slide_after_mm": 1.6}, "slide"),
        ({"round_trip_mm": 15.1}, "round trip"),
        ({"round_trip_mm": float("nan")}, "round trip"),
        ({"unmapped": ("tail",)}, "tail"),
        ({"roll_flips": 1, "flipped": ("arm",)}, "arm"),
        ({"side_swaps": 1}, "swapped in 1 "),
        ({"took": 51.0}, "bound 50 ms"),
        ({"took": 151.0, "controls": True}, "bound 150 ms"),
        ({"took": 151.0, "bones": 160}, "bound 150 ms"),
        ({"wrong": {"l_knee": None}}, "l_knee is not found"),
        ({"wrong": {"spine2": "belt"}}, "spine2 is belt"),
        ({"reason": "No body."}, "No body."),
    ],
)
def test_each_bound_breaks_by_itself(changes, word):
    assert a_row().broken == []
    assert a_row(took=120.0, controls=True).broken == []
    assert a_row(wrong={"l_collar": None}).broken == []
    row = a_row(**changes)
    assert len(row.broken) == 1 or changes.get("limb_mean_deg", 0) is None
    assert word in " ".join(row.broken)
    assert measure_rigs.table_row(row).endswith("BAD") or "FAILED" in measure_rigs.table_row(row)


def test_the_program_prints_writes_and_fails(folder, core_python, tmp_path):
    """The whole program beside a BVH file that the core reads, as build.py starts it."""
    np.save(tmp_path / "wave.npy", motions.wave(2.0))
    write = "import sys, numpy as np; from core.bvh import write_bvh; write_bvh(sys.argv[2], np.load(sys.argv[1]))"
    files = [str(tmp_path / name) for name in ("wave.npy", "wave.bvh")]
    subprocess.run([str(core_python), "-c", write, *files], cwd=Path(__file__).parents[1], check=True, timeout=60)
    out = tmp_path / "out" / "figures.json"
    command = [sys.executable, "-m", "mgpt3_blender.measure_rigs", str(folder), "--motion", str(tmp_path / "wave.bvh"),
               "--json", str(out), "--sheets", str(tmp_path / "sheets")]  # fmt: skip
    done = subprocess.run(command, cwd=Path(__file__).parents[1],
                          capture_output=True, text=True, encoding="utf-8", timeout=300)  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "of 5 rigs keep every bound" in done.stdout
    assert "wave (40 frames)" in done.stdout
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [row["file"] for row in figures["rows"]][:2] == ["unreal.blend", "mixamo.fbx"]
    assert figures["rows"][0]["motions"][0]["limb_mean_deg"] < 2.0
    assert figures["rows"][0]["milliseconds"] > 1.0
    assert figures["rows"][3]["broken"]
    sheet = (tmp_path / "sheets" / "unreal.png").read_bytes()
    assert sheet.startswith(b"\x89PNG")
    assert len(sheet) < 700_000
    image = bpy.data.images.load(str(tmp_path / "sheets" / "unreal.png"))
    pixels = np.array(image.pixels[:]).reshape(image.size[1], image.size[0], 4)
    blue = (pixels[..., 2] > pixels[..., 0] + 0.25) & (pixels[..., 2] > pixels[..., 1] + 0.1)
    assert blue.mean() > 0.002  # the left side of the body of boxes
    assert np.ptp(pixels[..., :3]) > 0.5


def test_a_sparse_or_odd_description_is_read(tmp_path):
    rows = [
        {"file": "a.vrm"},
        {
            "file": "b.bvh",
            "mapping": {"head": ["Kopf", "Head"], "neck": None, "tail": "x", "l_hip": 3},
            "mapping_alt": 4,
        },
        {"file": "c.fbx", "mapping": {"head": "h", "spine2": "s"}, "null_joints": ["spine2"], "rest_pose": "other"},
    ]
    (tmp_path / "rigs.json").write_text(json.dumps(rows), encoding="utf-8")
    a, b, c = rigfiles.read_listing(tmp_path)
    assert (a.mapping, a.armature, a.is_pose) == ({}, None, True)
    assert (b.mapping, b.missing) == ({"head": "Kopf"}, ("neck",))
    assert rigwatch.accepted(b, "head") == {"Kopf", "Head"}
    assert (c.mapping, c.missing, c.is_pose) == ({"head": "h"}, ("spine2",), False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{", "no JSON"),
        ("[]", "names no rig files"),
        ('{"rigs": [{"file": 3}]}', "names no rig"),
    ],
)
def test_a_broken_listing_is_told(tmp_path, text, words):
    if text is not None:
        (tmp_path / "rigs.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as caught:
        rigfiles.read_listing(tmp_path)
    assert caught.value.code == "no_rigs"


def test_a_broken_motion_file_is_told(tmp_path, core_python):
    bad = tmp_path / "bad.bvh"
    bad.write_text("HIERARCHY nonsense", encoding="utf-8")
    for file, words in ((bad, "."), (tmp_path / "none.npz", "no motion file"), (tmp_path / "x.txt", "no motion file")):
        with pytest.raises(UserError, match=words) as caught:
            measure_motions.from_files([file], core_python)
        assert caught.value.code == "bad_motion"
        assert "Traceback" not in caught.value.message
    short = npz(tmp_path / "short.npz", motions.walk(1.0)[:5])
    with pytest.raises(UserError, match="shorter than half a second"):
        measure_motions.from_files([short], core_python)


def test_long_motions_are_cut_to_their_middle(tmp_path, core_python):
    long = motions.walk(20.0)
    read = measure_motions.from_files([npz(tmp_path / "long.npz", long, fps=20.0)], core_python)[0]
    assert read.name == "long"
    assert read.joints.shape == (200, 22, 3)
    middle = long[100:300] - long[100, 0] * [1.0, 0.0, 1.0]
    np.testing.assert_allclose(np.linalg.norm(read.joints[-1, 0]), np.linalg.norm(middle[-1, 0]), atol=1e-3)
    assert abs(read.joints[0, J["l_hip"], 2] - read.joints[0, J["r_hip"], 2]) < 0.1  # faces ahead


def test_what_is_watched_shows_a_bent_result():
    """Break the result behind the measure's back: it has to be seen."""
    rig = rigs.mixamo()
    mapping = map_armature(rig)
    entry = rigfiles.RigEntry(Path("mixamo"), mapping=dict(mapping.bones))
    rigwatch.prepare(bpy.context.scene)
    truth = rigwatch.find_truth(rig, entry, mapping)
    walk = Motion("walk", motions.walk(2.0))
    straight = rigwatch.try_motion(rig, truth, mapping, walk, LOCKED)
    for name in ("limb_mean_deg", "mean_deg", "jerk"):  # what the add-on told is what is seen
        assert getattr(straight.told, name) == pytest.approx(getattr(straight.report, name), abs=0.3)
    bone = rig.pose.bones[mapping.bones["l_elbow"]]
    limit = bone.constraints.new("LIMIT_ROTATION")  # holds the forearm at rest against its keys
    limit.use_limit_x = limit.use_limit_y = limit.use_limit_z = True
    limit.owner_space = "LOCAL"
    held = rigwatch.try_motion(rig, truth, mapping, walk, LOCKED)
    name = mapping.bones["l_elbow"]
    assert straight.report.bones[name][0] < 1.0
    assert held.report.bones[name][0] > 5.0 or held.warnings  # seen, or switched off and told
    assert held.unmapped == straight.unmapped == ()


def test_a_swapped_mapping_and_an_unmapped_key_are_seen():
    names = rigs.names_of("Unreal mannequin")
    swapped = {("r" if j[0] == "l" else "l") + j[1:] if j[1] == "_" else j: bone for j, bone in names.items()}
    rig = rigs.armature(names, rigs.heads(30.0))
    mapping = map_armature(rig)
    wrong = replace(mapping, bones=swapped, deform=swapped)
    walk = motions.walk(1.0).astype(np.float64)
    rest = rigwatch._rest_as_mapped(rig, wrong)
    told = judge(walk, walk, 20.0, compared=[(4, 7)], rest=rest)
    assert told.side_swaps == len(walk)
    assert judge(walk, walk, 20.0, compared=[(4, 7)], rest=rigwatch._rest_as_mapped(rig, mapping)).side_swaps == 0
    entry = rigfiles.RigEntry(Path("x"), mapping=dict(names))
    assert set(rigwatch.wrong_joints(entry, wrong)) == {j for j in JOINTS if j[1] == "_"}
    rigwatch.prepare(bpy.context.scene)
    result = rigwatch.bake(rig, Motion("walk", motions.walk(1.0)), LOCKED)
    keyed = rigwatch.keyed_bones(result.action, rig)
    assert keyed
    assert keyed <= rigwatch.allowed_bones(mapping)
    rig.pose.bones["finger.l"].keyframe_insert("rotation_quaternion", frame=3)
    assert rigwatch.keyed_bones(rig.animation_data.action, rig) - rigwatch.allowed_bones(mapping) == {"finger.l"}


def test_the_motion_on_the_models_own_body_is_the_motion():
    walk = motions.walk(2.0).astype(np.float64)
    again = rigcompare.on_character(walk, NEUTRAL - NEUTRAL[0], True)
    assert np.abs(again - again[:, :1] - (walk - walk[:, :1])).max() < 0.03  # the model's bone lengths, near enough
    rest = NEUTRAL - NEUTRAL[0]
    assert rigcompare.round_trip_mm(walk, again, rest, True) < 1e-3
    turned = again @ motions.rotation("y", 40.0)[0].T + [1.0, 0.0, 2.0]
    assert rigcompare.round_trip_mm(walk, turned, rest, True) < 1e-3
    moved = again.copy()
    moved[:, J["head"]] += [0.0, 0.022 * 5, 0.0]
    assert rigcompare.round_trip_mm(walk, moved, rest, True) == pytest.approx(5.0, rel=0.05)


def test_travel_and_slide_are_those_that_were_put_in():
    walk = motions.walk(3.0).astype(np.float64)
    assert rigcompare.travel_ratio(walk, walk * 1.25) == pytest.approx(1.25)
    assert rigcompare.travel_ratio(motions.wave(1.0), motions.wave(1.0)) is None
    standing = np.ones((len(walk), 4), bool)
    glide = np.repeat(NEUTRAL[None], len(walk), axis=0)
    glide[..., 0] += np.arange(len(walk))[:, None] * 0.003
    assert rigcompare.slide_mm(glide, standing, 20.0) == pytest.approx(3.0)
    assert rigcompare.slide_mm(glide, standing, 40.0) == pytest.approx(6.0)  # the same steps in half the time
    assert rigcompare.slide_mm(glide, ~standing, 20.0) is None


SOME = ("mixamo_makehuman.fbx", "vrm_cryptovoxels.glb", "cmu_cgspeed_motionbuilder.bvh", "rigify_generated_basic.blend")


@pytest.mark.parametrize("name", SOME)
def test_shared_rigs_are_loaded_mapped_and_watched(shared, core_python, name):
    recorded = shared / "bvh" / "cmu_02_01_walk__cgspeed_mb.bvh"
    if not (shared / "rigs" / "rigs.json").exists() or not recorded.exists():
        pytest.skip("needs shared/rigs and shared/bvh")
    entry = next((e for e in rigfiles.read_listing(shared / "rigs") if e.name == name), None)
    if entry is None:
        pytest.skip(f"shared/rigs has no {name}")
    row = measure_rigs.measure(entry, measure_motions.from_files([recorded], core_python), LOCKED, timed=False)
    assert row.reason == ""
    assert row.right == row.joints
    assert row.broken == []
