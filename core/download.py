"""`python -m core download --out DIR`: the official model, its tokenizer and its statistics, made ready to use.

Everything is fetched once and works without a network afterwards. What was begun lies in DIR.part and is gone on with.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.convert import LICENCE, PART, Options, Progress, add_options, check_out, convert, options_of, writable
from core.errors import CoreError
from core.official import sources
from core.official.fetch import HubFile, Remote, WebFile, fetch, repository_files
from core.reporting import report

MODEL_REPO = "OpenMotionLab/motiongpt3"
"""Named by the official README and by its authors in the issues of their repository (2025-10-17)."""
MODEL_FILE = "motiongpt3.ckpt"
"""The name the official code expects, and the one a user of that repository reports to have fetched from there."""
STATISTICS_URL = "https://raw.githubusercontent.com/OpenMotionLab/MotionGPT3/main/assets/meta"
STATISTICS_FILES = ("mean.npy", "std.npy")
FEATURES = 263
PARTS = ("all", "model", "tokenizer", "statistics")
GPT2_LICENCE = "MIT (OpenAI)"
STATISTICS_LICENCE = "Computed from HumanML3D (AMASS, HumanAct12): research use only"


@dataclass
class Places:
    """Where things are fetched from; the defaults are the official places."""

    repo: str = MODEL_REPO
    file: str = MODEL_FILE
    revision: str = "main"
    tokenizer_repo: str = sources.TOKENIZER_REPO
    statistics_url: str = STATISTICS_URL
    endpoint: str | None = None


def main(argv: list[str]) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core download", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to make (default, parts only: the cache)")
    parser.add_argument("--part", choices=PARTS, default="all", help="all (default): fetch and convert")
    parser.add_argument("--repo", default=MODEL_REPO, help=f"the model's repository (default: {MODEL_REPO})")
    parser.add_argument("--file", default=MODEL_FILE, help=f"the checkpoint in it (default: {MODEL_FILE})")
    parser.add_argument("--revision", default="main", help="its version (default: main)")
    parser.add_argument("--tokenizer-repo", default=sources.TOKENIZER_REPO, help="where GPT-2's tokenizer is")
    parser.add_argument("--statistics-url", default=STATISTICS_URL, metavar="URL", help="where mean.npy, std.npy are")
    parser.add_argument("--endpoint", metavar="URL", help="another Hugging Face server (default: HF_ENDPOINT)")
    add_options(parser)
    args = parser.parse_args(argv)
    places = Places(args.repo, args.file, args.revision, args.tokenizer_repo, args.statistics_url, args.endpoint)

    def work(progress: Progress) -> dict[str, Any]:
        if args.part not in ("all", "model"):
            return download_part(args.part, args.out, places, progress)
        if args.out is None:
            raise CoreError("out_missing", "It is not said where the model should go.", "Name a folder with --out.")
        if args.part == "model":
            return download_part(args.part, args.out, places, progress)
        return download_all(args.out, places, options_of(args), progress)

    return report(args.json, work)


def download_all(out: Path, places: Places, options: Options, progress: Progress) -> dict[str, Any]:
    """Fetch what is not on this computer yet and make a model folder; the result as `convert` gives it.

    Raises:
        CoreError: those of convert, of core.official.fetch, out_exists.
    """
    check_out(out)
    fetched = out.with_name(out.name + PART) / "fetched"
    checkpoint = next((c for c in _cached(places) if c.is_file()), fetched / Path(places.file).name)
    source = f" of {places.repo}" + ("" if checkpoint.parent == fetched else " (from the Hugging Face cache)")
    if not checkpoint.is_file():
        progress(0.0, "Asking for the model")
        hub = HubFile(places.repo, places.file, places.revision, places.endpoint)
        remote = _fetch_checkpoint(hub, checkpoint, lambda done, message: progress(0.8 * done, message), 1)
        source += f" {remote.revision[:12]}" if remote.revision else ""
    if options.tokenizer is None and not _has_tokenizer(checkpoint):
        download_part("tokenizer", None, places, lambda _, message: progress(0.8, message))
    if options.stats is None and not _has_statistics(checkpoint):
        download_part("statistics", None, places, lambda _, message: progress(0.8, message))
    result = convert(checkpoint, out, options, lambda done, message: progress(0.8 + 0.2 * done, message), source=source)
    shutil.rmtree(fetched.parent, ignore_errors=True)  # the checkpoint too: what is needed of it is in the folder now
    return result


def download_part(part: str, out: Path | None, places: Places, progress: Progress) -> dict[str, Any]:
    """Fetch one part into a folder, by default one of this program's cache, where `convert` looks for it."""
    folder = out or sources.cache_folder() / {"tokenizer": "gpt2"}.get(part, part)
    if out is None and _sound(part, folder):
        return _result(part, folder, places, ["It was here already."])
    if out is None:
        shutil.rmtree(folder, ignore_errors=True)  # there, but not right
    check_out(folder)
    work = folder.with_name(folder.name + PART) / "fetched"
    if part == "model":
        hub = HubFile(places.repo, places.file, places.revision, places.endpoint)
        _fetch_checkpoint(hub, work / Path(places.file).name, progress, 0)
    else:
        files: list[HubFile | WebFile] = (
            [HubFile(places.tokenizer_repo, name, endpoint=places.endpoint) for name in sources.TOKENIZER_FILES]
            if part == "tokenizer"
            else [WebFile(f"{places.statistics_url.rstrip('/')}/{name}") for name in STATISTICS_FILES]
        )
        with _begun(work, folder):
            for number, source in enumerate(files):
                progress(number / len(files), f"Fetching {source.name}")
                fetch(source, work / source.name)
        try:
            _check(part, work)
        except CoreError:
            shutil.rmtree(work.parent)
            raise
    with writable(folder):
        if folder.exists():
            folder.rmdir()
        work.rename(folder)
        shutil.rmtree(work.parent)
    return _result(part, folder, places, [])


def _fetch_checkpoint(hub: HubFile, target: Path, progress: Progress, spare: int) -> Remote:
    with _begun(target.parent, target):

        def told(done: int, total: int) -> None:
            progress(done / total, f"Downloading {target.name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        try:
            return fetch(hub, target, told, spare)
        except CoreError as error:
            names = ", ".join(list(repository_files(hub))[:8]) if error.code == "file_missing" else ""
            if not names:
                raise
            raise CoreError("file_missing", error.message, f"It has {names}: name one with --file.") from error


@contextlib.contextmanager
def _begun(work: Path, out: Path) -> Iterator[None]:
    """Makes the folder of what is fetched, and takes it away again where nothing came: what came stays, to go on."""
    try:
        with writable(out):
            work.mkdir(parents=True, exist_ok=True)
            yield
    finally:
        with contextlib.suppress(OSError):
            work.rmdir()
            work.parent.rmdir()


def _cached(places: Places) -> list[Path]:
    """The checkpoint in the user's Hugging Face cache, if another program fetched it."""
    if places.revision != "main":
        return []  # the cache may have any version
    return [folder / places.file for folder in sources.cached_snapshots((places.repo,))]


def _has_tokenizer(checkpoint: Path) -> bool:
    try:
        sources.find_tokenizer(checkpoint, sources.GPT2_VOCAB)
    except CoreError:
        return False
    return True


def _has_statistics(checkpoint: Path) -> bool:
    try:
        sources.find_statistics(checkpoint, FEATURES)
    except CoreError:
        return False
    return True


def _check(part: str, folder: Path) -> None:
    """Raises CoreError where the files of a part are not what they should be."""
    if part == "tokenizer":
        sources.check_tokenizer(folder, None)
    else:
        mean, std = (folder / name for name in STATISTICS_FILES)
        sources.check_statistics(mean, std, FEATURES)


def _sound(part: str, folder: Path) -> bool:
    try:
        _check(part, folder)
    except CoreError:
        return False
    return True


def _result(part: str, folder: Path, places: Places, lines: list[str]) -> dict[str, Any]:
    name, licence, origin = {
        "model": (Path(places.file).name, LICENCE, f"{places.repo} on Hugging Face"),
        "tokenizer": ("GPT-2 tokenizer", GPT2_LICENCE, f"{places.tokenizer_repo} on Hugging Face"),
        "statistics": ("HumanML3D statistics", STATISTICS_LICENCE, places.statistics_url),
    }[part]
    size = sum(file.stat().st_size for file in folder.iterdir())
    then = ["Next: python -m core convert " + str(folder / name) + " --out MODEL"] if part == "model" else []
    return {
        "folder": str(folder),
        "name": name,
        "licence": licence,
        "origin": origin,
        "bytes": size,
        "parameters": 0,
        "lines": [f"{name}: {folder} ({size / 1e6:.1f} MB), {licence}", *lines, *then],
    }
