"""Text-to-motion on a character: what the panel, the command line, a test and another add-on call.

`generate_for_character` does it all and blocks. The panel goes the same way in three steps so that the window stays
alive: `Request.params` to the worker, a job that waits, and `apply_reply` when the answer is there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import bpy

from . import VERSION, bonemap, results
from .errors import UserError
from .rig.options import DEFAULT, Options
from .wire import decode_array

if TYPE_CHECKING:
    from .ahead import Ahead

MIN_SECONDS, MAX_SECONDS = 1.0, 9.8  # the model was trained on 20 to 196 frames at 20 a second
MAX_SEED = 2**31 - 1
MAX_VARIATIONS = 8
MAX_PROMPT = 1000  # characters; the model reads about 180 words at most
NAME_BYTES = 63  # Blender's limit on names; in 5.x it is larger, but such a file must still open in 4.x


@dataclass(frozen=True)
class Request:
    """What to make.

    Args:
        prompt: what the character does.
        seconds: 1 to 9.8.
        seed: 0 to 2^31-1; variation i is made with seed + i.
        variations: 1 to 8.
        guidance: how closely to follow the prompt, None for what suits the model.
        steps: sampling steps, None for what suits the model.
        clean_feet: pin standing feet to the floor; done here, the model does not hear of it.
        fast: the model's quick recipe (fewer steps) instead of its exact one.
        literal: let the model read words it never met, instead of the nearest prompt it knows.
        retarget: how the motion goes onto the character; done here as well. `clean_feet` decides on its foot lock.
    """

    prompt: str
    seconds: float = 4.0
    seed: int = 0
    variations: int = 1
    guidance: float | None = None
    steps: int | None = None
    clean_feet: bool = True
    fast: bool = False
    literal: bool = False
    retarget: Options = DEFAULT

    def check(self) -> None:
        """Raises UserError where the core would refuse the request: said before anything is started."""
        if not self.prompt.strip():
            raise UserError("prompt_empty", "The prompt is empty.", "Type what the character should do.")
        if len(self.prompt) > MAX_PROMPT:
            raise UserError("prompt_too_long", "The prompt is too long.", "Describe one motion in a sentence or two.")
        if not (math.isfinite(self.seconds) and MIN_SECONDS <= self.seconds <= MAX_SECONDS):
            raise UserError(
                "duration_out_of_range",
                f"A motion of {self.seconds:g} seconds is outside what the model knows.",
                f"Choose between {MIN_SECONDS:g} and {MAX_SECONDS:g} seconds.",
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError("seed_out_of_range", "The seed is out of range.", f"Choose 0 to {MAX_SEED}.")
        if not 1 <= self.variations <= MAX_VARIATIONS:
            raise UserError(
                "variations_out_of_range",
                f"{self.variations} variations cannot be made at once.",
                f"Choose 1 to {MAX_VARIATIONS}.",
            )

    def params(self) -> dict:
        """The parameters of the worker's `generate`."""
        return {
            "prompt": self.prompt.strip(),
            "seconds": float(self.seconds),
            "seed": int(self.seed),
            "variations": int(self.variations),
            "guidance": self.guidance,
            "steps": self.steps,
            "fast": self.fast,
            "literal": self.literal,
        }


@dataclass(frozen=True)
class Outcome:
    """What was made: the actions, the first of which the character has now, and a line for people.

    `note` says what the model took the prompt for, where that is not what was typed; `doubtful`: it may be far off.
    """

    armature: bpy.types.Object
    actions: list[bpy.types.Action]
    line: str
    warnings: list[str]
    note: str = ""
    doubtful: bool = False


def find_character(
    scene: bpy.types.Scene, chosen: bpy.types.Object | None = None, active: bpy.types.Object | None = None
) -> bpy.types.Object | None:
    """The armature that is meant: the chosen one, the active one or the active mesh's, or the scene's only one."""

    def fits(candidate: bpy.types.Object | None) -> bool:
        return candidate is not None and candidate.type == "ARMATURE" and candidate.name in scene.objects

    if fits(chosen):
        return chosen
    if active is not None and active.type == "MESH":
        active = active.find_armature()
    if fits(active):
        return active
    armatures = [candidate for candidate in scene.objects if candidate.type == "ARMATURE"]
    return armatures[0] if len(armatures) == 1 else None


def need_character(
    scene: bpy.types.Scene, chosen: bpy.types.Object | None = None, active: bpy.types.Object | None = None
) -> bpy.types.Object:
    """As find_character, but raises UserError "no_character" or "character_unclear" where there is none."""
    armature = find_character(scene, chosen, active)
    if armature is None:
        check_unclear(scene)
        raise UserError(
            "no_character",
            "There is no character in the scene.",
            "Add an armature, or let the built-in mannequin be added.",
        )
    return armature


def check_unclear(scene: bpy.types.Scene) -> None:
    """Raises UserError where there are several characters and none is chosen."""
    if any(candidate.type == "ARMATURE" for candidate in scene.objects):
        raise UserError(
            "character_unclear",
            "There are several characters in the scene.",
            "Choose one under Character, or make it the active object.",
        )


def check_applicable(armature: bpy.types.Object) -> None:
    """Raises UserError before the model is asked where the character could not take the motion anyway."""
    from .rig.apply import check_armature  # here, so that a Request can be made without loading the rigs
    from .rig.mapping import map_armature

    check_armature(armature)
    map_armature(armature)


def apply_reply(
    reply: object,
    request: Request,
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    start_frame: float | None = None,
    ahead: Ahead | None = None,
) -> Outcome:
    """Put the worker's answer on the character: a new action per variation, the first one active.

    Everything is read and checked before anything is changed. The action that the character had is kept in the file.

    Args:
        reply: result of the worker's `generate`.
        start_frame: where the motions begin; None for the scene's current frame.
        ahead: what was worked out of this answer for this character (`solve`), where anything was.

    Raises UserError.
    """
    from .rig.apply import apply_motion, remove_motion

    motions = _motions(reply)
    solved = solve(reply, request, armature, scene).solved(ahead)
    start = float(scene.frame_current if start_frame is None else start_frame)
    previous = results.Binding.of(armature)
    made: list[bpy.types.Action] = []
    warnings: list[str] = []
    errors: list[float] = []
    now = time.time()
    try:
        for number, (joints, seed) in reversed(list(enumerate(motions, 1))):  # the last one applied stays active
            name = action_name(request.prompt, number if len(motions) > 1 else None)
            result = apply_motion(
                armature,
                joints,
                scene=scene,
                name=name,
                start_frame=start,
                fps=_rate(reply),
                metadata={**_metadata(reply, request, seed), results.MADE: now},
                options=_options(request),
                prepared=solved[number - 1],
                shown=number == 1,
            )
            made.insert(0, result.action)
            warnings += [text for text in result.warnings if text not in warnings]
            errors.insert(0, result.report.mean_deg or 0.0)
            bonemap.found(armature, result.mapping)
    except Exception:
        for action in made:  # the last one applied is the first in the list
            remove_motion(armature, action)
        previous.restore(armature)
        raise
    previous.keep()
    results.remember(armature, made)
    line = _line(made[0], armature, scene, len(made), errors[0])
    return Outcome(armature, made, line, warnings, results.note(made[0]), results.doubtful(made[0]))


def solve(reply: object, request: Request, armature: bpy.types.Object, scene: bpy.types.Scene) -> Ahead:
    """The answer's motions, to be solved for a character. Changes nothing. Raises UserError."""
    from .ahead import Ahead

    motions = [joints for joints, _ in _motions(reply)]
    return Ahead(armature, motions, _rate(reply), scene, _options(request))


def generate_for_character(
    armature: bpy.types.Object | None,
    prompt: str,
    *,
    scene: bpy.types.Scene | None = None,
    seconds: float = 4.0,
    seed: int = 0,
    variations: int = 1,
    guidance: float | None = None,
    steps: int | None = None,
    clean_feet: bool = True,
    fast: bool = False,
    literal: bool = False,
    retarget: Options = DEFAULT,
    start_frame: float | None = None,
    create_mannequin: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Outcome:
    """Generate and apply, blocking until done.

    Args:
        armature: the character; None for the active or only one of the scene, or with `create_mannequin` a new
            mannequin where the scene has none.
        scene: None for the current one.
        start_frame: None for the scene's current frame.
        progress: told (fraction 0..1, message). cancelled: polled; true ends the request.
        others: see Request.

    Raises UserError (WorkerError, RigError); nothing is changed then.
    """
    from . import jobs

    scene = scene or bpy.context.scene
    request = Request(prompt, seconds, seed, variations, guidance, steps, clean_feet, fast, literal, retarget)
    request.check()
    job = character_job(request, scene, armature, start_frame=start_frame, create_mannequin=create_mannequin)
    jobs.run_blocking(job, progress=progress, cancelled=cancelled)
    assert isinstance(job.outcome, Outcome)
    return job.outcome


def character_job(
    request: Request,
    scene: bpy.types.Scene,
    armature: bpy.types.Object | None = None,
    *,
    start_frame: float | None = None,
    create_mannequin: bool = False,
) -> object:
    """The job of generating for a character; holds no references to Blender's data, which may change meanwhile.

    Raises UserError where it is already clear that it cannot work.
    """
    from . import jobs

    if armature is None:
        armature = find_character(scene, None, bpy.context.view_layer.objects.active)
    if armature is None:
        if not create_mannequin:
            need_character(scene)
        check_unclear(scene)
    else:
        check_applicable(armature)
    start = float(scene.frame_current if start_frame is None else start_frame)
    character = results.Reference.to(armature) if armature is not None else None
    home = results.Reference.to(scene)
    ahead: Ahead | None = None

    def prepare(reply: object) -> Ahead | None:
        nonlocal ahead
        where = home.find(bpy.data.scenes)
        target = character.find(where.objects) if where is not None and character is not None else None
        ahead = solve(reply, request, target, where).start() if target is not None else None
        return ahead

    def apply(reply: object) -> Outcome:
        where = home.find(bpy.data.scenes)
        if where is None:
            raise UserError("scene_gone", "The scene was deleted while its motion was being made.", "Generate again.")
        if character is None:
            _motions(reply)  # an answer that cannot be read must not leave a mannequin behind
            return apply_reply(reply, request, mannequin_in(where), where, start)
        target = character.find(where.objects)
        if target is None:
            raise UserError(
                "character_gone",
                f'The character "{character.name}" was deleted while its motion was being made.',
                "Undo the deletion and generate again, or choose another character.",
            )
        return apply_reply(reply, request, target, where, start, ahead)

    return jobs.Job("Generate", "generate", request.params(), apply, prepare=prepare)


def action_name(prompt: str, number: int | None = None) -> str:
    """The prompt as an action's name, cut at a whole character, with room for Blender's .001."""
    suffix = f" #{number}" if number is not None else ""
    room = NAME_BYTES - 4 - len(suffix.encode())
    text = " ".join(prompt.split()).rstrip(".")
    if len(text.encode()) > room:
        text = text.encode()[: room - 3].decode("utf-8", "ignore").rstrip() + "…"
    return text + suffix


def mannequin_in(scene: bpy.types.Scene) -> bpy.types.Object:
    """A new mannequin in a scene, where nothing stands in its way."""
    from .mannequin import add_mannequin

    window = bpy.context.window
    if window is None or window.scene == scene:
        return add_mannequin(bpy.context)
    with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0], collection=scene.collection):
        return add_mannequin(bpy.context)


def _motions(reply: object) -> list[tuple]:
    """[(joints (T, 22, 3), seed)] of an answer, checked. Raises UserError("bad_answer")."""
    entries = reply.get("motions") if isinstance(reply, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError("bad_answer", "The motion model's answer holds no motion.", "Generate again.")
    return [(decode_array(entry.get("joints")), int(entry.get("seed", 0))) for entry in entries]


def _rate(reply: object) -> float:
    """Frames a second of an answer's motions."""
    assert isinstance(reply, dict)
    return float(reply.get("fps", 20.0))


def _options(request: Request) -> Options:
    return replace(request.retarget, foot_lock=request.clean_feet)


def _metadata(reply: dict, request: Request, seed: int) -> dict[str, str | int | float]:
    """What an action remembers of how it was made; a guidance or steps of 0 means unknown."""
    model = reply.get("model") if isinstance(reply.get("model"), dict) else {}
    origin = {"mgpt3_model_origin": str(model["origin"])} if model.get("origin") else {}
    read: dict[str, str | bool] = {results.LITERAL: True} if request.literal else {}
    if reply.get("note"):  # only where the model read something else than what was typed
        read |= {
            results.PROMPT_USED: str(reply.get("prompt_used") or ""),
            results.UNDERSTOOD: str(reply.get("understood") or ""),
            results.NOTE: str(reply["note"]),
        }
    return {
        "mgpt3_prompt": request.prompt.strip(),
        **read,
        "mgpt3_seed": seed,
        "mgpt3_seconds": float(request.seconds),
        "mgpt3_guidance": float(reply.get("guidance") or request.guidance or 0.0),
        "mgpt3_steps": int(reply.get("steps") or request.steps or 0),
        "mgpt3_sampler": str(reply.get("sampler") or ""),
        "mgpt3_model": str(model.get("name", "")),
        "mgpt3_licence": str(model.get("licence", "")),
        **origin,
        "mgpt3_version": VERSION,
    }


def _line(
    action: bpy.types.Action, armature: bpy.types.Object, scene: bpy.types.Scene, count: int, error: float
) -> str:
    first, last = action.frame_range
    what = f"{count} variations" if count > 1 else "Motion"
    line = (
        f"{what} on {armature.name}: frames {first:.0f} to {last:.0f}, bones within {max(error, 0.1):.1f}° on average."
    )
    if last > scene.frame_end or first < scene.frame_start:
        line += f" The scene plays frames {scene.frame_start} to {scene.frame_end} only."
    return line
