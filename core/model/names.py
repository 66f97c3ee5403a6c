"""Official tensor names -> ours, so that the released weights can be loaded by a key map."""

from __future__ import annotations

_PREFIXES = (
    ("vae.", "vae."),
    ("lm.language_model.transformer.", "backbone."),
    ("lm.language_model.pre_processors.1.", "backbone.motion_embedding."),
    ("lm.motion_und_head.layers.", "und_head."),
    ("lm.diffloss.net.", "head."),
    ("lm.fake_latent", "fake_latent"),
)


def from_official(name: str) -> str | None:
    """Our name of an official tensor; None for one that inference does not need (the three other names of the tied
    embedding, the motion language-model head that is never read, metrics and losses)."""
    for theirs, ours in _PREFIXES:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return None
