"""A folder of parity fixtures of any sizes: random weights, and what the slow official form computes with them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import official_form as form
import torch
import torch.nn.functional as F
from motions import turn, walk
from official_form import Sizes, State
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2TokenizerFast

from core.features import canonicalise, features_to_joints, joints_to_features, retarget
from core.restpose import REST_OFFSETS

ADDED = ("<start_of_motion>", "<end_of_motion>", "<masked_motion>", "<pad_motion>",
         "<motion_latent_holder_output>", "<motion_latent_holder>")  # fmt: skip
IN = ADDED[0] + ADDED[5] * 4 + ADDED[1]
OUT = " \n " + ADDED[0] + ADDED[4] * 4 + ADDED[1] + "<|endoftext|>"
CAPTIONS = ["a person walks forward and waves", "someone jumps twice", "a dancer spins slowly", "he sits"]


@dataclass
class Made:
    """A folder under way."""

    sizes: Sizes
    folder: Path
    state: State
    words: GPT2TokenizerFast
    lengths: list[int]
    prompt: int
    mode: str
    shared: list[bool]  # which layers share attention in that mode
    new_tokens: int
    g: torch.Generator
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def put(self, **values) -> None:
        for key, value in values.items():
            array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            self.arrays[key.replace("__", "/")] = array

    def noise(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.g)

    def clips(self, lengths: list[int]) -> torch.Tensor:
        clips = self.noise(len(lengths), max(lengths), 263) * 0.7
        return clips * (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None])[..., None]

    def tokens(self, name: str, texts: list[str], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded ids and mask (B, prompt) of texts, which are noted."""
        self.texts[name] = texts
        rows = [self.words.encode(text)[: self.prompt] for text in texts]
        pads = [[self.sizes.base_vocab - 1] * (self.prompt - len(row)) for row in rows]
        ids = [p + r if left else r + p for r, p in zip(rows, pads, strict=True)]
        mask = [[0] * len(p) + [1] * len(r) if left else [1] * len(r) + [0] * len(p)
                for r, p in zip(rows, pads, strict=True)]  # fmt: skip
        return torch.tensor(ids), torch.tensor(mask)


def make(
    folder: Path,
    sizes: Sizes,
    *,
    seed: int,
    lengths: list[int],
    prompt: int = 64,
    mode: str,
    shared: list[bool],
    new_tokens: int = 12,
    steps_as_text: bool = True,
) -> Path:
    """Write a folder of fixtures.

    Args:
        lengths: frames of the clips; as many as the batches have rows.
        prompt: the length that prompts are padded to.
        mode, shared: a CMA mode, and by hand which layers share attention in it.
    """
    folder.mkdir(parents=True)
    words = _vocabulary(folder, sizes.base_vocab)
    state = form.random_state(sizes, seed)
    g = torch.Generator().manual_seed(seed + 1)
    m = Made(sizes, folder, state, words, lengths, prompt, mode, shared, new_tokens, g)
    with torch.no_grad():
        for build in (_vae, _motion_in, _backbone, _diffusion, _sampling, _motion_out, _text_out):
            build(m)
    _train(m)
    _clip(m)
    _write(m, seed, steps_as_text)
    return folder


def _vocabulary(folder: Path, size: int) -> GPT2TokenizerFast:
    bpe = ByteLevelBPETokenizer()
    lines = [*CAPTIONS, "Generate motion: Generate text: Predict motion: Complete the masked motion: "] * 4
    bpe.train_from_iterator(lines, vocab_size=size - 1, min_frequency=1, show_progress=False)
    (folder / "tokenizer").mkdir()
    bpe.save_model(str(folder / "tokenizer"))
    path = folder / "tokenizer" / "vocab.json"
    vocab = json.loads(path.read_text(encoding="utf-8"))
    vocab |= {f"unused{i}": i for i in range(len(vocab), size - 1)} | {"<|endoftext|>": size - 1}
    path.write_text(json.dumps(vocab), encoding="utf-8")
    words = GPT2TokenizerFast(str(path), str(folder / "tokenizer" / "merges.txt"))
    words.add_special_tokens({"additional_special_tokens": list(ADDED)})
    assert words.convert_tokens_to_ids(list(ADDED)) == list(range(size, size + 6))
    return words


def _vae(m: Made) -> None:
    s, c, B, lengths = m.state, m.sizes, len(m.lengths), m.lengths
    stats = m.g, m.noise(263) * 0.05, m.noise(263).abs() * 0.02 + 0.01
    m.put(stats__mean=stats[1], stats__std=stats[2], stats__mean_eval=stats[1].double() + 0.01,
          stats__std_eval=stats[2].double() * 1.5)  # fmt: skip
    x, eps = m.clips(lengths), m.noise(B, c.latent)
    mean, logvar = form.encode(s, c, x, lengths)
    z = mean + logvar.exp() ** 0.5 * eps
    single = form.encode(s, c, x[:1, : lengths[0]], lengths[:1])
    extra = form.encode(s, c, F.pad(x, (0, 0, 0, 20)), lengths)
    m.put(vae__feats_norm=x, vae__lengths=lengths, vae__enc_tokens=torch.stack([mean, logvar]), vae__mu=mean[None],
          vae__logvar=logvar[None], vae__std=logvar.exp()[None] ** 0.5, vae__eps=eps[None], vae__z=z[None],
          vae__decode_z=form.decode(s, c, z, lengths), vae__decode_mu=form.decode(s, c, mean, lengths),
          vae__enc_tokens_single0=torch.stack(single), vae__enc_tokens_extrapad=torch.stack(extra))  # fmt: skip
    y = m.arrays["vae/decode_z"]
    apart = np.abs(y - x.numpy())
    cost = np.where(apart < 1, 0.5 * apart**2, apart - 0.5)
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, logvar.exp() ** 0.5), normal(0.0, 1.0)).mean()
    terms = [cost.mean(), cost[..., 4:67].mean(), float(kl)]
    m.put(vaeloss__eps=eps[None], vaeloss__recons_feature=terms[0], vaeloss__recons_velocity_raw=terms[1],
          vaeloss__kl_raw=terms[2], vaeloss__weights=[1.0, 0.5, 1e-5],
          vaeloss__total=terms[0] + 0.5 * terms[1] + 1e-5 * terms[2])  # fmt: skip
    features = m.clips([30] * B)
    plain = features.numpy() * m.arrays["stats/std"] + m.arrays["stats/mean"]
    m.put(joints__feats_norm=features, joints__joints=features_to_joints(plain))


def _motion_in(m: Made) -> None:
    clips, eps = m.clips(m.lengths), m.noise(len(m.lengths), m.sizes.latent)
    codes = form.code(m.state, m.sizes, clips, m.lengths, eps)
    m.put(motion_in__feats_norm=clips, motion_in__lengths=m.lengths, motion_in__eps_motion=eps[None],
          motion_in__latents_scaled=codes[:, None],
          motion_in__und_head=form.linear(m.state, "lm.motion_und_head.layers", codes))  # fmt: skip


def _backbone(m: Made) -> None:
    s, c, B = m.state, m.sizes, len(m.lengths)
    ids, mask = m.tokens("backbone_prompts", [f"{CAPTIONS[i % 4]}: {IN}{OUT}" for i in range(B)])
    codes = list(torch.from_numpy(m.arrays["motion_in/latents_scaled"]))
    real = [((ids < c.text_vocab) & (mask > 0))[..., None], ((ids >= c.text_vocab) & (mask > 0))[..., None]]
    every = form.backbone(s, c, ids, mask, codes, [True] * c.layers)
    m.put(backbone__input_ids_global=ids, backbone__attention_mask=mask, backbone__type_ids=(ids >= c.text_vocab) * 1)
    inputs = form.embed(s, c, ids, codes)
    for b, name in enumerate(("text", "motion")):
        m.put(**{f"backbone__inputs_embeds_{name}": inputs * real[b]})
        m.put(**{f"backbone__hidden_{name}_{j}": state[b] * real[b] for j, state in enumerate(every)})
    first, last = 3, 40
    m.put(backbone__text_logits=(every[-1][0] * real[0])[:, first:last] @ s[form.LM + "wte.weight"].T,
          backbone__text_logits_slice=[first, last],
          backbone__motion_hidden_cond=every[-1][1][ids == c.text_vocab + 2].view(B, 4, -1))  # fmt: skip
    part = form.backbone(s, c, ids, mask, codes, m.shared)[-1]
    m.put(cma__motion_hidden_cond=part[1][ids == c.text_vocab + 2].view(B, 4, -1),
          cma__hidden_text_last=part[0] * real[0], cma__hidden_motion_last=part[1] * real[1])  # fmt: skip


def _diffusion(m: Made) -> None:
    s, c = m.state, m.sizes
    table = form.schedule(c.steps)
    m.put(**{f"diff__{key}": table[key] for key in table if "_" in key})
    t, N = torch.tensor([0, 3, 500, 999]), 4
    clean, noise, cond = m.noise(N, c.latent), m.noise(N, c.latent), m.noise(N, 4, c.width)
    bar = torch.from_numpy(np.cumprod(1 - table["train_betas"]))[t][:, None]
    x = (bar.sqrt() * clean + (1 - bar).sqrt() * noise).float()
    eps = form.noise_prediction(s, c, x, t, cond)
    free = form.noise_prediction(s, c, x, t, s["lm.fake_latent"].expand_as(cond))
    m.put(diff__t=t, diff__x0=clean[:, None], diff__noise=noise[:, None], diff__cond=cond, diff__x_t=x[:, None],
          diff__eps_pred=eps[:, None], diff__mse_per_sample=(eps - noise).square().mean(-1),
          diff__cond_embed=form.condition_embedding(s, c, cond)[:, None],
          diff__time_embed=form.time_embedding(s, t),
          diff__eps_cfg=(free + c.guidance * (eps - free))[:, None])  # fmt: skip


def _draw(m: Made, name: str, cond: torch.Tensor) -> torch.Tensor:
    """Sample with guidance; notes the noise and the latents."""
    c, B = m.sizes, len(cond)
    first, noise = m.noise(B, c.latent), m.noise(c.steps, 2 * B, c.latent)
    x, trace = form.sample(m.state, c, cond, first, noise[:, :B], c.guidance)
    m.put(**{f"{name}__noise_init": first[:, None], f"{name}__noise_steps": noise[:, :, None],
             f"{name}__latents_unscaled": x[:, None] / c.scale})  # fmt: skip
    if name == "sample_cfg":
        at = [0, c.steps // 2, c.steps - 1]
        m.put(sample_cfg__trace_step_index=at,
              sample_cfg__trace_x_after_step=torch.stack([trace[i][0] for i in at])[:, :, None],
              sample_cfg__trace_pred_x0=torch.stack([trace[i][1] for i in at])[:, :, None])  # fmt: skip
    return x / c.scale


def _sampling(m: Made) -> None:
    c, B = m.sizes, len(m.lengths)
    cond = m.noise(B, 4, c.width)
    m.put(sample_cfg__cond=cond)
    _draw(m, "sample_cfg", cond)
    first, noise = m.noise(B, c.latent), m.noise(c.steps, B, c.latent)
    x, _ = form.sample(m.state, c, cond, first, noise, 1.0)
    m.put(sample_nocfg__noise_init=first[:, None], sample_nocfg__noise_steps=noise[:, :, None],
          sample_nocfg__latents_unscaled=x[:, None] / c.scale, sample_ddim__noise_init=first[:, None])  # fmt: skip
    x, _ = form.sample(m.state, c, cond, first, noise, c.guidance, ddim=True)
    m.put(sample_ddim__x_final_scaled=x[:, None])


def _segments(frames: int, count: int) -> list[tuple[int, int]]:
    whole, head = (0, frames), int(0.2 * frames)
    if count == 3:
        return [(0, int(0.25 * frames)), (int(0.75 * frames), frames), whole]
    return [whole] if count == 1 else [(0, head), (head, frames)]


def _codes(m: Made, clip: torch.Tensor, frames: int, eps: torch.Tensor) -> torch.Tensor:
    """(T, 263), eps (segments, C) -> codes (segments, C), each segment encoded alone."""
    parts = _segments(frames, len(eps))
    return torch.cat([form.code(m.state, m.sizes, clip[None, a:b], [b - a], e[None])
                      for (a, b), e in zip(parts, eps, strict=True)])  # fmt: skip


def _motion_out(m: Made) -> None:
    c, B = m.sizes, len(m.lengths)
    captions = [CAPTIONS[i % 4] for i in range(B)]
    tasks = {
        "t2m_demo": (0, [text + OUT for text in captions]),
        "t2m_eval": (0, [f"Generate motion: {text} \n{OUT}" for text in captions]),
        "pred": (2, [f"Predict motion: {IN} \n{OUT}"] * B),
        "inbetween": (3, [f"Complete the masked motion: {IN}{ADDED[2] * 4}{IN} \n{OUT}"] * B),
    }
    for name, (count, texts) in tasks.items():
        ids, mask = m.tokens(name, texts)
        codes = [torch.zeros(0, c.latent)] * B
        if count:
            eps = [m.noise(count, c.latent) for _ in range(B)]
            clips = torch.from_numpy(m.arrays["motion_in/feats_norm"])
            codes = [_codes(m, clips[i], m.lengths[i], eps[i])[: count - 1] for i in range(B)]
            placed = form.embed(m.state, c, ids, codes)[ids == c.text_vocab + 3].view(B, 4 * (count - 1), -1)
            m.put(**{f"{name}__eps_{i}": e[None] for i, e in enumerate(eps)},
                  **{f"{name}__und_embeds_at_input_holders": placed})  # fmt: skip
        cond = form.condition(m.state, c, ids, mask, codes)
        m.put(**{f"{name}__input_ids_global": ids, f"{name}__attention_mask": mask, f"{name}__cond": cond})
        features = form.decode(m.state, c, _draw(m, name, cond), m.lengths)
        m.put(**{f"{name}__feats_norm": features})
        if not count:
            mean, std, mean_eval, std_eval = (m.arrays[f"stats/{k}"] for k in ("mean", "std", "mean_eval", "std_eval"))
            plain = features.numpy() * std + mean
            m.put(**{f"{name}__lengths": m.lengths, f"{name}__feats_denorm": plain,
                     f"{name}__joints": features_to_joints(plain),
                     f"{name}__feats_renorm_eval": (plain[:1] - mean_eval) / std_eval})  # fmt: skip
    ids, mask = m.tokens("t2m_demo", tasks["t2m_demo"][1], left=True)
    cond = form.condition(m.state, c, ids, mask, [torch.zeros(0, c.latent)] * B)
    m.put(t2m_leftpad_quirk__attention_mask=mask, t2m_leftpad_quirk__cond=cond)


def _text_out(m: Made) -> None:
    c, B = m.sizes, len(m.lengths)
    eps = m.noise(B, c.latent)
    clips = torch.from_numpy(m.arrays["motion_in/feats_norm"])
    codes = form.code(m.state, c, clips, m.lengths, eps)[:, None]
    m.put(m2t__eps=eps[None])
    tasks = {
        "m2t": ([f"Generate text: {IN} \n \n"] * B, codes),
        "t2t": ([f"{CAPTIONS[i % 4]} \n" for i in range(B)], torch.zeros(B, 0, c.latent)),
    }
    for name, (texts, read) in tasks.items():
        ids, mask = m.tokens(name, texts, left=True)
        rows, logits = zip(*(form.write(m.state, c, row[keep > 0], own, m.new_tokens)
                             for row, keep, own in zip(ids, mask, read, strict=True)), strict=True)  # fmt: skip
        m.put(**{f"{name}__prompt_ids_global": ids, f"{name}__attention_mask": mask, f"{name}__generated_ids": rows})
        m.texts[f"{name}_out"] = [m.words.decode(row).replace("<|endoftext|>", "").replace("\n", " ") for row in rows]
        if name == "m2t":
            m.put(m2t__step_logits_raw=torch.stack([torch.stack(steps) for steps in logits]))


def _train(m: Made) -> None:
    """One mixed batch; gradients by automatic differentiation of the two-stream form."""
    c, text = m.sizes, CAPTIONS
    rows = [
        (1, text[0] + OUT), (1, f"{IN} \n {text[1]}<|endoftext|>"), (2, f"Predict motion: {IN}{OUT}"),
        (3, f"Complete the masked motion: {IN}{ADDED[2] * 4}{IN}{OUT}"), (0, f"{text[2]} \n {text[3]}<|endoftext|>"),
        (1, text[3] + OUT),
    ]  # fmt: skip
    ids, mask = m.tokens("train_texts", [row[1] for row in rows])
    lengths = [40, 30, 48, 36, 24, 28]
    clips, number = m.clips(lengths), 0
    codes, targets = [], []
    for i, (count, prompt) in enumerate(rows):
        with torch.no_grad():
            eps = m.noise(count, c.latent)
            found = _codes(m, clips[i], lengths[i], eps) if count else eps
        if count:
            m.put(**{f"train__vae_eps_{number}": eps[None]})
            number += 1
        codes.append(found[: prompt.count(IN)])
        if OUT in prompt:
            targets.append(found[-1])
    m.put(train__feats_norm=clips, train__lengths=lengths, train__input_ids_global=ids, train__attention_mask=mask)
    state = {k: v.clone().requires_grad_(k.startswith("lm.")) for k, v in m.state.items()}
    final = form.backbone(state, c, ids, mask, codes, [True] * c.layers)[-1]
    labels = torch.where(ids >= c.text_vocab, ids - c.text_vocab, ids)
    for token in (c.base_vocab + 1, c.text_vocab + 2, c.text_vocab + 3):
        labels[ids == token] = -100
    targets_of_text = torch.where(ids < c.text_vocab, labels, -100)[:, 1:]
    logits = final[0] @ state[form.LM + "wte.weight"].T  # the text stream is zero at motion tokens: an even guess
    gpt = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets_of_text.flatten(), ignore_index=-100)
    N = 4 * len(targets)
    t, noise = torch.randint(1000, (N,), generator=m.g), m.noise(N, c.latent)
    drop = torch.rand(N, generator=m.g) < 0.3
    cond = final[1][ids == c.text_vocab + 2].view(-1, 4, c.width).repeat(4, 1, 1)
    cond = torch.where(drop[:, None, None], state["lm.fake_latent"], cond)
    bar = torch.from_numpy(np.cumprod(1 - np.linspace(0.00085, 0.012, 1000)))[t][:, None]
    x = (bar.sqrt() * torch.stack(targets).repeat(4, 1) + (1 - bar).sqrt() * noise).float()
    diff = (form.noise_prediction(state, c, x, t, cond) - noise).square().mean()
    total = gpt + 0.25 * diff
    total.backward()
    norms = {k: float(v.grad.norm()) for k, v in state.items() if v.grad is not None}
    (m.folder / "train_grad_norms.json").write_text(json.dumps(norms), encoding="utf-8")
    m.put(train__labels=labels, train__diff_t=t, train__diff_noise=noise[:, None], train__cfg_drop_rows=drop,
          train__gpt_loss=gpt, train__diff_loss=diff)  # fmt: skip
    m.arrays["train/total_cls1_diff0.25"] = total.detach().numpy()


def _clip(m: Made) -> None:
    """Joints and features of two made motions. Here the features are this project's own: there is no other source."""
    arrays: dict[str, np.ndarray] = {"tgt_offsets": REST_OFFSETS * 1.1}
    for joints, extract, positions, motion in (
        ("clip_joints", "extract_of_clip", "extract_of_clip_global_positions", walk(5.0)),
        ("moved_joints", "moved_extract", "moved_global_positions", turn(3.0)),
    ):
        arrays[joints] = motion
        arrays[extract] = joints_to_features(motion, reference=arrays["tgt_offsets"], continuous=False)
        arrays[positions] = canonicalise(retarget(motion, arrays["tgt_offsets"]))
    arrays["clip_vecs_reference"] = arrays["extract_of_clip"]
    arrays["recover_of_vecs"] = features_to_joints(arrays["extract_of_clip"])
    np.savez(m.folder / "features_clip.npz", **arrays)


def _write(m: Made, seed: int, steps_as_text: bool) -> None:
    c = m.sizes
    ids = dict(zip(("som_id", "eom_id", "masked_motion_id", "pad_motion_id", "holder_out_id", "holder_in_id"),
                   range(c.base_vocab, c.base_vocab + 6), strict=True))  # fmt: skip
    config = {
        "gpt2": {"n_embd": c.width, "n_layer": c.layers, "n_head": c.heads, "n_positions": c.positions,
                 "vocab_size_base": c.base_vocab, "layer_norm_epsilon": 1e-5, "activation": "gelu_new"},
        "tokenizer_eos_id": c.base_vocab - 1, "text_vocab_size": c.text_vocab, "motion_vocab_size": 6, **ids,
        "max_length": m.prompt, "holder_num_in_input": 4, "attention_mode": "all", "mot_factor": 1.0,
        "multi_hidden": True, "with_hid_norm": False, "with_vae_latent_norm": True,
        "vae": {"latent_dim": [1, c.latent], "ff_size": c.vae_ff, "num_layers": c.vae_layers,
                "num_heads": c.vae_heads, "nfeats": 263, "activation": "gelu", "normalize_before": False,
                "arch": "encoder_decoder", "pe_type": "mld", "mlp_dist": False, "mean_std_inv": c.scale},
        "diffusion": {"width": c.head_width, "depth": c.head_depth, "cond_heads": c.cond_heads,
                      "cond_ff": c.cond_ff, "target_channels": c.latent, "num_timesteps": 1000,
                      "num_sampling_steps": str(c.steps) if steps_as_text else c.steps},
        "cfg_scale": c.guidance, "cma_mode_tested": m.mode, "predict_ratio": 0.2, "inbetween_ratio": 0.25,
        "repetition_penalty": 1.1, "max_new_tokens": m.new_tokens, "seed": seed,
    }  # fmt: skip
    state = dict(m.state)
    tied = state[form.LM + "wte.weight"]
    for name in ("lm_head", "pre_processors.0", "post_processors.0"):
        state[f"lm.language_model.{name}.weight"] = tied.clone()
    save_file(state, m.folder / "state_dict.safetensors")
    np.savez(m.folder / "fixtures.npz", **m.arrays)
    (m.folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (m.folder / "strings.json").write_text(json.dumps(m.texts), encoding="utf-8")
    assert all(math.isfinite(float(np.abs(a).max())) for a in m.arrays.values())
