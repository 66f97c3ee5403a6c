"""The user's body model: read without running anything in it, posed as the smplx package poses it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from smplx_body import moves, rest_55, write_body

from core.body.model import load_body_model
from core.errors import CoreError

smplx = pytest.importorskip("smplx", reason="needs core/requirements-smplx.txt, whose licence is for you to accept")


@pytest.mark.parametrize(("name", "joints"), [("SMPLX_MALE", 55), ("SMPLH_FEMALE", 52)])
def test_joints_are_those_of_the_whole_package(tmp_path: Path, name: str, joints: int) -> None:
    """The package's own model class: template, shape, pose correctives and skinning, not only its kinematics."""
    path = write_body(tmp_path / f"{name}.npz", joints=joints)
    model = load_body_model(path)
    assert (model.kind, model.gender) == tuple(name.lower().split("_"))
    assert np.abs(model.rest - rest_55()[:22]).max() < 1e-9
    turns, trans = moves(np.linspace(0, 3, 7))
    betas = np.random.default_rng(0).normal(0, 1.5, 10)
    official = smplx.create(
        str(path), ext="npz", use_pca=False, flat_hand_mean=True, num_betas=10, batch_size=len(turns)
    )
    with torch.no_grad():
        posed = official(
            global_orient=torch.tensor(turns[:, 0], dtype=torch.float32),
            body_pose=torch.tensor(turns[:, 1:].reshape(len(turns), 63), dtype=torch.float32),
            transl=torch.tensor(trans, dtype=torch.float32),
            betas=torch.tensor(betas, dtype=torch.float32).expand(len(turns), 10).contiguous(),
        )
    assert np.abs(posed.joints[:, :22].numpy() - model.joints(turns, trans, betas)).max() < 1e-5
    assert np.abs(model.rest_joints(betas) - model.rest).max() > 0.02


def test_shape_parameters_may_be_fewer_or_more_than_the_model_has(tmp_path: Path) -> None:
    model = load_body_model(write_body(tmp_path / "SMPLX_NEUTRAL.npz", shapedirs=np.zeros((10475, 3, 10))))
    assert model.shape.shape == (22, 3, 10)
    for count in (0, 3, 16, 300):
        assert model.rest_joints(np.ones(count)).shape == (22, 3)


def test_a_folder_is_searched_for_the_one_that_fits(tmp_path: Path) -> None:
    write_body(tmp_path / "smplx" / "SMPLX_NEUTRAL.npz")
    assert load_body_model(tmp_path, gender="male").gender == "neutral"
    write_body(tmp_path / "smplx" / "SMPLX_MALE.npz")
    write_body(tmp_path / "male" / "model.npz", joints=52)  # as the Extended SMPL+H model is laid out
    assert load_body_model(tmp_path, gender="male").gender == "male"
    assert load_body_model(tmp_path, gender="male", kind="smplh").kind == "smplh"
    assert load_body_model(tmp_path / "male" / "model.npz").gender == "male"


class Payload:
    """What a wicked file carries: opened by pickle, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_pickled_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    wicked = np.array([Payload(ran)], dtype=object)
    load_body_model(write_body(tmp_path / "SMPLX_NEUTRAL.npz", joint2num=wicked))
    with pytest.raises(CoreError) as caught:
        load_body_model(write_body(tmp_path / "SMPLX_MALE.npz", v_template=wicked))
    assert caught.value.code == "body_model_broken"
    np.save(tmp_path / "a.npy", wicked)
    (tmp_path / "SMPLX_FEMALE.pkl").write_bytes((tmp_path / "a.npy").read_bytes()[128:])
    with pytest.raises(CoreError) as caught:
        load_body_model(tmp_path / "SMPLX_FEMALE.pkl")
    assert caught.value.code == "body_model_pickle"
    assert "SMPLX_NEUTRAL.npz" in caught.value.remedy
    assert not ran.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)  # the payload is a real one
    assert ran.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapedirs": None}, "holds no body model"),
        ({"joints": 24, "J_regressor": np.zeros((16, 10475))}, "not those of SMPL"),
        ({"v_template": np.zeros((10, 3))}, "not those of SMPL"),
        ({"v_template": np.array("abc")}, "not those of SMPL"),
        ({"shapedirs": np.zeros((10475, 3))}, "not those of SMPL"),
        ({"kintree_table": np.zeros((2, 55), np.int64)}, "order of SMPL"),
        ({"v_template": np.full((10475, 3), np.nan)}, "not numbers"),
        ({"v_template": np.random.default_rng(0).normal(size=(10475, 3)) * 1000}, "human size"),
    ],
)
def test_what_is_no_body_model_is_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CoreError) as caught:
        load_body_model(write_body(tmp_path / "SMPLX_NEUTRAL.npz", **changes))
    assert caught.value.code == "body_model_broken"
    assert said in caught.value.message
    assert "smpl-x.is.tue.mpg.de" in caught.value.remedy


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    whole = write_body(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "words.npz").write_text("only words")
    damaged = bytearray(whole)
    for place in range(200, len(damaged) - 3000, 501):
        damaged[place] ^= 0x55
    (tmp_path / "damaged.npz").write_bytes(bytes(damaged))
    (tmp_path / "nothing").mkdir()
    for name, code in (
        ("none.npz", "body_model_missing"), ("nothing", "body_model_missing"), ("half.npz", "body_model_broken"),
        ("empty.npz", "body_model_broken"), ("words.npz", "body_model_broken"), ("damaged.npz", "body_model_broken"),
    ):  # fmt: skip
        with pytest.raises(CoreError) as caught:
            load_body_model(tmp_path / name)
        assert caught.value.code == code, name


def test_without_the_package_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_body(tmp_path / "SMPLX_NEUTRAL.npz")
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(CoreError) as caught:
        load_body_model(path)
    assert caught.value.code == "smplx_missing"
    assert "'smplx'" in caught.value.message
    assert "requirements-smplx.txt" in caught.value.remedy
