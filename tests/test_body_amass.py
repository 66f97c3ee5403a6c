"""Motion of AMASS and SMPL-X in and out, through files and the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from motions import MOTIONS, turn, walk
from smplx_body import moves, write_amass, write_body
from tiny_model import make_tiny_model

import core.__main__ as cli
from core.body import rotation as rot
from core.body.amass import body_arrays, joints_of, read_body_motion, write_as_body
from core.body.model import BodyModel, load_body_model
from core.bvh import resample
from core.errors import CoreError
from core.features import canonicalise, features_to_joints, joints_to_features
from core.motionfile import read_motion, write_motion
from core.restpose import LENGTHS, REST_OFFSETS
from core.skeleton import JOINTS, bone_lengths

smplx = pytest.importorskip("smplx", reason="needs core/requirements-smplx.txt, whose licence is for you to accept")

Z_TO_Y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    write_body(folder / "SMPLX_NEUTRAL.npz")
    write_body(folder / "SMPLX_MALE.npz", leg=1.05)
    write_body(folder / "smplh" / "male" / "model.npz", joints=52, leg=1.03)
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable))


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def read_back(path: Path, model: BodyModel) -> np.ndarray:
    """The joints of a file where it has them, in its own frames: (T, 22, 3) Y up."""
    with np.load(path, allow_pickle=False) as content:
        motion = read_body_motion(body_arrays(content) or {}, path.name)
    return joints_of(motion, model, motion.betas)


@pytest.mark.parametrize("layout", ["smplh", "smplx", "poses"])
@pytest.mark.parametrize("fps", [120.0, 59.94, 30.0, 20.0])
def test_files_of_every_layout_and_rate(bodies: Path, tmp_path: Path, layout: str, fps: float) -> None:
    """The joints at 20 fps are those of the motion at those very times, turned to stand along Y."""
    path = write_amass(tmp_path / "walk.npz", fps=fps, layout=layout)
    joints = read_motion(path, body_model=bodies)
    model = load_body_model(bodies, gender="male", kind="smplh" if layout == "smplh" else "smplx")
    with np.load(path, allow_pickle=True) as content:
        last, betas = (len(content["trans"]) - 1) / fps, content["betas"]
    times = np.arange(int(last * 20 + 1e-6) + 1) / 20
    turns, trans = moves(times)
    exact = canonicalise((model.joints(turns, trans, betas) @ Z_TO_Y.T).astype(np.float32))
    assert joints.shape == exact.shape
    assert np.abs(joints - exact).max() < 2e-3
    assert np.ptp(bone_lengths(joints), axis=0).max() < 1e-5
    assert joints[:, 15, 1].min() > joints[:, [7, 8], 1].max() + 0.5  # the head above the feet
    assert joints[20, 0, 2] > 0.3  # towards where the person faces


def test_a_shape_of_another_kind_of_body_is_left_out(bodies: Path, tmp_path: Path) -> None:
    path = write_amass(tmp_path / "walk.npz", layout="smplh")
    other = read_motion(path, body_model=bodies / "SMPLX_MALE.npz")
    mean = read_motion(
        write_amass(tmp_path / "mean.npz", layout="smplx", betas=None), body_model=bodies / "SMPLX_MALE.npz"
    )
    shaped = read_motion(write_amass(tmp_path / "x.npz", layout="smplx"), body_model=bodies / "SMPLX_MALE.npz")
    assert np.abs(other - mean).max() < 1e-6
    assert np.abs(shaped - mean).max() > 0.01


def test_from_amass_to_a_sentence(
    bodies: Path, tmp_path: Path, language: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_amass(tmp_path / "walk.npz", seconds=4)
    joints = read_motion(path, uniform=True, body_model=bodies)
    assert np.abs(bone_lengths(joints) - LENGTHS).max() < 1e-4  # as the model's data has bodies
    features = joints_to_features(joints, reference=REST_OFFSETS.astype(np.float32))
    assert np.abs(features_to_joints(features) - canonicalise(joints)[:-1]).max() < 1e-3
    assert run("caption", path, "--body-model", bodies, "--model", language) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("name", MOTIONS)
def test_written_motion_is_read_within_the_error_that_is_told(bodies: Path, tmp_path: Path, name: str) -> None:
    model = load_body_model(bodies)
    path = tmp_path / "clip.npz"
    fit = write_as_body(path, model, MOTIONS[name](), fps=20.0)
    with np.load(path) as content:
        mean, worst = content["fit_error_mean_mm"], content["fit_error_max_mm"]
        assert list(content["fit_joints"]) == list(JOINTS)
    apart = 1000 * np.linalg.norm(read_back(path, model) - MOTIONS[name](), axis=-1)
    assert np.allclose(apart.max(0), worst, atol=0.01)
    assert np.allclose(apart.mean(0), mean, atol=0.01)
    assert worst.max() == pytest.approx(1000 * fit.errors.max())
    again, before = read_motion(path, body_model=bodies), canonicalise(MOTIONS[name]())
    poses, wanted = (joints - joints[:, :1] for joints in (again, before))  # a heading's error grows with the way
    assert 1000 * np.abs(poses - wanted).max() < 3 * worst.max()


def test_other_programs_find_what_amass_has(bodies: Path, tmp_path: Path) -> None:
    """Opened as the SMPL-X add-on for Blender opens it, and posed by the package's whole model, Z up."""
    joints, path = turn(), tmp_path / "turn.npz"
    fit = write_as_body(path, load_body_model(bodies), joints, {"prompt": "a person turns", "licence": "research"})
    with np.load(path) as data:  # nothing pickled
        content = {key: data[key] for key in data}
    frames = len(content["trans"])
    assert int(content["mocap_frame_rate"]) == 30
    assert frames == round((len(joints) - 1) * 1.5) + 1
    assert (str(content["gender"]), str(content["surface_model_type"])) == ("neutral", "smplx")
    shapes = {
        "poses": 165,
        "root_orient": 3,
        "pose_body": 63,
        "pose_jaw": 3,
        "pose_eye": 6,
        "pose_hand": 90,
        "trans": 3,
    }
    assert {key: content[key].shape for key in shapes} == {key: (frames, width) for key, width in shapes.items()}
    parts = [content[key] for key in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")]
    assert (content["poses"] == np.concatenate(parts, axis=1)).all()
    assert content["betas"].shape == (16,) == (int(content["num_betas"]),)
    assert json.loads(str(content["info"]))["licence"] == "research"
    pose = torch.tensor(content["poses"], dtype=torch.float32)
    with torch.no_grad():
        official = smplx.create(
            str(bodies / "SMPLX_NEUTRAL.npz"), ext="npz", use_pca=False, flat_hand_mean=True, batch_size=frames
        )
        posed = official(
            betas=torch.tensor(content["betas"][:10], dtype=torch.float32).expand(frames, 10).contiguous(),
            global_orient=pose[:, :3], body_pose=pose[:, 3:66], transl=torch.tensor(content["trans"]).float(),
            jaw_pose=pose[:, 66:69], leye_pose=pose[:, 69:72], reye_pose=pose[:, 72:75],
            left_hand_pose=pose[:, 75:120], right_hand_pose=pose[:, 120:165],
        )  # fmt: skip
    apart = np.linalg.norm(posed.joints[:, :22].numpy() @ Z_TO_Y.T - resample(joints, 20.0, 30.0), axis=-1)
    assert np.abs(apart - fit.errors).max() < 1e-4
    assert apart.max() < 0.012


def test_no_turn_jumps_in_the_file(bodies: Path, tmp_path: Path) -> None:
    write_as_body(tmp_path / "a.npz", load_body_model(bodies), turn(6.0))
    with np.load(tmp_path / "a.npz") as content:
        poses = content["poses"].reshape(-1, 55, 3)
    assert np.abs(np.diff(poses, axis=0)).max() < 0.8
    assert np.abs(np.diff(rot.exp(poses), axis=0)).max() < 0.8


def test_generate_and_caption(bodies: Path, tmp_path: Path, language: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = ["--body-model", bodies]
    words = [
        "generate",
        "a person walks",
        "--seconds",
        2,
        "--steps",
        3,
        "--model",
        language,
        "--format",
        "smplx",
        *body,
    ]
    assert run(*words, "--seed", 1, "--variations", 2, "-o", tmp_path / "a.npz") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in said] == [str(tmp_path / f"a_{i}.npz") for i in (1, 2)]
    assert all("59 frames at 30 fps of SMPL-X, fit: " in line and " mm at most (" in line for line in said)
    with np.load(tmp_path / "a_2.npz") as content:
        told = float(content["fit_error_max_mm"].max())
        assert json.loads(str(content["info"]))["seed"] == 2
    assert f"{told:.1f} mm at most" in said[1]
    assert run(*words, "--seed", 1, "--mean-shape", "--fps", 60, "-o", tmp_path / "b.npz") == 0
    assert "motion scaled by" in capsys.readouterr().out
    with np.load(tmp_path / "b.npz") as content:
        assert (int(content["mocap_frame_rate"]), len(content["trans"])) == (60, 118)
        assert not content["betas"].any()
    assert run("caption", tmp_path / "a_1.npz", "--model", language, *body) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trans": None}, "trans"), ({"mocap_framerate": None}, "frame rate"), ({"mocap_framerate": 0.0}, "impossible"),
        ({"poses": np.zeros((10, 156))}, "do not fit"), ({"poses": np.zeros((361, 40))}, "(frames, 66)"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "(frames, 66)"), ({"poses": None}, "no poses"),
        ({"poses": np.full((361, 156), np.nan)}, "not numbers"), ({"poses": np.array(["a"])}, "no body motion"),
        ({"trans": np.full((361, 3), 1e9)}, "not of this world"), ({"betas": np.array("big")}, "no body motion"),
        ({"poses": np.array([{"a": 1}], dtype=object)}, "no motion"),
    ],
)  # fmt: skip
def test_damaged_motion_is_told(bodies: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_amass(tmp_path / "walk.npz", **changes)
    with pytest.raises(CoreError) as caught:
        read_motion(path, body_model=bodies)
    assert caught.value.code in ("body_motion_broken", "file_broken")
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_body_motion_with_odd_words_is_read(bodies: Path, tmp_path: Path) -> None:
    """Bytes, pickled words and a shape for every frame, as some files have them."""
    for gender in (np.array(b"male"), np.array([{"male": 1}], dtype=object), np.array(["Female"]), np.zeros(0)):
        path = write_amass(tmp_path / "walk.npz", gender=gender, betas=np.zeros((361, 10)))
        assert read_motion(path, body_model=bodies).shape == (61, 22, 3)


def test_files_of_others_are_no_body_motion(bodies: Path, tmp_path: Path) -> None:
    write_motion(tmp_path / "ours.npz", walk())
    assert np.abs(read_motion(tmp_path / "ours.npz", body_model=bodies) - canonicalise(walk())).max() < 1e-4
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    whole = bytearray(write_amass(tmp_path / "walk.npz").read_bytes())
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for place in range(100, 4000, 61):
        whole[place] ^= 0x55
    (tmp_path / "damaged.npz").write_bytes(whole)
    for name in ("foreign.npz", "half.npz", "damaged.npz"):
        with pytest.raises(CoreError) as caught:
            read_motion(tmp_path / name, body_model=bodies)
        assert caught.value.code == "file_broken", name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["caption", "{tmp}/walk.npz"], "smpl-x.is.tue.mpg.de"),
        (["caption", "{tmp}/walk.npz", "--body-model", "{tmp}/none.npz"], "no body model"),
        (["caption", "{tmp}/walk.npz", "--body-model", "{tmp}/SMPLX_NEUTRAL.pkl"], "pickle"),
        (["generate", "walk", "-o", "{tmp}/a.npz", "--format", "smplx"], "smpl-x.is.tue.mpg.de"),
        (["generate", "walk", "-o", "{tmp}/a.bvh", "--format", "smplx", "--body-model", "{body}"], ".npz"),
        (["generate", "walk", "-o", "{tmp}/a.npz", "--body-model", "{body}"], "--format smplx"),
        (["generate", "walk", "-o", "{tmp}/a.npz", "--fps", "60"], "--format smplx"),
        (["generate", "walk", "-o", "{tmp}/a.npz", "--format", "smplx", "--body-model", "{body}", "--fps", "0"], "240"),
        (["generate", "walk", "-o", "{tmp}/a.npz", "--format", "smplx", "--body-model", "{body}/smplh/male/model.npz"],
         "SMPL+H"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(
    words: list[str], said: str, bodies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_amass(tmp_path / "walk.npz")
    (tmp_path / "SMPLX_NEUTRAL.pkl").write_bytes(b"\x80\x02}.")
    assert run(*[word.format(tmp=tmp_path, body=bodies) for word in words]) == 2
    heard = capsys.readouterr().err.strip()
    assert heard.startswith("error: ")
    assert heard.count("\n") == 0
    assert said in heard
    assert not list(tmp_path.glob("a.*"))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bodies: Path) -> None:
    path = write_amass(tmp_path / "walk.npz")
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(CoreError) as caught:
        read_motion(path, body_model=bodies)
    assert caught.value.code == "smplx_missing"
    write_motion(tmp_path / "ours.npz", walk())
    assert len(read_motion(tmp_path / "ours.npz")) == len(walk())  # everything else works without it


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, bodies: Path) -> None:
    with pytest.raises(CoreError) as caught:
        write_as_body(tmp_path / "none" / "a.npz", load_body_model(bodies), walk()[:5])
    assert caught.value.code == "file_not_written"
