"""The bundled sentence encoder: sentences -> vectors that lie near each other where the meaning does.

all-MiniLM-L6-v2 (sentence-transformers; Wang et al., "MiniLM", NeurIPS 2020; Reimers and Gurevych, "Sentence-BERT",
EMNLP 2019), with a smaller vocabulary and packed weights: core/language/build.py makes it, and the README beside the
weights says what was done. It is read by code of our own: the transformers package takes a second to import.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import CoreError
from core.language.packed import GROUP, unpack
from core.model.checkpoint import Unfilled
from core.model.vae import EncoderLayer

BUNDLED = Path(__file__).resolve().parents[1] / "weights" / "sentence"
BATCH = 128


class BertEncoder(nn.Module):
    """BERT's encoder (Devlin et al., NAACL 2019) for one sentence a row: token ids -> token states."""

    def __init__(self, vocabulary: int, width: int, heads: int, ff: int, layers: int, positions: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)  # BERT's embedding of the first segment is added to these
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, ff, norm_first=False) for _ in range(layers))
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-12

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:  # both (B, T) -> (B, T, D)
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        mask = None if real.all() else real[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return x


class SentenceEncoder:
    """Sentences -> vectors, on the CPU.

    Args:
        network: a BertEncoder in evaluation mode.
        tokenizer: a `tokenizers.Tokenizer` that adds [CLS] and [SEP].
        name: another one for each set of weights, so that stored vectors can say which one made them.
    """

    def __init__(self, network: BertEncoder, tokenizer: Any, name: str = "") -> None:
        self.network, self.tokenizer, self.name = network, tokenizer, name
        self.tokenizer.enable_truncation(network.positions.num_embeddings)
        self.tokenizer.enable_padding()
        self.width = network.words.embedding_dim

    def ids(self, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, T) ids of the tokens, and (N, T) bool, True where a token is no padding."""
        rows = self.tokenizer.encode_batch(list(sentences))
        ids = torch.tensor([r.ids for r in rows], dtype=torch.long)
        return ids, torch.tensor([r.attention_mask for r in rows], dtype=torch.bool)

    def tokens(self, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer's states of all tokens.

        Returns:
            (N, T, 384) float32, and (N, T) bool, True where a token is no padding ([CLS] and [SEP] are tokens).
        """
        ids, real = self.ids(sentences)
        with torch.no_grad():  # not inference_mode: training may use what comes out
            return self.network(ids, real), real

    def encode(self, sentences: list[str]) -> np.ndarray:
        """(N, 384) float32 of length one: the mean of the tokens' states, so that a dot product is the cosine."""
        out = np.zeros((len(sentences), self.width), np.float32)
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))  # little padding in a batch
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            states, real = self.tokens([sentences[i] for i in rows])
            weight = real[..., None].float()
            mean = (states * weight).sum(1) / weight.sum(1)
            out[rows] = nn.functional.normalize(mean, dim=-1).numpy()
        return out


@lru_cache(maxsize=2)
def load_sentence(folder: Path | None = None) -> SentenceEncoder:
    """The sentence encoder of a folder, None for the bundled one; loaded once. Raises CoreError("sentence_broken")."""
    folder = BUNDLED if folder is None else folder
    try:
        import tokenizers

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        stored = load_file(folder / "model.safetensors")
        with torch.device("meta"), Unfilled():
            network = BertEncoder(**config["network"])
        network.load_state_dict(unpacked(stored), assign=True)
    except ImportError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise _broken(folder, error) from error
    except Exception as error:  # the tokenizers library raises bare Exception for a bad file
        raise _broken(folder, error) from error
    network.eval().requires_grad_(False)
    return SentenceEncoder(network, tokenizer, str(config.get("name", "")))


def _broken(folder: Path, error: Exception) -> CoreError:
    return CoreError(
        "sentence_broken",
        f"The sentence encoder in '{folder}' cannot be read ({type(error).__name__}: {str(error)[:120]}).",
        "Reinstall the add-on, or make the folder again with core/language/build.py.",
    )


def unpacked(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of model.safetensors -> float32 weights: NAME.codes and NAME.scales become NAME."""
    out = {}
    for name, tensor in stored.items():
        if name.endswith(".codes"):
            base = name.removesuffix(".codes")
            scales = stored[base + ".scales"]
            bits = 8 * tensor.shape[1] // (GROUP * scales.shape[1])
            out[base] = unpack(tensor, scales, stored[f"levels.{bits}"])
        elif not name.endswith(".scales") and not name.startswith("levels."):
            out[name] = tensor.float()
    out["words.weight"] = torch.cat([out.pop("words.fine"), out.pop("words.coarse")])
    return out
