"""A model on disk: a folder with config.json, model.safetensors and tokenizer.json. Nothing in it can execute."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.overrides import TorchFunctionMode

from core.errors import CoreError
from core.model.config import ModelConfig
from core.model.motiongpt3 import MotionGPT3
from core.model.storage import StorageError, read_weights, write_weights
from core.prompts import Tokenizer

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
"""Everything that ships with the code: the bundled models, and parts that are no motion model."""

BUNDLED = WEIGHTS / "compact"
"""The bundled model that is used where none is named."""

FINE = 64
"""Directions of the linear path that are stored finely. The first one is 60 metres a unit: 8 bits of it are a
centimetre of jitter."""

FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class BundledModel:
    """A model that ships with the code.

    Args:
        name: what `load_model` and --model take.
        title, licence, data: as its config.json says.
    """

    name: str
    folder: Path
    title: str
    licence: str
    data: str


def bundled_models() -> list[BundledModel]:
    """The models that ship with this copy of the code, the default one first; parts of `WEIGHTS` that are no motion
    model, and folders that cannot be read, are left out."""
    found = []
    for folder in sorted(WEIGHTS.glob("*/"), key=lambda f: (f != BUNDLED, f.name)):
        try:
            raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if not all(isinstance(raw[part], dict) for part in ("vae", "backbone", "diffusion")):
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue
        title, licence, data = (str(raw.get(key) or "") for key in ("name", "licence", "data"))
        found.append(BundledModel(folder.name, folder, title or folder.name, licence, data))
    return found


def model_folder(model: Path | str | None) -> Path:
    """The folder of a model: None for the bundled default, a folder, or else the name of a bundled one."""
    if model is None:
        return BUNDLED
    named = WEIGHTS / Path(model).name
    meant = len(Path(model).parts) == 1 and not (Path(model) / "config.json").is_file() and named.is_dir()
    return named if meant else Path(model)


class Unfilled(TorchFunctionMode):
    """Inside this context nothing is filled with initial values. For meta tensors even to pretend to is slow: PyTorch
    imports its compiler for it, more than a second."""

    FILLS = frozenset({"normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_", "constant_", "zeros_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def pick_device(device: str = "auto") -> torch.device:
    """ "auto", "cpu", "cuda", "mps" -> a torch device. Raises CoreError("device_missing")."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = device.split(":")[0]
    if not available.get(kind, False):
        raise CoreError(
            "device_missing",
            f"The device '{device}' is not available to this PyTorch ({torch.__version__}).",
            "Choose 'auto' or 'cpu' as the device, or set up PyTorch for this GPU.",
        )
    return torch.device(device)


def device_name(device: torch.device) -> str:
    """What to show a person: "cpu", or "cuda:0 (its name)"."""
    if device.type == "cuda":
        return f"cuda:{device.index or 0} ({torch.cuda.get_device_name(device)})"
    return device.type


def empty_model(cfg: ModelConfig, tokenizer: Tokenizer) -> MotionGPT3:
    """A model without storage (on the meta device): no memory and no time for weights that are replaced at once."""
    with torch.device("meta"), Unfilled():
        return MotionGPT3(cfg, tokenizer)


def save_model(
    model: MotionGPT3,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    bits: Callable[[str], int] | int = 8,
) -> None:
    """Write a model folder. Loading gives float32 again.

    Args:
        dtype: how floats are stored: torch.float32, torch.float16, or torch.int8 for matrices in whole numbers.
        bits: of those numbers, 8, 6 or 4: for all, or by the tensor's name (core.model.storage).
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": model.cfg.name, "licence": model.cfg.licence, "data": model.cfg.data}
    state = model.state_dict()
    fine = {name: min(FINE, len(state[name]) // 2) for name in state if name == "vae.linear.basis"}
    write_weights(folder / "model.safetensors", state, dtype, about, bits, fine)
    model.cfg.save(folder / "config.json")
    model.tokenizer.save(folder / "tokenizer.json")


def load_model(path: Path | str | None = None, device: str = "auto", precision: str = "float32") -> MotionGPT3:
    """Load a model folder for inference.

    Args:
        path: the folder, or the name of a bundled model (see `bundled_models`); None for the bundled compact model.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of matrix products: "float32", which is exact, or "bfloat16".
    Raises:
        CoreError: model_missing, model_broken or device_missing.
    """
    where = pick_device(device)
    folder = model_folder(path)
    for name in FILES:
        if not (folder / name).is_file():
            bundled = ", ".join(known.name for known in bundled_models())
            raise CoreError(
                "model_missing",
                f"There is no {name} in the model folder '{folder}'.",
                "Choose a model folder in the add-on's preferences, or reinstall the add-on for the bundled one."
                + (f" Bundled models: {bundled}." if bundled and path is not None else ""),
            )
    cfg = ModelConfig.load(folder / "config.json")
    broken = "Copy the model folder again, or reinstall the add-on for the bundled model."
    weights = folder / "model.safetensors"
    try:
        state = read_weights(weights)
    except StorageError as error:
        raise CoreError("model_broken", f"The weights in '{weights}' do not fit together: {error}.", broken) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CoreError("model_broken", f"'{weights}' is not a whole safetensors file ({error}).", broken) from error
    try:
        tokenizer = Tokenizer(folder / "tokenizer.json")
    except CoreError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception for a bad file
        raise CoreError("model_broken", f"The model's tokenizer.json cannot be read: {error}.", broken) from error
    model = empty_model(cfg, tokenizer)
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    if expected != found:
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        raise CoreError(
            "model_broken",
            f"The model's weights do not fit its config.json ({len(wrong)} tensors, first: {wrong[0]}).",
            broken,
        )
    # Assigned, not copied: float32 weights stay where the file is mapped, and what is never used is never read.
    model.load_state_dict(state, assign=True)
    model.to(where).eval().requires_grad_(False)
    model.precision = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    model.info = {
        "name": cfg.name,
        "licence": cfg.licence,
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": cfg.data,
        "origin": cfg.origin,
        "path": str(folder),
    }
    return model
