"""What a checkpoint lacks: the statistics of the features and GPT-2's tokenizer. Where they may be, and whether what
is there is right. Looks at this computer only; fetching them is `core.download`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.errors import CoreError
from core.prompts import Tokenizer

TOKENIZER_REPO = "openai-community/gpt2"
TOKENIZER_REPOS = (TOKENIZER_REPO, "gpt2", "openai/gpt2")
"""Names it has had; one of them is in the cache of whoever ever used GPT-2."""
TOKENIZER_FILES = ("vocab.json", "merges.txt")
GPT2_VOCAB = 50259
"""GPT-2's 50257 tokens and the two that begin and end a motion."""

FETCH_STATISTICS = (
    "Put mean.npy and std.npy (assets/meta of the official repository; HumanML3D's Mean.npy and Std.npy are the same) "
    "beside the checkpoint, name their folder with --stats, or run: python -m core download --part statistics"
)
FETCH_TOKENIZER = "Run: python -m core download --part tokenizer. Or name a folder that has it with --tokenizer."

_SENTENCE = "a person walks forward. \n <start_of_motion><end_of_motion><|endoftext|>"
_SENTENCE_IDS = [64, 1048, 11114, 2651, 13, 220, 198, 220, 50257, 50258, 50256]


def cache_folder() -> Path:
    """Where `core download` keeps the tokenizer and the statistics; the environment's MGPT3_CACHE goes first."""
    if chosen := os.environ.get("MGPT3_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mgpt3-blender"


# -- statistics ----------------------------------------------------------------------------------------------------


def find_statistics(checkpoint: Path, features: int, chosen: Path | None = None) -> tuple[np.ndarray, np.ndarray, Path]:
    """Mean and standard deviation of the features, each (features,) float32, and the folder they come from.

    Args:
        checkpoint: they are looked for beside it, and where the official repository keeps them.
        chosen: the only folder to look in.
    Raises:
        CoreError: statistics_missing, statistics_broken.
    """
    around = (checkpoint.parent, checkpoint.parent.parent)
    places = [chosen] if chosen else [*around, cache_folder() / "statistics"]
    for folder in places:
        for place in (folder, folder / "assets" / "meta"):
            pair = [_either(place, name) for name in ("mean.npy", "std.npy")]
            if pair[0] and pair[1]:
                return *check_statistics(pair[0], pair[1], features), place
    where = f"in '{chosen}'" if chosen else "beside it"
    raise CoreError(
        "statistics_missing",
        f"The checkpoint holds no feature statistics, and mean.npy and std.npy are not {where} either.",
        FETCH_STATISTICS,
    )


def check_statistics(mean: Path, std: Path, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Read and check both files. Raises CoreError("statistics_broken")."""
    arrays = []
    for path in (mean, std):
        try:
            array = np.load(path, allow_pickle=False)
            array = np.asarray(array, dtype=np.float32)
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise CoreError(
                "statistics_broken", f"'{path}' is not a file of numbers ({error}).", FETCH_STATISTICS
            ) from error
        if array.shape != (features,):
            kit = " (251: they are KIT-ML's)" if array.shape == (251,) else ""
            raise CoreError(
                "statistics_broken",
                f"'{path}' has the shape {list(array.shape)} instead of [{features}]{kit}.",
                FETCH_STATISTICS,
            )
        if not np.isfinite(array).all():
            raise CoreError("statistics_broken", f"'{path}' has values that are not numbers.", FETCH_STATISTICS)
        arrays.append(array)
    if not (arrays[1] > 0).all():
        raise CoreError(
            "statistics_broken", f"'{std}' has a spread that is not above zero: it may be a mean.", FETCH_STATISTICS
        )
    return arrays[0], arrays[1]


def _either(folder: Path, name: str) -> Path | None:
    """The file under the official repository's name or HumanML3D's."""
    return next((path for path in (folder / name, folder / name.capitalize()) if path.is_file()), None)


# -- tokenizer -----------------------------------------------------------------------------------------------------


def find_tokenizer(checkpoint: Path, text_vocab: int, chosen: Path | None = None) -> tuple[Tokenizer, Path]:
    """A tokenizer of `text_vocab` text tokens, and where it comes from.

    Args:
        checkpoint: it is looked for beside it, and where the official repository keeps it.
        text_vocab: rows of the model's text embedding.
        chosen: the only folder (or tokenizer.json) to look in.
    Raises:
        CoreError: tokenizer_missing, tokenizer_wrong.
    """
    if chosen:
        at = tokenizer_in(chosen)
        if at is None:
            raise CoreError(
                "tokenizer_missing",
                f"There is no tokenizer in '{chosen}': it takes vocab.json and merges.txt, or tokenizer.json.",
                FETCH_TOKENIZER,
            )
        return check_tokenizer(at, text_vocab), at
    failure: CoreError | None = None
    for place in _tokenizer_places(checkpoint):
        at = tokenizer_in(place)
        if at is not None:
            try:
                return check_tokenizer(at, text_vocab), at
            except CoreError as error:
                failure = failure or error  # another place may have the right one
    raise failure or CoreError(
        "tokenizer_missing",
        "GPT-2's word list, which the model reads with, is not on this computer.",
        FETCH_TOKENIZER,
    )


def _tokenizer_places(checkpoint: Path) -> Iterator[Path]:
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        yield folder
        yield from (folder / "deps" / name for name in ("gpt2", "mot-gpt2"))
    yield cache_folder() / "gpt2"
    yield from cached_snapshots(TOKENIZER_REPOS)


def cached_snapshots(repos: tuple[str, ...]) -> Iterator[Path]:
    """Folders of the user's Hugging Face cache that hold a version of one of these repositories, newest first."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    for repo in repos:
        folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
        if folder.is_dir():
            yield from sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)


def tokenizer_in(place: Path) -> Path | None:
    """What core.prompts.Tokenizer can read: the folder with vocab.json and merges.txt, or a tokenizer.json."""
    if all((place / name).is_file() for name in TOKENIZER_FILES):
        return place
    if place.is_dir():
        place = place / "tokenizer.json"
    return place if place.is_file() else None


def check_tokenizer(at: Path, text_vocab: int | None) -> Tokenizer:
    """Read a tokenizer and check that it speaks the model's language.

    Args:
        text_vocab: text tokens it must have; None for GPT-2's.
    Raises:
        CoreError("tokenizer_wrong")
    """
    try:
        tokenizer = Tokenizer(at)
    except Exception as error:  # the tokenizers library raises bare Exception for a bad file
        raise CoreError(
            "tokenizer_wrong", f"The tokenizer in '{at}' cannot be read: {error}.", FETCH_TOKENIZER
        ) from error
    wanted = text_vocab or GPT2_VOCAB
    if tokenizer.text_vocab != wanted:
        raise CoreError(
            "tokenizer_wrong",
            f"The tokenizer in '{at}' has {tokenizer.text_vocab} text tokens, the model {wanted}.",
            FETCH_TOKENIZER,
        )
    if wanted == GPT2_VOCAB and tokenizer.encode(_SENTENCE) != _SENTENCE_IDS:
        raise CoreError(
            "tokenizer_wrong",
            f"The tokenizer in '{at}' has GPT-2's size, but cuts sentences in another way.",
            FETCH_TOKENIZER,
        )
    return tokenizer
