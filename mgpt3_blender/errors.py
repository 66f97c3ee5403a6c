"""What the add-on tells a person when something cannot be done: what happened, and what to do about it."""

from __future__ import annotations


class UserError(Exception):
    """An error an animator can act on.

    Args:
        code: stable identifier, e.g. "unknown_rig"; tests and buttons go by it.
        message: one sentence that a non-programmer understands.
        remedy: what to do about it, one sentence.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.code = code
        self.message = message
        self.remedy = remedy


class RigError(UserError):
    """The character cannot take the motion. Raised before anything in the file is changed.

    Codes: no_armature, linked_armature, edit_mode, non_uniform_scale, mirrored_scale, unknown_rig, missing_bones,
    connected_root, flat_rig, bad_motion, motion_too_short, tweak_mode.
    """
