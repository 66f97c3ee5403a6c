"""What a model was trained on: its captions, and where they lie among sentences. Stored beside the model's weights.

known.json has the distinct captions and the name of the sentence encoder, known.safetensors a vector a caption in int8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.errors import CoreError
from core.language.words import named, plain, stem, tidy, word_list
from core.train.rewording import corpus

CAPTIONS, VECTORS = "known.json", "known.safetensors"


@dataclass(frozen=True)
class Known:
    """The captions of a model, distinct and tidy, and their sentence vectors (N, D) float32 of length one."""

    captions: list[str]
    vectors: np.ndarray

    @cached_property
    def exact(self) -> frozenset[str]:
        return frozenset(self.captions)

    @cached_property
    def words(self) -> frozenset[str]:
        """The stems of all words that the model has met in prompts."""
        return frozenset(stem(w) for text in (*self.captions, *corpus()) for w in word_list(text))

    @cached_property
    def names(self) -> list[dict[str, frozenset[str]]]:
        """Which side, way and count each caption names."""
        return [named(c) for c in self.captions]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) how many words each caption has."""
        return np.array([len(word_list(c)) for c in self.captions], np.float32)

    @classmethod
    def load(cls, folder: Path) -> Known | None:
        """What the model in this folder knows; None where it does not say. Raises CoreError("known_broken")."""
        if not (folder / CAPTIONS).is_file():
            return None
        from core.language.sentence import load_sentence

        try:
            entry = json.loads((folder / CAPTIONS).read_text(encoding="utf-8"))
            captions = [str(c) for c in entry["captions"]]
            made_by = str(entry["encoder"])
            stored = load_file(folder / VECTORS)
            vectors = stored["vectors"].astype(np.float32) * stored["scales"].astype(np.float32)[:, None]
            if not captions or len(vectors) != len(captions):
                raise ValueError(f"{len(captions)} captions, {len(vectors)} vectors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CoreError(
                "known_broken",
                f"'{folder / CAPTIONS}' or {VECTORS} beside it cannot be read ({error}).",
                "Copy the model folder again, or delete both files: prompts are then taken literally.",
            ) from error
        if made_by != load_sentence().name:  # an older encoder's vectors mean nothing to this one
            vectors = load_sentence().encode([plain(c) for c in captions])
        return cls(captions, vectors)


def write_known(folder: Path, captions: Iterable[str]) -> None:
    """Write what a model was trained on into its folder.

    Args:
        folder: the model's.
        captions: those of all training clips, in any number; distinct ones are kept, in lower case, sorted.
    """
    from core.language.sentence import load_sentence

    encoder = load_sentence()
    distinct = sorted({tidy(c) for c in captions} - {""})
    if not distinct:
        raise CoreError("no_captions", "There is not one caption to remember.", "Pass the training clips' captions.")
    vectors = encoder.encode([plain(c) for c in distinct])
    scales = np.maximum(np.abs(vectors).max(1) / 127, 1e-8).astype(np.float32)
    lines = json.dumps({"encoder": encoder.name, "captions": distinct}, ensure_ascii=False, indent=0)
    (folder / CAPTIONS).write_text(lines + "\n", encoding="utf-8")
    save_file({"vectors": np.round(vectors / scales[:, None]).astype(np.int8), "scales": scales}, folder / VECTORS)
    (folder / VECTORS).chmod(0o644)


def captions_of(clips: Iterable[object]) -> list[str]:
    """The captions of training clips (`core.train.data.Clip`)."""
    return [text for clip in clips for text in clip.captions]  # type: ignore[attr-defined]
