"""A model on disk: a folder with config.json, model.safetensors and tokenizer.json. Nothing in it can execute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from core.errors import CoreError
from core.model.config import ModelConfig
from core.model.motiongpt3 import MotionGPT3
from core.prompts import Tokenizer

BUNDLED = Path(__file__).resolve().parents[1] / "weights" / "compact"
"""The compact model that ships with the code."""

FILES = ("config.json", "model.safetensors", "tokenizer.json")


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


def save_model(model: MotionGPT3, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model folder. Floats are stored as `dtype`; loading gives float32 again."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().to("cpu", dtype if v.is_floating_point() else v.dtype) for k, v in
             model.state_dict().items()}  # fmt: skip
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors",
              {"name": model.cfg.name, "licence": model.cfg.licence, "data": model.cfg.data})  # fmt: skip
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it private; a model is there to be read
    model.cfg.save(folder / "config.json")
    model.tokenizer.save(folder / "tokenizer.json")


def load_model(path: Path | None = None, device: str = "auto", precision: str = "float32") -> MotionGPT3:
    """Load a model folder for inference.

    Args:
        path: the folder; None for the bundled compact model.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of matrix products: "float32", which is exact, or "bfloat16".
    Raises:
        CoreError: model_missing, model_broken or device_missing.
    """
    where = pick_device(device)
    folder = Path(path) if path is not None else BUNDLED
    for name in FILES:
        if not (folder / name).is_file():
            raise CoreError(
                "model_missing",
                f"There is no {name} in the model folder '{folder}'.",
                "Choose a model folder in the add-on's preferences, or reinstall the add-on for the bundled one.",
            )
    cfg = ModelConfig.load(folder / "config.json")
    broken = "Copy the model folder again, or reinstall the add-on for the bundled model."
    try:
        state = load_file(folder / "model.safetensors")
    except (SafetensorError, OSError, ValueError) as error:
        raise CoreError(
            "model_broken", f"'{folder / 'model.safetensors'}' is not a whole safetensors file ({error}).", broken
        ) from error
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
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
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
