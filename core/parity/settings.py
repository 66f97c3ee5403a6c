"""The sizes and settings a fixture folder names in its config.json, as this project's model config."""

from __future__ import annotations

from typing import Any

import torch

from core.errors import CoreError
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig

_TRANSFORMER = "lm.language_model.transformer."
# What the architecture does not have, as the official configs write it: path, the values that it does have.
_EXPECTED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("mot_factor", (1,)),
    ("multi_hidden", (True,)),
    ("with_hid_norm", (False,)),
    ("gpt2.layer_norm_epsilon", (1e-5,)),
    ("gpt2.activation", ("gelu_new",)),
    ("vae.activation", ("gelu",)),
    ("vae.normalize_before", (False,)),
    ("vae.arch", ("encoder_decoder",)),
    ("vae.pe_type", ("mld",)),
    ("vae.mlp_dist", (False,)),
    ("diffusion.learn_sigma", (False,)),
    ("diffusion.sigma_small", (True,)),
    ("diffusion.predict", ("epsilon",)),
    ("diffusion.clip_denoised", (False,)),
    ("diffusion.target_size", (1,)),
)


def lookup(config: dict[str, Any], path: str, default: Any = None) -> Any:
    """An entry by its dotted path; `default` where it is missing. Raises CoreError("parity_damaged") for neither."""
    at: Any = config
    for name in path.split("."):
        at = at.get(name) if isinstance(at, dict) else None
    if at is None:
        at = default
    if at is None:
        raise CoreError(
            "parity_damaged", f"The fixtures' config.json has no '{path}'.", "Copy the fixture folder again."
        )
    return at


def whole(config: dict[str, Any], path: str, default: int | None = None) -> int:
    """A whole number, stored as a number or as text. Raises CoreError("parity_unsupported")."""
    value = lookup(config, path, default)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise CoreError(
            "parity_unsupported",
            f"The fixtures' config.json has {value!r} for '{path}', and only whole numbers are known here.",
            "Record fixtures with a whole number there.",
        ) from error


def model_config(config: dict[str, Any], state: dict[str, torch.Tensor]) -> ModelConfig:
    """Sizes from the weights' shapes where these say them, else from the config.

    Args:
        config: the fixture folder's config.json. state: official tensors by their official names.
    Raises:
        CoreError: parity_damaged, parity_unsupported.
    """
    for path, known in _EXPECTED:
        found = lookup(config, path, known[0])
        if found not in known:
            raise CoreError(
                "parity_unsupported",
                f"The fixtures come from a model with {path} = {found!r}; this project's has {known[0]!r}.",
                "Choose fixtures of the released architecture.",
            )

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise CoreError(
                "parity_damaged",
                f"The fixtures' state_dict.safetensors has no '{name}'.",
                "Copy the fixture folder again.",
            )
        return state[name].shape

    latent = lookup(config, "vae.latent_dim")
    if isinstance(latent, list) and latent[0] != 1:
        raise CoreError(
            "parity_unsupported",
            f"The fixtures' VAE has {latent[0]} latent tokens; this project's has one.",
            "Choose fixtures of the released architecture.",
        )
    text_vocab, width = shape(_TRANSFORMER + "wte.weight")
    frames = shape("vae.query_pos_encoder.pe")[0]
    normalised = lookup(config, "with_vae_latent_norm", True)
    betas = DiffusionConfig()
    return ModelConfig(
        name="parity fixtures",
        vae=VAEConfig(
            features=whole(config, "vae.nfeats", shape("vae.final_layer.weight")[0]),
            width=shape("vae.skel_embedding.weight")[0],
            layers=whole(config, "vae.num_layers"),
            heads=whole(config, "vae.num_heads"),
            ff=shape("vae.encoder.middle_block.linear1.weight")[0],
            max_frames=frames,
            latent_scale=float(lookup(config, "vae.mean_std_inv", 0.8457)) if normalised else 1.0,
        ),
        backbone=BackboneConfig(
            width=width,
            layers=whole(config, "gpt2.n_layer"),
            heads=whole(config, "gpt2.n_head"),
            ff=shape(_TRANSFORMER + "h.0.mlp.fn.0.c_fc.weight")[1],
            positions=shape(_TRANSFORMER + "wpe.weight")[0],
            text_vocab=text_vocab,
            motion_vocab=shape("lm.language_model.pre_processors.1.weight")[0],
            holders=whole(config, "holder_num_in_input", 4),
            shared=str(lookup(config, "attention_mode", "all")),
        ),
        diffusion=DiffusionConfig(
            width=shape("lm.diffloss.net.input_proj.weight")[0],
            depth=whole(config, "diffusion.depth"),
            cond_heads=whole(config, "diffusion.cond_heads", 4),
            cond_ff=shape("lm.diffloss.net.cond_embed.hid_encoder_layer.linear1.weight")[0],
            cond_positions=shape("lm.diffloss.net.cond_embed.hid_pos.pe")[0],
            train_steps=whole(config, "diffusion.num_timesteps", betas.train_steps),
            beta_start=float(lookup(config, "diffusion.beta_start", betas.beta_start)),
            beta_end=float(lookup(config, "diffusion.beta_end", betas.beta_end)),
            steps=whole(config, "diffusion.num_sampling_steps", betas.steps),
            guidance=float(lookup(config, "cfg_scale", betas.guidance)),
        ),
    )
