"""`python -m core speed`: what the model costs: time by stage, batches, words, memory, and the start.

Each model is measured in a process of its own, so that its start and its peak memory are its own. The full-size model
has random weights: they take as long as trained ones. Figures are medians; bounds are those of the project's goals on
two CPU cores, and none is known for a GPU but the goals named beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.machine import machine, peak_memory

PROMPT, SECONDS, SEED = "a person walks forward, turns around and sits down", 4.0, 7
FULL_SECONDS = 6.0  # 120 frames: what the official code was timed with
RUNS = 7
TAKES = 32
BOUNDS: dict[str, dict[str, float]] = {
    "full": {
        "motion, 1": 150.0,
        "motion, 32 takes, each": 60.0,
        "motion, 32 prompts, each": 60.0,
        "40 words, fast": 600.0,
        "peak memory, motions": 1400.0,
        "peak memory, captions": 1400.0,
    },
    "compact": {"motion, 1": 60.0, "caption": 80.0, "describe, each": 60.0, "ready": 3500.0},
}
"""Model -> figure -> what it must stay below, ms or MB, on a CPU."""
GPU_BOUNDS = {"full": {"motion, 1": 20.0, "motion, 256 takes, each": 1.0}}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m core speed", description="What the model costs.")
    parser.add_argument("--model", nargs="*", default=["compact", "full"], help="compact, full (random) or folders")
    parser.add_argument("--device", nargs="*", help="cpu, cuda (default: the CPU, and the GPU where there is one)")
    parser.add_argument("--precision", default="float32", help="float32 (default, exact) or bfloat16")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--captions", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one is not None:
        one = captions_memory if args.captions else measure
        print(json.dumps(one(args.one, args.device[0], args.precision, args.started)))
        return 0
    import torch

    devices = args.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mgpt3-speed-") as folder:
        for name in args.model:
            path = Path(name)
            if name == "full":
                path = random_full_model(Path(folder) / "full")
            elif name == "compact":
                from core.model.checkpoint import BUNDLED

                path = BUNDLED
            for device in devices:
                rows += report(name, device, args.precision, path)
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured on one")
    where = machine()
    print("machine: " + ", ".join(f"{k} {v}" for k, v in where.items()))
    if args.json:
        figures = {"measure": "speed", "machine": where, "precision": args.precision, "rows": rows}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(not all(row["holds"] for row in rows))


def report(name: str, device: str, precision: str, folder: Path) -> list[dict[str, Any]]:
    """Measure one model in a process of its own and print its figures."""
    command = [sys.executable, "-m", "core", "speed", "--one", str(folder), "--device", device]
    command += ["--precision", precision]
    figures: dict[str, Any] = {}
    for extra in ([], ["--captions"]):
        started = ["--started", str(time.time())]
        done = subprocess.run([*command, *extra, *started], stdout=subprocess.PIPE, text=True, check=True)
        figures |= json.loads(done.stdout.splitlines()[-1])
    bounds = (GPU_BOUNDS if device.startswith("cuda") else BOUNDS).get(name, {})
    print(f"\n{name} on {figures.pop('device')}, {precision}, {figures.pop('parameters') / 1e6:.1f} M parameters")
    rows = []
    for figure, (value, unit) in figures.items():
        if value is None:
            print(f"  {figure:<34}         ? {unit:<9}this system does not tell")
            continue
        bound = bounds.get(figure)
        holds = bound is None or value < bound
        said = "" if bound is None else f"bound {bound:g} {unit}: {'holds' if holds else 'BROKEN'}"
        print(f"  {figure:<34}{value:10.1f} {unit:<9}{said}".rstrip())
        rows.append({"model": name, "device": device, "figure": figure, "value": value, "unit": unit,
                     "bound": bound, "holds": holds})  # fmt: skip
    return rows


def measure(folder: Path, device: str, precision: str, started: float) -> dict[str, Any]:
    """All figures of one model, in this process: name -> (value, unit), besides device and parameters.

    Args:
        started: time.time() when this process was started.
    """
    imported = time.time()
    import numpy as np
    import torch

    from core.model.checkpoint import device_name, load_model
    from core.tasks.caption import encode_motion
    from core.tasks.generate import generate

    after_import = time.time()
    model = load_model(folder, device, precision)
    loaded = time.time()
    full = not model.cfg.reads_duration
    seconds = FULL_SECONDS if full else SECONDS
    first = generate(model, PROMPT, seconds, SEED)[0]
    ready = time.time()
    out: dict[str, Any] = {"device": device_name(model.device), "parameters": model.info["parameters"]}
    out["import"] = ((after_import - imported) * 1000, "ms")
    out["load"] = ((loaded - after_import) * 1000, "ms")
    out["ready"] = ((ready - started) * 1000, "ms")  # process start to first motion
    wait = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None

    def median(work: Callable[[], object], runs: int = RUNS) -> float:
        work()
        took = []
        for _ in range(runs):
            at = time.perf_counter()
            work()
            wait()
            took.append(time.perf_counter() - at)
        return statistics.median(took) * 1000

    if (
        model.device.type == "cpu"
    ):  # what the other figures are to be read against: a shared machine is not always itself
        a, w = torch.randn(1024, 1024), torch.randn(1024, 1024)
        out["float32 product of this moment"] = (2 * 1024**3 / median(lambda: a @ w, 15) / 1e6, "GFLOP/s")
    ids = model.prompt(f"{PROMPT} \n <start_of_motion>" + "<motion_latent_holder_output>" * 4)
    lengths = torch.full((1,), round(seconds * 20), device=model.device)
    with torch.inference_mode(), model.computing():
        condition = model.condition(ids)
        code = model.sample_codes(condition, [SEED])
        out["reading the prompt"] = (median(lambda: model.condition(ids)), "ms")
        out[f"sampling, {model.cfg.diffusion.steps} steps"] = (
            median(lambda: model.sample_codes(condition, [SEED])), "ms")  # fmt: skip
        out["decoding"] = (median(lambda: model.vae.decode_joints(model.vae.from_code(code), lengths)), "ms")
    out["motion, 1"] = (median(lambda: generate(model, PROMPT, seconds, SEED)), "ms")
    out["motion, 1, fast"] = (median(lambda: generate(model, PROMPT, seconds, SEED, fast=True)), "ms")
    out["peak memory, motions"] = (peak_memory(), "MB")
    seeds = iter(range(1000))
    out["40 words"] = (median(lambda: words(model, first, seed=next(seeds))), "ms")  # each time another motion's code
    out["40 words, fast"] = (median(lambda: words(model, first, fast=True, seed=next(seeds))), "ms")
    out["words a second"] = (40_000 / out["40 words"][0], "1/s")
    out["40 words, no draft"] = (median(lambda: words(model, first, exact=True), 3), "ms")
    exact = [words(model, first, exact=True, seed=k) for k in range(5)]
    for name, fast in (("words as without draft", False), ("words as without draft, fast", True)):
        same = [a == b for k, one in enumerate(exact) for a, b in
                zip(one, words(model, first, fast=fast, seed=k), strict=True)]  # fmt: skip
        out[name] = (100 * float(np.mean(same)), "%")
    if not full:
        from core.tasks.caption import caption

        out["caption"] = (median(lambda: caption(model, first)), "ms")
        out["describe, each"] = (describing(model), "ms")
    out["peak memory, both"] = (peak_memory(), "MB")  # motions and captions in one process
    with torch.inference_mode(), model.computing():
        out["reading a motion"] = (median(lambda: encode_motion(model, first)), "ms")
    sizes = [8, 32] if model.device.type == "cpu" else [8, 32, 256]
    for n in sizes:
        runs = 3 if full else RUNS

        def prompts_of(n: int = n) -> None:
            with torch.inference_mode(), model.computing():
                codes = model.sample_codes(model.condition(ids.repeat(n, 1)), list(range(n)))
                model.vae.decode_joints(model.vae.from_code(codes), lengths.repeat(n)).cpu()

        if n <= 64:
            takes = median(lambda n=n: generate(model, PROMPT, seconds, SEED, variations=n), runs)  # type: ignore[misc]
            out[f"motion, {n} takes, each"] = (takes / n, "ms")
        out[f"motion, {n} prompts, each"] = (median(prompts_of, runs) / n, "ms")
    out["peak memory, batches"] = (peak_memory(), "MB")
    return out


def describing(model: Any) -> float:
    """Milliseconds to describe a motion of five seconds among as many as one request may have: facts, tags, vector."""
    from core.evaluate.captions_speed import REQUEST, SECONDS, throughput
    from core.tasks.generate import generate

    motions = [m for seed in range(0, REQUEST, TAKES) for m in generate(model, PROMPT, SECONDS, seed, variations=TAKES)]
    found = throughput(model, motions)
    return 1000 * found["seconds"] / found["motions"]


def captions_memory(folder: Path, device: str, precision: str, started: float) -> dict[str, Any]:
    """The peak memory of a process that only writes captions."""
    import numpy as np

    from core.model.checkpoint import load_model
    from core.restpose import rest_joints

    model = load_model(folder, device, precision)
    at = np.linspace(0, 4, round(FULL_SECONDS * 20), dtype=np.float32)
    joints = np.repeat(rest_joints()[None], len(at), 0)
    joints[..., 2] += at[:, None]
    words(model, joints)
    return {"peak memory, captions": (peak_memory(), "MB")}


def words(model: Any, joints: Any, exact: bool = False, fast: bool = False, seed: int = SEED) -> list[int]:
    """A caption of exactly 40 tokens, greedy, from joints; exact: without the draft that guesses ahead; fast:
    the draft alone.

    The motion is read, then described as if its code were an ordinary one: what a random model reads in a motion is so
    far out that its next two words hardly differ, which no trained model is like.
    """
    import torch

    from core import prompts
    from core.tasks.caption import encode_motion

    with torch.inference_mode(), model.computing():
        eos, model.tokenizer.eos = model.tokenizer.eos, -1  # never ends early
        try:
            codes = encode_motion(model, joints)[:, None]
            if not model.cfg.reads_duration:
                codes = torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed)).to(codes.device)
            return model.write(
                model.prompt(prompts.motion_to_text()), codes, draft=False if exact else None, unchecked=fast
            )[0]
        finally:
            model.tokenizer.eos = eos


def random_full_model(folder: Path) -> Path:
    """Write a model of the official sizes with random weights, and a vocabulary of the official size."""
    import torch
    from tokenizers import ByteLevelBPETokenizer

    from core.model.checkpoint import empty_model, save_model
    from core.model.config import ModelConfig
    from core.prompts import EOS, Tokenizer

    folder.mkdir(parents=True)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([PROMPT, "Generate text: "] * 4, vocab_size=1000, min_frequency=1)
    raw = json.loads(bpe._tokenizer.to_str())
    vocab = raw["model"]["vocab"]
    vocab |= {f"\u0001{i}": i for i in range(len(vocab), 50256)} | {EOS: 50256}
    (folder / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    cfg = ModelConfig(name="random weights of the official sizes", licence="none", data="none")
    model = empty_model(cfg, Tokenizer(folder / "tokenizer.json")).to_empty(device="cpu")
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1:
                tensor.fill_(float(name.endswith("weight") or name == "vae.std"))
            else:
                scale = 0.05 if name.endswith((".pe", "embedding.weight", "wte.weight", "wpe.weight")) else None
                tensor.uniform_(-1, 1, generator=draw).mul_(scale or (3 / tensor.shape[-1]) ** 0.5)
    save_model(model, folder)
    return folder
