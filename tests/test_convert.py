"""Converting checkpoints of the official form: every wrapping, the exact weights, and a model that works."""

from __future__ import annotations

import json

import numpy as np
import official_checkpoint as made
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402 - after the check that torch is there

from core.__main__ import main  # noqa: E402
from core.model.checkpoint import load_model  # noqa: E402
from core.model.names import from_official  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tokenizer and statistics, and the official state dict that fits them."""
    folder = tmp_path_factory.mktemp("official")
    made.make_tokenizer(folder)
    made.make_statistics(folder)
    return folder, made.official_state(made.small_config(), Tokenizer(folder))


def as_plain(state):
    return state


def as_lightning(state):
    return made.lightning(state)


def as_doubly_nested(state):
    return {"state_dict": {"state_dict": state}, "epoch": 3}


def as_ddp(state):
    return made.lightning({f"module.{k}": v for k, v in state.items()})


def as_compiled_ddp_of_model(state):
    return {"model": {f"_orig_mod.module.model.{k}": v for k, v in state.items()}}


def as_parameters(state):
    return {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}


def as_transposed(state):
    return made.lightning(
        {k: v.t().contiguous().t() if v.dim() == 2 and "wte" not in k else v for k, v in state.items()}
    )


def as_views_of_one_storage(state):
    flat = torch.cat([v.reshape(-1).float() for v in state.values()])
    pieces = torch.split(flat, [v.numel() for v in state.values()])
    return {k: piece.view(v.shape) for (k, v), piece in zip(state.items(), pieces, strict=True)}


WRAPPINGS = [
    as_plain, as_lightning, as_doubly_nested, as_ddp, as_compiled_ddp_of_model, as_parameters, as_transposed,
    as_views_of_one_storage,
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPINGS, ids=lambda f: f.__name__)
def test_every_wrapping_gives_the_exact_weights(place, tmp_path, wrap):
    folder, state = place
    torch.save(wrap(state), folder / "some.ckpt")
    assert main(["convert", str(folder / "some.ckpt"), "--out", str(tmp_path / "model")]) == 0
    expect_weights(tmp_path / "model", state)


def expect_weights(model, state):
    found = load_file(model / "model.safetensors")
    expected = {ours: v for k, v in state.items() if (ours := from_official(k))}
    assert found.keys() == expected.keys() | {"vae.mean", "vae.std"}
    assert all(torch.equal(found[k], v) for k, v in expected.items())


def test_older_and_other_containers(place, tmp_path):
    folder, state = place
    torch.save(made.lightning(state), folder / "old.ckpt", _use_new_zipfile_serialization=False)
    save_file({k: v.clone() for k, v in state.items()}, folder / "third.safetensors")
    for number, name in enumerate(("old.ckpt", "third.safetensors")):
        assert main(["convert", str(folder / name), "--out", str(tmp_path / str(number))]) == 0
        expect_weights(tmp_path / str(number), state)


def test_settings_of_a_missing_package_are_read_as_data(place, tmp_path, capsys):
    """OmegaConf's objects are in real checkpoints; the reader has no OmegaConf and needs none."""
    folder, state = place
    with made.a_package_that_is_gone("omegaconf.dictconfig") as config:
        settings = config({"lm": config({"attention_mode": "last1"}), "STAGE": "lm_finetune"})
        torch.save(made.lightning(state, hyper_parameters={"cfg": settings}), folder / "conf.ckpt")
    assert main(["convert", str(folder / "conf.ckpt"), "--out", str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    assert "stage lm_finetune" in said
    assert "epoch 299, step 160000" in said
    assert load_model(tmp_path / "model", "cpu").cfg.backbone.shared == "last1"


def test_the_converted_model_makes_motion_and_describes_it(place, tmp_path):
    from core.model.config import ModelConfig
    from core.model.motiongpt3 import MotionGPT3
    from core.tasks.caption import caption
    from core.tasks.generate import generate

    folder, state = place
    torch.save(made.lightning(state), folder / "whole.ckpt")
    assert main(["convert", str(folder / "whole.ckpt"), "--out", str(tmp_path / "model"), "--name", "Mine"]) == 0
    model = load_model(tmp_path / "model", "cpu")
    assert model.info["name"] == "Mine"
    assert "research" in model.info["licence"].lower()
    assert model.info["origin"].startswith("converted from whole.ckpt, sha256 ")
    mean, std = np.load(folder / "mean.npy"), np.load(folder / "std.npy")
    assert np.array_equal(model.vae.mean.numpy(), mean)
    assert np.array_equal(model.vae.std.numpy(), std)
    motion = generate(model, "a person walks forward", 2.0, 5, steps=3)[0]
    assert motion.shape == (40, 22, 3)

    direct = MotionGPT3(made.small_config(), Tokenizer(folder)).eval()  # the same weights without any conversion
    ours = {k: v for name, v in state.items() if (k := from_official(name))}
    direct.load_state_dict({**ours, "vae.mean": torch.from_numpy(mean), "vae.std": torch.from_numpy(std)})
    direct.requires_grad_(False)
    assert np.array_equal(generate(direct, "a person walks forward", 2.0, 5, steps=3)[0], motion)
    assert caption(direct, motion) == caption(model, motion)
    assert ModelConfig.load(tmp_path / "model" / "config.json").diffusion.guidance == 7.5


def test_sizes_come_from_the_shapes(place, tmp_path):
    folder, state = place
    torch.save(state, folder / "sized.ckpt")
    assert main(["convert", str(folder / "sized.ckpt"), "--out", str(tmp_path / "model")]) == 0
    cfg, expected = load_model(tmp_path / "model", "cpu").cfg, made.small_config()
    expected.backbone.text_vocab = Tokenizer(folder).text_vocab
    for part in ("vae", "backbone", "diffusion"):
        assert getattr(cfg, part) == getattr(expected, part)


def test_what_shapes_do_not_tell_can_be_said(place, tmp_path):
    folder, state = place
    torch.save(state, folder / "heads.ckpt")
    said = json.dumps({"backbone": {"heads": 2}, "diffusion": {"guidance": 3}})
    arguments = ["convert", str(folder / "heads.ckpt"), "--out", str(tmp_path / "model"), "--config", said]
    assert main(arguments) == 0
    cfg = load_model(tmp_path / "model", "cpu").cfg
    assert (cfg.backbone.heads, cfg.diffusion.guidance) == (2, 3)


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_half_the_disk(place, tmp_path, dtype, bound):
    folder, state = place
    torch.save(state, folder / "half.ckpt")
    assert main(["convert", str(folder / "half.ckpt"), "--out", str(tmp_path / "model"), "--dtype", dtype]) == 0
    raw = load_file(tmp_path / "model" / "model.safetensors")
    assert raw["und_head.weight"].dtype == getattr(torch, dtype)
    assert raw["vae.mean"].dtype == torch.float32
    kept, official = load_model(tmp_path / "model", "cpu").und_head.weight, state["lm.motion_und_head.layers.weight"]
    assert 0 < float((kept - official).abs().max() / official.abs().max()) < bound


def test_weights_stored_in_half_or_double_precision_become_float32(place, tmp_path):
    folder, state = place
    torch.save({k: v.double() if "vae" in k else v.bfloat16() for k, v in state.items()}, folder / "mixed.ckpt")
    assert main(["convert", str(folder / "mixed.ckpt"), "--out", str(tmp_path / "model")]) == 0
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert {v.dtype for v in found.values()} == {torch.float32}
    assert torch.equal(found["fake_latent"], state["lm.fake_latent"].bfloat16().float())
    assert torch.equal(found["vae.final_layer.bias"], state["vae.final_layer.bias"])


def test_without_guidance_it_says_so_and_the_scale_is_one(place, tmp_path, capsys):
    folder, state = place
    torch.save({k: v for k, v in state.items() if k != "lm.fake_latent"}, folder / "stage2.ckpt")
    assert main(["convert", str(folder / "stage2.ckpt"), "--out", str(tmp_path / "model")]) == 0
    assert "Guidance: cannot be used" in capsys.readouterr().out
    assert load_model(tmp_path / "model", "cpu").cfg.diffusion.guidance == 1.0


def test_json_lines(place, tmp_path, capsys):
    folder, state = place
    torch.save(made.lightning(state), folder / "json.ckpt")
    assert main(["convert", str(folder / "json.ckpt"), "--out", str(tmp_path / "model"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fractions = [line["progress"] for line in lines[:-1]]
    assert fractions == sorted(fractions)
    assert all(isinstance(line["message"], str) for line in lines[:-1])
    result = lines[-1]["result"]
    assert result["folder"] == str(tmp_path / "model")
    assert result["bytes"] == sum(f.stat().st_size for f in (tmp_path / "model").iterdir())
    assert result["parameters"] == sum(v.numel() for k, v in state.items() if from_official(k))
    assert {f.name for f in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (tmp_path / "model.part").exists()
    left_out = next(line.partition("left out: ")[2] for line in result["lines"] if "left out" in line)
    assert left_out == (
        "copies of the text embedding (3), evaluation networks (2), loss counters (1), motion text head (1)"
    )

    assert main(["convert", str(folder / "json.ckpt"), "--out", str(tmp_path / "model"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["code"] == "out_exists"
    assert error["message"]
    assert error["remedy"]


def test_official_fixtures_give_the_recorded_outputs_after_conversion(shared, tmp_path):
    """The recorded weights as a Lightning checkpoint, converted, then loaded as any model is."""
    parity = shared / "reference" / "parity"
    sizes = json.loads((parity / "config.json").read_text())
    torch.save(made.lightning(load_file(parity / "state_dict.safetensors")), tmp_path / "motiongpt3.ckpt")
    with np.load(parity / "fixtures.npz") as z:
        f = {k: torch.tensor(z[k]) for k in z.files if z[k].dtype.kind in "fib"}
    np.save(tmp_path / "Mean.npy", f["stats/mean"].numpy())
    np.save(tmp_path / "Std.npy", f["stats/std"].numpy())
    heads = json.dumps({"backbone": {"heads": sizes["gpt2"]["n_head"]}})
    arguments = ["convert", str(tmp_path / "motiongpt3.ckpt"), "--out", str(tmp_path / "model"), "--config", heads]
    assert main([*arguments, "--tokenizer", str(parity / "tokenizer")]) == 0
    model = load_model(tmp_path / "model", "cpu")
    decoded = model.vae.decode(f["vae/z"][0], f["vae/lengths"].long())
    assert float((decoded - f["vae/decode_z"]).abs().max() / f["vae/decode_z"].abs().max()) < 2e-5
    noise = f["sample_cfg/noise_steps"][:, : len(f["sample_cfg/cond"]), 0]
    code = model.head.sample(
        f["sample_cfg/cond"], model.fake_latent[None], f["sample_cfg/noise_init"][:, 0], lambda i: noise[i],
        steps=100, guidance=sizes["cfg_scale"],
    )  # fmt: skip
    expected = f["sample_cfg/latents_unscaled"].reshape(code.shape)
    assert float((model.vae.from_code(code) - expected).abs().max() / expected.abs().max()) < 2e-5
