"""From joint positions to what is keyed: rotation channels and locations. NumPy only.

For every joint `turns` finds D, the turn that takes the character's rest to the wanted pose, and `chains` spreads it
over spines and necks of any number of bones. A bone that plays the joint gets D times its own rest orientation: bone
roll, bone axes and controls that lie elsewhere never matter. Posed like that the character is a figure in the motion's
axes: it is placed by its feet, so that legs of other proportions still stand on the floor, where the motion's stand;
hands and feet are brought to their places and feet pinned where that is asked for, and the limbs turned after them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import chains, ground, place
from . import figure as figures
from . import rotation as rot
from .character import Character
from .ground import Ground
from .options import DEFAULT, ROOT, Options
from .reach import reach
from .rest import Posed, Rig, pose
from .skeleton22 import INDEX as J
from .turns import body_turns, follow

COMPARED = tuple(J[name] for name in ("l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle", "l_shoulder",
                 "r_shoulder", "l_elbow", "r_elbow", "spine1", "spine2", "spine3", "neck"))  # fmt: skip
"""Joints whose bone has a direction that can be compared: limbs, feet, spine, neck. Left out: the pelvis and the
chest-to-collar and collar-to-shoulder offsets, which point elsewhere in every rig by construction."""


LEGS = tuple((J[f"{s}_{a}"], J[f"{s}_{b}"]) for s in "lr" for a, b in (("hip", "knee"), ("knee", "ankle")))
FIRMNESS = (1.0, 0.6, 0.35)
"""How firmly feet are pinned: the first, unless it turns the legs further from the motion's than LEGS_TURN."""
LEGS_TURN = np.radians(5.6)


@dataclass
class Solution:
    """What to key, and what becomes of the character.

    Attributes:
        rotations: bone name -> (T, 3, 3) its rotation channel.
        locations: bone name -> (T, 3) its location channel, armature units.
        root: name of the bone that carries the hips.
        turns: joint index -> (T, 3, 3) its turn from the rest, armature space.
        orientations: bone name -> (T, 3, 3) how each keyed bone is turned, armature space.
        plays: bone name -> index of the joint it plays, for the bones of `orientations`.
        figure: (T, 22, 3) the character's joints in the motion's axes, metres at the motion's size, its floor at 0;
            missing joints bridged.
        joints_armature: (T, 22, 3) the same in armature space.
        present: (22,) joints that the character has a bone for.
        rest: (22, 3) the rest in the motion's axes, metres at the motion's size; NaN for missing joints.
        motion: (T, 22, 3) the motion that was solved for: looped, in place.
        asked: (T, 22, 3) the same, where feet are pinned with feet as flat as this character's can be: what bones are
            compared with.
        heights: (4,) of ground.FEET over the floor while the character stands flat, metres at the motion's size.
        standing: (T, 4) when ground.FEET are meant to stand.
        ground_source, ground_before, ground_after: feet and floor of the motion, and of the character before and
            after its feet were pinned.
        errors: (T, n) degrees between where a bone points and where it should, one column for each of `compared`.
        compared: the (joint, next joint) pairs of `errors`.
        scale: armature units for a metre of the motion (leg length against leg length).
        to_armature: (3, 3) rotation from the motion's axes to armature space.
        warnings: one sentence each, of what was asked for and could not be.
    """

    rotations: dict[str, np.ndarray]
    locations: dict[str, np.ndarray]
    root: str
    turns: dict[int, np.ndarray]
    orientations: dict[str, np.ndarray]
    plays: dict[str, int]
    figure: np.ndarray
    joints_armature: np.ndarray
    present: np.ndarray
    rest: np.ndarray
    motion: np.ndarray
    asked: np.ndarray
    heights: np.ndarray
    standing: np.ndarray
    ground_source: Ground
    ground_before: Ground
    ground_after: Ground
    errors: np.ndarray
    compared: list[tuple[int, int]]
    scale: float
    to_armature: np.ndarray
    warnings: list[str]


def resample(joints: np.ndarray, fps: float, to_fps: float) -> np.ndarray:
    """Motion at another frame rate by cubic (Catmull-Rom) curves. (T, 22, 3) -> (T', 22, 3) float64.

    The first frame stays the first; T' is as many frames as fit between the first and the last.
    """
    count = int(np.floor((len(joints) - 1) * to_fps / fps + 1e-6)) + 1
    return at_times(joints, np.arange(count) * (fps / to_fps))


def at_times(joints: np.ndarray, time: np.ndarray) -> np.ndarray:
    """A motion at any times, counted in its frames, by cubic (Catmull-Rom) curves. (T, 22, 3) -> (T', 22, 3) float64.

    Whole times give the frames themselves; times outside are held at the ends.
    """
    joints = np.asarray(joints, np.float64)
    time = np.clip(np.asarray(time, np.float64), 0.0, len(joints) - 1)
    i = np.minimum(time.astype(int), len(joints) - 2)
    u = (time - i)[:, None, None]
    padded = np.concatenate([2 * joints[:1] - joints[1:2], joints, 2 * joints[-1:] - joints[-2:-1]])
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    return p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))


def leg_length(joints: np.ndarray) -> float:
    """Thigh plus shin, mean of both legs, median over frames. (..., 22, 3) -> length."""
    joints = joints.reshape(-1, 22, 3)
    legs = [
        np.linalg.norm(joints[:, J[f"{s}_{b}"]] - joints[:, J[f"{s}_{a}"]], axis=-1)
        for s in "lr"
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.median(np.sum(legs, axis=0)) / 2)


def solve(rig: Rig, joints: np.ndarray, fps: float, options: Options = DEFAULT) -> Solution:
    """Pose a character for each frame of a motion.

    Args:
        rig: the character.
        joints: (T, 22, 3) metres, Y up, facing +Z, floor at 0, at the frame rate the keys will have.
        fps: that frame rate.
        options: root, loop, in place, floor, foot lock, position-true hands and feet. `limbs` and `relaxed_hands` are
            not the solve's business.
    """
    motion = np.asarray(joints, np.float64)
    if options.loop:
        motion = place.loop(motion, fps)
    character = Character(rig, root_keyed=options.root == ROOT)
    work = _Work(character, motion, fps, options)
    if not character.upright:
        work.warnings.append("The rest pose does not stand upright; the motion stands on the world's floor.")
    work.pose_like_the_motion()
    work.stand()
    work.adjust()
    return work.solution()


@dataclass
class _Work:
    """One solve under way. Turns are in the motion's axes; what is posed is in armature space."""

    character: Character
    motion: np.ndarray
    fps: float
    options: Options
    turns: dict[int, np.ndarray] = field(default_factory=dict)
    spread: dict[int, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def pose_like_the_motion(self) -> None:
        """Turn all bones like the motion's, the hips where they are in rest."""
        character, motion = self.character, self.motion
        self.standing, self.slopes, self.theirs = ground.stance(motion, self.fps)
        flat = self.options.foot_lock  # feet that are pinned lie flat; otherwise they point where the motion's do
        more = min(len(motion) - 1, round(self.fps)) if self.options.loop else 0
        if more > 0:  # what is averaged over time must not end at the seam of a loop
            turns = body_turns(place.extended(motion, more), self.fps, character, self.slopes, flat)
            self.turns = {j: turn[more : more + len(motion)] for j, turn in turns.items()}
        else:
            self.turns = body_turns(motion, self.fps, character, self.slopes, flat)
        self.spread = chains.spread(character, self.turns)
        self.carrier = character.rig.root
        while character.bones[self.carrier].connected:  # a connected bone has no location of its own
            self.carrier = character.bones[self.carrier].parent
        above = character.bones[: self.carrier + 1]
        self.at_rest = pose(above, {}, {self.carrier: np.zeros(3)}).heads[self.carrier]  # without a location of its own
        self.asked = self._asked()
        self.posed = self._pose({self.carrier: self.at_rest})
        self.loose = figures.loose_joints(character)
        self.joints = figures.joints_of(character, self.posed, len(motion))
        if self.loose:
            figures.hold_together(character, self.joints, self._turned(), self.loose)

    def _asked(self) -> np.ndarray:
        """The motion as this character's feet would do it: flat where the motion's are flat. (T, 22, 3)."""
        asked = self.motion.copy()
        if not self.options.foot_lock:
            return asked
        for side in "lr":
            ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
            length = np.linalg.norm(asked[:, ball] - asked[:, ankle], axis=-1, keepdims=True)
            foot = rot.unit(rot.turn(self.turns[ankle], self.character.foot_vector(ankle)))
            asked[:, ball] = asked[:, ankle] + length * foot
        return asked

    def _turned(self) -> dict[int, np.ndarray]:
        """Joint -> its turn in armature space."""
        out, into = self.character.to_armature, self.character.to_motion
        return {joint: out @ turn @ into for joint, turn in self.turns.items()}

    def _targets(self) -> dict[int, np.ndarray]:
        """Bone index -> wanted orientation in armature space."""
        rig, out = self.character.rig, self.character.to_armature
        into = self.character.to_motion @ self.character.carried
        wanted = {i: self.turns[j] for i, j in rig.keyed.items() if j in self.turns} | self.spread
        return {i: out @ turn @ (into @ rig.bones[i].rotation) for i, turn in wanted.items()}

    def _pose(self, places: dict[int, np.ndarray], more: dict[int, np.ndarray] | None = None) -> Posed:
        self.targets = self._targets()
        return pose(self.character.bones, self.targets | (more or {}), None, places)

    def stand(self) -> None:
        """Place the posed character on its floor, by its feet."""
        character = self.character
        self.scale = character.leg_length() / leg_length(self.motion)
        floor, heights = character.floor(self.scale, self.options.floor)
        self.heights = np.array(heights).ravel() / self.scale
        self.stage = figures.stage(character, self.scale, floor)
        self.figure = self.stage.figure(self.joints)
        self.offset = place.root_offset(
            self.figure, self.motion, self.heights, self.fps, motion_heights=self.theirs, cyclic=self.options.loop
        )
        self.figure = self.figure + self.offset[:, None]
        self.ground_source = ground.measure_ground(self.motion, self.standing, self.theirs, self.fps)
        self.ground_before = self.ground_after = self._ground()

    def _ground(self) -> Ground:
        return ground.measure_ground(self.figure, self.standing, self.heights, self.fps)

    def adjust(self) -> None:
        """Hands and feet to their places, feet pinned, the way taken off: whatever is asked for."""
        options, before = self.options, self.figure
        after = before
        if options.hands or options.feet:
            after = reach(after, self.motion, None, hands=options.hands, feet=options.feet)
        if options.foot_lock:
            after = self._locked(after)
        self.figure = after
        if after is not before:
            follow(self.turns, before, after)
            self.offset = self.offset + after[:, 0] - before[:, 0]
            self.ground_after = self._ground()
        self.adjusted = after is not before
        if options.root != ROOT and not options.in_place:
            return
        self.path, self.yaw = place.travel(self.motion, self.fps, cyclic=options.loop)
        if options.in_place:
            self.motion = place.in_place(self.motion, self.fps, path=self.path)
            self.offset = self.offset + place.in_place(self.figure, self.fps, path=self.path)[:, 0] - self.figure[:, 0]
            self.path = np.broadcast_to(self.path[:1], self.path.shape)

    def _locked(self, figure: np.ndarray) -> np.ndarray:
        """The figure with its feet pinned, as firmly as its legs' directions allow."""
        locked = figure
        for firm in FIRMNESS:
            locked = ground.lock_feet(
                figure, self.standing, self.heights, self.fps, cyclic=self.options.loop, firm=firm
            )
            near, far = (np.array([pair[n] for pair in LEGS]) for n in (0, 1))
            turned = rot.angle_between(figure[:, far] - figure[:, near], locked[:, far] - locked[:, near])
            if np.percentile(turned, 90) < LEGS_TURN:  # half of the limbs are arms: 95 % of all, then
                break
        return locked

    def _root_bone(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Orientation and place of the root bone where it carries the way: by bone index, armature space."""
        character = self.character
        root = character.rig.root_bone
        if self.options.root != ROOT:
            return {}, {}
        if root is None or root == self.carrier or not character.hangs_on(self.carrier, {root}):
            self.warnings.append("This character has no root bone over its hips: the hips carry the way travelled.")
            return {}, {}
        axes = self.stage.axes
        yaw = axes @ place.about_up(self.yaw) @ axes.T
        centre = axes @ self.stage.origin  # it turns about the point under the hips
        head = character.still.heads[root][0]
        way = self.path @ axes.T * self.scale
        return (
            {root: yaw @ character.still.rotations[root]},
            {root: centre + way + rot.turn(yaw, head - centre)},
        )

    def solution(self) -> Solution:
        """Channels, and the character as they leave it."""
        character, rig, frames = self.character, self.character.rig, len(self.motion)
        offset = self.offset * self.scale @ self.stage.axes.T
        hips = self.at_rest + offset
        root_turn, root_place = self._root_bone()
        if self.adjusted or self.loose or root_place:
            places = {self.carrier: hips, **root_place}
            if self.loose:
                if self.adjusted:
                    self.joints = figures.joints_of(character, self._pose({self.carrier: self.at_rest}), frames)
                    figures.hold_together(character, self.joints, self._turned(), self.loose)
                for joint in self.loose:
                    places[rig.joint_bone[joint]] = self._head_of(joint) + offset
            posed = self._pose(places, root_turn)
            joints = figures.joints_of(character, posed, frames)
        else:  # only the hips move: everything else is as it was posed
            posed = pose(character.bones[: self.carrier + 1], self.targets, None, {self.carrier: hips})
            self.posed.shifts.update(posed.shifts)
            posed = self.posed
            joints = self.joints + offset[:, None]
        figure = self.stage.figure(joints)
        pairs = [
            (j, k)
            for j in COMPARED
            if character.present[j] and (k := character.next(j)) is not None and j in self.turns
        ]
        near, far = (np.array([pair[n] for pair in pairs]) for n in (0, 1))
        errors = np.degrees(
            rot.angle_between(figure[:, far] - figure[:, near], self.asked[:, far] - self.asked[:, near])
        )

        def whole(channels: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
            return {character.bones[i].name: np.broadcast_to(c, (frames, *c.shape[1:])) for i, c in channels.items()}

        plays = {i: rig.keyed.get(i, J["neck"] if i in rig.neck else J["spine2"]) for i in posed.channels}
        plays |= dict.fromkeys(root_turn, J["pelvis"])
        return Solution(
            rotations=whole(posed.channels),
            locations=whole(posed.shifts),
            root=character.bones[self.carrier].name,
            turns={joint: self.stage.axes @ turn @ character.to_motion for joint, turn in self.turns.items()},
            orientations=whole({i: posed.rotations[i] for i in posed.channels}),
            plays={character.bones[i].name: joint for i, joint in plays.items()},
            figure=figure,
            joints_armature=joints,
            present=character.present,
            rest=character.rest_joints() / self.scale,
            motion=self.motion,
            asked=self.asked,
            heights=self.heights,
            standing=self.standing,
            ground_source=self.ground_source,
            ground_before=self.ground_before,
            ground_after=self.ground_after,
            errors=errors,
            compared=pairs,
            scale=self.scale,
            to_armature=self.stage.axes,
            warnings=self.warnings,
        )

    def _head_of(self, joint: int) -> np.ndarray:
        """Where the bone of a loose joint is to have its head, before the hips move. (T, 3) armature space."""
        character = self.character
        i = character.rig.joint_bone[joint]
        bone = character.bones[i]
        offset = bone.rotation.T @ (character.rig.joint_heads[joint] - bone.head)
        return self.joints[:, joint] - rot.turn(self.targets[i], offset)
