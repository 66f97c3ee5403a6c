"""What the language model reads: special tokens, holders and the prompt of each task.

Sequences and wording after the official MotionGPT3; a holder is a placeholder token whose embedding (input) or hidden
state (output) stands for a quarter of a motion's latent.
"""

from __future__ import annotations

from pathlib import Path

import torch

from core.errors import CoreError

EOS = "<|endoftext|>"
SOM = "<start_of_motion>"
EOM = "<end_of_motion>"
MASKED = "<masked_motion>"
PAD_MOTION = "<pad_motion>"
HOLDER_OUT = "<motion_latent_holder_output>"
HOLDER_IN = "<motion_latent_holder>"
SPECIAL = (SOM, EOM, MASKED, PAD_MOTION, HOLDER_OUT, HOLDER_IN)
"""Added after the BPE vocabulary, in this order; SOM and EOM count as text, the rest as motion."""

HOLDERS = 4
MOTION_IN = SOM + HOLDER_IN * HOLDERS + EOM
MOTION_OUT = SOM + HOLDER_OUT * HOLDERS + EOM


PLAIN = {
    "t2m": "{caption}",
    "m2t": "Generate text: {motion}",
    "predict": "Predict motion: {motion}",
    "inbetween": "Complete the masked motion: {start}{masked}{end}",
}
"""The instruction of each task in the form that is used at inference; others, for training, are in core/train."""

_INPUTS = {"motion": MOTION_IN, "start": MOTION_IN, "end": MOTION_IN, "masked": MASKED * HOLDERS}


def fill(instruction: str, caption: str = "", seconds: float | None = None) -> str:
    """An instruction in words -> what the model reads, up to where its answer begins.

    Args:
        instruction: {caption} stands for the caption; {motion}, {start}, {end} each for an input motion; {masked} for
            the frames between start and end.
        seconds: how long the motion that is asked for is, where the model reads it.
    """
    for key, value in _INPUTS.items():
        instruction = instruction.replace("{" + key + "}", value)
    instruction = instruction.replace("{caption}", caption)  # last: what a person typed is never filled in
    duration = "" if seconds is None else f" | {seconds:.1f} seconds"
    return f"{instruction}{duration} \n"


def _for_motion(instruction: str, caption: str, seconds: float | None) -> str:
    return f"{fill(instruction, caption, seconds)} {MOTION_OUT}{EOS}"


def text_to_motion(caption: str, seconds: float | None = None) -> str:
    """The prompt in the form the model was trained on: the caption, and the duration where the model reads it."""
    return _for_motion(PLAIN["t2m"], caption, seconds)


def motion_to_text() -> str:
    return fill(PLAIN["m2t"])


def predict_motion(seconds: float | None = None, caption: str = "") -> str:
    """The prompt for going on from one input motion; with a caption, for what comes next."""
    return _for_motion(PLAIN["predict"] + (" {caption}" if caption else ""), caption, seconds)


def complete_motion(seconds: float | None = None, caption: str = "") -> str:
    """The prompt for the motion between two input motions, ends included."""
    return _for_motion(PLAIN["inbetween"] + (" {caption}" if caption else ""), caption, seconds)


class Tokenizer:
    """A byte-level BPE with the special tokens.

    It is the `tokenizers` library's own: transformers' wrapper around it gives the same ids and takes a second to
    import, which everyone who starts the add-on would wait for.

    Args:
        path: a tokenizer.json, or a folder with GPT-2's vocab.json and merges.txt.
    """

    def __init__(self, path: Path) -> None:
        import tokenizers

        if path.is_dir():
            self.bpe = tokenizers.ByteLevelBPETokenizer(str(path / "vocab.json"), str(path / "merges.txt"))._tokenizer
        else:
            self.bpe = tokenizers.Tokenizer.from_file(str(path))
        self.bpe.add_special_tokens([tokenizers.AddedToken(t, normalized=False, special=True) for t in (EOS, *SPECIAL)])
        ids = [int(self.bpe.token_to_id(token)) for token in (EOS, *SPECIAL)]
        self.eos, self.som, self.eom, self.masked, self.pad_motion, self.holder_out, self.holder_in = ids
        if ids[1:] != list(range(ids[1], ids[1] + 6)):
            raise CoreError(
                "model_broken", "The model's tokenizer has its special tokens in the wrong places.", "Fetch it again."
            )
        self.text_vocab = self.masked  # ids from here on are motion tokens

    def encode(self, text: str) -> list[int]:
        return list(self.bpe.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        plain = [i for i in ids if i < self.som and i != self.eos]
        return str(self.bpe.decode(plain, skip_special_tokens=False)).replace("\n", " ").strip()

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        self.bpe.save(str(path))

    def modality(self, ids: torch.Tensor) -> torch.Tensor:
        """0 for text tokens, 1 for motion tokens."""
        return (ids >= self.text_vocab).long()
