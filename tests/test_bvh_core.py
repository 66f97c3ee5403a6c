"""BVH: our files out and in again, and files of conventions we did not make."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from motions import MOTIONS, lie_down, rotation, run, walk, wave

from core import bvh_format
from core.bvh import read_bvh, resample, write_bvh
from core.bvh_format import Clip, Node
from core.bvh_names import CONVENTIONS, EXPORT_HELPERS, EXPORT_NAMES, Convention, find, node_names
from core.errors import CoreError
from core.features import canonicalise, joints_to_features
from core.restpose import LENGTHS, REST_OFFSETS
from core.skeleton import FPS, JOINTS, PARENTS, bone_lengths

CMU_TRIALS = {
    "cmu_02_01_walk__cgspeed_mb": "cmu_02_01", "cmu_02_03_run__iclone_cc": "cmu_02_03",
    "cmu_02_04_jump_balance__iclone_cc": "cmu_02_04", "cmu_06_14_basketball__iclone_cc": "cmu_06_14",
    "cmu_131_03_hop__cgspeed_max": "cmu_131_03", "accad_Male2_E3_boxing_cross_left": "accad_Male2_E3_CrossLeft",
    "accad_Male2_G8_roundhouse_left": "accad_Male2_G8_RoundhouseLeft",
}  # fmt: skip


def foreign(
    joints: np.ndarray, names: dict[str, str], *, scale: float = 1.0, z_up: bool = False, fps: float = FPS
) -> str:
    """A BVH text that is not ours: `names` (joint -> node), position channels for all, every rotation zero."""
    rows = joints.astype(np.float64) * scale
    if z_up:
        rows = np.stack([rows[..., 0], -rows[..., 2], rows[..., 1]], axis=-1)
    order: list[int] = []  # depth first

    def visit(joint: int) -> None:
        order.append(joint)
        for child, parent in enumerate(PARENTS):
            if parent == joint and JOINTS[child] in names:
                visit(child)

    visit(0)
    nodes, columns = [], []
    for joint in order:
        parent = PARENTS[joint]
        channels = ("Xposition", "Yposition", "Zposition", "Zrotation", "Yrotation", "Xrotation")
        above = order.index(parent) if parent in order else -1
        nodes.append(Node(names[JOINTS[joint]], above, REST_OFFSETS[joint] * scale, channels))
        columns += [rows[:, joint] - (rows[:, order[above]] if above >= 0 else 0), np.zeros((len(rows), 3))]
    return bvh_format.render(Clip(nodes, np.concatenate(columns, axis=1), 1 / fps))


def direction_errors(one: np.ndarray, other: np.ndarray, joints: list[str]) -> np.ndarray:
    """Angles, degrees, between the bones that end in these joints."""
    rows = [JOINTS.index(joint) for joint in joints]
    parents = [PARENTS[row] for row in rows]
    a, b = one[:, rows] - one[:, parents], other[:, rows] - other[:, parents]
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


LIMBS = [f"{side}_{joint}" for side in "lr" for joint in ("knee", "ankle", "foot", "elbow", "wrist")]


@pytest.mark.parametrize("name", MOTIONS)
def test_round_trip_of_our_own_files(name: str, tmp_path: Path) -> None:
    joints = MOTIONS[name]()
    error = write_bvh(tmp_path / "clip.bvh", joints)
    assert error < 1e-5
    assert np.abs(read_bvh(tmp_path / "clip.bvh") - canonicalise(joints)).max() < 1e-4


def test_hips_and_chest_need_not_be_rigid(tmp_path: Path) -> None:
    joints = walk()
    for joint, angle in (("l_collar", 20), ("r_hip", -15), ("spine1", 10)):
        # Turn the whole branch about its own base: bone lengths stay, the hips and the chest are no longer rigid.
        row = JOINTS.index(joint)
        branch = [row]
        for child, parent in enumerate(PARENTS):
            if parent in branch:
                branch.append(child)
        base = joints[:, [PARENTS[row]]]
        swing = rotation("z", angle * np.sin(np.arange(len(joints))))
        joints[:, branch] = np.einsum("tij,tnj->tni", swing, joints[:, branch] - base) + base
    assert write_bvh(tmp_path / "clip.bvh", joints) < 1e-5
    assert np.abs(read_bvh(tmp_path / "clip.bvh") - canonicalise(joints)).max() < 1e-4


def test_write_tells_how_far_off_it_had_to_be(tmp_path: Path) -> None:
    joints = walk()
    joints[:30] *= 1.1  # the body shrinks in the middle of the clip
    assert 0.01 < write_bvh(tmp_path / "clip.bvh", joints) < 0.3


def test_the_file_is_what_blender_expects(tmp_path: Path) -> None:
    joints = walk()
    write_bvh(tmp_path / "clip.bvh", joints)
    clip = bvh_format.parse((tmp_path / "clip.bvh").read_text())
    assert next(node.name for node in clip.nodes if not node.end) == "Hips"
    assert {node.name for node in clip.nodes if not node.end} == {*EXPORT_NAMES.values(), *EXPORT_HELPERS.values()}
    assert clip.frame_time == pytest.approx(0.05)
    assert len(clip.values) == len(joints)
    hips = clip.values[:, :3]
    assert np.allclose(hips, joints[:, 0], atol=1e-5)  # metres, Y up, +Z forward: as in memory
    assert np.abs(np.diff(clip.values[:, 3:], axis=0)).max() < 100  # no angle jumps by a turn


def test_same_motion_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bvh(tmp_path / name, wave())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("scale", [1.0, 100.0, 1 / 0.05644, 39.37])
@pytest.mark.parametrize("z_up", [False, True])
@pytest.mark.parametrize("fps", [20.0, 30.0, 120.0])
def test_units_axes_and_rates(tmp_path: Path, scale: float, z_up: bool, fps: float) -> None:
    joints = walk()
    path = tmp_path / "clip.bvh"
    path.write_text(foreign(resample(joints, FPS, fps), dict(zip(JOINTS, JOINTS, strict=True)), scale=scale, z_up=z_up,
                            fps=fps))  # fmt: skip
    back = read_bvh(path)
    assert 0 <= len(joints) - len(back) <= 1  # at 30 fps the last frame lies between two
    assert np.abs(back - canonicalise(joints)[: len(back)]).max() < 0.01


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: f"{convention.name} {convention.sides[0]}")
def test_every_convention_is_found_and_keeps_the_limbs(tmp_path: Path, convention: Convention) -> None:
    joints = run()
    names = {joint: f"{joint}_filler" for joint in JOINTS} | node_names(convention)
    if convention.marker:
        names["spine2" if "spine2" not in node_names(convention) else "head"] = convention.marker
    text = foreign(joints, names, scale=100.0)
    clip = bvh_format.parse(text)
    assert find([node.name for node in clip.nodes])[0] is convention
    path = tmp_path / "clip.bvh"
    path.write_text(text)
    back = read_bvh(path, uniform=True)
    assert np.abs(bone_lengths(back) - LENGTHS).max() < 1e-4
    assert direction_errors(back, joints, LIMBS).max() < 8  # one turn of all, where the hips face a little elsewhere
    assert np.abs(back - canonicalise(joints)).max() < 0.25
    assert back[-1, 0, 2] == pytest.approx(joints[-1, 0, 2], rel=0.05)


def test_prefixes_and_case_do_not_matter() -> None:
    names = [f"mixamorig:{name}" for name in EXPORT_NAMES.values()]
    assert find(names)[0].name == "MotionBuilder, Mixamo, ACCAD"
    assert find([name.upper() for name in EXPORT_NAMES.values()])[0].name == "MotionBuilder, Mixamo, ACCAD"
    assert find([f"Bip01 {name}" for name in node_names(biped()).values()])[0] is biped()


def biped() -> Convention:
    return next(convention for convention in CONVENTIONS if convention.name == "3ds Max Biped")


def test_missing_feet_hands_and_head_are_placed(tmp_path: Path) -> None:
    joints = walk()
    names = {
        joint: name for joint, name in EXPORT_NAMES.items() if joint.split("_")[-1] not in ("foot", "head", "wrist")
    }
    (tmp_path / "clip.bvh").write_text(foreign(joints, names))
    back = read_bvh(tmp_path / "clip.bvh", uniform=True)
    assert np.isfinite(back).all()
    assert (back[:, JOINTS.index("head"), 1] > back[:, JOINTS.index("neck"), 1]).all()
    toe = back[:, JOINTS.index("l_foot")] - back[:, JOINTS.index("l_ankle")]
    assert toe[:, 2].min() > 0.05  # forward
    assert direction_errors(back, joints, ["l_elbow"]).max() < 8


def test_a_rest_pose_before_the_motion_is_left_out(tmp_path: Path) -> None:
    from core.restpose import rest_joints

    joints = lie_down()[30:]
    with_rest = np.concatenate([rest_joints()[None], joints])
    (tmp_path / "clip.bvh").write_text(foreign(with_rest, dict(zip(JOINTS, JOINTS, strict=True))))
    back = read_bvh(tmp_path / "clip.bvh")
    assert len(back) == len(joints)
    assert np.abs(back - canonicalise(joints)).max() < 1e-3


def good() -> str:
    return foreign(walk(1.0), EXPORT_NAMES)


def test_the_helper_makes_good_files() -> None:
    assert len(bvh_format.parse(good()).values) == 20


BROKEN = {
    "empty": "", "no bvh": "hello", "half the tree": good()[:600], "no motion": good().split("MOTION")[0],
    "cut frame": good().rstrip().rsplit(" ", 1)[0], "words": good().rstrip() + " x",
    "nan": good().rstrip()[:-8] + " nan",
    "no frames": good().split("Frame Time")[0] + "Frame Time: 0.05\n", "time": good().replace("0.05000000", "0"),
    "channel": good().replace("Xposition", "Wposition", 1), "count": good().replace("CHANNELS 6", "CHANNELS 99", 1),
    "offset": good().replace("OFFSET 0.000000", "OFFSET zero", 1), "brace": good().replace("}", "", 1),
    "huge": good().replace("\n0.000000 ", "\n1e300 ", 1), "two braces": good().replace("}", "} }", 1),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_are_refused_with_a_reason(what: str, tmp_path: Path) -> None:
    (tmp_path / "clip.bvh").write_text(BROKEN[what])
    with pytest.raises(CoreError) as caught:
        read_bvh(tmp_path / "clip.bvh")
    assert caught.value.code == "bvh_broken"
    assert caught.value.remedy


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(CoreError) as caught:
        read_bvh(tmp_path / "none.bvh")
    assert caught.value.code == "file_missing"
    (tmp_path / "dog.bvh").write_text(good().replace("Hips", "Tail"))
    with pytest.raises(CoreError) as caught:
        read_bvh(tmp_path / "dog.bvh")
    assert caught.value.code == "bvh_unknown_skeleton"
    with pytest.raises(CoreError) as caught:
        write_bvh(tmp_path / "no" / "folder.bvh", walk())
    assert caught.value.code == "file_not_written"


def test_every_shared_file_reads(shared: Path) -> None:
    paths = sorted((shared / "bvh").glob("*.bvh"))
    assert len(paths) >= 10
    for path in paths:
        joints = read_bvh(path, uniform=True)
        assert joints.dtype == np.float32
        assert np.isfinite(joints).all()
        assert np.abs(bone_lengths(joints) - LENGTHS).max() < 0.005, path.name
        above = joints[:, JOINTS.index("head"), 1] - joints[:, JOINTS.index("l_ankle"), 1]
        assert above.max() > 0.6, path.name  # one clip begins in a crouch and lies down
        assert joints[0, JOINTS.index("l_hip"), 0] > joints[0, JOINTS.index("r_hip"), 0], path.name
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.7, path.name


@pytest.mark.parametrize("name", CMU_TRIALS)
def test_files_agree_with_the_same_trials_converted_by_others(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(str(shared / "data"))
    monkeypatch.delitem(sys.modules, "load_bundle", raising=False)
    import load_bundle

    trial = CMU_TRIALS[name]
    _, clips = load_bundle.load(shared / "data" / "permissive" / f"{trial.split('_')[0]}_joints.npz")
    ours, theirs = read_bvh(shared / "bvh" / f"{name}.bvh", uniform=True), clips[trial]
    assert abs(len(ours) - len(theirs)) <= 1
    frames = min(len(ours), len(theirs)) - 1
    poses = [joints_to_features(clip[: frames + 1])[:, 4:67].reshape(frames, 21, 3) for clip in (ours, theirs)]
    assert np.linalg.norm(poses[0] - poses[1], axis=-1).mean() < 0.07
    assert np.linalg.norm(ours[frames, 0, [0, 2]] - theirs[frames, 0, [0, 2]]) < 0.5
