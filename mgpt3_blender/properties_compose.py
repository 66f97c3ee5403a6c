"""What the panels Sequence and Continue edit, saved with the file."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import compose, extend
from .generate import MAX_SECONDS, MIN_SECONDS
from .properties_shared import path_property, prompt_property, seconds_property, seed_property, typed


class MGPT3_Segment(bpy.types.PropertyGroup):
    """One line of the list: what happens, and for how long."""

    prompt: prompt_property("What the character does in this segment, in English", "a person walks forward")
    seconds: seconds_property(
        "Duration",
        "How long this segment is, half of the transitions at its ends included",
        4.0,
        MIN_SECONDS,
        compose.MAX_SEGMENT_SECONDS,
        soft_max=MAX_SECONDS,
        step=50,
    )


class MGPT3_SequenceSettings(bpy.types.PropertyGroup):
    """The sequence being written. Nothing here can be animated: it says how to make motion, it is none."""

    segments: CollectionProperty(
        name="Segments",
        description="What the character does, one after the other",
        type=MGPT3_Segment,
    )
    active: IntProperty(
        name="Active Segment", description="The segment that is edited below the list", default=0, options=set()
    )
    transition: seconds_property(
        "Transition",
        "How long the change from one segment to the next takes, half of it in each",
        0.8,
        compose.MIN_TRANSITION,
        compose.MAX_TRANSITION,
        soft_max=2.0,
        step=10,
    )
    seed: seed_property(
        "Of the first segment, the next ones count up. The same list and seed give the same motion again"
    )
    path: path_property(
        "A curve that the character goes along, from its first point. Leave empty to go where the prompts lead"
    )
    timed: BoolProperty(
        name="Timed",
        description="Be where the curve's Evaluation Time says (without keys: evenly, from its beginning to its end), "
        "at whatever speed that takes. Off: the motion keeps its own speed",
        default=False,
        options=set(),
    )
    markers: StringProperty(
        name="Markers",
        description="Which timeline markers are those of the last sequences, so that a new one replaces them",
        options={"HIDDEN"},
    )

    def request(self) -> compose.Request:
        """What the panel asks for; guidance, feet and the like as in the panel above."""
        scene = self.id_data
        settings = scene.mgpt3
        return compose.Request(
            tuple(compose.Segment(segment.prompt, typed(segment.seconds)) for segment in self.segments),
            typed(self.transition),
            self.seed,
            settings.guidance if settings.use_guidance else None,
            settings.literal,
            settings.clean_feet,
            scene.mgpt3_rig.options(settings.clean_feet),
            self.path if self.path is not None and self.path.name in scene.objects else None,
            self.timed,
        )


class MGPT3_ExtendSettings(bpy.types.PropertyGroup):
    """How to go on with a motion, and how to make it a cycle."""

    seconds: seconds_property(
        "Duration",
        "How long the motion goes on after its last keys",
        2.0,
        extend.MIN_SECONDS,
        extend.MAX_SECONDS,
        step=50,
    )
    prompt: prompt_property("What comes next, in English. Leave empty for whatever follows from the motion")
    seed: seed_property("The same motion, prompt and seed go on alike; another seed gives another take")
    in_place: BoolProperty(
        name="In Place",
        description="Let the cycle stay on the spot, as on a treadmill: the way travelled is left out",
        default=False,
        options=set(),
    )

    def request(self) -> extend.Request:
        """What the panel asks for."""
        scene = self.id_data
        clean_feet = scene.mgpt3.clean_feet
        seconds = typed(self.seconds)
        return extend.Request(seconds, self.prompt, self.seed, clean_feet, scene.mgpt3_rig.options(clean_feet))


classes = (MGPT3_Segment, MGPT3_SequenceSettings, MGPT3_ExtendSettings)


def register() -> None:
    bpy.types.Scene.mgpt3_sequence = PointerProperty(type=MGPT3_SequenceSettings)
    bpy.types.Scene.mgpt3_extend = PointerProperty(type=MGPT3_ExtendSettings)


def unregister() -> None:
    del bpy.types.Scene.mgpt3_extend
    del bpy.types.Scene.mgpt3_sequence
