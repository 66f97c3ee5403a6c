"""The models on this computer: which there are, where from, under which licence, and which one is in use.

The bundled ones come first, the default before the others. Those that were converted or downloaded lie in the add-on's
own folder (`home`), one folder each; others are used where they are and only remembered. What is remembered (other
folders, the one in use, the licences that were accepted) is one small file in `home`: the window, the command line and
every Blender on this computer read the same, whether or not Blender's preferences are saved. Knows nothing of Blender.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import UserError
from .modelfolder import DEFAULT, FILES, PART, Model, bundled_folders, licence_key, read_json, read_model

REGISTRY = "models.json"


@dataclass
class Registry:
    """The models a user has.

    Args:
        home: the add-on's folder for models; need not exist yet.
        weights: the folder of the models that ship with it.
    """

    home: Path
    weights: Path

    @property
    def default(self) -> Path:
        """The folder of the model that is used where none is chosen."""
        return self.weights / DEFAULT

    def models(self) -> list[Model]:
        """All of them, the bundled ones first, then the add-on's own, then those elsewhere; broken ones too."""
        memory = self._read()
        found = [
            replace(read_model(folder), bundled=True, origin="comes with the add-on")
            for folder in bundled_folders(self.weights)
        ]
        with contextlib.suppress(OSError):
            found += [
                read_model(folder, own=True)
                for folder in sorted(self.home.iterdir())
                if not folder.name.startswith(".") and folder.is_dir()
            ]
        found += [read_model(folder) for folder in memory.outside]
        if memory.chosen is not None and all(model.folder != memory.chosen for model in found):
            found.append(read_model(memory.chosen))  # somebody moved or deleted it: to be seen, and to be removed
        names: set[str] = set()
        for index, model in enumerate(found):
            if model.name.casefold() in names:
                found[index] = replace(model, name=_another(model, names))
            names.add(found[index].name.casefold())
        return found

    def in_use(self) -> Model:
        """The model that makes the motion: the chosen one, also where its folder is gone, else the bundled default."""
        chosen = self._read().chosen
        return self.at(chosen) if chosen is not None else self.models()[0]

    def at(self, folder: Path) -> Model:
        """The model in a folder, whether it is in the list or not, or the bundled one of that name."""
        folder, models = self._bundled(str(folder)) or folder.absolute(), self.models()
        return next((model for model in models if model.folder == folder), None) or read_model(folder)

    def find(self, name: str) -> Model:
        """The model of a name (in any case), a folder, or what a bundled one is called at the core's command line.

        Raises UserError("model_unknown").
        """
        models = self.models()
        folders = (Path(name).absolute(), self._bundled(name)) if name else ()
        for model in models:
            if name.casefold() == model.name.casefold() or model.folder in folders:
                return model
        names = ", ".join(f'"{model.name}"' for model in models)
        raise UserError("model_unknown", f'There is no model "{name}".', f"Models there are: {names}.")

    def add(self, folder: Path) -> Model:
        """Remember a model's folder and use it where it is: it can be large, or shared by several people.

        Raises UserError("model_broken") where it holds no model, "folder_unwritable".
        """
        folder = folder.absolute()
        known = next((model for model in self.models() if model.folder == folder), None)
        model = known or read_model(folder)
        if model.problem:
            raise UserError(
                "model_broken",
                f"The folder {folder} holds no model that works: {_clause(model.problem)}.",
                f"Choose a folder with {', '.join(FILES)}, or the official motiongpt3.ckpt to convert it.",
            )
        if known is None:
            memory = self._read()
            memory.outside.append(folder)
            self._write(memory)
        return self.find(str(folder))

    def use(self, model: Model) -> None:
        """Make the motion with this model from now on. Raises UserError("model_broken") where it cannot be used."""
        if model.problem:
            raise UserError(
                "model_broken",
                f"{model.name} cannot be used: {_clause(model.problem)}.",
                "Choose another model, or add this one again.",
            )
        memory = self._read()
        memory.chosen = None if model.folder == self.default else model.folder
        self._write(memory)

    def remove(self, model: Model) -> str:
        """Delete a model of the add-on's own, or forget one that lies elsewhere; the line that says which.

        Raises UserError: "model_bundled", "folder_unwritable".
        """
        if model.bundled:
            raise UserError("model_bundled", f"{model.name} comes with the add-on.", "It goes with the add-on only.")
        memory = self._read()
        if memory.chosen == model.folder:
            memory.chosen = None
        memory.outside = [folder for folder in memory.outside if folder != model.folder]
        self._write(memory)
        if not model.own:
            return f"{model.name} is no longer listed. Its files stay in {model.folder}."
        try:
            self._delete(model.folder)
        except OSError as error:
            raise UserError(
                "folder_unwritable",
                f"{model.name} could not be deleted completely ({error.strerror}).",
                "Close other Blenders that use it and remove it again.",
            ) from error
        return f"{model.name} is deleted; {model.size} are free again."

    def free_folder(self, name: str) -> Path:
        """A folder in `home` for a new model: named after `name`, and neither taken nor half filled."""
        stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name.lower()).strip("-")
        stem, number = stem or "model", 1
        folder = self.home / stem
        while folder.exists() or folder.with_name(folder.name + PART).exists():
            number += 1
            folder = self.home / f"{stem}-{number}"
        return folder

    def accepted(self, model: Model) -> bool:
        """Whether the model may be used: its licence was accepted, or there is nothing to accept."""
        return not model.asks or licence_key(model.licence) in self._read().licences

    def accept(self, model: Model) -> None:
        """Remember that the model's licence was read and accepted. Another text has to be accepted anew."""
        memory = self._read()
        if model.asks and licence_key(model.licence) not in memory.licences:
            memory.licences.append(licence_key(model.licence))
            self._write(memory)

    def take_over(self, folder: Path) -> None:
        """Take in, once, the folder that an earlier version kept in Blender's preferences, and use it as that did."""
        memory = self._read()
        if memory.taken_over == str(folder):
            return
        memory.taken_over = str(folder)
        memory.chosen = folder.absolute()
        if memory.chosen not in [model.folder for model in self.models()]:
            memory.outside.append(memory.chosen)
        self._write(memory)

    def _bundled(self, name: str) -> Path | None:
        """The folder of the bundled model that is called so, None where there is none."""
        if (Path(name) / "config.json").is_file():
            return None  # a folder that is there is that folder, as for the core
        return next((folder for folder in bundled_folders(self.weights) if folder.name == name), None)

    def _delete(self, folder: Path) -> None:
        """Delete a folder directly in `home` and nothing else: a link's target is another's."""
        if folder.is_symlink():
            folder.unlink()
        elif folder.resolve().parent == self.home.resolve():
            (folder / "config.json").unlink(missing_ok=True)  # first, so that half a model never looks whole
            shutil.rmtree(folder)

    def _read(self) -> _Memory:
        """What is remembered; of a file that cannot be read, nothing."""
        try:
            raw = read_json(self.home / REGISTRY)
        except (OSError, ValueError):
            return _Memory()
        outside, licences = raw.get("outside"), raw.get("licences")
        chosen, bundled = (value if isinstance(value, str) else "" for value in (raw.get("chosen"), raw.get("bundled")))
        return _Memory(
            self.weights / bundled if bundled else self.home / chosen if chosen else None,  # or an absolute path itself
            [Path(entry) for entry in outside if isinstance(entry, str)] if isinstance(outside, list) else [],
            [entry for entry in licences if isinstance(entry, str)] if isinstance(licences, list) else [],
            str(raw.get("taken_over") or ""),
        )

    def _write(self, memory: _Memory) -> None:
        """Replace the file whole: whoever reads at the same time sees the old one or the new one."""
        chosen, bundled = memory.chosen, ""
        # The add-on's folders may move, to the next version of Blender for one: in them only names are remembered.
        if chosen is not None and chosen.parent == self.weights:
            bundled, chosen = chosen.name, None
        elif chosen is not None and chosen.parent == self.home:
            chosen = Path(chosen.name)
        raw = {
            "chosen": str(chosen or ""),
            "bundled": bundled,
            "outside": [str(folder) for folder in memory.outside],
            "licences": memory.licences,
            "taken_over": memory.taken_over,
        }
        target = self.home / REGISTRY
        scratch = target.with_name(f".{REGISTRY}.{os.getpid()}")
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with scratch.open("w", encoding="utf-8") as file:
                json.dump(raw, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise UserError(
                "folder_unwritable",
                f"The folder {self.home} cannot be written to ({error.strerror}).",
                "Give yourself the right to write there, or free some space.",
            ) from error


@dataclass
class _Memory:
    """What `models.json` holds."""

    chosen: Path | None = None  # None: the bundled default
    outside: list[Path] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)  # keys of accepted ones
    taken_over: str = ""


def _another(model: Model, names: set[str]) -> str:
    """A name that is not taken: with the folder's, else with a number."""
    name, number = f"{model.name} ({model.folder.name})", 2
    while name.casefold() in names:
        name, number = f"{model.name} ({model.folder.name} {number})", number + 1
    return name


def _clause(problem: str) -> str:
    """A problem as the end of a sentence."""
    return problem[:1].lower() + problem[1:]
