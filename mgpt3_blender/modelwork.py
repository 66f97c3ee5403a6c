"""Getting a model: convert a checkpoint, download the official one, take in a folder. Knows nothing of Blender."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from . import command
from .errors import UserError
from .hub import TOKEN_PAGE
from .modelfolder import FILES, PART, Model
from .models import Registry
from .upkeep import Work

DOWNLOAD = "official"  # the folder of the downloaded model: always the same, so that a download goes on

# The core speaks to people at a command line; in Blender the same errors have other remedies.
_REMEDIES = {
    "tokenizer_missing": "Let it be downloaded (1.5 MB, once), or put vocab.json and merges.txt beside the checkpoint.",
    "statistics_missing": "Let them be downloaded (3 KB, once), or put mean.npy and std.npy beside the checkpoint.",
    "login_needed": f"Accept the terms on the model's page, make a token with read access at {TOKEN_PAGE} and sign in.",
    "token_refused": f"Make a new token with read access at {TOKEN_PAGE} and sign in.",
    "no_network": "Check the network and the proxy. Download goes on where it stopped.",
    "hub_busy": "Wait a little. Download goes on where it stopped.",
    "download_failed": "Try again. Download goes on where it stopped.",
    "checksum_wrong": "Download again. If it happens again, a proxy changes the file.",
}


def meant(path: Path) -> Path:
    """What a user means by a path: a model's folder, by itself or by one of its files, or a checkpoint, by itself or by
    the folder in which it is the only one."""
    if path.is_dir():
        checkpoints = [] if (path / "config.json").exists() else sorted(path.glob("*.ckpt"))
        return checkpoints[0] if len(checkpoints) == 1 else path
    checkpoint = path.suffix == ".safetensors" and not (path.parent / "config.json").is_file()
    return path.parent if path.name in FILES and not checkpoint else path


def add(registry: Registry, folder: Path) -> str:
    """Take in a model's folder where it is; the line that says so. Raises UserError."""
    return _added(registry.add(folder))


def convert_work(
    core: command.Core, registry: Registry, checkpoint: Path, *, fetch: bool = False, online: bool = False
) -> Work:
    """The work of converting a checkpoint into a model of the add-on's own.

    Args:
        fetch: download first what a checkpoint lacks, where it is not on this computer: the tokenizer, the statistics.
        online: whether Blender may use the network.

    Raises UserError: "file_missing" where there is no such file, "offline".
    """
    if not checkpoint.is_file():
        raise UserError(
            "file_missing", f"There is no file {checkpoint}.", "Choose the checkpoint, or a model's folder."
        )
    if fetch:
        _need_network(online)

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        progress(0.0, "Starting")
        for part in ("tokenizer", "statistics") if fetch else ():
            _run(core, ["download", "--part", part], lambda _, message: progress(0.0, message), cancelled, True)
        folder = registry.free_folder(checkpoint.stem)
        registry.home.mkdir(parents=True, exist_ok=True)
        try:
            _run(core, ["convert", str(checkpoint.absolute()), "--out", str(folder)], progress, cancelled)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # it may have been done just before it was stopped
            raise
        finally:
            shutil.rmtree(folder.with_name(folder.name + PART), ignore_errors=True)  # a killed one cannot tidy up
        return _added(_sound(registry, folder))

    return work


def download_work(core: command.Core, registry: Registry, online: bool) -> Work:
    """The work of fetching the official model.

    Raises UserError: "offline" where Blender may not use the network, "model_present" where it is there already.
    """
    folder = registry.home / DOWNLOAD
    if folder.exists():
        raise UserError(
            "model_present",
            f"{registry.at(folder).name} is here already.",
            "Remove it first where you want to fetch it anew.",
        )
    _need_network(online)

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        registry.home.mkdir(parents=True, exist_ok=True)
        progress(0.0, "Starting")
        try:
            _run(core, ["download", "--out", str(folder)], progress, cancelled, True)
        except UserError as error:
            if error.code == "cancelled":
                error.remedy = "What was fetched is kept: Download goes on from there."
            raise
        return _added(_sound(registry, folder))

    return work


def _need_network(online: bool) -> None:
    if not online:
        raise UserError(
            "offline",
            "Downloading needs the network, and Blender is not allowed to use it.",
            'Switch "Allow Online Access" on in Preferences > System, or add the model from a file.',
        )


def _run(
    core: command.Core,
    arguments: list[str],
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
    online: bool = False,
) -> dict:
    try:
        return command.run(core, arguments, online=online, progress=progress, cancelled=cancelled)
    except UserError as error:
        error.remedy = _REMEDIES.get(error.code, error.remedy)
        raise


def _sound(registry: Registry, folder: Path) -> Model:
    model = registry.at(folder)
    if model.problem:
        raise UserError("model_broken", f"The new model cannot be used. {model.problem}.", "Remove it and try again.")
    return model


def _added(model: Model) -> str:
    return f"{model.name} is in the list ({model.size}). Choose it to make motion with it."
