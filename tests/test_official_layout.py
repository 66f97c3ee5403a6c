"""The architecture computes what the official one computes: its tiny random weights load by the key map, and the
outputs agree with the recorded ones. Needs the parity fixtures."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from core.model.backbone import shared_layers  # noqa: E402 - after the check that torch is there
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig  # noqa: E402
from core.model.motiongpt3 import MotionGPT3  # noqa: E402
from core.model.names import from_official  # noqa: E402
from core.prompts import Tokenizer  # noqa: E402

BOUND = 2e-5


@pytest.fixture(scope="module")
def official(shared):
    from safetensors.torch import load_file

    folder = shared / "reference" / "parity"
    sizes = json.loads((folder / "config.json").read_text())
    gpt, vae, head = sizes["gpt2"], sizes["vae"], sizes["diffusion"]
    cfg = ModelConfig(
        vae=VAEConfig(vae["nfeats"], vae["latent_dim"][1], vae["num_layers"], vae["num_heads"], vae["ff_size"]),
        backbone=BackboneConfig(
            gpt["n_embd"],
            gpt["n_layer"],
            gpt["n_head"],
            4 * gpt["n_embd"],
            gpt["n_positions"],
            sizes["text_vocab_size"],
        ),
        diffusion=DiffusionConfig(head["width"], head["depth"], head["cond_heads"], head["cond_ff"]),
    )
    model = MotionGPT3(cfg, Tokenizer(folder / "tokenizer"))
    state = load_file(folder / "state_dict.safetensors")
    ours = {name: tensor for k, tensor in state.items() if (name := from_official(k)) is not None}
    missing, unexpected = model.load_state_dict(ours, strict=False)
    assert set(missing) <= {"vae.mean", "vae.std"}
    assert not unexpected
    with np.load(folder / "fixtures.npz") as z:
        recorded = {k: torch.tensor(z[k]) for k in z.files if z[k].dtype.kind in "fib"}
    return model.eval().requires_grad_(False), recorded


def difference(a, b) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def test_vae(official):
    model, f = official
    lengths = f["vae/lengths"].long()
    mean, logvar = model.vae.encode(f["vae/feats_norm"], lengths)
    assert difference(mean, f["vae/enc_tokens"][0]) < BOUND
    assert difference(logvar, f["vae/enc_tokens"][1]) < BOUND
    assert difference(model.vae.decode(f["vae/z"][0], lengths), f["vae/decode_z"]) < BOUND


def prompt_of(model, f):
    ids = f["backbone/input_ids_global"].long()
    real = f["backbone/attention_mask"] > 0
    codes = f["motion_in/latents_scaled"].reshape(len(ids), 1, -1)
    return ids, real, torch.where(real, ids, -1), codes


@pytest.mark.parametrize("mode", ["all", "last1"])
def test_backbone(official, mode, monkeypatch):
    model, f = official
    ids, real, padded, codes = prompt_of(model, f)
    for block, together in zip(model.backbone.h, shared_layers(mode, len(model.backbone.h)), strict=True):
        monkeypatch.setattr(block, "shared", together)
    hidden = model.hidden(padded, codes, pad=-1)
    kind = {"all": f"backbone/hidden_{{}}_{len(model.backbone.h)}", "last1": "cma/hidden_{}_last"}[mode]
    motion = (ids >= model.cfg.backbone.text_vocab)[..., None]
    expected = torch.where(motion, f[kind.format("motion")], f[kind.format("text")]) * real[..., None]
    assert difference(hidden, expected) < BOUND


def test_diffusion_head(official):
    model, f = official
    condition = f["sample_cfg/cond"]
    first, steps = f["sample_cfg/noise_init"][:, 0], f["sample_cfg/noise_steps"][:, : len(condition), 0]
    code = model.head.sample(condition, model.fake_latent[None], first, lambda i: steps[i], steps=100, guidance=7.5)
    expected = f["sample_cfg/latents_unscaled"].reshape(len(condition), -1)
    assert difference(model.vae.from_code(code), expected) < BOUND


def test_text_is_the_same_token_by_token(official):
    model, f = official
    lengths = f["motion_in/lengths"].long()
    mean, logvar = model.vae.encode(f["motion_in/feats_norm"], lengths)
    codes = model.vae.to_code(model.vae.sample(mean, logvar, f["m2t/eps"][0]))
    for i, (prompt, mask) in enumerate(zip(f["m2t/prompt_ids_global"].long(), f["m2t/attention_mask"], strict=True)):
        ids = prompt[mask > 0][None]
        tokens, _ = model.write(ids, codes[i : i + 1, None])
        expected = f["m2t/generated_ids"][i].long().tolist()
        end = expected.index(model.tokenizer.eos) if model.tokenizer.eos in expected else len(expected)
        assert tokens == expected[:end]


def test_two_input_motions_are_interleaved_as_trained(official):
    model, f = official
    ids = f["inbetween/input_ids_global"].long()
    expected = f["inbetween/und_embeds_at_input_holders"]  # (B, 8, D)
    marks = torch.arange(2.0)[None, :, None].expand(len(ids), 2, model.cfg.vae.width).clone()  # motion 0, motion 1
    rows = model.und_head(marks).view(len(ids), 2, 4, -1)
    placed = model.embed(ids, marks)[ids == model.tokenizer.holder_in].view(expected.shape)
    for k in range(8):  # first quarters of both, second quarters of both, ...
        assert torch.equal(placed[:, k], rows[:, k % 2, k // 2])
