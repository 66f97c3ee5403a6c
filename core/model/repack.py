"""`python -m core weights FOLDER --to int8 --out FOLDER2`: the same model, its weights stored in another form."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from core.errors import CoreError
from core.model.checkpoint import FILES, load_model, model_folder, save_model
from core.model.motiongpt3 import MotionGPT3

FORMS = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8, "int6": torch.int8}


def main(argv: list[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core weights", description=__doc__.split(": ", 1)[1])
    parser.add_argument("model", metavar="FOLDER", help="a model's folder, or the name of a bundled model")
    parser.add_argument(
        "--to",
        choices=FORMS,
        required=True,
        help="int8: matrices in 8 bits; int6: those of the backbone and the diffusion head in 6",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER2", help="the folder to make")
    args = parser.parse_args(argv)
    before, after = repack(Path(args.model), args.out, args.to)
    print(f"{args.out}: {after / 1e6:.1f} MB in {args.to}, before {before / 1e6:.1f} MB")
    return 0


def repack(model: Path, out: Path, form: str) -> tuple[int, int]:
    """Store a model's weights anew, with its model card beside them; the bytes of the weights before and after.

    Args:
        model: its folder, or the name of a bundled one.
        out: a folder that does not exist yet, or is empty.
        form: name in FORMS.
    Raises:
        CoreError: out_exists, out_unwritable, and those of load_model.
    """
    source = model_folder(model)
    loaded = load_model(model, "cpu")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CoreError("out_exists", f"'{out}' is not an empty folder.", "Choose another folder for --out.")
    try:
        store(loaded, out, form)
        if (source / "README.md").is_file():
            shutil.copyfile(source / "README.md", out / "README.md")
    except OSError as error:
        raise CoreError(
            "out_unwritable",
            f"'{out}' cannot be written ({error.strerror or error}).",
            "Choose another folder, or free some space.",
        ) from error
    before, after = ((folder / FILES[1]).stat().st_size for folder in (source, out))
    return before, after


def store(model: MotionGPT3, folder: Path, form: str) -> None:
    """Write a model folder with its weights in a form of FORMS."""
    save_model(model, folder, FORMS[form], language_in_6 if form == "int6" else 8)


def language_in_6(name: str) -> int:
    """Bits of a matrix in the form int6. What becomes metres or words at once keeps 8: the VAE, the embeddings."""
    return 6 if name.startswith(("backbone.h.", "head.")) else 8
