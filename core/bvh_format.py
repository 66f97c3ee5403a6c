"""The BVH file format (Biovision Hierarchy): text <-> a tree of nodes with channels, and the tree's positions.

Nothing here knows which node is which part of a body.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.errors import CoreError

_POSITION = {"xposition": 0, "yposition": 1, "zposition": 2}
_ROTATION = {"xrotation": 0, "yrotation": 1, "zrotation": 2}
MAX_NODES = 2000
"""More nodes than any body has; a file with more is not one."""


@dataclass
class Node:
    """A joint, or the end of a bone without joint (an End Site, named PARENT_end, without channels)."""

    name: str
    parent: int
    offset: np.ndarray  # (3,) from the parent, in the file's unit
    channels: tuple[str, ...] = ()
    end: bool = False


@dataclass
class Clip:
    """A whole file. `values` is (frames, all channels): the file's unit and degrees."""

    nodes: list[Node] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    frame_time: float = 0.0


def parse(text: str) -> Clip:
    """Read a file's text. Raises CoreError("bvh_broken")."""
    head, found, motion = text.partition("MOTION")
    words = head.split()
    if not found or not words or words[0].upper() != "HIERARCHY":
        raise broken("it does not have the two parts HIERARCHY and MOTION")
    nodes = _hierarchy(words[1:])
    channels = sum(len(node.channels) for node in nodes)

    header, _, numbers = motion.lower().partition("time:")
    try:
        first, _, rest = numbers.strip().partition("\n")
        frame_time = float(first)
        values = np.array(rest.split(), np.float64)
    except ValueError as error:
        raise broken(f"its motion has something that is not a number ({str(error)[:80]})") from None
    if "frames:" not in header or not (np.isfinite(frame_time) and 1e-4 <= frame_time <= 10):
        raise broken("it does not say its frames and frame time")
    if not channels or not values.size:
        raise broken("it has no motion")
    if values.size % channels:
        raise broken("its motion ends in the middle of a frame")
    if not np.isfinite(values).all():
        raise broken("its motion has values that are not finite numbers")
    return Clip(nodes, values.reshape(-1, channels), frame_time)


def render(clip: Clip) -> str:
    """The file's text, as `parse` and Blender read it. Nodes must be in depth-first order."""
    out = ["HIERARCHY"]
    opened: list[int] = []  # the nodes whose brace is open

    def close() -> None:
        opened.pop()
        out.append("\t" * len(opened) + "}")

    for index, node in enumerate(clip.nodes):
        while opened and opened[-1] != node.parent:
            close()
        pad = "\t" * len(opened)
        kind = "End Site" if node.end else f"{'JOINT' if opened else 'ROOT'} {node.name}"
        out += [pad + kind, pad + "{", f"{pad}\tOFFSET " + " ".join(f"{value:.6f}" for value in node.offset)]
        if not node.end:
            out.append(f"{pad}\tCHANNELS {len(node.channels)} " + " ".join(node.channels))
        opened.append(index)
    while opened:
        close()
    out += ["MOTION", f"Frames: {len(clip.values)}", f"Frame Time: {clip.frame_time:.8f}"]
    out += [" ".join(f"{value:.6f}" for value in row) for row in clip.values]
    return "\n".join(out) + "\n"


def positions(clip: Clip) -> np.ndarray:
    """Forward kinematics: -> (T, N, 3) world positions of the nodes, the file's unit and axes."""
    frames = len(clip.values)
    where = np.zeros((frames, len(clip.nodes), 3))
    turned = np.zeros((len(clip.nodes), frames, 3, 3))
    column = 0
    for index, node in enumerate(clip.nodes):
        offset = np.tile(node.offset, (frames, 1))
        turn = np.tile(np.eye(3), (frames, 1, 1))
        for channel in node.channels:
            value = clip.values[:, column]
            column += 1
            if channel in _POSITION:
                offset[:, _POSITION[channel]] = value  # in place of the offset, as MotionBuilder and Blender have it
            else:
                turn = turn @ axis_rotation(_ROTATION[channel], np.radians(value))
        if node.parent < 0:
            where[:, index], turned[index] = offset, turn
        else:
            before = turned[node.parent]
            where[:, index] = where[:, node.parent] + np.einsum("tij,tj->ti", before, offset)
            turned[index] = before @ turn
    return where


def axis_rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation about axis 0, 1 or 2 by (T,) radians: -> (T, 3, 3)."""
    out = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, a, a] = out[:, b, b] = np.cos(angle)
    out[:, b, a] = np.sin(angle)
    out[:, a, b] = -out[:, b, a]
    return out


def broken(reason: str) -> CoreError:
    return CoreError("bvh_broken", f"This is not a whole BVH file: {reason}.", "Export it again.")


def _hierarchy(words: list[str]) -> list[Node]:
    nodes: list[Node] = []
    stack: list[int] = []
    at = 0

    def numbers(count: int) -> np.ndarray:
        values = np.array(words[at : at + count], np.float64)
        if len(values) != count or not np.isfinite(values).all():
            raise broken("an offset is not three numbers")
        return values

    try:
        while at < len(words):
            word = words[at].lower()
            at += 1
            if word in ("root", "joint", "end"):
                name_end = words.index("{", at)
                name = "_".join(words[at:name_end])
                end = word == "end"
                parent = stack[-1] if stack else -1
                if end:
                    name = nodes[parent].name + "_end"
                nodes.append(Node(name, parent, np.zeros(3), end=end))
                stack.append(len(nodes) - 1)
                at = name_end + 1
                if len(nodes) > MAX_NODES:
                    raise broken("it has too many joints")
            elif word == "offset":
                nodes[stack[-1]].offset = numbers(3)
                at += 3
            elif word == "channels":
                count = int(words[at])
                channels = tuple(channel.lower() for channel in words[at + 1 : at + 1 + count])
                if len(channels) != count or not all(c in _POSITION or c in _ROTATION for c in channels):
                    raise broken("a joint has unknown channels")
                nodes[stack[-1]].channels = channels
                at += 1 + count
            elif word == "}":
                stack.pop()
            else:
                raise broken(f"its hierarchy says '{words[at - 1][:40]}'")
    except (IndexError, ValueError):
        raise broken("its hierarchy is incomplete") from None
    if stack or not nodes:
        raise broken("its hierarchy is incomplete")
    return nodes
