"""Set up, check and remove the environment of the core; open its log and the preferences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.props import EnumProperty

from .. import jobs, preferences, pythons, runtime, setupbuild, setupcheck, upkeep
from ..errors import UserError
from ..i18n import say
from ..worker import Launch
from .running import print_progress, redraw

TICK = 0.2
DAMAGED = {"packages_missing", "python_broken", "python_missing", "python_unsuitable"}
"""What a check finds only where the environment itself is damaged; of other failures it need not be the cause."""


def setup_work() -> upkeep.Work:
    """The set-up as the preferences have it now, to be run in a thread: nothing of Blender is read in it."""
    chosen = preferences.settings()
    folder, requirements, log = preferences.environment_folder(), preferences.requirements(), preferences.setup_log()
    own, online = preferences.blender_pythons(), bool(bpy.app.online_access)
    package, worker_log = runtime.core_parent(preferences.PACKAGE), preferences.worker_log()
    cache = preferences.user_folder() / "bytecode"

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        def verify(python: Path, stop: Callable[[], bool]) -> str:
            launch = Launch(python, package, worker_log, device=chosen.device.lower(), cache=cache)
            return setupcheck.ready_line(setupcheck.check(launch, cancelled=stop))

        return runtime.set_up(
            folder,
            requirements,
            verify=verify,
            pythons=own,
            online=online,
            wheels=Path(chosen.wheels) if chosen.wheels else None,
            build=chosen.build.lower(),
            log=log,
            progress=progress,
            cancelled=cancelled,
        )

    return work


def check_work() -> upkeep.Work:
    """The check of what is chosen now. Raises UserError where there is no Python to check."""
    launch = preferences.launch()
    motion = not preferences.licence_needed(preferences.model_in_use())
    own = preferences.environment_folder() if preferences.private() else None

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        progress(0.1, "Starting Python")
        try:
            pythons.validate_python(launch.python)
            progress(0.3, "Making a test motion" if motion else "Starting the motion model")
            return setupcheck.ready_line(setupcheck.check(launch, motion=motion, cancelled=cancelled))
        except UserError as error:
            if own is not None and error.code in DAMAGED:
                with contextlib.suppress(OSError):  # where nothing can be written, the error itself is enough
                    runtime.distrust(own, error)
            raise

    return work


def remove_work(everything: bool) -> upkeep.Work:
    """Deleting the environment and the downloads, or only these, to be run in a thread."""
    folder = preferences.environment_folder()

    def work(progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> str:
        progress(0.2, "Deleting")
        return f"Removed: {setupbuild.gigabytes(runtime.remove(folder, environment=everything))} are free again"

    return work


def begin(
    operator: bpy.types.Operator, title: str, make: Callable[[], upkeep.Work], about: str = upkeep.SETUP
) -> set[str]:
    """Run a task: in a thread with the window alive, or to its end in background mode."""
    try:
        work = make()
        if bpy.app.background:
            line = upkeep.run(title, lambda progress, cancelled: work(print_progress, cancelled), about)
            preferences.refresh()
            operator.report({"INFO"}, line)
            return {"FINISHED"}
        upkeep.start(title, work, about)
    except UserError as error:
        preferences.refresh()
        upkeep.say(about, error=error)
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    if not bpy.app.timers.is_registered(_tick):
        # A timer of the application, not of the window: the task goes on when another file is loaded.
        bpy.app.timers.register(_tick, first_interval=TICK, persistent=True)
    return {"FINISHED"}


def _tick() -> float | None:
    ended = upkeep.finish()
    if ended:
        preferences.refresh()
    redraw(bpy.context)
    return TICK if upkeep.busy() else None


def idle(operator: type[bpy.types.Operator]) -> bool:
    """For poll: whether nothing else is being set up, checked or fetched; says so where it is."""
    if upkeep.view.task is not None:
        operator.poll_message_set(say("{task} is still under way", task=say(upkeep.view.task.title)))
        return False
    return True


def no_motion(operator: type[bpy.types.Operator]) -> bool:
    """For poll: whether no motion is being made; says so where one is."""
    if jobs.busy():
        operator.poll_message_set("A motion is being made: wait for it, or cancel it")
        return False
    return True


class MGPT3_OT_setup(bpy.types.Operator):
    """Make the add-on's own Python environment, fetch the motion model's packages and make a test motion. A set-up \
that did not come to its end goes on where it was"""

    bl_idname = "mgpt3.setup"
    bl_label = "Set Up MotionGPT3"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls) and no_motion(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.stop_worker()  # a running one keeps files of the environment open
        return begin(self, "Set-up", setup_work)


class MGPT3_OT_check(bpy.types.Operator):
    """Make a test motion and say whether the motion model works, on which device and with which model"""

    bl_idname = "mgpt3.check"
    bl_label = "Check MotionGPT3"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return begin(self, "Check", check_work)


class MGPT3_OT_setup_cancel(bpy.types.Operator):
    """Stop setting up, checking or fetching"""

    bl_idname = "mgpt3.setup_cancel"
    bl_label = "Stop Set-up"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not upkeep.busy():
            cls.poll_message_set("Nothing is under way")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        upkeep.cancel()
        return {"FINISHED"}


class MGPT3_OT_remove_environment(bpy.types.Operator):
    """Delete the add-on's own Python environment, or what was fetched for it, from this computer"""

    bl_idname = "mgpt3.remove_environment"
    bl_label = "Remove Environment"
    bl_options = {"INTERNAL"}

    what: EnumProperty(
        name="Remove",
        description="What is deleted",
        items=[
            ("ALL", "Environment and Downloads", "All that the set-up put on the disk. Models and files stay"),
            ("DOWNLOADS", "Downloads Only", "What was kept of the downloads: a repair would fetch them again"),
        ],
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls) and no_motion(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        jobs.stop_worker()
        everything = self.what == "ALL"
        return begin(self, "Removal", lambda: remove_work(everything))


class MGPT3_OT_open_log(bpy.types.Operator):
    """Open the log in the system's text editor"""

    bl_idname = "mgpt3.open_log"
    bl_label = "Open Log"
    bl_options = {"INTERNAL"}

    log: EnumProperty(
        name="Log",
        description="Which log to open",
        items=[
            ("WORKER", "Motion Model", "What the motion model wrote"),
            ("SETUP", "Set-up", "What the set-up wrote"),
            ("MODELS", "Models", "What converting and downloading models wrote"),
        ],
        options={"SKIP_SAVE", "HIDDEN"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        logs = {"WORKER": preferences.worker_log, "SETUP": preferences.setup_log, "MODELS": preferences.models_log}
        path = logs[self.log]()
        if not path.is_file():
            self.report({"INFO"}, "There is no log yet")
            return {"CANCELLED"}
        return bpy.ops.wm.path_open(filepath=str(path))


class MGPT3_OT_open_preferences(bpy.types.Operator):
    """Open the add-on's preferences"""

    bl_idname = "mgpt3.open_preferences"
    bl_label = "Open Preferences"
    bl_options = {"INTERNAL"}

    system: bpy.props.BoolProperty(
        name="System", description="Open Blender's system preferences instead", options={"SKIP_SAVE", "HIDDEN"}
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        if self.system:
            return bpy.ops.screen.userpref_show(section="SYSTEM")
        return bpy.ops.preferences.addon_show(module=preferences.__package__)


classes = (
    MGPT3_OT_setup,
    MGPT3_OT_check,
    MGPT3_OT_setup_cancel,
    MGPT3_OT_remove_environment,
    MGPT3_OT_open_log,
    MGPT3_OT_open_preferences,
)


def unregister() -> None:
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
