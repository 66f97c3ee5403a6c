"""A folder of parity fixtures: recorded arrays, texts and the weights they were recorded with.

    config.json, state_dict.safetensors, tokenizer/    the recorded model, tensors by their official names
    fixtures.npz, strings.json, train_grad_norms.json  what it computed
    features_clip.npz                                  joints <-> features of one clip
    full_check.npz, full_check_strings.json            outputs at full size, weights by rule (core/parity/full.py)

Every file may be missing; what needs it is then absent.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import CoreError
from core.model.config import ModelConfig
from core.model.motiongpt3 import MotionGPT3
from core.model.names import from_official
from core.parity.archive import Absent, Archive
from core.parity.settings import lookup, model_config, whole
from core.prompts import Tokenizer

ARCHIVES = ("fixtures.npz", "features_clip.npz", "full_check.npz")


class NumberedTokenizer(Tokenizer):
    """The special ids without a vocabulary: enough to run a model, not to read or write words.

    Args:
        first: id of <start_of_motion>; the other added tokens follow it, the end token stands before it.
    """

    def __init__(self, first: int) -> None:
        self.eos = first - 1
        self.som, self.eom, self.masked, self.pad_motion, self.holder_out, self.holder_in = range(first, first + 6)
        self.text_vocab = self.masked

    def encode(self, text: str) -> list[int]:
        raise Absent("tokenizer")

    def decode(self, ids: list[int]) -> str:
        raise Absent("tokenizer")


class Fixtures:
    """What a folder holds.

    Args:
        path: the folder. device: where to compute.
    Raises:
        CoreError: parity_missing where it is no fixture folder; parity_damaged, parity_unsupported.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device
        if not any((path / name).is_file() for name in ARCHIVES):
            raise CoreError(
                "parity_missing",
                f"'{path}' is not a folder of parity fixtures: it has none of {', '.join(ARCHIVES)}.",
                "Give the folder that holds them.",
            )
        self.main, self.clip, self.full = (Archive(path / name, device) for name in ARCHIVES)
        self.strings = self._json("strings.json")
        self.full_strings = self._json("full_check_strings.json")
        self.grad_norms = self._json("train_grad_norms.json")
        self.config = self._json("config.json")
        if self.main and not self.config:
            raise CoreError(
                "parity_damaged", f"There is no config.json beside '{path / ARCHIVES[0]}'.", "Copy the folder again."
            )
        self.full_size: Any = None  # what core/parity/full.py made, for all of its groups
        self._models: dict[str, MotionGPT3] = {}
        self._state: dict[str, torch.Tensor] | None = None
        self._tokenizer: Tokenizer | None = None

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.exists():
            return {}
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CoreError(
                "parity_damaged", f"'{path}' cannot be read ({error}).", "Copy the fixture folder again."
            ) from error
        if not isinstance(read, dict):
            raise CoreError("parity_damaged", f"'{path}' is not a JSON object.", "Copy the fixture folder again.")
        return read

    # -- settings --------------------------------------------------------------------------------------------------

    def setting(self, path: str, default: Any = None) -> Any:
        return lookup(self.config, path, default)

    def number(self, path: str, default: int | None = None) -> int:
        return whole(self.config, path, default)

    def texts(self, name: str) -> list[str]:
        """Recorded texts. Raises Absent."""
        if name not in self.strings:
            raise Absent(f"strings.json: {name}")
        return list(self.strings[name])

    # -- the recorded model ------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The recorded weights by their official names."""
        if self._state is None:
            path = self.path / "state_dict.safetensors"
            try:
                self._state = load_file(path)
            except (SafetensorError, OSError, ValueError) as error:
                raise CoreError(
                    "parity_damaged",
                    f"'{path}' is not a whole safetensors file ({error}).",
                    "Copy the fixture folder again.",
                ) from error
        return self._state

    @property
    def model(self) -> MotionGPT3:
        return self.model_with(str(self.setting("attention_mode", "all")))

    def model_with(self, mode: str) -> MotionGPT3:
        """The recorded weights in a model whose branches share attention in the layers that `mode` names."""
        if mode not in self._models:
            self._models[mode] = self.build(mode)
        return self._models[mode]

    def build(self, mode: str) -> MotionGPT3:
        """A model of its own, ready to infer. Raises CoreError."""
        cfg = model_config(self.config, self.state)
        cfg.backbone.shared = mode
        try:
            model = MotionGPT3(cfg, self.tokenizer(cfg))
        except ValueError as error:  # sizes or modes that no model has
            raise CoreError(
                "parity_unsupported",
                f"No model can be built from the fixtures' config.json: {error}.",
                "Copy the fixture folder again.",
            ) from error
        ours = {name: tensor.float() for k, tensor in self.state.items() if (name := from_official(k)) is not None}
        for name in ("mean", "std"):
            if f"stats/{name}" in self.main:
                ours[f"vae.{name}"] = self.main[f"stats/{name}"].cpu()
        try:
            missing, unexpected = model.load_state_dict(ours, strict=False)
        except RuntimeError as error:
            raise CoreError(
                "parity_damaged",
                f"The fixtures' weights do not fit their config.json: {str(error).splitlines()[-1].strip()}",
                "Copy the fixture folder again.",
            ) from error
        optional = {"vae.mean", "vae.std"} | ({"fake_latent"} if cfg.diffusion.guidance <= 1 else set())
        wrong = sorted((set(missing) - optional) | set(unexpected))
        if wrong:
            raise CoreError(
                "parity_damaged",
                f"The fixtures' weights are not those of this architecture ({len(wrong)} tensors, first: {wrong[0]}).",
                "Copy the fixture folder again.",
            )
        return model.to(self.device).eval().requires_grad_(False)

    def tokenizer(self, cfg: ModelConfig) -> Tokenizer:
        if self._tokenizer is None:
            folder = self.path / "tokenizer"
            file = folder if (folder / "vocab.json").exists() else folder / "tokenizer.json"
            if not file.exists():
                self._tokenizer = NumberedTokenizer(cfg.backbone.text_vocab - 2)
            else:
                try:
                    self._tokenizer = Tokenizer(file)
                except Exception as error:  # the tokenizers library raises bare Exception for a bad file
                    raise CoreError(
                        "parity_damaged",
                        f"The tokenizer in '{folder}' cannot be read ({error}).",
                        "Copy the fixture folder again.",
                    ) from error
        return copy.copy(self._tokenizer)
