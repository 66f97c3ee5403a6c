"""What the panel Describe edits: per scene how to describe, per action what was described. Saved with the file.

A description lies on its action, so that it goes with it wherever it is played, copied or appended. No pointer leads
to the action: that would count as one more user of it.
"""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .properties_shared import frame_property

WHOLE, SCENE, OWN = "WHOLE", "SCENE", "OWN"
TIMELINE, POSE = "TIMELINE", "POSE"


class MGPT3_Phrase(bpy.types.PropertyGroup):
    """A sentence that may be chosen."""

    text: StringProperty(name="Sentence", description="Another way to say what the character does", options=set())


class MGPT3_DescribedSegment(bpy.types.PropertyGroup):
    """A part of a motion that is described on its own."""

    first: frame_property("First Frame", "Scene frame at which this segment begins")
    last: frame_property("Last Frame", "Last scene frame of this segment")
    sentence: StringProperty(
        name="Sentence",
        description="What the character does in this segment. Edit it before you add markers",
        options=set(),
    )


class MGPT3_Description(bpy.types.PropertyGroup):
    """What was described of one character's motion in an action. Text may be edited; the rest was measured."""

    slot: IntProperty(
        name="Slot",
        description="Which slot of the action was described; 0 in Blender versions without slots",
        options={"HIDDEN"},
    )
    sentence: StringProperty(
        name="Description",
        description="What the character does. Edit it as you like before you apply it",
        options=set(),
    )
    alternatives: CollectionProperty(
        name="Alternatives", description="Other ways to say what the character does", type=MGPT3_Phrase
    )
    tags: StringProperty(
        name="Tags",
        description="Tags for the Asset Browser, with commas between them. Edit them before you apply them",
        options=set(),
    )
    segments: CollectionProperty(
        name="Segments", description="The parts of the motion, each with its frames", type=MGPT3_DescribedSegment
    )
    active: IntProperty(
        name="Active Segment", description="The segment that is edited below the list", default=0, options=set()
    )
    first: FloatProperty(name="First Frame", description="First scene frame that was read", options={"HIDDEN"})
    last: FloatProperty(name="Last Frame", description="Last scene frame that was read", options={"HIDDEN"})
    key: StringProperty(
        name="Key",
        description="What the action was like when it was described; empty where only a part of it was",
        options={"HIDDEN"},
    )
    measured: StringProperty(name="Measured", description="What was measured, a line each", options={"HIDDEN"})
    corrected: StringProperty(
        name="Corrected",
        description="What the model said and the measurement corrected, a line each",
        options={"HIDDEN"},
    )
    answer: StringProperty(
        name="Answer", description="The description as the motion model gave it, as JSON", options={"HIDDEN"}
    )
    model: StringProperty(name="Model", description="The model that described it, as JSON", options={"HIDDEN"})


class MGPT3_ActionDescriptions(bpy.types.PropertyGroup):
    """All that was described of an action: one entry for each slot that animates a character."""

    entries: CollectionProperty(
        name="Descriptions", description="What was described of this action, slot by slot", type=MGPT3_Description
    )
    markers: StringProperty(
        name="Markers",
        description="Which pose markers are those of the last description, so that new ones replace them",
        options={"HIDDEN"},
    )


class MGPT3_DescribeSettings(bpy.types.PropertyGroup):
    """How to describe. Nothing here can be animated."""

    which: EnumProperty(
        name="Frames",
        description="Which frames to describe",
        items=[
            (WHOLE, "Whole Action", "All frames of the character's action"),
            (SCENE, "Scene Range", "The frames that the scene plays: its preview range where that is on"),
            (OWN, "Own Range", "The frames given below"),
        ],
        default=WHOLE,
        options=set(),
    )
    first: frame_property("First Frame", "First frame to describe", 1)
    last: frame_property("Last Frame", "Last frame to describe", 100)
    markers: EnumProperty(
        name="Markers",
        description="What Add Markers makes of the segments",
        items=[
            (TIMELINE, "Timeline", "Markers of the scene's timeline"),
            (POSE, "Action", "Pose markers, which belong to the action and go with it"),
        ],
        default=TIMELINE,
        options=set(),
    )
    mark: BoolProperty(
        name="Mark as Asset",
        description="Make the action an asset where it is none, so that the Asset Browser shows it with its "
        "description and tags",
        default=False,
        options=set(),
    )
    overwrite: BoolProperty(
        name="Replace Hand-Written Text",
        description="Write over a description that a person wrote. Off: it is kept. Tags of a person always stay",
        default=False,
        options=set(),
    )

    def frames(self, which: str = "") -> tuple[float | None, float | None]:
        """First and last scene frame to read; None, None for those of the action.

        Args:
            which: WHOLE, SCENE or OWN instead of the panel's own choice.
        """
        scene, which = self.id_data, which or self.which
        if which == OWN:
            return float(self.first), float(self.last)
        if which == SCENE:
            if scene.use_preview_range:
                return float(scene.frame_preview_start), float(scene.frame_preview_end)
            return float(scene.frame_start), float(scene.frame_end)
        return None, None


classes = (
    MGPT3_Phrase,
    MGPT3_DescribedSegment,
    MGPT3_Description,
    MGPT3_ActionDescriptions,
    MGPT3_DescribeSettings,
)


def register() -> None:
    bpy.types.Action.mgpt3_describe = PointerProperty(type=MGPT3_ActionDescriptions)
    bpy.types.Scene.mgpt3_describe = PointerProperty(type=MGPT3_DescribeSettings)


def unregister() -> None:
    del bpy.types.Scene.mgpt3_describe
    del bpy.types.Action.mgpt3_describe
