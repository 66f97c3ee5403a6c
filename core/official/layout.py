"""What a checkpoint is: its weights under their official names, the sizes they imply, and what is wrong with them.

The sizes come from the shapes; the two that shapes do not tell (heads, and which layers share attention) are GPT-2's
and the released model's, unless the caller says otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from core.errors import CoreError
from core.model.checkpoint import empty_model
from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig
from core.model.names import COPIES, OWN, TIED, from_official, left_out, to_official
from core.official.archive import AGAIN, Archive, Stored
from core.official.pickles import Opaque
from core.prompts import HOLDERS, Tokenizer

HUMANML3D, KIT = 263, 251
"""Features a frame: HumanML3D's 22 joints; KIT-ML's 21."""
GPT2_HEAD = 64
MAX_DEPTH = 8

_WRAPPERS = re.compile(r"^(module|model|_orig_mod|_forward_module|net)\.")
_OFFICIAL = re.compile(r"^(vae|motion_vae|lm)\.")
_ORIGINAL = "Choose the motiongpt3.ckpt of MotionGPT3 (OpenMotionLab), trained on HumanML3D."


@dataclass
class Weights:
    """A checkpoint's tensors and what was stored with them.

    Args:
        tensors: official name -> tensor, the wrappers' prefixes taken off.
        facts: epoch, global_step and the like, where they are plain numbers or words.
        nested: how many dictionaries deep the tensors lay.
    """

    tensors: dict[str, Stored]
    facts: dict[str, int | float | str] = field(default_factory=dict)
    nested: int = 0


def find_weights(archive: Archive) -> Weights:
    """The state dict in a checkpoint, however deep. Raises CoreError("checkpoint_unknown")."""
    best: tuple[int, dict[str, Stored]] = (0, {})
    for depth, candidate in _dictionaries(archive.content):
        tensors: dict[str, Stored] = {}
        for key, value in candidate.items():
            if isinstance(key, str) and isinstance(value, Stored):
                name = key
                while _WRAPPERS.match(name) and not _OFFICIAL.match(name):
                    name = _WRAPPERS.sub("", name)
                if name in tensors:
                    raise CoreError("checkpoint_broken", f"'{archive.path.name}' holds {name} twice.", AGAIN)
                tensors[name] = value
        known = {k: v for k, v in tensors.items() if _OFFICIAL.match(k)}
        if known:
            return Weights(tensors, _facts(archive.content), depth)
        if len(tensors) > len(best[1]):
            best = depth, tensors
    some = f"; its tensors have names like '{min(best[1])}'" if best[1] else "; it holds no tensors"
    raise CoreError("checkpoint_unknown", f"'{archive.path.name}' is the checkpoint of another model{some}.", _ORIGINAL)


def diagnose(weights: Weights, name: str) -> None:
    """Say what a checkpoint is where it is not the model. Raises CoreError: checkpoint_vae_only, checkpoint_variant."""
    keys = weights.tensors.keys()
    if not any(key.startswith("lm.") for key in keys):
        raise CoreError(
            "checkpoint_vae_only",
            f"'{name}' is only the motion autoencoder (VAE): it has no language model, so it can neither make motion "
            "from words nor words from motion.",
            _ORIGINAL,
        )
    variant = next((what for part, what in _VARIANTS if any(part in key for key in keys)), None)
    if variant is None and not any(".fn.1." in key for key in keys):
        variant = "a language model with one branch (an ablation)"
    if variant:
        raise CoreError("checkpoint_variant", f"'{name}' is {variant}, which this version does not run.", _ORIGINAL)
    if not any(key.startswith("vae.") for key in keys):
        raise CoreError(
            "checkpoint_incomplete",
            f"'{name}' has the language model, but not the motion autoencoder (VAE) that belongs to it.",
            _ORIGINAL,
        )


_VARIANTS = (
    (".quantizer.", "a model with a motion vocabulary (VQ): MotionGPT or an ablation of MotionGPT3"),
    ("lm.language_model.encoder.block.", "MotionGPT, the older model built on T5"),
    ("lm.norm_layer.", "the ablation with a norm before the diffusion head"),
    ("lm.diffusion_pos_embed_learned", "the ablation with a norm before the diffusion head"),
)


def sizes(weights: Weights, name: str) -> ModelConfig:
    """The configuration that the shapes imply.

    Raises:
        CoreError: checkpoint_features (KIT, MotionX), checkpoint_incomplete, checkpoint_sizes.
    """
    shapes = {key: tensor.shape for key, tensor in weights.tensors.items()}

    def size(key: str, axis: int) -> int:
        shape = shapes.get(key)
        if shape is None or len(shape) <= axis:
            raise CoreError("checkpoint_incomplete", f"'{name}' lacks a part of the model ({key}).", AGAIN)
        return shape[axis]

    def count(pattern: str) -> int:
        return len({match[1] for key in shapes if (match := re.match(pattern, key))})

    features = size("vae.skel_embedding.weight", 1)
    if features != HUMANML3D:
        raise CoreError("checkpoint_features", _features(name, features), _ORIGINAL)
    width = size("lm.language_model.transformer.wte.weight", 1)
    transformer = "lm.language_model.transformer."
    holders = size("lm.motion_und_head.layers.weight", 0) // width
    if holders != HOLDERS:
        raise CoreError(
            "checkpoint_sizes",
            f"'{name}' writes a motion as {holders} tokens; this version knows {HOLDERS}.",
            _ORIGINAL,
        )
    cfg = ModelConfig(
        vae=VAEConfig(
            features=features,
            width=size("vae.global_motion_token", 1),
            layers=2 * count(r"vae\.encoder\.input_blocks\.(\d+)\.") + 1,
            ff=size("vae.encoder.middle_block.linear1.weight", 0),
            max_frames=size("vae.query_pos_decoder.pe", 0),
        ),
        backbone=BackboneConfig(
            width=width,
            layers=count(re.escape(transformer) + r"h\.(\d+)\."),
            heads=0 if width % GPT2_HEAD else width // GPT2_HEAD,
            ff=size(transformer + "h.0.mlp.fn.0.c_fc.weight", 1),
            positions=size(transformer + "wpe.weight", 0),
            text_vocab=size(transformer + "wte.weight", 0),
            motion_vocab=size("lm.language_model.pre_processors.1.weight", 0),
            holders=holders,
        ),
        diffusion=DiffusionConfig(
            width=size("lm.diffloss.net.input_proj.weight", 0),
            depth=count(r"lm\.diffloss\.net\.res_blocks\.(\d+)\."),
            cond_ff=size("lm.diffloss.net.cond_embed.hid_encoder_layer.linear1.weight", 0),
            cond_positions=size("lm.diffloss.net.cond_embed.hid_pos.pe", 0),
        ),
    )
    if "lm.fake_latent" not in shapes:
        cfg.diffusion.guidance = 1.0
    return cfg


def _features(name: str, features: int) -> str:
    if features == KIT:
        return (
            f"'{name}' was trained on KIT-ML: {KIT} numbers a frame for a skeleton of 21 joints, not the 22 this "
            "version animates."
        )
    return (
        f"'{name}' reads {features} numbers a frame, not HumanML3D's {HUMANML3D}: a MotionX model or another one, with "
        "another skeleton and another scale of its latents."
    )


def override(cfg: ModelConfig, raw: dict[str, Any]) -> ModelConfig:
    """The configuration with what the caller knows better, e.g. {"backbone": {"heads": 2}}.

    Raises CoreError("config_unknown") for an entry that does not exist or has another type.
    """
    merged = cfg.to_dict()
    for part, value in raw.items():
        target, entries = (merged[part], value) if isinstance(merged.get(part), dict) else (merged, {part: value})
        if not isinstance(entries, dict):
            raise _config_error(part)
        for key, entry in entries.items():
            there = target.get(key)
            if there is None or not (type(entry) is type(there) or (type(there) is float and type(entry) is int)):
                raise _config_error(key if target is merged else f"{part}.{key}")
            target[key] = entry
    return ModelConfig.from_dict(merged)


def _config_error(entry: str) -> CoreError:
    return CoreError(
        "config_unknown",
        f"The configuration has no entry '{entry}' of that kind.",
        "Compare with the config.json of a model, or leave --config away.",
    )


@dataclass
class Plan:
    """Which tensors are kept under which of our names, and what is left out."""

    kept: dict[str, Stored]
    dropped: Counter[str]
    official_sizes: bool
    parameters: int


def plan(weights: Weights, cfg: ModelConfig, tokenizer: Tokenizer, name: str, ignore_unknown: bool = False) -> Plan:
    """Check every key and every shape against the model that `cfg` describes.

    Args:
        name: the file's, for messages.
        ignore_unknown: leave out tensors that neither the model nor the official table knows.
    Raises:
        CoreError: checkpoint_sizes, checkpoint_incomplete, checkpoint_unknown_parts.
    """
    for what, size, heads in (
        ("language model", cfg.backbone.width, cfg.backbone.heads),
        ("VAE", cfg.vae.width, cfg.vae.heads),
        ("diffusion head's condition", cfg.backbone.width, cfg.diffusion.cond_heads),
    ):
        if heads < 1 or size % heads:
            raise CoreError(
                "checkpoint_sizes",
                f"The width {size} of the {what} in '{name}' cannot be shared among {heads} heads."
                if heads
                else f"How many attention heads the {what} in '{name}' has cannot be told from its width of {size}.",
                'Say how many it has, e.g. --config \'{"backbone": {"heads": 2}}\'.',
            )
    try:
        expected = {k: tuple(v.shape) for k, v in empty_model(cfg, tokenizer).state_dict().items() if k not in OWN}
    except (ValueError, RuntimeError) as error:
        raise CoreError("checkpoint_sizes", f"No model has the sizes of '{name}': {error}.", _ORIGINAL) from error
    kept: dict[str, Stored] = {}
    dropped: Counter[str] = Counter()
    unknown, wrong = [], []
    for key, tensor in weights.tensors.items():
        ours = from_official(key)
        if ours in expected:
            kept[ours] = tensor
            if tensor.shape != expected[ours] or not tensor.dtype.is_floating_point:
                wrong.append(f"{key} is {list(tensor.shape)} instead of {list(expected[ours])}")
        elif (reason := left_out(key)) is not None:
            dropped[reason] += 1
        else:
            unknown.append(key)
            dropped["unknown parts"] += 1
    missing = [to_official(k) or k for k in expected if k not in kept and k != "fake_latent"]
    if missing:
        raise CoreError(
            "checkpoint_incomplete", f"'{name}' lacks {len(missing)} of the model's tensors, e.g. {missing[0]}.", AGAIN
        )
    if wrong:
        raise CoreError(
            "checkpoint_sizes",
            f"{len(wrong)} tensors of '{name}' do not have the sizes of the rest, e.g. {wrong[0]}.",
            _ORIGINAL,
        )
    if unknown and not ignore_unknown:
        raise CoreError(
            "checkpoint_unknown_parts",
            f"'{name}' holds {len(unknown)} tensors that MotionGPT3 does not have, e.g. {unknown[0]}: it may be "
            "another variant, and would compute something else.",
            "Choose the official motiongpt3.ckpt; or leave these tensors out with --ignore-unknown.",
        )
    parameters = sum(tensor.numel for tensor in kept.values())
    return Plan(kept, dropped, _same_sizes(cfg), parameters)


def _same_sizes(cfg: ModelConfig) -> bool:
    """Whether these are the released model's sizes, which are the defaults of the configuration."""
    mine, official = cfg.to_dict(), ModelConfig().to_dict()
    return all(mine[part] == official[part] for part in ("vae", "backbone")) and all(
        mine["diffusion"][key] == official["diffusion"][key] for key in mine["diffusion"] if key != "guidance"
    )


# -- looking through what was saved --------------------------------------------------------------------------------


def _dictionaries(content: Any) -> Iterator[tuple[int, dict]]:
    """Every dictionary in what was saved, outermost first, each once: files that nest without end exist."""
    seen: set[int] = set()
    level = [content]
    for depth in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            found = value.items if isinstance(value, Opaque) else value
            if not isinstance(found, dict) or id(found) in seen:
                continue
            seen.add(id(found))
            yield depth, found
            entries = sorted(found.items(), key=lambda pair: pair[0] != "state_dict")  # the likely one first
            inner += [entry for _, entry in entries]
        level = inner


def _facts(content: Any) -> dict[str, int | float | str]:
    """How far the training was, and the attention mode, where the file says so in plain values."""
    facts: dict[str, int | float | str] = {}
    budget = 20_000
    level = [("", content)]
    for _ in range(2 * MAX_DEPTH):
        inner: list[tuple[str, Any]] = []
        for name, value in level:
            budget -= 1
            if budget < 0:
                return facts
            if isinstance(value, Opaque):  # OmegaConf keeps a node's value in _val and a container's in _content
                state = value.state if isinstance(value.state, dict) else {}
                inner += [(name, state[key]) for key in ("_content", "_val") if key in state]
                inner += list(_named(value.items))
            elif isinstance(value, dict):
                inner += list(_named(value))
            elif isinstance(value, int | float | str) and name in _FACTS and not isinstance(value, bool):
                facts.setdefault(_FACTS[name], value if not isinstance(value, str) else value[:60])
        level = inner
    return facts


_FACTS = {
    "epoch": "epoch",
    "global_step": "step",
    "pytorch-lightning_version": "Lightning",
    "attention_mode": "attention mode",
    "STAGE": "stage",
}


def _named(found: dict) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in found.items() if isinstance(key, str))


def describe(cfg: ModelConfig) -> str:
    """The sizes in words."""
    b, v, d = cfg.backbone, cfg.vae, cfg.diffusion
    return (
        f"language model {b.layers} layers of {b.width} ({b.heads} heads, {b.text_vocab} words), VAE {v.layers} layers "
        f"of {v.width}, diffusion head {d.depth} blocks of {d.width}"
    )


def tied(weights: Weights) -> list[tuple[str, Stored]]:
    """The other names of the text embedding that are stored as numbers of their own, to be compared with it."""
    copies = [(name, weights.tensors[name]) for name in COPIES if name in weights.tensors]
    return [(name, copy) for name, copy in copies if copy.place != weights.tensors[TIED].place]
