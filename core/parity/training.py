"""Groups of training: the losses of one mixed batch in official form, and the gradient of every parameter."""

from __future__ import annotations

import re

import torch

from core.model.motiongpt3 import MotionGPT3
from core.model.names import from_official
from core.parity.archive import Absent
from core.parity.bimodal import same_text
from core.parity.fixtures import Fixtures
from core.parity.report import Recorder
from core.train.official import encode_segments, losses, motion_segments, text_labels

GRADIENTS = 1e-3
"""Bound of a gradient's norm, relative to itself: it sums over thousands of small numbers."""


def _segments(f: Fixtures, model: MotionGPT3, ids: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Input codes (k, C) of every row, and target codes (n, C) of the rows with output holders."""
    holders = model.cfg.backbone.holders
    inputs = (ids == model.tokenizer.holder_in).sum(1) // holders
    outputs = (ids == model.tokenizer.holder_out).sum(1) // holders
    clips, lengths = f.main["train/feats_norm"], f.main["train/lengths"].tolist()
    predict, inbetween = float(f.setting("predict_ratio", 0.2)), float(f.setting("inbetween_ratio", 0.25))
    codes, targets, number = [], [], 0
    for i in range(len(ids)):
        found = torch.zeros(0, model.cfg.vae.channels, device=f.device)
        if inputs[i] or outputs[i]:
            noise = f.main[f"train/vae_eps_{number}"][0]
            number += 1
            parts = motion_segments(lengths[i], len(noise), predict, inbetween)
            found = encode_segments(model.vae, clips[i], parts, noise)
        if outputs[i]:
            targets.append(found[-1])
        codes.append(found[: int(inputs[i])])
    target = torch.stack(targets) if targets else torch.zeros(0, model.cfg.vae.channels, device=f.device)
    return codes, target


def _weights(f: Fixtures) -> tuple[str, float, float]:
    """The recorded total's key and the weights that it names."""
    for key in f.main.arrays:
        named = re.fullmatch(r"train/total_cls([\d.]+)_diff([\d.]+)", key)
        if named:
            return key, float(named[1]), float(named[2])
    return "train/total", 1.0, 0.5


def _losses(f: Fixtures, model: MotionGPT3) -> dict[str, torch.Tensor]:
    ids, real = f.main["train/input_ids_global"], f.main["train/attention_mask"] > 0
    codes, target = _segments(f, model, ids)
    _, text_weight, diffusion_weight = _weights(f)
    return losses(
        model,
        ids,
        real,
        codes,
        target,
        count_padding=True,
        text_weight=text_weight,
        diffusion_weight=diffusion_weight,
        t=f.main["train/diff_t"],
        noise=f.main["train/diff_noise"][:, 0],
        drop=f.main["train/cfg_drop_rows"],
        copies=len(f.main["train/diff_t"]) // max(len(target), 1),
    )


def train(f: Fixtures, r: Recorder) -> None:
    model = f.model
    ids, real = f.main["train/input_ids_global"], f.main["train/attention_mask"] > 0
    same_text(f, r, "train_texts", ids, real)
    with r.optional():
        labels = f.main["train/labels"]
        r.same("train/labels", text_labels(ids, model.tokenizer).flatten().tolist(), labels.flatten().tolist())
    found = _losses(f, model)
    r.close("train/gpt_loss", found["text"])
    r.close("train/diff_loss", found["diffusion"])
    r.close(_weights(f)[0], found["total"])


def gradients(f: Fixtures, r: Recorder) -> None:
    """d total / d parameter, every parameter of the language model trainable, no dropout."""
    if not f.grad_norms:
        raise Absent("train_grad_norms.json")
    f.main["train/input_ids_global"]
    model = f.build(str(f.setting("attention_mode", "all")))
    model.requires_grad_(True)
    model.vae.requires_grad_(False)
    with torch.enable_grad():
        _losses(f, model)["total"].backward()
    ours = {name: p.grad for name, p in model.named_parameters()}
    for name, expected in f.grad_norms.items():
        mine = from_official(name)
        if mine is None or mine not in ours:
            raise ValueError(f"this model has no parameter for {name}")
        grad = ours[mine]
        norm = 0.0 if grad is None else float(grad.double().norm())
        error = abs(norm - expected) / expected if expected else abs(norm)
        r.add(f"gradient of {name}", error, GRADIENTS)
