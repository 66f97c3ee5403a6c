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


def text_to_motion(caption: str, seconds: float | None = None) -> str:
    """The prompt in the form the model was trained on: the caption, and the duration where the model reads it."""
    duration = "" if seconds is None else f" | {seconds:.1f} seconds"
    return f"{caption}{duration} \n {MOTION_OUT}{EOS}"


def motion_to_text() -> str:
    return f"Generate text: {MOTION_IN} \n"


class Tokenizer:
    """A byte-level BPE with the special tokens; wraps `transformers`' fast tokenizer.

    Args:
        path: a tokenizer.json, or a folder with GPT-2's vocab.json and merges.txt.
    """

    def __init__(self, path: Path) -> None:
        # Imported here: it takes a second, and not everything that needs this module needs a tokenizer.
        from transformers import PreTrainedTokenizerFast

        if path.is_dir():
            from tokenizers import ByteLevelBPETokenizer

            bpe = ByteLevelBPETokenizer(str(path / "vocab.json"), str(path / "merges.txt"))
            self.bpe = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=EOS)
        else:
            self.bpe = PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token=EOS)
        self.bpe.add_special_tokens({"additional_special_tokens": list(SPECIAL)}, replace_extra_special_tokens=False)
        ids: list[int] = [self.bpe.convert_tokens_to_ids(token) for token in (EOS, *SPECIAL)]  # type: ignore[misc]
        self.eos, self.som, self.eom, self.masked, self.pad_motion, self.holder_out, self.holder_in = ids
        if ids[1:] != list(range(ids[1], ids[1] + 6)):
            raise CoreError(
                "model_broken", "The model's tokenizer has its special tokens in the wrong places.", "Fetch it again."
            )
        self.text_vocab = self.masked  # ids from here on are motion tokens

    def encode(self, text: str) -> list[int]:
        return self.bpe.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return str(self.bpe.decode([i for i in ids if i < self.som and i != self.eos])).replace("\n", " ").strip()

    def modality(self, ids: torch.Tensor) -> torch.Tensor:
        """0 for text tokens, 1 for motion tokens."""
        return (ids >= self.text_vocab).long()
