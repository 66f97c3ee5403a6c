"""Checkpoints that are something else, or not whole: each gets a sentence that says what it is and what to do."""

from __future__ import annotations

import json

import numpy as np
import official_checkpoint as made
import pytest

torch = pytest.importorskip("torch")
from core.convert import Options, convert  # noqa: E402 - after the check that torch is there
from core.errors import CoreError  # noqa: E402
from core.model.names import COPIES  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return made.official_state(made.small_config(), Tokenizer(made.make_tokenizer(folder)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with tokenizer and statistics; the computer's own caches are out of reach."""
    import huggingface_hub.constants

    monkeypatch.setenv("MGPT3_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "downloads" / "model"
    made.make_tokenizer(folder)
    made.make_statistics(folder)
    return folder


def failure(place, content=None, options=None, name="some.ckpt"):
    """The error of converting `content`; nothing may be left behind."""
    if content is not None:
        torch.save(content, place / name)
    with pytest.raises(CoreError) as caught:
        convert(place / name, place / "out", options or Options(), lambda *_: None)
    assert not (place / "out").exists()
    assert not (place / "out.part").exists()
    assert caught.value.message.endswith(".")
    assert caught.value.remedy
    return caught.value


def replaced(state, **tensors):
    return {**state, **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}


def test_vae_only(place, state):
    vae = {k: v for k, v in state.items() if k.startswith("vae.")}
    assert failure(place, {"state_dict": vae}).code == "checkpoint_vae_only"
    assert failure(place, {"state_dict": {f"motion_{k}": v for k, v in vae.items()}}).code == "checkpoint_vae_only"


def test_language_model_only(place, state):
    error = failure(place, {k: v for k, v in state.items() if k.startswith("lm.")})
    assert error.code == "checkpoint_incomplete"
    assert "VAE" in error.message


@pytest.mark.parametrize(("features", "word"), [(251, "KIT"), (623, "MotionX")])
def test_other_skeletons(place, state, features, word):
    kit = replaced(state, vae__skel_embedding__weight=torch.randn(32, features))
    error = failure(place, kit)
    assert error.code == "checkpoint_features"
    assert word in error.message
    assert str(features) in error.message


@pytest.mark.parametrize(
    "key", ["vae.quantizer.codebook", "lm.language_model.encoder.block.0.w", "lm.diffusion_pos_embed_learned"]
)
def test_other_variants(place, state, key):
    assert failure(place, {**state, key: torch.zeros(2)}).code == "checkpoint_variant"


def test_one_branch(place, state):
    assert failure(place, {k: v for k, v in state.items() if ".fn." not in k}).code == "checkpoint_variant"


def test_another_model(place):
    error = failure(place, {"state_dict": {"conv1.weight": torch.zeros(3, 3)}})
    assert error.code == "checkpoint_unknown"
    assert "conv1.weight" in error.message
    assert "no tensors" in failure(place, {"epoch": 3}).message


def test_a_missing_tensor_is_named(place, state):
    error = failure(place, {k: v for k, v in state.items() if k != "lm.diffloss.net.res_blocks.1.mlp.2.bias"})
    assert error.code == "checkpoint_incomplete"
    assert "lm.diffloss.net.res_blocks.1.mlp.2.bias" in error.message


def test_a_tensor_of_another_size_is_named(place, state):
    error = failure(place, replaced(state, lm__diffloss__net__res_blocks__1__in_ln__bias=torch.zeros(7)))
    assert error.code == "checkpoint_sizes"
    assert "lm.diffloss.net.res_blocks.1.in_ln.bias is [7] instead of [48]" in error.message


def test_unknown_parts_are_left_out_only_when_asked(place, state):
    more = {**state, "lm.third_branch.weight": torch.zeros(3)}
    assert "lm.third_branch.weight" in failure(place, more).message
    result = convert(place / "some.ckpt", place / "out", Options(ignore_unknown=True), lambda *_: None)
    assert any("unknown parts (1)" in line for line in result["lines"])


def test_heads_that_do_not_divide_the_width(place, state):
    error = failure(place, state, Options(config='{"backbone": {"heads": 3}}'))
    assert error.code == "checkpoint_sizes"
    assert "3 heads" in error.message


def test_heads_that_cannot_be_guessed_are_asked_for(place):
    odd = made.official_state(made.small_config(width=80), Tokenizer(place))
    error = failure(place, odd)
    assert error.code == "checkpoint_sizes"
    assert "--config" in error.remedy
    assert convert(place / "some.ckpt", place / "out", Options(config='{"backbone": {"heads": 5}}'), lambda *_: None)


@pytest.mark.parametrize("config", ["{", "[1]", '{"backbone": {"wings": 2}}', '{"vae": 3}', '{"name": 3}', '{"x": 1}'])
def test_a_config_that_is_none(place, state, config):
    assert failure(place, state, Options(config=config)).code == "config_unknown"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(place, state, value):
    broken = state["lm.motion_und_head.layers.weight"].clone()
    broken[5, 3] = value
    error = failure(place, replaced(state, lm__motion_und_head__layers__weight=broken))
    assert error.code == "weights_not_finite"
    assert "und_head.weight" in error.message


def test_weights_too_large_for_half_precision(place, state):
    large = state["lm.motion_und_head.layers.weight"].clone()
    large[5, 3] = 1e6
    error = failure(place, replaced(state, lm__motion_und_head__layers__weight=large), Options(dtype="float16"))
    assert "float16" in error.message


@pytest.mark.parametrize("copy", COPIES)
def test_a_changed_copy_of_the_embedding(place, state, copy):
    other = state[copy].clone()
    torch.save({**state, copy: other}, place / "fine.ckpt")  # stored apart, and equal
    assert convert(place / "fine.ckpt", place / "fine", Options(), lambda *_: None)
    other[-1, -1] += 1e-3
    error = failure(place, {**state, copy: other})
    assert error.code == "checkpoint_untied"
    assert copy in error.message


# -- files that are not whole, or no checkpoint at all ---------------------------------------------------------------


@pytest.mark.parametrize("container", [True, False], ids=["zip", "legacy"])
def test_truncated_anywhere(place, state, container):
    torch.save(made.lightning(state), place / "whole.ckpt", _use_new_zipfile_serialization=container)
    data = (place / "whole.ckpt").read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9, 0.999):
        (place / "cut.ckpt").write_bytes(data[: int(len(data) * share)])
        assert failure(place, name="cut.ckpt").code in {"checkpoint_truncated", "checkpoint_broken"}
    assert failure(place, name="cut.ckpt").code == "checkpoint_truncated"


def test_a_changed_number_is_noticed(place, state):
    torch.save(state, place / "flip.ckpt")
    data = bytearray((place / "flip.ckpt").read_bytes())
    at = data.find(state["lm.motion_und_head.layers.weight"].numpy().tobytes())
    data[at + 100] ^= 1  # one bit of one weight
    (place / "flip.ckpt").write_bytes(data)
    error = failure(place, name="flip.ckpt")
    assert error.code == "checkpoint_broken"
    assert "damaged" in error.message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        (b"\x1f\x8b\x08\x00" + bytes(600), "unpack"),
        (b"hello" * 200, "another kind"),
    ],
)
def test_no_checkpoint(place, content, word):
    (place / "some.ckpt").write_bytes(content)
    error = failure(place)
    assert error.code == "checkpoint_unknown"
    assert word in error.message


def test_no_file(place):
    assert failure(place, name="none.ckpt").code == "checkpoint_missing"
    (place / "folder.ckpt").mkdir()
    assert failure(place, name="folder.ckpt").code == "checkpoint_missing"


def test_other_zip_files(place, state):
    import zipfile

    with zipfile.ZipFile(place / "some.ckpt", "w") as file:
        file.writestr("readme.txt", "nothing")
    assert failure(place).code == "checkpoint_unknown"
    torch.save(state, place / "real.ckpt")
    with (
        zipfile.ZipFile(place / "real.ckpt") as old,
        zipfile.ZipFile(place / "some.ckpt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert failure(place).code == "checkpoint_broken"


# -- what lies beside the checkpoint ---------------------------------------------------------------------------------


def test_statistics_missing_or_wrong(place, state):
    made.make_statistics(place, 251)
    assert "KIT" in failure(place, state).message
    good = np.ones(263, np.float32)
    for mean, std in ((good, good * 0), (good * np.nan, good), (good, np.array([{}], dtype=object))):
        np.save(place / "mean.npy", mean)
        np.save(place / "std.npy", std, allow_pickle=True)
        assert failure(place).code == "statistics_broken"
    (place / "std.npy").unlink()
    error = failure(place)
    assert error.code == "statistics_missing"
    assert "core download --part statistics" in error.remedy


def test_statistics_and_tokenizer_where_the_official_repository_has_them(tmp_path, state):
    made.make_tokenizer(tmp_path / "deps" / "gpt2")
    made.make_statistics(tmp_path / "assets" / "meta")
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / "motiongpt3.ckpt")
    result = convert(tmp_path / "checkpoints" / "motiongpt3.ckpt", tmp_path / "out", Options(), lambda *_: None)
    assert f"Tokenizer: {tmp_path / 'deps' / 'gpt2'}" in result["lines"]
    assert f"Statistics: {tmp_path / 'assets' / 'meta'}" in result["lines"]


def test_tokenizer_from_the_hugging_face_cache(place, state, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        (place / name).unlink()
    snapshot = tmp_path / "hub" / "models--openai-community--gpt2" / "snapshots" / ("0" * 40)
    assert failure(place, state).code == "tokenizer_missing"
    made.make_tokenizer(snapshot)
    result = convert(place / "some.ckpt", place / "out", Options(), lambda *_: None)
    assert f"Tokenizer: {snapshot}" in result["lines"]


def test_a_tokenizer_of_another_model(place, state):
    words = json.loads((place / "vocab.json").read_text())
    (place / "vocab.json").write_text(json.dumps({**words, "zebra": len(words)}))
    error = failure(place, state)
    assert error.code == "tokenizer_wrong"
    rows = len(state["lm.language_model.transformer.wte.weight"])
    assert f"{rows + 1} text tokens, the model {rows}" in error.message
    (place / "vocab.json").write_text("{")
    assert failure(place).code == "tokenizer_wrong"
    assert failure(place, options=Options(tokenizer=place / "nowhere")).code == "tokenizer_missing"


def test_out_folder(place, state):
    (place / "taken").mkdir()
    torch.save(state, place / "fine.ckpt")
    convert(place / "fine.ckpt", place / "taken", Options(), lambda *_: None)  # there, but empty
    before = {f.name: f.read_bytes() for f in (place / "taken").iterdir()}
    for out in ("taken", "fine.ckpt"):
        with pytest.raises(CoreError) as caught:
            convert(place / "fine.ckpt", place / out, Options(), lambda *_: None)
        assert caught.value.code == "out_exists"
    assert {f.name: f.read_bytes() for f in (place / "taken").iterdir()} == before


def test_stopped_by_the_user_leaves_nothing(place, state):
    torch.save(state, place / "fine.ckpt")

    def stop(done, _):
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(place / "fine.ckpt", place / "out", Options(), stop)
    assert not (place / "out").exists()
    assert not (place / "out.part").exists()
