"""How weights are stored: matrices in few bits, the rest untouched, and a clear word where a file is damaged."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_model

from core.__main__ import main
from core.errors import CoreError
from core.model import checkpoint
from core.model.checkpoint import bundled_models, load_model, save_model
from core.model.motiongpt3 import MotionGPT3
from core.model.storage import GROUP, StorageError, pack, packable, read_weights, unpack, write_weights
from core.tasks.generate import generate


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return load_model(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", Path(sys.executable)), "cpu")


@pytest.mark.parametrize("bits", [8, 6, 4])
@pytest.mark.parametrize("shape", [(64, 128), (33, 131), (1, 5000), (66, 1, 65), (3, 63)])
def test_a_packed_matrix_comes_back_within_half_a_step(bits: int, shape: tuple[int, ...]) -> None:
    w = drawn(*shape)
    parts = pack(w, bits)
    back = unpack(parts, bits, list(shape))
    assert (back.shape, back.dtype) == (w.shape, torch.float32)
    assert parts[""].numel() <= math.ceil(w.numel() * bits / 8) + 2
    steps = parts[":scale"].float().repeat_interleave(GROUP, -1)[..., : shape[-1]]
    inside = w.abs() <= steps * (2 ** (bits - 1) - 1)  # what no scale has clipped
    assert inside.float().mean() > 0.9
    assert ((back - w).abs() <= steps * 0.501)[inside].all()
    even = w.abs().amax() / (2 ** (bits - 1) - 1) / math.sqrt(12)  # the error of even steps over all of it
    assert (back - w).square().mean().sqrt() < even


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_numbers_of_every_value_survive_packing(bits: int) -> None:
    most = 2 ** (bits - 1) - 1
    w = torch.arange(-most, most + 1).float().repeat(5)[:, None].repeat(1, GROUP)
    w[:, 0] = most  # a group's largest number is a whole one too
    assert torch.allclose(unpack(pack(w, bits), bits, list(w.shape)), w, rtol=2**-11)


def test_zeros_tiny_numbers_and_outliers() -> None:
    w = torch.zeros(64, 256)
    w[1] = 1e-6
    w[2, 0] = 1000.0
    w[3] = drawn(256) * 1e-4
    back = unpack(pack(w, 8), 8, [64, 256])
    assert torch.equal(back[0], w[0])
    assert (back[1] - w[1]).abs().max() < 1e-7
    assert torch.isclose(back[2, 0], w[2, 0], rtol=1e-3)
    assert not back[2, 1:].any()
    assert (back[3] - w[3]).abs().max() < 1e-4 * 4 / 127


@pytest.mark.parametrize("bits", [8, 6])
def test_first_rows_are_fine_and_the_others_errors_do_not_lie_along_them(bits: int) -> None:
    w = torch.linalg.qr(drawn(640, 48)).Q.T.contiguous() * 3  # directions at right angles, as a PCA has them
    w[0] *= 1 + 0.1 * drawn(640)  # not quite
    plain, fine = (unpack(pack(w, bits, rows), bits, [48, 640], rows) - w for rows in (0, 16))
    assert fine[:16].abs().max() < plain[:16].abs().max() / 50
    assert fine[16:].square().mean() < plain[16:].square().mean()
    along = [(error[16:] @ w[:16].T).square().mean().sqrt() for error in (plain, fine)]
    assert along[1] < along[0] / 50


def test_only_large_finite_matrices_are_packed(tmp_path: Path) -> None:
    state = {
        "matrix": drawn(64, 65),
        "half": drawn(64, 65).half(),
        "row": drawn(5000),
        "small": drawn(4, 64),
        "whole": torch.arange(5000).view(50, 100),
        "broken": drawn(64, 65).index_fill(0, torch.tensor([3]), torch.inf),
    }
    assert [name for name, tensor in state.items() if packable(name, tensor)] == ["matrix", "half"]
    file = tmp_path / "é w.safetensors"
    write_weights(file, state, torch.int8, {"name": "x"}, lambda name: 6 if name == "half" else 8)
    with safe_open(file, framework="pt") as opened:
        about = opened.metadata()
    assert about["name"] == "x"
    assert json.loads(about["storage"])["packed"] == {"matrix": [8, [64, 65], 0], "half": [6, [64, 65], 0]}
    assert load_file(file)["matrix"].dtype == torch.int8  # in its own shape: any safetensors reader can use it
    back = read_weights(file)
    assert set(back) == set(state)
    for name in ("row", "small", "whole", "broken"):
        assert torch.equal(back[name], state[name]), name
    assert (back["matrix"] - state["matrix"]).abs().max() < 5 / 127
    assert (back["half"] - state["half"].float()).abs().max() < 5 / 31


def test_files_of_floats_read_as_before(tmp_path: Path) -> None:
    state = {"a": drawn(64, 100), "b": torch.arange(4)}
    for dtype in (torch.float32, torch.float16):
        write_weights(tmp_path / "w.safetensors", state, dtype)
        back = read_weights(tmp_path / "w.safetensors")
        assert back["a"].dtype == torch.float32
        assert torch.equal(back["a"], state["a"].to(dtype).float())
        assert torch.equal(back["b"], state["b"])
    save_file({"a": state["a"]}, tmp_path / "old.safetensors")  # without any metadata
    assert torch.equal(read_weights(tmp_path / "old.safetensors")["a"], state["a"])


def harmed(file: Path, harm: str) -> None:
    """Write the file anew with something wrong in it that the safetensors library does not mind."""
    with safe_open(file, framework="pt") as opened:
        about = dict(opened.metadata())
    tensors = load_file(file)
    storage = json.loads(about["storage"])
    name = "vae.linear.basis"
    if harm.startswith("no "):
        storage = {"no list": storage | {"packed": [1]}, "no dictionary": 7}.get(harm)
    elif harm == "later version":
        storage["version"] = 99
    elif harm == "later bits":
        storage["packed"][name][0] = 3
    elif harm == "other shape":
        storage["packed"][name][1] = [7, 9]
    elif harm == "other rows":
        storage["packed"][name][2] = 3
    else:
        part = name + harm.split()[0].strip("-")
        if harm.endswith("missing"):
            del tensors[part]
        else:
            tensors[part] = tensors[part][:-1].contiguous()
    about["storage"] = "{" if harm == "no JSON" else json.dumps(storage)
    save_file(tensors, file, about)


@pytest.mark.parametrize("bits", [8, 6])
@pytest.mark.parametrize(
    ("harm", "word"),
    [
        *[
            (f"{part} {how}", word)
            for part in ("-", ":scale", ":fine", ":fine:scale", ":along")
            for how, word in (("missing", "missing"), ("short", "not"))
        ],
        ("other shape", "not"),
        ("other rows", "not"),
        ("later version", "later version"),
        ("later bits", "later version"),
        ("no list", "cannot be read"),
        ("no dictionary", "cannot be read"),
        ("no JSON", "cannot be read"),
    ],
)
def test_a_packed_file_that_does_not_fit_together_says_so(
    tiny: MotionGPT3, tmp_path: Path, bits: int, harm: str, word: str
) -> None:
    save_model(tiny, tmp_path, torch.int8, bits)
    harmed(tmp_path / "model.safetensors", harm)
    with pytest.raises(StorageError, match=word):
        read_weights(tmp_path / "model.safetensors")
    with pytest.raises(CoreError) as caught:
        load_model(tmp_path, "cpu")
    assert caught.value.code == "model_broken"
    assert "model.safetensors" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("end", [0, 4, 1000, -1])
def test_a_packed_file_cut_short_says_so(tiny: MotionGPT3, tmp_path: Path, end: int) -> None:
    save_model(tiny, tmp_path, torch.int8)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:end])
    with pytest.raises(CoreError) as caught:
        load_model(tmp_path, "cpu")
    assert caught.value.code == "model_broken"


def test_a_model_in_eight_bits_makes_nearly_the_same_motion(tiny: MotionGPT3, tmp_path: Path) -> None:
    save_model(tiny, tmp_path / "8", torch.int8)
    save_model(tiny, tmp_path / "32")
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("8", "32")}
    assert sizes["8"] < 0.7 * sizes["32"]  # of so small a model much is in rows and names
    packed = load_model(tmp_path / "8", "cpu")
    assert all(p.dtype == torch.float32 for p in packed.parameters())
    a, b = (generate(model, "a person walks", 2.0, 3)[0] for model in (tiny, packed))
    assert not np.array_equal(a, b)
    assert np.abs(a - b).mean() < 0.02 * a.std()
    save_model(packed, tmp_path / "again", torch.int8)  # packed again it is what it was
    for name, tensor in load_model(tmp_path / "again", "cpu").state_dict().items():
        assert torch.allclose(tensor, packed.state_dict()[name], atol=1e-3), name


def test_bundled_models_are_found_by_name(tiny: MotionGPT3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default, *_ = bundled_models()
    assert (default.name, default.folder) == ("compact", checkpoint.BUNDLED)
    assert default.licence
    assert default.data
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    monkeypatch.setattr(checkpoint, "BUNDLED", tmp_path / "compact")
    for name in ("compact", "a-second", "broken"):
        save_model(tiny, tmp_path / name)
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "matcher").mkdir()
    (tmp_path / "matcher" / "config.json").write_text('{"name": "no motion model"}')
    (tmp_path / "a file").touch()
    assert [known.name for known in bundled_models()] == ["compact", "a-second"]
    for which in (None, "compact", "a-second", Path("a-second"), tmp_path / "a-second"):
        assert load_model(which, "cpu").info["path"] == str(tmp_path / Path(which or "compact").name)
    with pytest.raises(CoreError, match="third") as caught:
        load_model("third", "cpu")
    assert caught.value.code == "model_missing"
    assert "compact, a-second" in caught.value.remedy
    out = tmp_path / "walk.npz"
    words = ["generate", "a person walks", "--seconds", "1", "--model", "a-second", "--device", "cpu", "-o", str(out)]
    assert main(words) == 0
    assert out.is_file()
    here = tmp_path / "here"
    save_model(tiny, here / "a-second")
    monkeypatch.chdir(here)
    assert load_model("a-second", "cpu").info["path"] == "a-second"  # a folder that is there is that folder


def test_the_command_stores_a_model_in_another_form(
    tiny: MotionGPT3, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "a model é"
    save_model(tiny, source)
    (source / "README.md").write_text("# The card", encoding="utf-8")
    sizes = {}
    for form in ("float32", "float16", "int8", "int6"):
        out = tmp_path / form
        assert main(["weights", str(source), "--to", form, "--out", str(out)]) == 0
        assert f"MB in {form}" in capsys.readouterr().out
        assert (out / "README.md").read_text(encoding="utf-8") == "# The card"
        assert load_model(out, "cpu").info["name"] == "tiny random"
        sizes[form] = (out / "model.safetensors").stat().st_size
    assert sizes["float32"] > sizes["float16"]
    assert sizes["float32"] > sizes["int8"] > sizes["int6"]  # what a tiny model has in rows stays in float32
    assert sizes["float32"] == (source / "model.safetensors").stat().st_size
    assert main(["weights", str(source), "--to", "int8", "--out", str(tmp_path / "int8")]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["weights", str(source), "--to", "int8", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["weights", str(tmp_path / "none"), "--to", "int8", "--out", str(tmp_path / "x")]) == 2
    assert "no config.json" in capsys.readouterr().err
