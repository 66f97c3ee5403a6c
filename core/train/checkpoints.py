"""A training on disk: everything it needs to go on as if it had never stopped, the chance it draws from included."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import CoreError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Best:
    """Which checkpoint is the best: a rule in words, and the number it compares.

    Args:
        rule: for people and the log, e.g. "lowest root-relative error on the validation clips".
        value: the figures of a validation -> the number.
        higher: whether more is better.
    """

    rule: str
    value: Callable[[dict[str, float]], float]
    higher: bool = False

    def beats(self, value: float, other: float | None) -> bool:
        """Whether `value` is a better one than `other`; what is no number never is."""
        if not np.isfinite(value):
            return False
        return other is None or (value > other if self.higher else value < other)


def find_checkpoint(path: Path) -> Path:
    """A checkpoint, or the newest one of a runs folder. Raises CoreError("checkpoint_missing")."""
    file = path / "last.pt" if path.is_dir() else path
    if not file.is_file():
        raise CoreError(
            "checkpoint_missing", f"There is no checkpoint '{file}' to go on from.",
            "Name a .pt file of a runs folder, or the folder that last.pt is in.",
        )  # fmt: skip
    return file


def put_back(checkpoint: Path, folder: Path) -> None:
    """Let the training of this runs folder go on from a checkpoint or another runs folder's newest one.

    Raises CoreError("checkpoint_missing")."""
    file, newest = find_checkpoint(checkpoint), folder / "last.pt"
    folder.mkdir(parents=True, exist_ok=True)
    if file.resolve() != newest.resolve():
        shutil.copyfile(file, folder / "next.pt")
        (folder / "next.pt").replace(newest)


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all: a cut-off write never costs the one that was there."""
    beside = file.with_name(f"next_{file.name}")
    torch.save(state, beside)
    beside.replace(file)


def load_checkpoint(file: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint without running anything in it. Raises CoreError("checkpoint_broken")."""
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # a broken archive surfaces as anything from EOFError to RuntimeError
        first = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CoreError(
            "checkpoint_broken", f"'{file}' is not a whole checkpoint ({first}).", "Go on from another one."
        ) from error
    missing = {"model", "average", "optimisers", "step"} - set(state) if isinstance(state, dict) else {"model"}
    if missing:
        raise CoreError(
            "checkpoint_broken", f"'{file}' is no checkpoint of a training: it has no {', '.join(sorted(missing))}.",
            "Name last.pt, best.pt or step_N.pt of a runs folder; weights alone go to --start.",
        )  # fmt: skip
    return state


# -- chance ----------------------------------------------------------------------------------------------------------


def random_state(generators: Sequence[np.random.Generator] = (), device: torch.device = CPU) -> dict[str, Any]:
    """The state of torch's generators (the CPU's and the device's), numpy's, Python's, and of the given ones."""
    name, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": json.dumps([name, np.asarray(keys).tolist(), *rest]),
        "python": json.dumps(random.getstate()),
        "own": json.dumps([g.bit_generator.state for g in generators], default=_as_list),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(
    state: dict[str, Any], generators: Sequence[np.random.Generator] = (), device: torch.device = CPU
) -> None:
    """Undo what was drawn since `random_state`."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, *rest = json.loads(state["numpy"])
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    for generator, own in zip(generators, json.loads(state["own"]), strict=False):
        generator.bit_generator.state = own
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def seed_all(seed: int) -> None:
    """Seed torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def apart(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Inside, chance starts from `seed`; afterwards it goes on as if nothing had been drawn."""
    state = random_state((), device)
    seed_all(seed)
    try:
        yield
    finally:
        set_random_state(state, (), device)
