"""BERTScore (Zhang et al., ICLR 2020) of captions, by the bert-score package and a model that is on this computer.

Plain F1: without idf weights and without rescaling to a baseline. A score says something only beside others by the same
model; with a folder of roberta-large it is the package's own recipe for English, without one the bundled sentence
encoder judges. Nothing is downloaded.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.errors import CoreError
from core.language.sentence import SentenceEncoder

_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]"}  # fmt: skip
_THEIRS = {"self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
           "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm"}  # fmt: skip
"""Our name of a layer's part -> that of transformers."""


class BertScore:
    """One model as a judge. name: what to call it beside its scores."""

    def __init__(self, folder: Path, layers: int | None = None, name: str = "") -> None:
        """Load a model folder of the transformers package.

        Args:
            folder: config.json, weights and tokenizer. layers: how many layers to run; None for the package's choice
                where it knows a model of the folder's name, else all.
        Raises:
            CoreError: bert_missing, bert_broken.
        """
        if not (folder / "config.json").is_file():
            raise CoreError(
                "bert_missing", f"There is no model in '{folder.name}'.",
                "Give a model's folder with config.json, weights and tokenizer.",
            )  # fmt: skip
        from bert_score import BERTScorer
        from bert_score.utils import model2layers
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            most = int(config.get("num_hidden_layers", config.get("n_layers", 0)))  # DistilBERT's is n_layers
            room = int(config.get("max_position_embeddings", 512)) - 2  # RoBERTa begins to count at 2
            known = {k.split("/")[-1]: v for k, v in model2layers.items()}.get(folder.name)
            self.layers = layers if layers is not None else known if known is not None else most
            if not 1 <= self.layers <= most:
                raise ValueError(f"it has {most} layers, not {self.layers}")
            self._scorer = BERTScorer(model_type=str(folder), num_layers=self.layers, device="cpu")
        except Exception as error:  # transformers and its tokenizers raise anything for a wrong folder
            said = f"The model in '{folder.name}' cannot be used ({type(error).__name__}: {str(error)[:160]})."
            raise CoreError("bert_broken", said, "Give another folder, or another number of layers.") from error
        tokenizer = self._scorer._tokenizer  # the package hands it on as its truncation length, which may be 1e30
        tokenizer.model_max_length = min(tokenizer.model_max_length, room)
        self.name = f"{name or folder.name}, layer {self.layers}"

    def score(self, said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Mean F1 with the best reference, -1 to 1; a clip of which nothing is said counts as 0, as in the package."""
        rows = [(s, [t for t in ts if t.strip()]) for s, ts in zip(said, references, strict=True)]
        asked = [(s, ts) for s, ts in rows if s.strip() and ts]
        if not asked:
            return 0.0
        best = self._scorer.score([s for s, _ in asked], [ts for _, ts in asked])[2]
        return float(best.sum()) / len(rows)


@lru_cache(maxsize=1)
def bundled(encoder: SentenceEncoder) -> BertScore:
    """The bundled sentence encoder as a judge, for a moment written down as the folder the package reads."""
    with tempfile.TemporaryDirectory(prefix="mgpt3-bert-") as folder:
        write_folder(encoder, Path(folder))
        return BertScore(Path(folder), name=encoder.name)


def write_folder(encoder: SentenceEncoder, folder: Path) -> None:
    """The encoder in the form of the transformers package: config, weights, tokenizer."""
    from safetensors.torch import save_file

    network = encoder.network
    words, positions = network.words.weight, network.positions.weight
    first: Any = network.layers[0]
    state = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": positions,  # with the first segment's
        "embeddings.token_type_embeddings.weight": torch.zeros(1, encoder.width),
        "embeddings.LayerNorm.weight": network.norm.weight,
        "embeddings.LayerNorm.bias": network.norm.bias,
        "pooler.dense.weight": torch.zeros(encoder.width, encoder.width),  # not looked at, but looked for
        "pooler.dense.bias": torch.zeros(encoder.width),
    }
    for n, layer in enumerate(network.layers):
        for name, tensor in layer.state_dict().items():
            module, kind = name.rsplit(".", 1)
            if module == "self_attn":  # in_proj_weight, in_proj_bias: three in one
                for part, own in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    state[f"encoder.layer.{n}.attention.self.{part}.{kind.removeprefix('in_proj_')}"] = own
            else:
                state[f"encoder.layer.{n}.{_THEIRS[module]}.{kind}"] = tensor
    save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, folder / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": encoder.width, "hidden_act": "gelu",
        "num_hidden_layers": len(network.layers), "num_attention_heads": first.self_attn.heads,
        "intermediate_size": first.linear1.out_features, "vocab_size": len(words),
        "max_position_embeddings": len(positions), "type_vocab_size": 1, "layer_norm_eps": network.norm.eps,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    encoder.tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": len(positions), **_SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
