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


def make_tiny_model(folder: Path, python: Path) -> Path:
    """Write a model folder. `python` is one that has torch."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    subprocess.run([str(python), "-c", CODE, str(folder)], env=env, check=True, timeout=120)
    return folder
