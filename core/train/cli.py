"""`python -m core train …`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core train", description="Train the compact model.")
    parser.add_argument("what", choices=["compact"], help="compact: autoencoder first, then backbone and head")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="joint bundles (NAME_joints.npz)")
    parser.add_argument("--runs", type=Path, default=Path(".runs/compact"), help="checkpoints and logs")
    parser.add_argument("--out", type=Path, default=None, help="model folder to write; default: RUNS/model")
    parser.add_argument("--autoencoder-steps", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=20000, help="steps of the backbone and head")
    parser.add_argument("--autoencoder-minutes", type=float, default=None, help="stop the autoencoder after this long")
    parser.add_argument("--minutes", type=float, default=None, help="stop the backbone after this long")
    parser.add_argument("--check-seeds", type=int, default=4, help="motions per prompt in each validation")
    parser.add_argument("--start", type=Path, default=None, help="model folder to start the backbone and head from")
    parser.add_argument("--polish-steps", type=int, default=1000, help="steps of the decoder on drawn latents")
    parser.add_argument("--polish-minutes", type=float, default=None, help="stop those after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto (a CUDA GPU where there is one), cpu, cuda or mps")
    parser.add_argument("--licence", default="CC BY-NC 4.0", help="licence of the weights, from the data's licences")
    parser.add_argument(
        "--composed", type=int, default=900, help="composed clips to try (legs of one, arms of another)"
    )
    args = parser.parse_args(argv)

    from core.train.compact import train_compact  # torch is imported only now: --help is quick

    train_compact(args)
    return 0
