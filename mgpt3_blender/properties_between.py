"""What the panel Fill Between edits, per scene: how the frames between keyed poses are filled. Saved with the file."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
)

from .between import Request
from .filling import Point
from .generate import MAX_VARIATIONS
from .properties_shared import frame_property, path_property, prompt_property, seed_property
from .rig.mapping import WORDS

AROUND, SELECTED = "AROUND", "SELECTED"
ALL = "ALL"

REACHING = ("l_wrist", "r_wrist", "l_ankle", "r_ankle", "head", "pelvis", "l_elbow", "r_elbow", "l_knee", "r_knee")
"""The joints that may be given a place."""
_PARTS = [(joint, WORDS[joint].title(), f"Bring the {WORDS[joint]} to the object") for joint in REACHING]


class MGPT3_ReachTarget(bpy.types.PropertyGroup):
    """A part of the body that is to be where an object is, at a frame."""

    joint: EnumProperty(
        name="Part",
        description="Which part of the body reaches the object. Hands count at the wrist, feet at the ankle",
        items=_PARTS,
        default="r_wrist",
        options=set(),
    )
    target: PointerProperty(
        name="Object",
        description="Where the part of the body is to be: at this object's origin, an empty for instance",
        type=bpy.types.Object,
    )
    frame: frame_property("Frame", "When it is to be there; a frame between the two keys", 1)


class MGPT3_BetweenSettings(bpy.types.PropertyGroup):
    """The next fill. Nothing here can be animated: it says how to make motion, it is none."""

    prompt: prompt_property(
        'What happens between the keys, in English: "a person sits down". Leave empty to go by the poses'
    )
    which: EnumProperty(
        name="Fill",
        description="Which keyed poses to fill between",
        items=[
            (AROUND, "Around Frame", "Between the keyed poses before and after the current frame"),
            (SELECTED, "Selected Keys", "Between the key columns that are selected in the Dope Sheet, gap by gap"),
        ],
        default=AROUND,
        options=set(),
    )
    hold: BoolProperty(
        name="Hold Keyed Poses in Between",
        description=(
            "Poses keyed between the selected ones (breakdowns) stay as they are. Off: they are replaced. Single keys "
            "that make no pose are always replaced"
        ),
        default=True,
        options=set(),
    )
    bones: EnumProperty(
        name="Bones",
        description="Which bones get keys",
        items=[
            (ALL, "Whole Body", "All bones of the bone map"),
            (SELECTED, "Selected Bones", "Only the selected bones; the others keep their animation"),
        ],
        default=ALL,
        options=set(),
    )
    use_context: BoolProperty(
        name="Motion Around",
        description=(
            "Go on from the motion before the first key and lead over to the motion after the second, in speed as well "
            "as in pose. Turn it off where there is only blocking around the keys"
        ),
        default=True,
        options=set(),
    )
    strength: FloatProperty(
        name="Model Strength",
        description="0 is plain interpolation between the poses, 1 what the model holds for the most natural motion",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        options=set(),
    )
    seed: seed_property("The same keys, prompt and seed give the same motion again; another seed gives another take")
    takes: IntProperty(
        name="Takes",
        description="How many takes to make, with this seed and the ones after it; the best one is used",
        default=1,
        min=1,
        max=MAX_VARIATIONS,
        options=set(),
    )
    path: path_property("A curve that the character follows between the keys. Its height does not count")
    timed: BoolProperty(
        name="Timed",
        description=(
            "The curve's Evaluation Time says when the character is where; without keys on it, evenly from key to key. "
            "Off: only the way counts"
        ),
        default=False,
        options=set(),
    )
    targets: CollectionProperty(
        type=MGPT3_ReachTarget, name="Places to Reach", description="Where hands, feet or others are to be, and when"
    )
    target_index: IntProperty(
        name="Place to Reach", description="The place that is edited", default=0, options={"HIDDEN"}
    )

    def request(self, bones: frozenset[str] | None, which: str = "") -> Request:
        """What the panel asks for.

        Args:
            bones: the selected bones; they count only where the panel says so.
            which: AROUND or SELECTED instead of the panel's own choice.
        """
        return Request(
            prompt=self.prompt,
            use_context=self.use_context,
            strength=self.strength,
            seed=self.seed,
            variations=self.takes,
            selected=(which or self.which) == SELECTED,
            hold=self.hold,
            bones=bones if self.bones == SELECTED else None,
            path=self.path.name if self.path is not None else "",
            timed=self.timed,
            points=tuple(
                Point(entry.joint, entry.target.name, float(entry.frame))
                for entry in self.targets
                if entry.target is not None
            ),
        )


classes = (MGPT3_ReachTarget, MGPT3_BetweenSettings)


def register() -> None:
    bpy.types.Scene.mgpt3_between = PointerProperty(type=MGPT3_BetweenSettings)


def unregister() -> None:
    del bpy.types.Scene.mgpt3_between
