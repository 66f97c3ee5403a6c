"""Official tensor names and ours: the key map that loads the released weights, its inverse, and what is left out."""

from __future__ import annotations

import re

_PREFIXES = (
    ("vae.", "vae."),
    ("lm.language_model.transformer.", "backbone."),
    ("lm.language_model.pre_processors.1.", "backbone.motion_embedding."),
    ("lm.motion_und_head.layers.", "und_head."),
    ("lm.diffloss.net.", "head."),
    ("lm.fake_latent", "fake_latent"),
)

TIED = "lm.language_model.transformer.wte.weight"
COPIES = (
    "lm.language_model.lm_head.weight",
    "lm.language_model.pre_processors.0.weight",
    "lm.language_model.post_processors.0.weight",
)
"""The three other names of the text embedding, which is also the text head."""

OWN = ("vae.mean", "vae.std")
"""Tensors of ours that the official model keeps elsewhere: the statistics of its features."""

_LEFT_OUT = (
    ("evaluation networks", re.compile(r"metrics\..*|Metrics\..*")),
    ("loss counters", re.compile(r"_losses\..*")),
    ("motion text head", re.compile(r"lm\.language_model\.post_processors\.1\.weight")),  # computed, never read
    ("causal masks", re.compile(r"lm\.language_model\.transformer\.h\.\d+\.(attn\.|c_attn\.)?(masked_)?bias")),
)


def from_official(name: str) -> str | None:
    """Our name of an official tensor; None for one that inference does not need (the three other names of the tied
    embedding, the motion language-model head that is never read, metrics and losses)."""
    for theirs, ours in _PREFIXES:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return None


def to_official(name: str) -> str | None:
    """The official name of a tensor of ours; None for one that the official checkpoint does not hold."""
    if name in OWN:
        return None
    for theirs, ours in sorted(_PREFIXES, key=lambda pair: -len(pair[1])):  # motion_embedding before backbone
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return None


def left_out(name: str) -> str | None:
    """What an official tensor is that inference does not need; None where it is none of these."""
    if name in COPIES:
        return "copies of the text embedding"
    return next((what for what, pattern in _LEFT_OUT if pattern.fullmatch(name)), None)
