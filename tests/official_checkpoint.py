"""Makes checkpoints of the official form with random weights: its names, its tied copies, its ballast, its wrappers."""

from __future__ import annotations

import functools
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer

from core.model.config import BackboneConfig, DiffusionConfig, ModelConfig, VAEConfig
from core.model.motiongpt3 import MotionGPT3
from core.model.names import COPIES, TIED, to_official
from core.prompts import EOS, Tokenizer


def make_tokenizer(folder: Path) -> Path:
    """GPT-2's two files, with a vocabulary of 300."""
    folder.mkdir(parents=True, exist_ok=True)
    _trained().save_model(str(folder))
    return folder


@functools.cache
def _trained() -> ByteLevelBPETokenizer:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["a person walks forward and waves"] * 4, vocab_size=300, special_tokens=[EOS])
    return bpe


def make_statistics(folder: Path, features: int = 263) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    np.save(folder / "mean.npy", rng.normal(size=features).astype(np.float32))
    np.save(folder / "std.npy", rng.uniform(0.5, 1.5, features).astype(np.float32))
    return folder


def small_config(**backbone: int) -> ModelConfig:
    """Official in form, with sizes of which each is another number where it may be."""
    return ModelConfig(
        vae=VAEConfig(width=32, layers=5, heads=4, ff=40, max_frames=220),
        backbone=BackboneConfig(**{"width": 64, "layers": 2, "heads": 1, "ff": 96, "positions": 200, "text_vocab": 0,
                                   **backbone}),
        diffusion=DiffusionConfig(width=48, depth=2, cond_ff=56, cond_positions=9),
    )  # fmt: skip


def official_state(cfg: ModelConfig, tokenizer: Tokenizer, seed: int = 0) -> dict[str, torch.Tensor]:
    """A whole state dict under the official names, with what training leaves in it."""
    torch.manual_seed(seed)
    model = MotionGPT3(cfg, tokenizer)
    torch.nn.init.normal_(model.fake_latent)
    state = {name: tensor.clone() for k, tensor in model.state_dict().items() if (name := to_official(k))}
    state.update(dict.fromkeys(COPIES, state[TIED]))
    state["lm.language_model.post_processors.1.weight"] = torch.randn(6, cfg.backbone.width)
    state["metrics.TM2TMetrics.t2m_textencoder.hidden"] = torch.randn(2, 1, 8)
    state["metrics.TM2TMetrics.count"] = torch.tensor(7)
    state["_losses.losses_train.total"] = torch.tensor(1.5)
    return state


def lightning(state: dict[str, torch.Tensor], **more: object) -> dict[str, object]:
    """What Lightning saves around a state dict."""
    return {
        "epoch": 299,
        "global_step": 160000,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 300}}}},
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}}}],
        "lr_schedulers": [],
        **more,
    }


@contextmanager
def a_package_that_is_gone(name: str) -> Iterator[type]:
    """A class of a package that whoever reads the file does not have, the way OmegaConf's are in real checkpoints."""
    module = types.ModuleType(name)
    package = types.ModuleType(name.partition(".")[0])

    class DictConfig:
        def __init__(self, content: dict) -> None:
            self._content = content

        def __setstate__(self, state: dict) -> None:
            raise AssertionError("the reader ran a method of the file's classes")

    DictConfig.__module__, DictConfig.__qualname__ = name, "DictConfig"
    module.DictConfig = DictConfig  # type: ignore[attr-defined]
    sys.modules.update({package.__name__: package, name: module})
    try:
        yield DictConfig
    finally:
        for gone in (name, package.__name__):
            sys.modules.pop(gone, None)


def make_gpt2_like(folder: Path) -> Path:
    """vocab.json and merges.txt of GPT-2's size that cut one sentence as GPT-2 does, with the same ids; all other words
    are made up. (GPT-2's own files are not part of this project.)"""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"\u0120person": 1048, "\u0120walks": 11114, "\u0120forward": 2651}  # U+0120 is how a space is written
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = {letter: i for i, letter in enumerate(letters)} | known
    merges, free = [], 40_000
    for word in known:
        for end in range(2, len(word) + 1):
            merges.append(f"{word[: end - 1]} {word[end - 1]}")
            if word[:end] not in words:
                words[word[:end]] = free
                free += 1
    taken = set(words.values())
    words.update({f"filler{i}": i for i in range(50256) if i not in taken})
    (folder / "vocab.json").write_text(json.dumps({**words, EOS: 50256}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return folder
