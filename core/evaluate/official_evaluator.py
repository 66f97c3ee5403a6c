"""Guo et al.'s text-motion evaluator (CVPR 2022), the judge of HumanML3D's published figures, from its own weights.

The weights are in a user's files: `finest.tar` of the evaluator (keys text_encoder, movement_encoder, motion_encoder),
or the official MotionGPT3 checkpoint, which carries them twice (metrics.TM2TMetrics.*, metrics.MMMetrics.*). Both are
read without running anything in them (core/official). Words come as GloVe vectors and part-of-speech one-hots from the
user's glove folder. Nothing of it is part of this project.

Parameter names are the official ones. Dropout is left out: the evaluator is only ever read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence

from core.errors import CoreError
from core.official.archive import Archive, Stored, open_archive
from core.official.harmless import UnsafePickle
from core.official.pickles import BrokenPickle, read_pickle

UNIT = 4
"""Frames a step of the movement encoder: two convolutions of stride 2."""
CONTACTS = 4
"""The last numbers of a frame, foot contacts, are not read."""
MAX_WORDS = 20
"""Words of a caption that count, without the start and end marks."""
_PARTS = {
    "text_encoder": "t2m_textencoder", "movement_encoder": "t2m_moveencoder", "motion_encoder": "t2m_motionencoder",
}  # fmt: skip
_CHOOSE = "Choose the evaluator's finest.tar, or the motiongpt3.ckpt that carries the evaluator."

TAGS = ("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV", "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP",
        "Desc_VIP", "OTHER")  # fmt: skip
"""What the 15 numbers of a one-hot stand for, in the evaluator's order."""
_SPECIAL = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
SPECIAL_TAG = {word: tag for tag, listed in _SPECIAL.items() for word in listed.split()}
"""Words whose tag does not depend on the sentence."""


class RecurrentReader(nn.Module):
    """A bidirectional GRU whose two last states become one vector."""

    def __init__(self, inputs: int, hidden: int, output: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(inputs, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, output)
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, hidden))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        """(B, T, inputs) -> (B, output). lengths (B,): steps that count; None: all T."""
        x = self.input_emb(x)
        packed: Any = x
        if lengths is not None:
            packed = pack_padded_sequence(x, lengths.cpu().clamp(min=1), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.repeat(1, len(x), 1))
        return self.output_net(torch.cat([last[0], last[1]], -1))


class TextReader(RecurrentReader):
    """Word vectors, to which the part of speech is added, read in order."""

    def __init__(self, words: int, tags: int, hidden: int, output: int) -> None:
        super().__init__(words, hidden, output)
        self.pos_emb = nn.Linear(tags, words)


class MovementReader(nn.Module):
    """Four frames -> one vector."""

    def __init__(self, inputs: int, hidden: int, output: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(inputs, hidden, 4, 2, 1), nn.Identity(), nn.LeakyReLU(0.2), nn.Conv1d(hidden, output, 4, 2, 1),
            nn.Identity(), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.out_net = nn.Linear(output, output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, inputs) -> (B, T // 4, output)
        return self.out_net(self.main(x.transpose(1, 2)).transpose(1, 2))


class OfficialEvaluator(nn.Module):
    """The three networks. `mean`, `std` are the evaluator's own (mean_eval.npy, std_eval.npy); 0 and 1 until given."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        s = sizes
        self.text_encoder = TextReader(s["words"], s["tags"], s["text_hidden"], s["text_output"])
        self.movement_encoder = MovementReader(s["features"], s["movement_hidden"], s["movement_output"])
        self.motion_encoder = RecurrentReader(s["movement_output"], s["motion_hidden"], s["motion_output"])
        self.features = s["features"] + CONTACTS
        self.register_buffer("mean", torch.zeros(self.features), persistent=False)
        self.register_buffer("std", torch.ones(self.features), persistent=False)

    @torch.inference_mode()
    def embed_text(self, words: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Vectors of captions.

        Args:
            words: (B, L, 300) word vectors. tags: (B, L, 15) one-hots. lengths: (B,) words that count, marks included.
        Returns:
            (B, 512) float32, not of length one.
        """
        return self.text_encoder(words + self.text_encoder.pos_emb(tags), lengths)

    @torch.inference_mode()
    def embed_motion(self, features: torch.Tensor, lengths: torch.Tensor, pack: bool = True) -> torch.Tensor:
        """Vectors of motions.

        Args:
            features: (B, T, 263) as of HumanML3D, not normalised where the evaluator was given its mean and std.
            lengths: (B,) frames that count, of T.
            pack: read only those; what other papers do. False: the official MotionGPT3 code, which reads the padding
                of the batch as well, so that a motion's vector depends on its neighbours.
        Returns:
            (B, 512) float32, not of length one.
        Raises:
            CoreError: features_invalid.
        """
        if features.ndim != 3 or features.shape[2] != self.features or features.shape[1] < UNIT:
            message = f"The evaluator reads (motions, frames, {self.features}), not {tuple(features.shape)}."
            raise CoreError("features_invalid", message, f"Give at least {UNIT} frames of HumanML3D's features.")
        x = ((features - self.mean) / self.std)[..., :-CONTACTS]
        steps = torch.div(lengths, UNIT, rounding_mode="floor")
        return self.motion_encoder(self.movement_encoder(x), steps if pack else None)


def load_official_evaluator(path: Path, stats: Path | None = None, use: str = "TM2TMetrics") -> OfficialEvaluator:
    """The evaluator of a finest.tar or of the official checkpoint, on the CPU, float32.

    Args:
        path: the file. stats: folder of mean_eval.npy and std_eval.npy (or mean.npy and std.npy of the evaluator's
        meta folder). use: which of the checkpoint's two copies.
    Raises:
        CoreError: those of core.official.archive, evaluator_missing, evaluator_broken, statistics_broken.
    """
    with contextlib.closing(open_archive(path)) as archive:
        tensors = _find(archive, use)
        evaluator = OfficialEvaluator(_sizes(path, tensors))
        wanted = evaluator.state_dict()
        for name in sorted(wanted.keys() | tensors.keys()):
            found = tensors.get(name)
            if found is None or name not in wanted or found.shape != tuple(wanted[name].shape):
                what = "is missing" if found is None else "is unknown" if name not in wanted else f"is {found.shape}"
                raise _broken(path, f"{name} {what}")
        weights = {k: torch.cat(list(archive.blocks(t))).view(t.shape).float() for k, t in tensors.items()}
    evaluator.load_state_dict(weights)
    if stats is not None:
        for name in ("mean", "std"):
            getattr(evaluator, name).copy_(_statistics(stats, name, evaluator.features))
    return evaluator.eval().requires_grad_(False)


def _find(archive: Archive, use: str) -> dict[str, Stored]:
    """The networks' tensors by the names in this file. Training leaves other things beside them; they are not read."""
    content = archive.content
    out: dict[str, Stored] = {}
    if isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in _PARTS):
        for part in _PARTS:
            out |= {f"{part}.{k}": v for k, v in content[part].items() if isinstance(v, Stored)}
        return out
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    for key, tensor in state.items() if isinstance(state, dict) else ():
        for part, official in _PARTS.items():
            _, found, rest = str(key).partition(f"metrics.{use}.{official}.")
            if found and isinstance(tensor, Stored):
                out[f"{part}.{rest}"] = tensor
    if not out:
        raise CoreError("evaluator_missing", f"'{archive.path.name}' holds no text-motion evaluator.", _CHOOSE)
    return out


def _sizes(path: Path, tensors: dict[str, Stored]) -> dict[str, int]:
    """What the shapes tell: HumanML3D's evaluator reads 259 numbers a frame, KIT-ML's 247."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors:
            raise _broken(path, f"{name} is missing")
        if len(tensors[name].shape) != dimensions:
            raise _broken(path, f"{name} is {tensors[name].shape}")
        return tensors[name].shape

    words, tags = shape("text_encoder.pos_emb.weight", 2)
    movement = shape("movement_encoder.main.0.weight", 3)
    return {
        "words": words, "tags": tags, "features": movement[1], "movement_hidden": movement[0],
        "text_hidden": shape("text_encoder.input_emb.weight", 2)[0],
        "text_output": shape("text_encoder.output_net.3.weight", 2)[0],
        "movement_output": shape("movement_encoder.main.3.weight", 3)[0],
        "motion_hidden": shape("motion_encoder.input_emb.weight", 2)[0],
        "motion_output": shape("motion_encoder.output_net.3.weight", 2)[0],
    }  # fmt: skip


def _broken(path: Path, what: str) -> CoreError:
    return CoreError("evaluator_broken", f"'{path.name}' is not the evaluator's weights: {what}.", _CHOOSE)


def _statistics(folder: Path, name: str, features: int) -> torch.Tensor:
    path = next((p for p in (folder / f"{name}_eval.npy", folder / f"{name}.npy") if p.is_file()), None)
    remedy = "Give the folder with the evaluator's mean_eval.npy and std_eval.npy (or its meta folder)."
    if path is None:
        raise CoreError("statistics_broken", f"'{folder}' has no {name}_eval.npy.", remedy)
    values = _array(path, "statistics_broken", remedy)
    good = values.shape == (features,) and np.isfinite(values).all() and (name == "mean" or (values > 0).all())
    if not good:
        message = f"'{path.name}' does not hold {features} numbers{' above 0' if name == 'std' else ''}."
        raise CoreError("statistics_broken", message, remedy)
    return torch.from_numpy(values.astype(np.float32))


def _array(path: Path, code: str, remedy: str) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CoreError(code, f"'{path.name}' cannot be read: {error}.", remedy) from error
    if values.dtype.kind not in "fiu":
        raise CoreError(code, f"'{path.name}' holds no numbers.", remedy)
    return values


@dataclass
class WordVectors:
    """Words -> vectors and part-of-speech one-hots, as the evaluator was taught them."""

    vectors: np.ndarray  # (words, 300)
    rows: dict[str, int]

    def read(self, captions: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `embed_text` takes.

        Args:
            captions: of each its tokens "word/TAG", lemmas, as in HumanML3D's texts. After the 20th they are left out.
        Returns:
            (B, 22, 300) vectors, (B, 22, 15) one-hots, (B,) words that count; start and end marks included.
        """
        words = np.zeros((len(captions), MAX_WORDS + 2, self.vectors.shape[1]), np.float32)
        tags = np.zeros((len(captions), MAX_WORDS + 2, len(TAGS)), np.float32)
        lengths = []
        for b, tokens in enumerate(captions):
            marked = ["sos/OTHER", *tokens[:MAX_WORDS], "eos/OTHER"]
            lengths.append(len(marked))
            for t in range(MAX_WORDS + 2):
                word, _, tag = (marked[t] if t < len(marked) else "unk/OTHER").rpartition("/")
                if word not in self.rows:
                    word, tag = "unk", "OTHER"
                tag = SPECIAL_TAG.get(word, tag)
                words[b, t] = self.vectors[self.rows[word]]
                tags[b, t, TAGS.index(tag if tag in TAGS else "OTHER")] = 1
        return torch.from_numpy(words), torch.from_numpy(tags), torch.tensor(lengths)


def load_words(folder: Path, prefix: str = "our_vab") -> WordVectors:
    """GloVe vectors of a user's folder: PREFIX_data.npy, PREFIX_words.pkl, PREFIX_idx.pkl. Raises CoreError
    ("words_broken" or "words_unsafe")."""
    remedy = "Give the glove folder that HumanML3D's evaluators come with."
    paths = {p: folder / f"{prefix}_{p}" for p in ("data.npy", "words.pkl", "idx.pkl")}
    for path in paths.values():
        if not path.is_file():
            raise CoreError("words_broken", f"'{folder}' has no {path.name}.", remedy)
    vectors = _array(paths["data.npy"], "words_broken", remedy)
    words, index = _plain(paths["words.pkl"], remedy), _plain(paths["idx.pkl"], remedy)
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
        raise CoreError("words_broken", f"'{paths['words.pkl'].name}' is no list of words.", remedy)
    good = isinstance(index, dict) and all(isinstance(k, str) and type(v) is int for k, v in index.items())
    if vectors.ndim != 2 or not good or not all(0 <= index.get(w, -1) < len(vectors) for w in [*words, "unk"]):
        message = f"{', '.join(p.name for p in paths.values())} do not belong together."
        raise CoreError("words_broken", message, remedy)
    return WordVectors(vectors.astype(np.float32), {w: index[w] for w in words})


def _plain(path: Path, remedy: str) -> Any:
    """The data of a pickle in which nothing is run."""

    def nothing(*_: Any) -> Any:
        raise BrokenPickle("it holds tensors")

    try:
        with path.open("rb") as file:
            return read_pickle(file, lambda *_: NotImplemented, nothing)
    except UnsafePickle as error:
        message = f"'{path.name}' is not only words: whoever opens it is made to run or load '{error.name}'."
        raise CoreError("words_unsafe", message, "Delete it, and get the file from its makers' page.") from error
    except (OSError, BrokenPickle) as error:
        raise CoreError("words_broken", f"'{path.name}' cannot be read: {error}.", remedy) from error
