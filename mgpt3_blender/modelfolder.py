"""What a model's folder says of itself: name, size, licence, origin, and why it cannot be used where it cannot.

A few small files are read, never the weights, and nothing in them is executed. Knows nothing of Blender.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from .setupbuild import gigabytes

FILES = ("config.json", "model.safetensors", "tokenizer.json")
PART = ".part"  # what a download that is not finished is called; it goes on from there
MAX_CONFIG = 1024 * 1024  # bytes; a larger file is no config
MAX_HEADER = 64 * 1024 * 1024  # bytes of a safetensors file's table of contents
DEFAULT = "compact"  # the bundled model that is used where none is chosen
_NOT_COMMERCIAL = re.compile(
    r"\bNC\b|non-?\s?commercial|\bno commercial|not for commercial|research (use|only|purposes)", re.IGNORECASE
)
_COMMERCIAL = re.compile(r"commercial|\bCC[- ]BY\b|\bCC0\b|\bMIT\b|\bBSD\b|Apache|public domain", re.IGNORECASE)


@dataclass(frozen=True)
class Model:
    """A model's folder as a line in a list.

    Args:
        name: unique in the list it comes from.
        folder: where it is.
        bytes: on disk.
        licence: as its config states it, "" where it states none.
        origin: where its files come from, "" where that is not known.
        own: it lies in the add-on's own folder, where removing deletes it; elsewhere removing only forgets it.
        bundled: it ships with the add-on and cannot be removed.
        problem: why it cannot be used, "" where it looks sound.
        data: what it learnt from, "" where its config does not say.
    """

    name: str
    folder: Path
    bytes: int = 0
    licence: str = ""
    origin: str = ""
    own: bool = False
    bundled: bool = False
    problem: str = ""
    data: str = ""

    @property
    def asks(self) -> bool:
        """Whether its licence is to be shown and accepted before the first use: nobody agreed to it by installing."""
        return not self.bundled and bool(self.licence) and not self.licence.lower().startswith("none")

    @property
    def use(self) -> str:
        """What its licence says about commercial use, in words for a list; "" where it says nothing that is known."""
        if _NOT_COMMERCIAL.search(self.licence):
            return "non-commercial"
        return "commercial use allowed" if _COMMERCIAL.search(self.licence) else ""

    @property
    def size(self) -> str:
        """The size for people, e.g. "1.0 GB"."""
        return gigabytes(self.bytes)


def licence_key(licence: str) -> str:
    """What an accepted licence is remembered by: its text, however it is broken into lines."""
    return hashlib.sha256(" ".join(licence.split()).encode()).hexdigest()


def short_licence(licence: str, limit: int = 60) -> str:
    """A licence's first words, for a line that has no room for all of it."""
    first = " ".join(licence.split())
    for end in (". ", ";", ":", " ("):
        first = first.split(end)[0]
    first = first.rstrip(".,")
    return first if len(first) <= limit else first[: limit - 1].rstrip() + "…"


def read_model(folder: Path, own: bool = False) -> Model:
    """What a folder says of itself, with `problem` set where it is no model.

    Args:
        own: it lies in the add-on's own folder, so that all in it counts for its size.
    """
    size, problem, config = 0, "", {}
    try:
        if not folder.is_dir():
            problem = "The folder is not there"
        else:
            size = _size(folder, own)
            if own and folder.name.endswith(PART):
                problem = "Not finished: download it again to go on from here, or remove it"
            elif not (folder / "config.json").is_file():
                problem = "There is no config.json in the folder"
            else:
                config = read_json(folder / "config.json")
                problem = _problem(folder, config)
    except OSError as error:
        problem = f"It cannot be read ({error.strerror})"
    except ValueError as error:
        problem = f"Its config.json cannot be read: {error}"

    def text(key: str) -> str:
        value = config.get(key)
        return " ".join(value.split()) if isinstance(value, str) else ""

    return Model(
        text("name") or folder.name,
        folder,
        size,
        text("licence"),
        text("origin"),
        own,
        problem=problem,
        data=text("data"),
    )


def bundled_folders(weights: Path) -> list[Path]:
    """The folders of the models that ship with the add-on, the default first; beside them lie parts that are no motion
    model. The default is named even where it is not there: that is a broken add-on, and the list must say so.

    Args:
        weights: the folder they lie in.
    """
    found = [weights / DEFAULT]
    with contextlib.suppress(OSError):
        for folder in sorted(weights.iterdir()):
            with contextlib.suppress(OSError, ValueError):
                if folder not in found and _is_motion_model(read_json(folder / "config.json")):
                    found.append(folder)
    return found


def read_json(path: Path) -> dict:
    """A JSON object from a small file. Raises OSError, ValueError."""
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG + 1)
    if len(raw) > MAX_CONFIG:
        raise ValueError("it is too large")
    try:
        value = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no config")
    return value


def _problem(folder: Path, config: dict) -> str:
    """Why a folder with a config is no model, "" where it looks like one. Raises OSError."""
    if not _is_motion_model(config):
        return "Its config.json is not a MotionGPT3's"
    for name in FILES:
        if not (folder / name).is_file():
            return f"There is no {name} in the folder"
    return _weights_problem(folder / "model.safetensors")


def _is_motion_model(config: dict) -> bool:
    return all(isinstance(config.get(part), dict) for part in ("vae", "backbone", "diffusion"))


def _weights_problem(file: Path) -> str:
    """A safetensors file begins with its table of contents, which says how long the file is."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_HEADER):
            return "Its model.safetensors is not a safetensors file"
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        whole = 8 + length + int(end)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "Its model.safetensors is not a safetensors file"
    if size != whole:
        return f"Its model.safetensors is not whole: {size} of {whole} bytes"
    return ""


def _size(folder: Path, deep: bool) -> int:
    """Bytes of the files in a folder, with those of the folders in it where `deep`."""
    total = 0
    with contextlib.suppress(OSError):
        for file in folder.rglob("*") if deep else folder.iterdir():
            if file.is_file():
                total += file.stat().st_size
    return total
