"""What the panels edit of a character's rig: its bone map (on the armature object) and how motions go onto it (scene).

The map is one property a joint, not a list of them: fixed properties keep their place under undo, and a library
override keeps each one by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    BoolVectorProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    PointerProperty,
    StringProperty,
)

from .bonemap import LABELS
from .rig.options import FK, HIPS, IK, ROOT, Options
from .rig.skeleton22 import INDEX, JOINTS, NEEDED

_KEPT: dict[str, Any] = {"options": set(), "override": {"LIBRARY_OVERRIDABLE"}}
"""Not animatable; an override of a linked character may have a map of its own."""


def _edited(joint: str) -> Callable[[bpy.types.PropertyGroup, bpy.types.Context], None]:
    """An animator's own choice is marked as such. A needed joint that is emptied is to be found again."""

    def update(stored: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
        stored.by_hand[INDEX[joint]] = bool(getattr(stored, joint)) or joint not in NEEDED
        stored.sureness[INDEX[joint]] = 1.0
        stored.known = True

    return update


def _root_edited(stored: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    stored.root_by_hand = True
    stored.known = True


def _joint_tip(joint: str) -> str:
    if joint == "pelvis":
        return "The bone that carries the whole body; on a control rig the control that does"
    words = f"The bone of the character's {LABELS[joint].lower()}; on a control rig the FK control"
    return words if joint in NEEDED else f"{words}. Empty: the character is driven without one"


class MGPT3_BoneMap(bpy.types.PropertyGroup):
    """An armature's bone map. Read and written through bonemap.py; the joints' own properties are added below."""

    known: BoolProperty(name="Known", description="Whether bones were looked for or set", **_KEPT)
    searched: BoolProperty(name="Searched", description="Whether bones were looked for", **_KEPT)
    by_hand: BoolVectorProperty(
        name="Set by Hand", description="For each joint: you chose its bone, finding leaves it alone", size=22, **_KEPT
    )
    sureness: FloatVectorProperty(
        name="Sureness", description="For each joint how sure its bone is, 0 to 1", size=22, **_KEPT
    )
    root: StringProperty(
        name="Root Bone",
        description="The bone on the ground that the whole character hangs from, where it has one",
        update=_root_edited,
        **_KEPT,
    )
    root_by_hand: BoolProperty(name="Root by Hand", description="You chose the root bone", **_KEPT)
    spine_chain: StringProperty(name="Spine Chain", description="All bones of the spine, the lowest first", **_KEPT)
    neck_chain: StringProperty(name="Neck Chain", description="All bones of the neck, the lowest first", **_KEPT)
    family: StringProperty(name="Rig Family", description="The kind of rig that was recognised", **_KEPT)
    source: StringProperty(name="Found By", description="Whether the bones' names or their shape told", **_KEPT)
    confidence: FloatProperty(name="Confidence", description="How sure the whole map is, 0 to 1", **_KEPT)
    warnings: StringProperty(name="Warnings", description="What was odd when the bones were looked for", **_KEPT)
    controls: BoolProperty(name="Control Rig", description="The bones to key are controls", **_KEPT)
    ik: BoolProperty(name="Has IK Controls", description="The rig's IK controls are known", **_KEPT)


for _joint in JOINTS:
    assert _joint not in MGPT3_BoneMap.__annotations__, _joint
    MGPT3_BoneMap.__annotations__[_joint] = StringProperty(
        name=LABELS[_joint], description=_joint_tip(_joint), update=_edited(_joint), **_KEPT
    )


class MGPT3_RigSettings(bpy.types.PropertyGroup):
    """How motions go onto the character. Nothing here can be animated: it says how to make motion, it is none."""

    limbs: EnumProperty(
        name="Limbs",
        description="Which controls of a control rig get the keys of arms and legs",
        items=[
            (FK, "FK", "Key the FK controls: clean arcs, each bone as in the motion. The limbs are switched to FK"),
            (IK, "IK", "Key the IK hands, feet and poles in the same pose, to go on with pinned hands and feet. The "
             "limbs are switched to IK"),
        ],
        default=FK,
        options=set(),
    )  # fmt: skip
    hands: BoolProperty(
        name="Hands Reach Places",
        description=(
            "Bring the hands to where they are in the motion, at the character's size, for clapping, touching the head "
            "or carrying. Off: the arms keep the motion's poses, whatever the character's proportions"
        ),
        default=False,
        options=set(),
    )
    feet: BoolProperty(
        name="Feet Reach Places",
        description=(
            "Put the feet down where they are in the motion, at the character's size, to hit marks or stairs. Off: the "
            "legs keep the motion's poses, and the stride follows from their length"
        ),
        default=False,
        options=set(),
    )
    root: EnumProperty(
        name="Travel On",
        description="Which bone carries the character through the scene",
        items=[
            (HIPS, "Hips", "The hips travel; a root bone stays where it is, free for you to move"),
            (ROOT, "Root Bone", "The bone on the ground travels and turns with the character, as game engines want it. "
             "Without such a bone the hips do"),
        ],
        default=HIPS,
        options=set(),
    )  # fmt: skip
    in_place: BoolProperty(
        name="In Place",
        description="Stay on the spot, as on a treadmill: the way travelled is left out, the hips still sway and bob",
        default=False,
        options=set(),
    )
    loop: BoolProperty(
        name="Loop",
        description="Let the end flow into the beginning, so that the motion can be repeated as a cycle",
        default=False,
        options=set(),
    )
    use_floor: BoolProperty(
        name="Set Floor",
        description="Choose the floor's height yourself; otherwise it is where the character stands in its rest pose",
        default=False,
        options=set(),
    )
    floor: FloatProperty(
        name="Floor",
        description="Height in the scene of the floor that the feet stand on",
        default=0.0,
        subtype="DISTANCE",
        unit="LENGTH",
        options=set(),
    )
    relaxed_hands: BoolProperty(
        name="Relaxed Hands",
        description="Also key the fingers, to a relaxed curl. Off: the fingers keep the pose and keys they have",
        default=False,
        options=set(),
    )

    def options(self, clean_feet: bool) -> Options:
        """What is chosen, as the solve takes it.

        Args:
            clean_feet: pin standing feet; chosen with the request.
        """
        return Options(
            limbs=self.limbs,
            foot_lock=clean_feet,
            hands=self.hands,
            feet=self.feet,
            root=self.root,
            in_place=self.in_place,
            loop=self.loop,
            floor=self.floor if self.use_floor else None,
            relaxed_hands=self.relaxed_hands,
        )


classes = (MGPT3_BoneMap, MGPT3_RigSettings)


def register() -> None:
    bpy.types.Object.mgpt3_bones = PointerProperty(type=MGPT3_BoneMap, override={"LIBRARY_OVERRIDABLE"})
    bpy.types.Scene.mgpt3_rig = PointerProperty(type=MGPT3_RigSettings)


def unregister() -> None:
    del bpy.types.Scene.mgpt3_rig
    del bpy.types.Object.mgpt3_bones
