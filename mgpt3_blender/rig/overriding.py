"""Constraints and drivers that would override keyed bones: found, and switched off where that can be undone.

A key on a constraint's influence lets the motion decide while it plays, and nothing else in the file changes. Bones
that get no keys keep all they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .mapping import Switch

if TYPE_CHECKING:
    import bpy

_HARMLESS = {"COPY_SCALE", "LIMIT_SCALE", "MAINTAIN_VOLUME"}
"""They leave a bone's head and aim alone."""
_CHAINS = {"IK", "SPLINE_IK"}
_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six")
_NAMED = 6
"""So many constraints are listed by name in a sentence; more are counted."""


@dataclass(frozen=True)
class Overriding:
    """What was found.

    Attributes:
        switches: constraints to set and key to no influence.
        warnings: one sentence each, about those and about what cannot be switched off.
    """

    switches: tuple[Switch, ...]
    warnings: tuple[str, ...]


def overriding(
    armature: bpy.types.Object, keyed: Iterable[str], noted: Iterable[list] = (), between: bool = False
) -> Overriding:
    """Find what would override the keys of some bones. Changes nothing.

    Args:
        keyed: names of the bones that get keys.
        noted: what an earlier motion that still plays has switched off (rows [bone, "", influence, constraint]):
            it counts although it has no influence now.
        between: bones that get no keys but stand between keyed ones count too, where they copy bones that do not move
            with the keyed ones (the twist bones of a rig whose deform bones are keyed past its controls).
    """
    keyed = set(keyed)
    checked = keyed | (_between(armature, keyed) if between else set())
    off = {(row[0], row[3]) for row in noted if len(row) > 3 and row[2] > 0.0}
    driven = _driven(armature)
    found: list[tuple[bpy.types.PoseBone, bpy.types.Constraint]] = []
    stuck: list[str] = []
    for bone in armature.pose.bones:
        for constraint in bone.constraints:
            if constraint.mute or (constraint.influence <= 0.0 and (bone.name, constraint.name) not in off):
                continue
            if not _moves(armature, bone, constraint, checked):
                continue
            if (bone.name, f'constraints["{_escaped(constraint.name)}"].influence') in driven:
                stuck.append(f'{constraint.name} on "{bone.name}"')
            else:
                found.append((bone, constraint))
    warnings = [_sentence(found)] if found else []
    if stuck:
        warnings.append("Constraints that a driver controls stay on and may bend the motion: " + _listed(stuck) + ".")
    return Overriding(
        tuple(Switch(bone.name, "", 0.0, constraint.name) for bone, constraint in found),
        (*warnings, *_held_channels(armature, keyed, driven, {bone.name for bone, _ in found})),
    )


def _moves(
    armature: bpy.types.Object, bone: bpy.types.PoseBone, constraint: bpy.types.Constraint, keyed: set[str]
) -> bool:
    """Whether a constraint that is on moves or turns one of the keyed bones."""
    kind = constraint.type
    if kind in _HARMLESS:
        return False
    if kind in _CHAINS:
        if constraint.target is None:
            return False
        first = bone if kind == "SPLINE_IK" or constraint.use_tail else bone.parent
        chain, count = [], constraint.chain_count
        while first is not None and (count == 0 or len(chain) < count):
            chain.append(first.name)
            first = first.parent
        return not keyed.isdisjoint(chain)
    if bone.name not in keyed:
        return False
    if kind == "ARMATURE":
        weights = [t for t in constraint.targets if t.weight > 0.0]
        return bool(weights) and (constraint.influence < 1.0 or any(t.target != armature for t in weights))
    if kind == "CHILD_OF":  # a bone carried as a whole is followed: its keys count in the carrier's space
        return constraint.target is not None and (constraint.influence < 1.0 or constraint.target != armature)
    if kind == "STRETCH_TO" and constraint.target == armature:
        target = armature.pose.bones.get(constraint.subtarget)
        return target is None or bone not in _ancestors(target)  # towards its own end it changes no direction
    return getattr(constraint, "target", armature) is not None


def _between(armature: bpy.types.Object, keyed: set[str]) -> set[str]:
    """Bones below one keyed bone and above another whose constraints follow nothing that the keys move."""
    bones = armature.pose.bones
    known: dict[str, bool] = {}

    def carried(bone: bpy.types.PoseBone) -> bool:
        """Whether a bone moves with the keyed ones: through its parents or through what its constraints look at."""
        if bone.name not in known:
            known[bone.name] = bone.name in keyed  # also ends circles
            above = [bone.parent] if bone.parent else []
            known[bone.name] |= any(carried(other) for other in above + _targets(armature, bone))
        return known[bone.name]

    out: set[str] = set()
    for name in keyed:
        path: list[bpy.types.PoseBone] = []
        bone = bones[name].parent if name in bones else None
        while bone is not None and bone.name not in keyed:
            path.append(bone)
            bone = bone.parent
        if bone is not None:
            out |= {b.name for b in path if _targets(armature, b) and not any(map(carried, _targets(armature, b)))}
    return out


def _targets(armature: bpy.types.Object, bone: bpy.types.PoseBone) -> list[bpy.types.PoseBone]:
    """Bones of the same armature that the constraints of a bone look at."""
    names = []
    for constraint in bone.constraints:
        looked = constraint.targets if constraint.type == "ARMATURE" else [constraint]
        names += [t.subtarget for t in looked if getattr(t, "target", None) == armature and not constraint.mute]
    return [armature.pose.bones[name] for name in names if name in armature.pose.bones]


def _ancestors(bone: bpy.types.PoseBone) -> list[bpy.types.PoseBone]:
    return list(bone.parent_recursive)


def _driven(armature: bpy.types.Object) -> set[tuple[str, str]]:
    """(Bone, property path below it) of everything on a bone that has a driver."""
    out = set()
    data = armature.animation_data
    for curve in data.drivers if data is not None else ():
        start, _, rest = curve.data_path.partition('pose.bones["')
        if not start and rest:
            name, _, path = rest.partition('"]')
            out.add((name.replace('\\"', '"').replace("\\\\", "\\"), path.lstrip(".")))
    return out


def _held_channels(
    armature: bpy.types.Object, keyed: set[str], driven: set[tuple[str, str]], freed: set[str]
) -> list[str]:
    """Warnings about rotation channels of keyed bones that are locked or driven.

    The locks of `freed` bones go with the constraints that moved them until now: no news.
    """
    turned = sorted({bone for bone, path in driven if bone in keyed and path.startswith("rotation")})
    bones = armature.pose.bones
    locked = [name for name in sorted(keyed - freed) if name in bones and any(bones[name].lock_rotation)]
    out = []
    if turned:
        out.append("Drivers turn bones that the motion needs and win over its keys: " + _listed(turned) + ".")
    if locked:
        out.append("Locked rotation channels get keys all the same, because the motion needs them: "
                   + _listed(locked) + ".")  # fmt: skip
    return out


def _sentence(found: list[tuple[bpy.types.PoseBone, bpy.types.Constraint]]) -> str:
    kinds = Counter(_title(constraint) for _, constraint in found)
    count = len(found)
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    kind = f"{next(iter(kinds))} " if len(kinds) == 1 else ""
    noun, verb = ("constraint", "is") if count == 1 else ("constraints", "are")
    names = [bone.name if kind else f"{_title(constraint)} on {bone.name}" for bone, constraint in found]
    where = " on" if kind else ":"
    said = f"{number} {kind}{noun} {verb} switched off while this motion plays"
    if count > _NAMED:
        return f"{said} ({', '.join(kinds)}): the bones are keyed themselves, the rig's own controls rest meanwhile."
    return f"{said}:{where if kind else ''} {_listed(names)}."


def _title(constraint: bpy.types.Constraint) -> str:
    """A kind of constraint as the interface calls it."""
    if constraint.type == "IK":
        return "IK"
    return constraint.bl_rna.properties["type"].enum_items[constraint.type].name


def _listed(names: list[str]) -> str:
    shown = names[:_NAMED]
    more = len(names) - len(shown)
    if more:
        return ", ".join(shown) + f" and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')
