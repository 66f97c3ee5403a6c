"""A random model of a few thousand weights, made by the core's own Python: real files, real speed, no training."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CODE = """
import sys
from pathlib import Path
import torch
from tokenizers import ByteLevelBPETokenizer
from core.model.checkpoint import save_model
from core.model.config import tiny
from core.model.motiongpt3 import MotionGPT3
from core.prompts import EOS, Tokenizer
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
bpe = ByteLevelBPETokenizer()
bpe.train_from_iterator(["a person walks forward and waves"] * 4, vocab_size=300, special_tokens=[EOS])
bpe._tokenizer.save(str(folder / "tokenizer.json"))
torch.manual_seed(0)
save_model(MotionGPT3(tiny(), Tokenizer(folder / "tokenizer.json")), folder)
"""


CHECKPOINT = """
import sys
from pathlib import Path
import official_checkpoint as made
import torch
from core.prompts import Tokenizer
folder = Path(sys.argv[1])
made.make_gpt2_like(folder) if "gpt2" in sys.argv else made.make_tokenizer(folder)
made.make_statistics(folder)
state = made.official_state(made.small_config(), Tokenizer(folder))
torch.save(made.lightning(state), folder / "motiongpt3.ckpt")
"""


def make_tiny_model(folder: Path, python: Path) -> Path:
    """Write a model folder. `python` is one that has torch."""
    _run(CODE, folder, python)
    return folder


def make_tiny_checkpoint(folder: Path, python: Path, tokenizer: str = "small") -> Path:
    """Write a checkpoint of the official form, with the tokenizer and the statistics beside it; the checkpoint.

    Args:
        tokenizer: "gpt2" for one of GPT-2's size and words.
    """
    _run(CHECKPOINT, folder, python, tokenizer)
    return folder / "motiongpt3.ckpt"


def _run(code: str, folder: Path, python: Path, *arguments: str) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}
    subprocess.run([str(python), "-c", code, str(folder), *arguments], env=env, check=True, timeout=120)
