"""What an animator can choose about how a motion is put on a character."""

from __future__ import annotations

from dataclasses import dataclass

HIPS, ROOT = "HIPS", "ROOT"
FK, IK = "FK", "IK"


@dataclass(frozen=True)
class Options:
    """How a motion goes onto a character.

    Attributes:
        limbs: "FK" or "IK": which controls of a control rig are keyed. Rigs without controls have no choice.
        foot_lock: pin the heel and toe of the finished character where they stand.
        hands, feet: "position-true": wrists or ankles reach the place that the motion's do, at the character's size,
            instead of keeping the direction of each bone.
        root: "HIPS": the hips carry the way travelled; "ROOT": the bone on the ground does, where there is one.
        in_place: stay on the spot: the way travelled is left out, the sway of the hips is kept.
        loop: make the end flow into the beginning.
        floor: world height of the floor the character is to stand on, None for where it stands.
        relaxed_hands: also key the fingers to a relaxed curl (otherwise they keep what they have).
    """

    limbs: str = FK
    foot_lock: bool = False
    hands: bool = False
    feet: bool = False
    root: str = HIPS
    in_place: bool = False
    loop: bool = False
    floor: float | None = None
    relaxed_hands: bool = False


DEFAULT = Options()
"""As a motion goes onto a character when nothing else is asked for."""
