"""`blender --command mgpt3 models …`: the models on this computer without a window."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import bpy

from . import modelwork, preferences, upkeep
from .modelfolder import Model
from .operators.models import accept_licence, remove_model, use_model
from .operators.running import print_progress


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add `models` and what it can do to the parser's commands."""
    models = commands.add_parser("models", help="list, add, download, use and remove models")
    models.add_argument("--json", action="store_true", help="print the list as JSON")
    what = models.add_subparsers(dest="what", metavar="list | add | download | use | accept | remove")
    what.add_parser("list", help="the models there are; * marks the one in use")
    add = what.add_parser("add", help="convert an official checkpoint, or take in a model's folder where it is")
    add.add_argument("path", metavar="FILE|FOLDER", type=Path)
    add.add_argument("--fetch", action="store_true", help="download what a checkpoint lacks (under 2 MB)")
    what.add_parser("download", help="fetch the official model (about 1.2 GB; needs a Hugging Face account)")
    use = what.add_parser("use", help="make the motion with this model from now on")
    use.add_argument("name", metavar="NAME")
    accept = what.add_parser("accept", help="show a model's licence and accept it")
    accept.add_argument("name", metavar="NAME", nargs="?", help="default: the one in use")
    remove = what.add_parser("remove", help="delete a converted or downloaded model, or forget one used where it is")
    remove.add_argument("name", metavar="NAME")


def main(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Raises UserError."""
    registry, online = preferences.registry(), bool(bpy.app.online_access)
    if options.what == "add":
        path = modelwork.meant(options.path)
        if path.is_dir():
            print(modelwork.add(registry, path))
        else:
            core = preferences.core()
            work = modelwork.convert_work(core, registry, path, fetch=options.fetch, online=online)
            print(upkeep.run("Conversion", _told(work), upkeep.MODELS))
    elif options.what == "download":
        work = modelwork.download_work(preferences.core(), registry, online)
        print(upkeep.run("Download", _told(work), upkeep.MODELS))
    elif options.what == "use":
        model = registry.find(options.name)
        print(use_model(model))
        if preferences.licence_needed(model):
            print(f"Licence: {model.licence}\nTo accept it: blender --command mgpt3 models accept")
    elif options.what == "accept":
        model = registry.find(options.name) if options.name else preferences.model_in_use()
        print(f"Licence: {model.licence or 'none is stated'}")
        print(accept_licence(model))
    elif options.what == "remove":
        print(remove_model(registry.find(options.name)))
    else:
        _list(registry.models(), preferences.model_in_use(), options.json)
    return 0


def _told(work: upkeep.Work) -> upkeep.Work:
    """The work with its progress on stderr."""

    def told(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        return work(print_progress, cancelled)

    return told


def _list(models: list[Model], used: Model, as_json: bool) -> None:
    if as_json:
        keys = ("name", "bytes", "licence", "use", "data", "origin", "own", "bundled", "problem")
        rows = [
            {**{key: getattr(m, key) for key in keys}, "folder": str(m.folder), "used": m.folder == used.folder}
            for m in models
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    for model in models:
        mark = "*" if model.folder == used.folder else " "
        facts = [model.size, model.licence or "no licence stated", model.use, model.origin or str(model.folder)]
        print(f"{mark} {model.name}: {', '.join([model.problem] if model.problem else filter(None, facts))}")
