"""Which Python runs the core, which model, on which device; and where the add-on keeps its own files.

Environment variables win over the preferences, for render farms, tests and development: MGPT3_PYTHON (an interpreter)
and MGPT3_MODEL (a model's folder, or the name of a bundled one). Naming a model there accepts nothing:
MGPT3_ACCEPT_LICENCE=1 says that its licence was read and is accepted by whoever set it; otherwise it is asked for like
that of any other model.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from . import pythons, runtime, setupbuild, upkeep
from .command import Core
from .errors import UserError
from .modelfolder import Model, short_licence
from .models import Registry
from .worker import Launch

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """The preferences as plain values; these defaults hold where the add-on is used without being installed."""

    source: str = "PRIVATE"
    existing: str = ""
    build: str = "AUTO"
    wheels: str = ""
    device: str = "AUTO"


def settings() -> Settings:
    """What is chosen in the preferences now."""
    entry = bpy.context.preferences.addons.get(__package__)
    chosen = entry.preferences if entry else None
    if chosen is None:
        return Settings()
    return Settings(
        source=chosen.source,
        existing=bpy.path.abspath(chosen.existing_python) if chosen.existing_python else "",
        build=chosen.build,
        wheels=bpy.path.abspath(chosen.wheels) if chosen.wheels else "",
        device=chosen.device,
    )


def user_folder() -> Path:
    """The add-on's folder for its own files: the extension's, or beside Blender's data where it is none."""
    try:
        return Path(bpy.utils.extension_path_user(__package__, create=True))
    except ValueError:
        return Path(bpy.utils.user_resource("DATAFILES", path="mgpt3_blender", create=True))


def environment_folder() -> Path:
    return user_folder() / "environment"


def worker_log() -> Path:
    return user_folder() / "logs" / "worker.log"


def setup_log() -> Path:
    return user_folder() / "logs" / "setup.log"


def models_log() -> Path:
    return user_folder() / "logs" / "models.log"


def requirements() -> Path:
    return runtime.core_parent(PACKAGE) / "core" / "requirements.txt"


def blender_pythons() -> list[Path]:
    """Blender's own Python: it makes environments where no other Python is installed."""
    return [Path(sys.executable)]


def python() -> Path:
    """The interpreter for the core; nothing is started to find it. Raises UserError where there is none yet."""
    chosen = settings()
    if os.environ.get("MGPT3_PYTHON"):
        return pythons.locate_python(Path(os.environ["MGPT3_PYTHON"]))
    if chosen.source == "EXISTING":
        if not chosen.existing:
            raise UserError("not_set_up", "No Python is chosen yet.", "Choose one in the add-on's preferences.")
        return pythons.locate_python(Path(chosen.existing))
    state = runtime.state(environment_folder(), requirements())
    if state.problem is not None:
        raise state.problem
    return pythons.environment_python(environment_folder())


def private() -> bool:
    """Whether the environment of the add-on's own is the one that is used."""
    return settings().source == "PRIVATE" and not os.environ.get("MGPT3_PYTHON")


def registry() -> Registry:
    """The models on this computer."""
    core = runtime.core_parent(PACKAGE) / "core"
    return Registry(user_folder() / "models", core / "weights")


def model_in_use() -> Model:
    """The model that makes the motion now: MGPT3_MODEL's, or the one chosen in the preferences."""
    override = os.environ.get("MGPT3_MODEL")
    return registry().at(Path(override)) if override else registry().in_use()


def licence_needed(model: Model) -> bool:
    """Whether the model's licence is still to be read and accepted."""
    return os.environ.get("MGPT3_ACCEPT_LICENCE") != "1" and not registry().accepted(model)


def check_licence() -> None:
    """Raises UserError("licence_not_accepted") where the model in use must not make motion yet."""
    model = model_in_use()
    if not licence_needed(model):
        return
    words, remedy = short_licence(model.licence), "Read it and accept it, or choose a bundled model."
    if bpy.app.background:  # no dialog will show it
        words, remedy = model.licence, f"{remedy} To accept it: blender --command mgpt3 models accept"
    raise UserError("licence_not_accepted", f"The licence of {model.name} was not accepted yet: {words}", remedy)


def launch() -> Launch:
    """How to start the core with what is chosen now. Raises UserError where it is not set up."""
    model = model_in_use()
    return Launch(
        python=python(),
        core_parent=runtime.core_parent(PACKAGE),
        log=worker_log(),
        model=None if model.folder == registry().default else model.folder,
        device=settings().device.lower(),
        cache=user_folder() / "bytecode",
    )


def core() -> Core:
    """How to run one command of the core. Raises UserError where it is not set up."""
    folder = user_folder()
    return Core(python(), runtime.core_parent(PACKAGE), models_log(), folder / "bytecode", folder / "parts")


def refresh() -> None:
    """Read once whether the core can be started and with which models, for drawing to show: a few small files."""
    upkeep.view.log = str(worker_log())
    upkeep.view.overrides = tuple(name for name in ("MGPT3_PYTHON", "MGPT3_MODEL") if os.environ.get(name))
    upkeep.view.forget()
    if private():
        upkeep.view.state = runtime.state(environment_folder(), requirements())
        upkeep.view.missing = upkeep.view.state.problem
        upkeep.view.disk = _disk(upkeep.view.state)
        upkeep.view.rebuild = _other_build(upkeep.view.state)
    else:
        try:
            python()
        except UserError as error:
            upkeep.view.missing = error
    upkeep.view.models = tuple(registry().models())
    upkeep.view.model = model_in_use()
    upkeep.view.licence_needed = licence_needed(upkeep.view.model)


def _disk(state: runtime.State) -> str:
    """What a set-up takes, and what there is; what it took is in the state's own line."""
    if state.name == "ready":
        return ""
    try:
        free = setupbuild.gigabytes(shutil.disk_usage(user_folder()).free)
    except OSError:
        return ""
    if settings().wheels:
        return f"{free} of disk are free"
    return f"Takes up to {setupbuild.gigabytes(runtime.needed(settings().build.lower()))} of disk; {free} are free"


def _other_build(state: runtime.State) -> bool:
    """Whether an environment was made for another kind of machine than is chosen; wheels are what they are."""
    chosen = settings()
    if not state.build or chosen.wheels:
        return False
    return setupbuild.likely(state.build) != setupbuild.likely(chosen.build.lower())


def take_over() -> None:
    """Put the model's folder that an earlier version kept in Blender's preferences into the list of models."""
    entry = bpy.context.preferences.addons.get(__package__)
    old = entry.preferences.model_folder if entry and entry.preferences else ""
    if old:
        with contextlib.suppress(UserError):  # a folder that cannot be written to is no reason not to start
            registry().take_over(Path(bpy.path.abspath(old)))


def _changed(self: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    upkeep.say(upkeep.SETUP)
    refresh()


def _model_folder_changed(self: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    take_over()
    _changed(self, context)


class MGPT3_Preferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    source: EnumProperty(
        name="Python",
        description="Which Python runs the motion model",
        items=[
            ("PRIVATE", "Set Up for Me", "An environment of the add-on's own, made by one button"),
            ("EXISTING", "Use an Existing Python", "A Python on this computer that has the packages already"),
        ],
        default="PRIVATE",
        options=set(),
        update=_changed,
    )
    existing_python: StringProperty(
        name="Python",
        description="A Python program, or the folder of a virtual environment",
        subtype="FILE_PATH",
        update=_changed,
    )
    build: EnumProperty(
        name="Compute With",
        description="Which build of PyTorch is fetched",
        items=[
            ("AUTO", "Automatic", "The build for this computer: NVIDIA's or AMD's GPU, Apple's, or the processor"),
            ("CPU", "CPU or Apple GPU", "The small build; enough for the bundled model"),
            ("CUDA", "NVIDIA GPU", "The large build with CUDA, also where no such GPU was found"),
            ("ROCM", "AMD GPU", "The large build with ROCm, for Linux"),
        ],
        default="AUTO",
        options=set(),
        update=_changed,
    )
    wheels: StringProperty(
        name="Wheels Folder",
        description="Install from this folder of wheels instead of the network. Leave empty to use the network",
        subtype="DIR_PATH",
        update=_changed,
    )
    model_folder: StringProperty(
        name="Model Folder",
        description="Where an earlier version kept the folder of a model; it is in the list of models now",
        subtype="DIR_PATH",
        options={"HIDDEN"},
        update=_model_folder_changed,
    )
    device: EnumProperty(
        name="Device",
        description="What computes the motion",
        items=[
            ("AUTO", "Automatic", "The GPU where there is one that fits, else the CPU"),
            ("CPU", "CPU", "The processor"),
            ("CUDA", "CUDA", "The NVIDIA GPU, or AMD's through ROCm"),
            ("MPS", "Metal", "The GPU of an Apple processor"),
        ],
        default="AUTO",
        options=set(),
        update=_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        from .panels import draw_preferences

        draw_preferences(self, self.layout)


classes = (MGPT3_Preferences,)
