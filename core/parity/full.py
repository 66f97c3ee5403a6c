"""Groups at full size: weights made from their names by a rule, so that a gigabyte need not be stored.

Every tensor is random with a seed from its official name, scaled by its kind so that activations stay in range; the
four names of the tied embedding give one tensor. Tensors are made one by one straight into the model's own storage.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from core.model.checkpoint import empty_model
from core.model.config import ModelConfig
from core.model.motiongpt3 import MotionGPT3
from core.model.names import TIED, to_official
from core.parity.fixtures import Fixtures, NumberedTokenizer
from core.parity.report import Recorder
from core.parity.text_tasks import write_rows

UNUSED = "lm.language_model.post_processors.1.weight"
"""Stored in official checkpoints, of the shape of the motion embedding, and read by nothing."""
FIRST_SPECIAL = 50257  # GPT-2's vocabulary ends there
GENERATE_TEXT = [8645, 378, 2420, 25, 220]
""" "Generate text: " in GPT-2's vocabulary."""
SPACE, NEWLINE = 220, 198


def rule_weight(name: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """The tensor that the rule gives an official name, float32."""
    n = np.random.Generator(np.random.PCG64(zlib.crc32((salt + name).encode()))).standard_normal(shape, np.float32)
    small = (".pe", "wte.weight", "wpe.weight", "pre_processors.1.weight", "post_processors.1.weight")
    if name.endswith(("fake_latent", "hidden_embedding", "global_motion_token")):
        n *= np.float32(0.5)
    elif name.endswith(small):
        n *= np.float32(0.05)
    elif name.endswith("bias"):
        n *= np.float32(0.02)
    elif n.ndim == 1:
        n *= np.float32(0.1)
        n += np.float32(1)
    else:
        reads_rows = any(part in name for part in ("c_attn.fn", "c_proj.fn", "c_fc.weight", ".c_proj.weight"))
        n *= np.float32(1 / math.sqrt(shape[0] if reads_rows else shape[1]))
        if name == "lm.diffloss.net.final_layer.linear.weight":
            n *= np.float32(0.1)
    return n


def _magnitude(values: np.ndarray) -> float:
    """Sum of |values| in float64, a piece at a time."""
    flat = values.reshape(-1)
    return sum(float(np.abs(flat[i : i + 2**20]).sum(dtype=np.float64)) for i in range(0, len(flat), 2**20))


@dataclass
class RuleModel:
    """A model with weights by the rule, and the sum of their magnitudes over all official names."""

    model: MotionGPT3
    magnitude: float


def make_rule_model(cfg: ModelConfig, tokenizer: NumberedTokenizer, salt: str, device: torch.device) -> RuleModel:
    """Build it; peak memory is the weights and twice the largest tensor."""
    model = empty_model(cfg, tokenizer)  # no storage yet, so nothing is filled twice
    state: dict[str, torch.Tensor] = {}
    magnitude = 0.0
    for name, empty in model.state_dict().items():
        theirs = to_official(name)
        if theirs is None:  # the statistics
            state[name] = torch.full(tuple(empty.shape), float(name == "vae.std"), device=device)
            continue
        values = rule_weight(theirs, tuple(empty.shape), salt)
        magnitude += _magnitude(values) * (4 if theirs == TIED else 1)
        if name == "backbone.motion_embedding.weight":
            magnitude += _magnitude(rule_weight(UNUSED, tuple(empty.shape), salt))
        state[name] = torch.from_numpy(values).to(device)
    model.load_state_dict(state, assign=True)
    return RuleModel(model.eval().requires_grad_(False), magnitude)


def _rule_model(f: Fixtures) -> RuleModel:
    """The real configuration, made once a run."""
    if f.full_size is None:
        salt = str(f.full_strings.get("salt", ""))
        cfg = ModelConfig(name="full size, weights by rule")
        f.full_size = made = make_rule_model(cfg, NumberedTokenizer(FIRST_SPECIAL), salt, f.device)
        if "stats/mean" in f.main and "stats/std" in f.main:
            made.model.vae.mean.copy_(f.main["stats/mean"])
            made.model.vae.std.copy_(f.main["stats/std"])
    return f.full_size


def weights(f: Fixtures, r: Recorder) -> None:
    total = f.full.raw("weights/abs_sum_all_keys_float64")
    made = _rule_model(f)
    r.near("weights/abs_sum_all_keys_float64", np.array(made.magnitude), total, bound=1e-9)
    state = made.model.state_dict()
    for key, name in (
        ("wte_first8", "backbone.wte.weight"),
        ("h0_cattn_fn1_first8", "backbone.h.0.c_attn.fn.1.weight"),
    ):
        r.close(f"weights/{key}", state[name].flatten()[:8], bound=1e-7)


def vae(f: Fixtures, r: Recorder) -> None:
    features, lengths = f.full["t2m/feats_norm"], f.full["t2m/lengths"]
    f.full["vae/mu"]
    mean, logvar = _rule_model(f).model.vae.encode(features, lengths)
    r.close("vae/mu", mean[None])
    r.close("vae/logvar", logvar[None])


def t2m(f: Fixtures, r: Recorder) -> None:
    ids, real = f.full["t2m/input_ids_global"], f.full["t2m/attention_mask"] > 0
    model = _rule_model(f).model
    condition = model.condition(torch.where(real, ids, -1), pad=-1)
    r.close("t2m/cond", condition)
    first, noise = f.full["t2m/noise_init"][:, 0], f.full["t2m/noise_steps"][:, : len(ids), 0]
    guidance = float(f.full["t2m/cfg_scale"])
    code = model.head.sample(condition, model.fake_latent[None], first, lambda step: noise[step],
                             steps=len(noise), guidance=guidance)  # fmt: skip
    z, lengths = model.vae.from_code(code), f.full["t2m/lengths"]
    r.close("t2m/latents_unscaled", z[:, None])
    r.close("t2m/feats_norm", model.vae.decode(z, lengths))
    with r.optional():
        f.main["stats/mean"]
        r.close("t2m/joints", model.vae.decode_joints(z, lengths))


def m2t(f: Fixtures, r: Recorder) -> None:
    """The evaluation form of the prompt, built from ids: the real vocabulary is not at hand."""
    features, lengths, noise = f.full["t2m/feats_norm"], f.full["t2m/lengths"], f.full["m2t/eps"][0]
    expected = f.full["m2t/generated_ids"]
    model = _rule_model(f).model
    tk = model.tokenizer
    prompt = [*GENERATE_TEXT, tk.som, *[tk.holder_in] * model.cfg.backbone.holders, tk.eom, *[SPACE, NEWLINE] * 2]
    codes = model.vae.to_code(model.vae.sample(*model.vae.encode(features, lengths), noise))
    prompts = [torch.tensor(prompt, device=f.device)] * len(expected)
    penalty = float(f.setting("repetition_penalty", 1.1))
    rows, logits = write_rows(model, prompts, codes, expected.shape[1], penalty)
    r.same_rows("m2t/generated_ids", rows, expected.tolist())
    for step in (0, 1):
        with r.optional():
            wanted = f.full[f"m2t/step{step}_logits"]
            lasting = [i for i, ours in enumerate(logits) if len(ours) > step]
            if lasting:
                r.near(f"m2t/step{step}_logits", torch.stack([logits[i][step] for i in lasting]), wanted[lasting])
