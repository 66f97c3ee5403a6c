"""`python -m core convert motiongpt3.ckpt --out DIR`: the official checkpoint -> a model folder.

Nothing in the checkpoint is run (core.official.pickles), every tensor's name and size is checked against the model,
and the weights pass from file to file in small pieces.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import CoreError
from core.model.config import ModelConfig
from core.model.names import TIED
from core.official import layout
from core.official.archive import AGAIN, Archive, Stored, open_archive
from core.official.sources import find_statistics, find_tokenizer
from core.official.writing import DTYPES, Entry, full_disk, write_safetensors
from core.reporting import report

PART = ".part"
"""What the folder of unfinished work is called beside the one that is wanted."""
OFFICIAL_NAME = "MotionGPT3 (official)"
LICENCE = (
    "Research use only. The weights learnt from HumanML3D, whose motion comes from AMASS and HumanAct12: their terms "
    "allow non-commercial research only (https://amass.is.tue.mpg.de/license.html). The makers' terms: "
    "https://huggingface.co/OpenMotionLab/motiongpt3. The tokenizer is GPT-2's (MIT)."
)
DATA = "HumanML3D: 14 616 clips of AMASS and HumanAct12 with 44 970 descriptions, 20 fps"

Progress = Callable[[float, str], None]


@dataclass
class Options:
    """How to convert.

    Args:
        tokenizer, stats: the only folder to look in; None for the usual places.
        config: JSON text with entries of the configuration that the file does not tell.
        dtype: name in core.official.writing.DTYPES.
        name: of the model; None for the official name or the file's.
        ignore_unknown: leave out tensors that nobody knows.
    """

    tokenizer: Path | None = None
    stats: Path | None = None
    config: str | None = None
    dtype: str = "float32"
    name: str | None = None
    ignore_unknown: bool = False


def main(argv: list[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core convert", description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path, help="motiongpt3.ckpt")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder to make")
    add_options(parser)
    args = parser.parse_args(argv)
    return report(args.json, lambda progress: convert(args.checkpoint, args.out, options_of(args), progress))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that convert and download share."""
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="where GPT-2's vocab.json and merges.txt are")
    parser.add_argument("--stats", type=Path, metavar="DIR", help="where mean.npy and std.npy are")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="how to store the weights")
    parser.add_argument("--config", metavar="JSON", help='what the file does not tell: \'{"backbone": {"heads": 2}}\'')
    parser.add_argument("--name", help="the model's name")
    parser.add_argument("--ignore-unknown", action="store_true", help="leave out tensors the model does not have")
    parser.add_argument("--json", action="store_true", help="speak JSON, one object a line")


def options_of(args: argparse.Namespace) -> Options:
    return Options(args.tokenizer, args.stats, args.config, args.dtype, args.name, args.ignore_unknown)


def convert(checkpoint: Path, out: Path, options: Options, progress: Progress, *, source: str = "") -> dict[str, Any]:
    """Make a model folder; the result as the commands report it (folder, name, licence, origin, bytes, ...).

    Args:
        source: where the checkpoint came from, as it goes on the words "converted from FILE".

    The work happens in OUT.part/model, which becomes `out` at the very end: whatever happens, there is no half model.
    Raises:
        CoreError: out_exists, out_unwritable, disk_full, and those of core.official.
    """
    check_out(out)
    progress(0.0, "Opening the checkpoint")
    with contextlib.closing(open_archive(checkpoint)) as archive:
        work = out.with_name(out.name + PART) / "model"
        try:
            with writable(out):
                shutil.rmtree(work, ignore_errors=True)  # of a conversion that was killed
                work.mkdir(parents=True)
            result = _convert(archive, work, options, progress, source)
            with writable(out):
                if out.exists():
                    out.rmdir()  # empty, as checked
                work.rename(out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            with contextlib.suppress(OSError):
                work.parent.rmdir()  # stays where a download keeps its pieces in it
    return {"folder": str(out), **result}


def check_out(out: Path) -> None:
    """Raises CoreError("out_exists") where the folder holds something, or is no folder."""
    try:
        taken = next(out.iterdir(), None) is not None
    except FileNotFoundError:
        return
    except OSError:
        taken = True
    if taken:
        raise CoreError(
            "out_exists", f"'{out}' is there already and not empty.", "Choose another folder, or delete this one first."
        )


@contextlib.contextmanager
def writable(out: Path) -> Iterator[None]:
    """Raises CoreError("disk_full" or "out_unwritable") for what the system says against writing there."""
    try:
        with full_disk(out.parent, 0):
            yield
    except OSError as error:
        raise CoreError(
            "out_unwritable", f"'{out}' cannot be written: {error.strerror}.", "Choose a folder that is yours."
        ) from error


def _convert(archive: Archive, work: Path, options: Options, progress: Progress, source: str) -> dict[str, Any]:
    name = archive.path.name
    weights = layout.find_weights(archive)
    layout.diagnose(weights, name)
    cfg = layout.sizes(weights, name)
    if "attention mode" in weights.facts:
        cfg.backbone.shared = str(weights.facts["attention mode"])
    cfg = layout.override(cfg, _parse(options.config))
    tokenizer, tokenizer_from = find_tokenizer(archive.path, cfg.backbone.text_vocab, options.tokenizer)
    plan = layout.plan(weights, cfg, tokenizer, name, options.ignore_unknown)
    mean, std, stats_from = find_statistics(archive.path, cfg.vae.features, options.stats)

    copies = layout.tied(weights)
    for number, (copy, tensor) in enumerate(copies):
        progress(0.1 * number / len(copies), "Comparing the copies of the text embedding")
        _check_copy(archive, copy, tensor, weights.tensors[TIED])
    digest = _sha256(archive, lambda done: progress(0.1 + 0.2 * done, "Computing the checksum"))

    cfg.name = options.name or (OFFICIAL_NAME if plan.official_sizes else f"MotionGPT3 ({archive.path.stem})")
    cfg.licence, cfg.data = LICENCE, DATA
    cfg.origin = f"converted from {name}{source}, sha256 {digest[:12]}"
    entries = [
        Entry(ours, tensor.shape, options.dtype, lambda tensor=tensor: archive.blocks(tensor))  # type: ignore[misc]
        for ours, tensor in plan.kept.items()
    ]
    for ours, numbers in (("vae.mean", mean), ("vae.std", std)):
        entries.append(Entry(ours, numbers.shape, "float32", lambda n=numbers: iter([torch.from_numpy(n)])))  # type: ignore[misc]
    if "fake_latent" not in plan.kept:
        shape = (cfg.backbone.holders, cfg.backbone.width)
        entries.append(Entry("fake_latent", shape, options.dtype, lambda: iter([torch.zeros(shape).reshape(-1)])))
    metadata = {"name": cfg.name, "licence": cfg.licence, "data": cfg.data, "origin": cfg.origin}
    with full_disk(work, archive.path.stat().st_size):
        written = write_safetensors(
            work / "model.safetensors",
            entries,
            metadata,
            lambda done: progress(0.3 + 0.7 * done, "Writing the weights"),
        )
        cfg.save(work / "config.json")
        tokenizer.save(work / "tokenizer.json")
    size = sum(file.stat().st_size for file in work.iterdir())
    lines = _lines(archive, weights, cfg, plan, copies, written, options)
    lines += [f"Tokenizer: {tokenizer_from}", f"Statistics: {stats_from}", f"Licence: {cfg.licence}"]
    return {
        "name": cfg.name,
        "licence": cfg.licence,
        "origin": cfg.origin,
        "bytes": size,
        "parameters": plan.parameters,
        "lines": lines,
    }


def _parse(config: str | None) -> dict[str, Any]:
    if not config:
        return {}
    try:
        raw = json.loads(config)
    except ValueError as error:
        raise CoreError("config_unknown", f"--config is not JSON ({error}).", "Quote it for your shell.") from error
    if not isinstance(raw, dict):
        raise CoreError("config_unknown", "--config is not a JSON object.", 'Write e.g. {"backbone": {"heads": 2}}.')
    return raw


def _check_copy(archive: Archive, name: str, copy: Stored, original: Stored) -> None:
    """The text embedding is stored under four names; a file whose copies differ is none that one matrix can hold."""
    pairs = zip(archive.blocks(copy), archive.blocks(original), strict=False)
    if copy.shape != original.shape or not all(torch.equal(a, b.to(a.dtype)) for a, b in pairs):
        raise CoreError(
            "checkpoint_untied",
            f"In '{archive.path.name}' the text head ({name}) is another matrix than the text embedding; in MotionGPT3 "
            "they are one.",
            "It was changed after training, or is another variant. " + AGAIN,
        )


def _sha256(archive: Archive, progress: Callable[[float], None]) -> str:
    digest, size = hashlib.sha256(), archive.path.stat().st_size
    buffer = bytearray(4 * 1024 * 1024)
    archive.file.seek(0)
    done = 0
    while count := archive.file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(memoryview(buffer)[:count])
        done += count
        progress(done / size)
    return digest.hexdigest()


def _lines(
    archive: Archive,
    weights: layout.Weights,
    cfg: ModelConfig,
    plan: layout.Plan,
    copies: list[tuple[str, Stored]],
    written: int,
    options: Options,
) -> list[str]:
    """What was found, for people."""
    size = archive.path.stat().st_size
    facts = ", ".join(f"{what} {value}" for what, value in weights.facts.items() if what != "attention mode")
    nested = f", weights {weights.nested} levels deep" if weights.nested > 1 else ""
    dropped = ", ".join(f"{what} ({count})" for what, count in sorted(plan.dropped.items())) or "nothing"
    same = "the official sizes" if plan.official_sizes else "other sizes than the official model's"
    lines = [
        f"{archive.path.name}: {size / 1e6:.1f} MB, {archive.container}{nested}" + (f", {facts}" if facts else ""),
        f"Sizes: {same}: {layout.describe(cfg)}",
        f"Kept {len(plan.kept)} tensors, {plan.parameters:,} parameters; left out: {dropped}",
    ]
    if copies:
        lines.append(f"{len(copies)} copies of the text embedding were compared with it and are equal")
    if cfg.backbone.shared != "all":
        lines.append(f"Attention is shared in these layers only: {cfg.backbone.shared}")
    if "fake_latent" in plan.kept:
        lines.append(f"Guidance: can be used (scale {cfg.diffusion.guidance:g})")
    else:
        lines.append(
            "Guidance: cannot be used. The checkpoint was trained without it (no fake_latent; stages 2 and 3 can be "
            "trained so), the scale is set to 1: motion follows the words more loosely than the released model's."
        )
    lines.append(f"Wrote {written / 1e6:.1f} MB in {options.dtype}")
    return lines
