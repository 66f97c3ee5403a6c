"""Which Python runs the core, which model, on which device; and where the add-on keeps its own files.

Environment variables win over the preferences: MGPT3_PYTHON (an interpreter) and MGPT3_MODEL (a model's folder), for
tests, render farms and development.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from . import pythons, runtime, upkeep
from .errors import UserError
from .worker import Launch

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """The preferences as plain values; these defaults hold where the add-on is used without being installed."""

    source: str = "PRIVATE"
    existing: str = ""
    build: str = "CPU"
    wheels: str = ""
    model: str = ""
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
        model=bpy.path.abspath(chosen.model_folder) if chosen.model == "FOLDER" else "",
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
    if state.name != "ready":
        raise UserError("not_set_up", f"{state.line}.", "Press Set Up: it fetches about 1 GB of packages, once.")
    return pythons.environment_python(environment_folder())


def launch() -> Launch:
    """How to start the core with what is chosen now. Raises UserError where it is not set up."""
    chosen = settings()
    model = os.environ.get("MGPT3_MODEL") or chosen.model
    return Launch(
        python=python(),
        core_parent=runtime.core_parent(PACKAGE),
        log=worker_log(),
        model=Path(model) if model else None,
        device=chosen.device.lower(),
        cache=user_folder() / "bytecode",
    )


def refresh() -> None:
    """Read once whether the core can be started, for drawing to show: a look at a few small files."""
    upkeep.view.log = str(worker_log())
    upkeep.view.overrides = tuple(name for name in ("MGPT3_PYTHON", "MGPT3_MODEL") if os.environ.get(name))
    try:
        python()
    except UserError as error:
        upkeep.view.missing = error
    else:
        upkeep.view.missing = None


def _changed(self: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    upkeep.view.line, upkeep.view.error = "", None
    refresh()


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
            ("CPU", "CPU or Apple GPU", "The small build: about 1 GB on disk; enough for the bundled model"),
            ("CUDA", "NVIDIA GPU", "The large build with CUDA: about 6 GB on disk"),
        ],
        default="CPU",
    )
    wheels: StringProperty(
        name="Wheels Folder",
        description="Install from this folder of wheels instead of the network. Leave empty to use the network",
        subtype="DIR_PATH",
    )
    model: EnumProperty(
        name="Model",
        description="Which model makes the motion",
        items=[
            ("BUNDLED", "Compact (bundled)", "Works at once, without a GPU"),
            ("FOLDER", "From a Folder", "A model of yours, or the official MotionGPT3 after conversion"),
        ],
        default="BUNDLED",
        update=_changed,
    )
    model_folder: StringProperty(
        name="Model Folder",
        description="The folder with the model's config and its safetensors file",
        subtype="DIR_PATH",
        update=_changed,
    )
    device: EnumProperty(
        name="Device",
        description="What computes the motion",
        items=[
            ("AUTO", "Automatic", "The GPU where there is one that fits, else the CPU"),
            ("CPU", "CPU", "The processor"),
            ("CUDA", "CUDA", "The NVIDIA GPU"),
        ],
        default="AUTO",
        update=_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        from .panels import draw_preferences

        draw_preferences(self, self.layout)


classes = (MGPT3_Preferences,)
