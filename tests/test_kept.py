"""kept.py: what a training has worked out comes back as it was, and a file that is something else runs nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from test_train import CAPTIONS, CLIPS, write_bundle

from core.train import ablation_data, stages
from core.train.data import Clip
from core.train.kept import keep, kept


def clips() -> list[Clip]:
    dice = np.random.default_rng(0)
    made = []
    for number, frames in enumerate((21, 40, 33)):
        joints = dice.normal(size=(frames, 22, 3)).astype(np.float32)
        features = None if number == 1 else dice.normal(size=(frames - 1, 263)).astype(np.float32)
        tokens = [["a/DET", "person/NOUN"]] if number == 2 else None
        made.append(Clip(f"clip {number}", "made", "train", joints, ["a person wälks", "2"], features, tokens))
    made.append(Clip("kit", "kit", "val", dice.normal(size=(30, 21, 3)), [], fps=12.5, unit=0.1))  # float64
    return made


def check_equal(one: Clip, other: Clip) -> None:
    for name in ("id", "source", "split", "captions", "tokens", "fps", "unit"):
        assert getattr(one, name) == getattr(other, name)
    for a, b in ((one.joints, other.joints), (one.features, other.features)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.array_equal(a, b)


def test_what_was_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    file, bones = tmp_path / "new" / "clips.npz", np.arange(22, dtype=np.float32)
    keep(file, "asked", {"train": clips(), "val": []}, {"bones": bones})
    found = kept(file, "asked")
    assert found is not None
    back, arrays = found
    assert list(back) == ["train", "val"]
    assert back["val"] == []
    for one, other in zip(clips(), back["train"], strict=True):
        check_equal(one, other)
    assert np.array_equal(arrays["bones"], bones)
    assert kept(file, "something else") is None
    assert kept(file) is not None
    assert kept(tmp_path / "nothing.npz") is None
    assert [path.name for path in file.parent.iterdir()] == ["clips.npz"]


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("ran"),)


def test_a_file_that_is_broken_or_wicked_is_as_good_as_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "clips.npz"
    keep(file, "asked", {"train": clips()}, {})
    whole = file.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert kept(file, "asked") is None
    file.write_bytes(pickle.dumps(("asked", Evil())))
    assert kept(file) is None
    np.savez(file, about=np.array([Evil()], dtype=object))
    assert kept(file) is None
    assert not Path("ran").exists()
    np.load(file, allow_pickle=True)["about"]  # the payload is a real one
    assert Path("ran").exists()


def test_an_ablations_motions_come_back_as_they_were(tmp_path: Path) -> None:
    made = clips()[:3]
    frames = [clip.frames for clip in made]
    codes = [torch.arange(-(-n // 4)) for n in frames]
    motions = ablation_data.Motions(made, frames, torch.randn(3, 8), torch.rand(3, 8), codes)
    ablation_data.keep_motions(tmp_path, "key", {"test": motions})
    found = ablation_data.kept_motions(tmp_path, "key")
    assert found is not None
    assert found["test"].frames == frames
    assert torch.equal(found["test"].mean, motions.mean)
    assert torch.equal(found["test"].std, motions.std)
    assert all(torch.equal(a, b) for a, b in zip(found["test"].codes, codes, strict=True))
    for one, other in zip(made, found["test"].clips, strict=True):
        check_equal(one, other)
    assert ablation_data.kept_motions(tmp_path, "another") is None


def test_data_is_read_once_and_taken_from_the_runs_folder_the_second_time(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, CLIPS, CAPTIONS)
    options = stages.DataOptions(windows=1)
    first = stages.load_data([bundle], options, 0, tmp_path / "runs")
    bundle.unlink()
    again = stages.load_data([bundle], options, 0, tmp_path / "runs")
    for name in ("train", "parts", "val"):
        for one, other in zip(getattr(first, name), getattr(again, name), strict=True):
            check_equal(one, other)
    assert np.array_equal(first.bones, again.bones)
    assert first.parts
