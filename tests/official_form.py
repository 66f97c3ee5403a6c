"""The official model written out slowly, from its specification and on torch's own transformer layers.

Nothing of core/ is in here: two full-length token streams, masks instead of packing, padding computed, the condition
embedded anew at every step. What the fast code must equal. Tensors go by their official names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

LM, NET = "lm.language_model.transformer.", "lm.diffloss.net."
State = dict[str, torch.Tensor]


@dataclass
class Sizes:
    """What differs between one folder of fixtures and another."""

    width: int = 32
    layers: int = 2
    heads: int = 2
    positions: int = 128
    base_vocab: int = 300  # with the end token; <start_of_motion> and <end_of_motion> follow
    latent: int = 16
    vae_layers: int = 3
    vae_heads: int = 2
    vae_ff: int = 24
    frames: int = 120  # rows of the VAE's position tables
    head_width: int = 32
    head_depth: int = 2
    cond_heads: int = 2
    cond_ff: int = 40
    steps: int = 8
    guidance: float = 3.0
    scale: float = 0.8457

    @property
    def text_vocab(self) -> int:
        return self.base_vocab + 2


# -- weights ---------------------------------------------------------------------------------------------------------


def shapes(c: Sizes) -> dict[str, tuple[int, ...]]:
    """Official name -> shape, the embedding under one of its four names only."""
    D, C, W = c.width, c.latent, c.head_width
    out: dict[str, tuple[int, ...]] = {
        "vae.global_motion_token": (2, C), "vae.query_pos_encoder.pe": (c.frames, 1, C),
        "vae.query_pos_decoder.pe": (c.frames, 1, C), "vae.skel_embedding.weight": (C, 263),
        "vae.skel_embedding.bias": (C,), "vae.final_layer.weight": (263, C), "vae.final_layer.bias": (263,),
        "lm.fake_latent": (4, D), LM + "wte.weight": (c.text_vocab, D), LM + "wpe.weight": (c.positions, D),
        "lm.language_model.pre_processors.1.weight": (6, D), "lm.language_model.post_processors.1.weight": (6, D),
        "lm.motion_und_head.layers.weight": (4 * D, C), "lm.motion_und_head.layers.bias": (4 * D,),
        NET + "cond_embed.hidden_embedding": (1, D), NET + "cond_embed.hid_pos.pe": (9, 1, D),
    }  # fmt: skip

    def linear(name: str, n_in: int, n_out: int, conv: bool = False) -> None:
        out[name + ".weight"], out[name + ".bias"] = ((n_in, n_out) if conv else (n_out, n_in)), (n_out,)

    def norm(name: str, width: int) -> None:
        out[name + ".weight"] = out[name + ".bias"] = (width,)

    def block(name: str, layer: nn.Module) -> None:
        out.update({f"{name}.{k}": tuple(v.shape) for k, v in layer.state_dict().items()})

    half = c.vae_layers // 2
    for side, make in (("encoder", encoder_layer), ("decoder", decoder_layer)):
        layer = make(C, c.vae_heads, c.vae_ff)
        names = ["middle_block", *(f"{kind}_blocks.{i}" for kind in ("input", "output") for i in range(half))]
        for name in names:
            block(f"vae.{side}.{name}", layer)
        for i in range(half):
            linear(f"vae.{side}.linear_blocks.{i}", 2 * C, C)
        norm(f"vae.{side}.norm", C)
    for at in range(c.layers):
        for b in (0, 1):
            h = f"{LM}h.{at}."
            norm(f"{h}ln_1.fn.{b}", D)
            norm(f"{h}ln_2.fn.{b}", D)
            linear(f"{h}c_attn.fn.{b}", D, 3 * D, conv=True)
            linear(f"{h}c_proj.fn.{b}", D, D, conv=True)
            linear(f"{h}mlp.fn.{b}.c_fc", D, 4 * D, conv=True)
            linear(f"{h}mlp.fn.{b}.c_proj", 4 * D, D, conv=True)
    for b in (0, 1):
        norm(f"{LM}ln_f.fn.{b}", D)
    block(NET + "cond_embed.hid_encoder_layer", encoder_layer(D, c.cond_heads, c.cond_ff))
    linear(NET + "cond_embed.cond_proj", D, W)
    linear(NET + "time_embed.mlp.0", 256, W)
    linear(NET + "time_embed.mlp.2", W, W)
    linear(NET + "input_proj", C, W)
    for i in range(c.head_depth):
        norm(f"{NET}res_blocks.{i}.in_ln", W)
        linear(f"{NET}res_blocks.{i}.mlp.0", W, W)
        linear(f"{NET}res_blocks.{i}.mlp.2", W, W)
        linear(f"{NET}res_blocks.{i}.adaLN_modulation.1", W, 3 * W)
    linear(NET + "final_layer.linear", W, C)
    linear(NET + "final_layer.adaLN_modulation.1", W, 2 * W)
    return out


def random_state(c: Sizes, seed: int) -> State:
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(c).items():
        n = torch.randn(shape, generator=g)
        if len(shape) == 1:
            state[name] = n * 0.05 + (0.0 if name.endswith("bias") else 1.0)
        else:
            state[name] = n * (0.4 if len(shape) == 3 or "wte" in name else shape[-1] ** -0.5)
    return state


def encoder_layer(width: int, heads: int, ff: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, heads, ff, 0.0, "gelu", batch_first=True)


def decoder_layer(width: int, heads: int, ff: int) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(width, heads, ff, 0.0, "gelu", batch_first=True)


def part(s: State, prefix: str) -> State:
    return {name[len(prefix) :]: tensor for name, tensor in s.items() if name.startswith(prefix)}


def norm(s: State, name: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], s[name + ".weight"], s[name + ".bias"], eps)


def linear(s: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, s[name + ".weight"], s[name + ".bias"])


# -- the VAE ---------------------------------------------------------------------------------------------------------


def _skip(s: State, c: Sizes, side: str, x: torch.Tensor, run) -> torch.Tensor:
    layer = (encoder_layer if side == "encoder" else decoder_layer)(c.latent, c.vae_heads, c.vae_ff)

    def block(name: str, x: torch.Tensor) -> torch.Tensor:
        layer.load_state_dict(part(s, f"vae.{side}.{name}."))
        return run(layer, x)

    stack = []
    for i in range(c.vae_layers // 2):
        x = block(f"input_blocks.{i}", x)
        stack.append(x)
    x = block("middle_block", x)
    for i in range(c.vae_layers // 2):
        x = linear(s, f"vae.{side}.linear_blocks.{i}", torch.cat([x, stack.pop()], -1))
        x = block(f"output_blocks.{i}", x)
    return norm(s, f"vae.{side}.norm", x)


def encode(s: State, c: Sizes, features: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    B, T, _ = features.shape
    x = torch.cat([s["vae.global_motion_token"].expand(B, -1, -1), linear(s, "vae.skel_embedding", features)], 1)
    x = x + s["vae.query_pos_encoder.pe"][: T + 2, 0]
    hidden = torch.arange(T + 2)[None] >= torch.tensor(lengths)[:, None] + 2
    x = _skip(s, c, "encoder", x, lambda layer, x: layer(x, src_key_padding_mask=hidden))
    return x[:, 0], x[:, 1]


def decode(s: State, c: Sizes, z: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    T = max(lengths)
    hidden = torch.arange(T)[None] >= torch.tensor(lengths)[:, None]
    x = s["vae.query_pos_decoder.pe"][:T, 0].expand(len(z), -1, -1)
    x = _skip(s, c, "decoder", x, lambda layer, x: layer(x, z[:, None], tgt_key_padding_mask=hidden))
    return linear(s, "vae.final_layer", x).masked_fill(hidden[..., None], 0)


def code(s: State, c: Sizes, features: torch.Tensor, lengths: list[int], eps: torch.Tensor) -> torch.Tensor:
    mean, logvar = encode(s, c, features, lengths)
    return c.scale * (mean + logvar.exp() ** 0.5 * eps)


# -- the backbone ----------------------------------------------------------------------------------------------------


def embed(s: State, c: Sizes, ids: torch.Tensor, codes: list[torch.Tensor]) -> torch.Tensor:
    """Ids (B, T) and per row k codes (k, C) -> (B, T, D); the chunks of several motions interleave."""
    rows = []
    for row, mine in zip(ids, codes, strict=True):
        text = s[LM + "wte.weight"][row.clamp(max=c.text_vocab - 1)]
        motion = s["lm.language_model.pre_processors.1.weight"][(row - c.text_vocab).clamp(min=0)]
        x = torch.where((row >= c.text_vocab)[:, None], motion, text)
        if len(mine):
            chunks = linear(s, "lm.motion_und_head.layers", mine).chunk(4, -1)  # four of (k, D)
            x = x.index_put(((row == c.text_vocab + 3).nonzero()[:, 0],), torch.cat(chunks))
        rows.append(x)
    return torch.stack(rows)


def backbone(
    s: State, c: Sizes, ids: torch.Tensor, mask: torch.Tensor, codes: list[torch.Tensor], shared: list[bool]
) -> list[list[torch.Tensor]]:
    """Both streams, (B, T, D) each: before the first block, after each but the last, final. Positions count from 0."""
    B, T = ids.shape
    D, H = c.width, c.heads
    start = embed(s, c, ids, codes) + s[LM + "wpe.weight"][:T]
    own = [(ids < c.text_vocab)[..., None], (ids >= c.text_vocab)[..., None]]
    streams = [start * own[0], start * own[1]]
    look = torch.ones(T, T, dtype=torch.bool).tril()[None, None] & (mask > 0)[:, None, None]
    trace = [streams]

    def attention(qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = (p.view(B, T, H, D // H).transpose(1, 2) for p in qkv.split(D, -1))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(D // H)).masked_fill(~look, torch.finfo(q.dtype).min)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D)

    for i in range(c.layers):
        h = f"{LM}h.{i}."
        normed = [norm(s, f"{h}ln_1.fn.{b}", streams[b]) * own[b] for b in (0, 1)]
        qkv = [normed[b] @ s[f"{h}c_attn.fn.{b}.weight"] + s[f"{h}c_attn.fn.{b}.bias"] for b in (0, 1)]
        if shared[i]:
            seen = [attention(torch.where(own[0], qkv[0], qkv[1]))] * 2
        else:
            seen = [attention(qkv[0]), attention(qkv[1])]
        after = []
        for b in (0, 1):
            x = streams[b] + seen[b] @ s[f"{h}c_proj.fn.{b}.weight"] + s[f"{h}c_proj.fn.{b}.bias"]
            m, n = f"{h}mlp.fn.{b}.", norm(s, f"{h}ln_2.fn.{b}", x) * own[b]
            wide = F.gelu(n @ s[m + "c_fc.weight"] + s[m + "c_fc.bias"], approximate="tanh")
            after.append(x + wide @ s[m + "c_proj.weight"] + s[m + "c_proj.bias"])
        streams = after
        trace.append(streams)
    trace[-1] = [norm(s, f"{LM}ln_f.fn.{b}", streams[b]) * own[b] for b in (0, 1)]
    return trace


def condition(s: State, c: Sizes, ids, mask, codes) -> torch.Tensor:
    final = backbone(s, c, ids, mask, codes, [True] * c.layers)[-1][1]
    return final[ids == c.text_vocab + 2].view(len(ids), 4, -1)


def write(s: State, c: Sizes, prompt: torch.Tensor, codes: torch.Tensor, length: int) -> tuple[list[int], list]:
    """Greedy answer to (T,), every step from the start. Tokens, padded with the end token, and the raw logits."""
    ids, out, logits = prompt[None], [], []
    for _ in range(length):
        final = backbone(s, c, ids, torch.ones_like(ids), [codes], [True] * c.layers)[-1][0]
        raw = final[0, -1] @ s[LM + "wte.weight"].T
        logits.append(raw)
        if out and out[-1] == c.base_vocab - 1:
            out.append(c.base_vocab - 1)
            continue
        scores = raw.clone()
        for token in set(out):
            scores[token] = raw[token] / 1.1 if raw[token] > 0 else raw[token] * 1.1
        scores[c.base_vocab : c.base_vocab + 2] = -math.inf
        out.append(int(scores.argmax()))
        ids = torch.cat([ids, torch.tensor([[out[-1]]])], 1)
    return out, logits


# -- diffusion -------------------------------------------------------------------------------------------------------


def condition_embedding(s: State, c: Sizes, hidden: torch.Tensor) -> torch.Tensor:  # (N, 4, D) -> (N, W)
    p = NET + "cond_embed."
    x = torch.cat([s[p + "hidden_embedding"].expand(len(hidden), -1, -1), hidden], 1) + s[p + "hid_pos.pe"][:5, 0]
    layer = encoder_layer(c.width, c.cond_heads, c.cond_ff)
    weights = part(s, p + "hid_encoder_layer.")
    return linear(s, p + "cond_proj", torch.func.functional_call(layer, weights, (x,))[:, 0])


def time_embedding(s: State, t: torch.Tensor) -> torch.Tensor:
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / 128)  # in this order of rounding
    x = torch.cat([angle.cos(), angle.sin()], -1)
    return linear(s, NET + "time_embed.mlp.2", F.silu(linear(s, NET + "time_embed.mlp.0", x)))


def noise_prediction(s: State, c: Sizes, x: torch.Tensor, t: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    y = F.silu(time_embedding(s, t) + condition_embedding(s, c, hidden))
    h = linear(s, NET + "input_proj", x)
    for i in range(c.head_depth):
        b = f"{NET}res_blocks.{i}."
        shift, scale, gate = linear(s, b + "adaLN_modulation.1", y).chunk(3, -1)
        r = norm(s, b + "in_ln", h, 1e-6) * (1 + scale) + shift
        h = h + gate * linear(s, b + "mlp.2", F.silu(linear(s, b + "mlp.0", r)))
    shift, scale = linear(s, NET + "final_layer.adaLN_modulation.1", y).chunk(2, -1)
    return linear(s, NET + "final_layer.linear", F.layer_norm(h, h.shape[-1:], eps=1e-6) * (1 + scale) + shift)


def schedule(steps: int) -> dict[str, np.ndarray]:
    betas = np.linspace(0.00085, 0.012, 1000)
    bars = np.cumprod(1 - betas)
    kept, at = [], 0.0
    for _ in range(steps):
        kept.append(round(at))
        at += 999 / (steps - 1)
    bar = bars[kept]
    before = np.concatenate([[1.0], bar[:-1]])
    beta = 1 - bar / before
    variance = beta * (1 - before) / (1 - bar)
    return {
        "train_betas": betas, "gen_timestep_map": np.array(kept), "gen_betas": beta, "bar": bar, "before": before,
        "gen_posterior_log_variance_clipped": np.log(np.append(variance[1], variance[1:])),
        "gen_posterior_mean_coef1": beta * np.sqrt(before) / (1 - bar),
        "gen_posterior_mean_coef2": (1 - before) * np.sqrt(1 - beta) / (1 - bar),
    }  # fmt: skip


def sample(s: State, c: Sizes, hidden, first, noise, guidance: float, ddim: bool = False) -> tuple[torch.Tensor, list]:
    """hidden (N, 4, D), first (N, C), noise (steps, N, C) -> x (N, C) and (x, predicted clean) after every step."""
    table, x, trace = schedule(c.steps), first, []
    for loop, i in enumerate(reversed(range(c.steps))):
        t = torch.full((len(x),), int(table["gen_timestep_map"][i]))
        eps = noise_prediction(s, c, x, t, hidden)
        if guidance > 1:
            free = noise_prediction(s, c, x, t, s["lm.fake_latent"].expand_as(hidden))
            eps = free + guidance * (eps - free)
        bar, before = float(table["bar"][i]), float(table["before"][i])
        clean = x / math.sqrt(bar) - math.sqrt(1 / bar - 1) * eps
        if ddim:
            x = math.sqrt(before) * clean + math.sqrt(1 - before) * eps
        else:
            first_coefficient = float(table["gen_posterior_mean_coef1"][i])
            x = first_coefficient * clean + float(table["gen_posterior_mean_coef2"][i]) * x
            if i:
                x = x + math.exp(0.5 * float(table["gen_posterior_log_variance_clipped"][i])) * noise[loop]
        trace.append((x, clean))
    return x, trace
