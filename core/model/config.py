"""The sizes of a model. One dataclass a part; a model is its config plus a safetensors file.

References: MotionGPT3 (Zhu et al., ICLR 2026), MLD (Chen et al., CVPR 2023) for the VAE, GPT-2 (Radford et al., 2019)
for the backbone, MAR (Li et al., NeurIPS 2024) for the diffusion head.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import CoreError


@dataclass
class VAEConfig:
    """Motion VAE: one clip of features <-> one continuous latent."""

    features: int = 263
    width: int = 256  # model width and, unless `latent` says otherwise, the latent's channels
    latent: int = 0  # channels of the latent where they are not `width`; only with a linear path
    layers: int = 9  # odd: a U of input, middle and output blocks, in the encoder and in the decoder
    heads: int = 4
    ff: int = 1024
    max_frames: int = 500  # rows of the position tables
    latent_scale: float = 0.8457  # the language model sees scale * z; this value is the official model's own
    norm_first: bool = False
    linear_frames: int = 0  # > 0: a linear path over clips resampled to this many frames (the compact model)
    patch: int = 1  # frames per transformer token

    @property
    def channels(self) -> int:
        """How many numbers a clip becomes."""
        return self.latent or self.width


@dataclass
class BackboneConfig:
    """Bimodal GPT-2: every layer norm, projection and MLP twice, one shared causal attention."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    positions: int = 1024
    text_vocab: int = 50259  # BPE ids, then <start_of_motion>, <end_of_motion>
    motion_vocab: int = 6  # masked, pad, output holder, input holder, and two rows that are never used
    holders: int = 4  # placeholders for one motion
    shared: str = "all"  # layers with joint attention: all, none, last<N>, first<N>
    branches: int = 2  # 1: both modalities run through one set of weights (the ablations' unified model)
    dropout: float = 0.1  # training only


@dataclass
class DiffusionConfig:
    """Diffusion head: hidden states of the output holders -> one latent."""

    width: int = 1024
    depth: int = 3
    cond_heads: int = 4
    cond_ff: int = 3072
    cond_positions: int = 500  # rows of the condition's position table; holders + 1 are used
    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    sampler: str = "ddpm"  # ddpm (ancestral), ddim or dpm++ (DPM-Solver++)
    steps: int = 100  # sampling steps
    fast_sampler: str = "ddpm"  # what "fast" means; measured against ddim and dpm++ (core/evaluate/sampling.py)
    fast_steps: int = 20
    guidance: float = 7.5  # classifier-free guidance scale at inference
    predicts: str = "noise"  # what the network gives: noise (the official model) or velocity (Salimans & Ho, 2022)
    temperature: float = 1.0  # of the noise between the steps of ancestral sampling; below 1: fewer odd motions
    rescale: float = 0.0  # 0..1: bring the guided prediction back to the conditional one's spread (Lin et al., 2024)


@dataclass
class ModelConfig:
    """Everything needed to build a MotionGPT3."""

    name: str = "MotionGPT3"
    licence: str = ""
    data: str = ""  # what it was trained on, one line
    origin: str = ""  # where the files come from, one line
    reads_duration: bool = False  # the prompt names the duration (the compact model's latent is in normalised time)
    vae: VAEConfig = field(default_factory=VAEConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelConfig:
        """Build from parsed JSON. Raises CoreError("model_broken") on unknown or missing-typed entries."""
        parts = {"vae": VAEConfig, "backbone": BackboneConfig, "diffusion": DiffusionConfig}
        try:
            args = {k: parts[k](**v) if k in parts else v for k, v in raw.items()}
            return cls(**args)
        except TypeError as error:
            raise CoreError(
                "model_broken",
                f"The model's config.json does not fit this version: {error}.",
                "Choose a model folder made by this version, or the bundled model.",
            ) from error

    @classmethod
    def load(cls, path: Path) -> ModelConfig:
        """Read a config.json. Raises CoreError("model_broken") when it is not one."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CoreError(
                "model_broken", f"The model's {path.name} cannot be read: {error}.", "Copy the model folder again."
            ) from error
        if not isinstance(raw, dict):
            raise CoreError(
                "model_broken", f"The model's {path.name} is not a model config.", "Copy the model folder again."
            )
        return cls.from_dict(raw)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")


def compact() -> ModelConfig:
    """The bundled model's sizes: the same architecture, small enough for a repository and a CPU."""
    return ModelConfig(
        name="MotionGPT3 compact",
        reads_duration=True,
        vae=VAEConfig(width=256, latent=512, layers=3, heads=4, ff=512, linear_frames=64, patch=4, norm_first=True,
                      max_frames=256, latent_scale=1.0),
        backbone=BackboneConfig(width=256, layers=4, heads=4, ff=768, positions=256, text_vocab=0, dropout=0.0),
        diffusion=DiffusionConfig(width=448, cond_ff=512, cond_positions=5, steps=20, guidance=1.5, rescale=1.0,
                                  predicts="velocity", temperature=0.7),
    )  # fmt: skip


def tiny(text_vocab: int = 0) -> ModelConfig:
    """A model of a few thousand weights with every part in place, for tests."""
    return ModelConfig(
        name="tiny random",
        reads_duration=True,
        licence="none: random weights",
        data="none",
        vae=VAEConfig(width=32, layers=3, heads=2, ff=32, linear_frames=8, patch=4, norm_first=True,
                      max_frames=256, latent_scale=1.0),
        backbone=BackboneConfig(width=32, layers=2, heads=2, ff=48, positions=256, text_vocab=text_vocab),
        diffusion=DiffusionConfig(width=32, depth=2, cond_ff=32, cond_positions=5, steps=20, guidance=2.0,
                                  fast_steps=12),
    )  # fmt: skip
