"""A small random model, made by the core's own Python: real files, no training. Its diffusion head is large, so that
a thousand steps take seconds and what a test does meanwhile is not too late.

`build.py test` names a folder of its run in MGPT3_TEST_RUN: what was made once in a run is copied after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
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
config = tiny()
config.diffusion.width, config.diffusion.depth = 512, 4
save_model(MotionGPT3(config, Tokenizer(folder / "tokenizer.json")), folder)
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
    _make(CODE, folder, python)
    return folder


def make_tiny_checkpoint(folder: Path, python: Path, tokenizer: str = "small") -> Path:
    """Write a checkpoint of the official form, with the tokenizer and the statistics beside it; the checkpoint.

    Args:
        tokenizer: "gpt2" for one of GPT-2's size and words.
    """
    _make(CHECKPOINT, folder, python, tokenizer)
    return folder / "motiongpt3.ckpt"


def _make(code: str, folder: Path, python: Path, *arguments: str) -> None:
    """Have `code` fill a folder, or copy what it filled another one with in this run of build.py."""
    run = os.environ.get("MGPT3_TEST_RUN")
    if not run:
        _run(code, folder, python, *arguments)
        return
    made = Path(run) / f"made-{hashlib.sha256(repr((code, arguments)).encode()).hexdigest()[:16]}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=run) as unique:  # two test processes may be making it
            _run(code, Path(unique) / "folder", python, *arguments)
            with contextlib.suppress(OSError):  # the other one was faster
                (Path(unique) / "folder").replace(made)
    shutil.copytree(made, folder, dirs_exist_ok=True)


def _run(code: str, folder: Path, python: Path, *arguments: str) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}
    subprocess.run([str(python), "-c", code, str(folder), *arguments], env=env, check=True, timeout=120)
