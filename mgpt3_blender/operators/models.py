"""The models of the preferences: add, download, use, remove, and accept a licence."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty

from .. import hub, jobs, modelwork, preferences, upkeep
from ..drawing import draw_text
from ..errors import UserError
from ..i18n import say, tip
from ..models import Model
from .running import redraw
from .setup import begin, idle, no_motion

DIALOG = 480  # width of a dialog in pixels at a scale of 1
DIALOG_LETTERS = 82  # which fit into one of its lines


def use_model(model: Model) -> str:
    """Make the motion with this model from the next one on; the line that says so. Raises UserError."""
    preferences.registry().use(model)
    preferences.refresh()
    return f"{model.name} makes the motion from now on."


def remove_model(model: Model) -> str:
    """Delete or forget a model; the line that says which. Raises UserError."""
    jobs.stop_worker()  # where it runs this model it keeps the files open
    try:
        return preferences.registry().remove(model)
    finally:
        preferences.refresh()


def accept_licence(model: Model) -> str:
    """Remember that a model's licence was accepted; the line that says so. Raises UserError."""
    preferences.registry().accept(model)
    if jobs.view.error is not None and jobs.view.error.code == "licence_not_accepted":
        jobs.view.error = None
    preferences.refresh()
    return f"The licence of {model.name} is accepted."


class _ModelOperator:
    """Mixin: an operator on one model, named by its folder; without a folder the one in use is meant."""

    folder: str

    @classmethod
    def find(cls, folder: str) -> Model:
        """The model. Raises UserError where it is not there any more."""
        return preferences.registry().at(Path(folder)) if folder else preferences.model_in_use()

    @classmethod
    def shown(cls, folder: str) -> Model | None:
        """The model as the preferences show it; nothing is looked up."""
        if not folder:
            return upkeep.view.model
        return next((model for model in upkeep.view.models if str(model.folder) == folder), None)

    def done(self, context: bpy.types.Context, line: str) -> set[str]:
        upkeep.say(upkeep.MODELS, line)
        self.report({"INFO"}, line)  # type: ignore[attr-defined]
        redraw(context)
        return {"FINISHED"}

    def failed(self, context: bpy.types.Context, error: UserError) -> set[str]:
        upkeep.say(upkeep.MODELS, error=error)
        self.report({"ERROR"}, str(error))  # type: ignore[attr-defined]
        redraw(context)
        return {"CANCELLED"}


def _folder_property() -> object:
    return StringProperty(name="Folder", description="Which model", options={"SKIP_SAVE", "HIDDEN"})


class MGPT3_OT_model_add(_ModelOperator, bpy.types.Operator):
    """Add a model: the official motiongpt3.ckpt, which is converted into a safe format once, or any file of a model's
    folder, which is used where it is and not copied"""

    bl_idname = "mgpt3.model_add"
    bl_label = "Add Model"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(name="File", description="A checkpoint, or a model's folder", subtype="FILE_PATH")
    filter_glob: StringProperty(
        name="Files",
        description="Which files are shown",
        default="*.ckpt;*.pt;*.pth;config.json;*.safetensors",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = modelwork.meant(Path(bpy.path.abspath(self.filepath)))
        registry = preferences.registry()
        if not path.is_dir():
            upkeep.view.checkpoint = path
            return begin(
                self,
                "Conversion",
                lambda: modelwork.convert_work(preferences.core(), registry, path),
                upkeep.MODELS,
            )
        try:
            line = modelwork.add(registry, path)
        except UserError as error:
            return self.failed(context, error)
        preferences.refresh()
        return self.done(context, line)


class MGPT3_OT_model_download(bpy.types.Operator):
    """Fetch the official MotionGPT3 from its authors' page and add it to the list. Asks first"""

    bl_idname = "mgpt3.model_download"
    bl_label = "Download the Official Model"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self, width=DIALOG, confirm_text="Download")

    def draw(self, context: bpy.types.Context) -> None:
        for paragraph in hub.DOWNLOAD_FACTS:
            draw_text(self.layout, paragraph, letters=DIALOG_LETTERS)
        self.layout.operator("wm.url_open", text="Open the Model's Page", icon="URL").url = hub.MODEL_PAGE

    def execute(self, context: bpy.types.Context) -> set[str]:
        online = bool(bpy.app.online_access)
        upkeep.view.checkpoint = None
        return begin(
            self,
            "Download",
            lambda: modelwork.download_work(preferences.core(), preferences.registry(), online),
            upkeep.MODELS,
        )


class MGPT3_OT_model_parts(bpy.types.Operator):
    """Fetch what the checkpoint lacks, GPT-2's word list and the statistics of the motion data (under 2 MB), then
    convert it"""

    bl_idname = "mgpt3.model_parts"
    bl_label = "Download What Is Missing"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if upkeep.view.checkpoint is None:
            cls.poll_message_set("Add the checkpoint first")
            return False
        return idle(cls)

    def execute(self, context: bpy.types.Context) -> set[str]:
        path, online = upkeep.view.checkpoint, bool(bpy.app.online_access)
        return begin(
            self,
            "Conversion",
            lambda: modelwork.convert_work(preferences.core(), preferences.registry(), path, fetch=True, online=online),
            upkeep.MODELS,
        )


class MGPT3_OT_hub_sign_in(_ModelOperator, bpy.types.Operator):
    """Keep an access token of your Hugging Face account on this computer, where Hugging Face's own programs keep it.
    It is never stored in a .blend file"""

    bl_idname = "mgpt3.hub_sign_in"
    bl_label = "Sign In to Hugging Face"
    bl_options = {"INTERNAL"}

    token: StringProperty(
        name="Access Token",
        description="Starts with hf_",
        subtype="PASSWORD",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self, width=DIALOG, confirm_text="Sign In")

    def draw(self, context: bpy.types.Context) -> None:
        draw_text(self.layout, "Make a token with read access on your account's page and paste it here.")
        self.layout.operator("wm.url_open", text="Open the Page for Tokens", icon="URL").url = hub.TOKEN_PAGE
        self.layout.prop(self, "token")

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            line = hub.store_token(self.token)
        except UserError as error:
            return self.failed(context, error)
        finally:
            self.token = ""
        return self.done(context, f"{line} Press Download again.")


class MGPT3_OT_model_use(_ModelOperator, bpy.types.Operator):
    """Make the motion with this model from the next one on"""

    bl_idname = "mgpt3.model_use"
    bl_label = "Use Model"
    bl_options = {"INTERNAL"}

    folder: _folder_property()

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        model = cls.shown(properties.folder)
        if model is None:
            return str(cls.__doc__)
        return "\n".join(text for text in (f"{cls.__doc__}.", model.origin, str(model.folder)) if text)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            model = self.find(self.folder)
            line = use_model(model)
        except UserError as error:
            return self.failed(context, error)
        if preferences.licence_needed(model) and not bpy.app.background and context.window is not None:
            bpy.ops.mgpt3.accept_licence("INVOKE_DEFAULT", folder=self.folder)
        return self.done(context, line)


class MGPT3_OT_model_remove(_ModelOperator, bpy.types.Operator):
    """Take this model off the list. One that the add-on converted or downloaded is deleted from the disk"""

    bl_idname = "mgpt3.model_remove"
    bl_label = "Remove Model"
    bl_options = {"INTERNAL"}

    folder: _folder_property()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return idle(cls) and no_motion(cls)

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        model = cls.shown(properties.folder)
        if model is None:
            return tip(str(cls.__doc__))
        words = "Delete {folder}" if model.own else "Take it off the list. {folder} stays as it is"
        return tip(words, folder=model.folder)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        model = self.find(self.folder)
        words = "Delete {name} ({size}) from this computer?" if model.own else "Forget {name}?"
        stays = say("{folder} stays.", folder=model.folder)
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=say(words, name=model.name, size=model.size),
            message="It would have to be fetched or converted again." if model.own else stays,
            confirm_text="Delete" if model.own else "Forget",
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            line = remove_model(self.find(self.folder))
        except UserError as error:
            return self.failed(context, error)
        return self.done(context, line)


class MGPT3_OT_accept_licence(_ModelOperator, bpy.types.Operator):
    """Read under which licence the model may be used, and accept it"""

    bl_idname = "mgpt3.accept_licence"
    bl_label = "Licence"
    bl_options = {"INTERNAL"}

    folder: _folder_property()

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        model = cls.shown(properties.folder)
        if model is None or not model.licence:
            return tip(str(cls.__doc__))
        return tip("{licence}\nClick to read it", licence=model.licence)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        model = self.find(self.folder)
        needed = preferences.licence_needed(model)
        return context.window_manager.invoke_props_dialog(
            self,
            width=DIALOG,
            title=say("Licence of {name}", name=model.name),
            confirm_text="Accept" if needed else "Close",
        )

    def draw(self, context: bpy.types.Context) -> None:
        model = self.shown(self.folder)
        if model is None:
            return
        for text in (
            model.licence or "Its config states no licence.",
            say("It learnt from: {data}", data=model.data) if model.data else "",
            say("Origin: {origin}", origin=model.origin) if model.origin else "",
            "Every motion that it makes remembers this licence in its action.",
        ):
            if text:
                draw_text(self.layout, text, letters=DIALOG_LETTERS)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            model = self.find(self.folder)
            if not preferences.licence_needed(model):
                return {"FINISHED"}
            line = accept_licence(model)
        except UserError as error:
            return self.failed(context, error)
        return self.done(context, line)


classes = (
    MGPT3_OT_model_add,
    MGPT3_OT_model_download,
    MGPT3_OT_model_parts,
    MGPT3_OT_hub_sign_in,
    MGPT3_OT_model_use,
    MGPT3_OT_model_remove,
    MGPT3_OT_accept_licence,
)
