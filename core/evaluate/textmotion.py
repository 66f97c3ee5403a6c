"""Text-to-motion on a split: what the model draws for each clip's caption at the clip's own length, against the rows

real            the clips themselves (FID: of two random halves, what few clips alone make of it)
shuffled        the clips with the group's captions handed round: chance
reconstruction  the clips through the autoencoder, the best the drawn ones can be
nearest         the training clip whose caption is nearest in meaning: what looking it up would give
generated       drawn by the model

Every repeat draws new motions and groups. Captions are drawn anew every second repeat: the two motions drawn for the
same caption give MultiModality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.evaluate import drawing, metrics
from core.evaluate.physical import bone_error, floating, foot_slide, jerk, penetration
from core.evaluate.sides import agreement
from core.evaluate.study import Study
from core.train.data import Clip, mirror_text, mirrored, with_bones

REAL, SHUFFLED, RECONSTRUCTION, NEAREST, GENERATED = "real", "shuffled", "reconstruction", "nearest", "generated"
MAX_SEED = 2**31 - 1


@dataclass
class Drawn:
    """Motions of one repeat: captions[k] and motions[k] belong to clip rows[k]."""

    repeat: int
    rows: np.ndarray
    captions: list[str]
    motions: list[np.ndarray]


def draw_repeat(study: Study, repeat: int) -> Drawn:
    """One motion for every clip that has a caption."""
    rows = study.captioned
    rng = study.rng(1, repeat // 2)
    captions = [(c := study.clips[i].captions)[rng.integers(len(c))] for i in rows]
    frames = [study.clips[i].frames for i in rows]
    seeds = [(study.seed * 7919 + repeat * 100_003 + int(i)) % (MAX_SEED + 1) for i in rows]
    motions = drawing.draw(study.model, captions, frames, seeds, study.guidance, study.steps)
    return Drawn(repeat, rows, captions, motions)


class NearestCaption:
    """The training clip, or its mirror image, whose caption is nearest to a text by sentence embedding."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.known: dict[str, str] = {}
        self.owners: dict[str, list[tuple[int, bool]]] = {}
        for i, clip in enumerate(study.train):
            for text in filter(str.strip, clip.captions):
                self.owners.setdefault(text, []).append((i, False))
                if (other := mirror_text(text)) != text:
                    self.owners.setdefault(other, []).append((i, True))
        self.texts = list(self.owners)
        self.vectors = study.encoder.encode(self.texts)

    def find(self, captions: list[str], rng: np.random.Generator) -> list[tuple[int, bool]]:
        """(clip, mirrored?) for each caption; one by chance where several have the nearest one."""
        new = [c for c in dict.fromkeys(captions) if c not in self.known]
        if new:
            best = (self.study.encoder.encode(new) @ self.vectors.T).argmax(1)
            self.known |= {c: c if c in self.owners else self.texts[k] for c, k in zip(new, best, strict=True)}
        owners = [self.owners[self.known[c]] for c in captions]
        return [o[rng.integers(len(o))] for o in owners]

    def clip(self, found: tuple[int, bool]) -> Clip:
        clip = self.study.train[found[0]]
        return mirrored(clip) if found[1] else clip


class Retrieval:
    """The part "t2m": takes the draws of each repeat and notes the figures of all rows."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.text: dict[str, np.ndarray] = {}
        self.looked_up: dict[tuple[int, bool], np.ndarray] = {}
        self.before: np.ndarray | None = None
        self.fixed = {REAL: self._embed(study.real), RECONSTRUCTION: self._embed(study.reconstructed)}
        captioned = any(t.strip() for c in study.train for t in c.captions)
        self.nearest = NearestCaption(study) if captioned and study.encoder is not None else None
        if self.nearest is None:
            why = "no sentence encoder" if captioned else "no captioned clips of a train split, or they are measured"
            study.say(f"t2m: the row '{NEAREST}' is absent ({why})")

    def _embed(self, motions: list[np.ndarray]) -> np.ndarray:
        return np.asarray(self.study.matcher.embed_motion(motions))

    def _texts(self, captions: list[str]) -> np.ndarray:
        new = [c for c in dict.fromkeys(captions) if c not in self.text]
        if new:
            self.text |= dict(zip(new, np.asarray(self.study.matcher.embed_text(new)), strict=True))
        return np.stack([self.text[c] for c in captions])

    def _nearest(self, captions: list[str], repeat: int) -> np.ndarray:
        assert self.nearest is not None
        found = self.nearest.find(captions, self.study.rng(2, repeat))
        new = [f for f in dict.fromkeys(found) if f not in self.looked_up]
        if new:
            bones = drawing.bones_of(self.study.model)
            motions = [with_bones(self.nearest.clip(f).joints, bones) for f in new]
            self.looked_up |= dict(zip(new, self._embed(motions), strict=True))
        return np.stack([self.looked_up[f] for f in found])

    def take(self, drawn: Drawn) -> None:
        """Note the figures of one repeat."""
        study, r = self.study, drawn.repeat
        text = self._texts(drawn.captions)
        rows = {name: e[drawn.rows] for name, e in self.fixed.items()}
        if self.nearest is not None:
            rows[NEAREST] = self._nearest(drawn.captions, r)
        rows[GENERATED] = self._embed(drawn.motions)
        place = {int(i): k for k, i in enumerate(drawn.rows)}
        for g, (group, members) in enumerate(study.groups.items()):
            own = np.array([place[i] for i in members.tolist() if i in place], dtype=int)
            if len(own) < 2:
                study.say(f"t2m: {group} has {len(own)} captioned clip(s): nothing to tell apart")
                continue
            captions = [study.clips[drawn.rows[k]].captions for k in own]
            drawn_groups = metrics.draw_groups(captions, study.rng(3, r, g))
            sets = [own[rows_] for rows_ in drawn_groups]
            small = min(len(s) for s in sets)
            if small < metrics.GROUP:
                study.say(f"t2m: {group} has too few different captions for groups of {metrics.GROUP}")
            size = float(np.mean([len(s) for s in sets]))
            for name, motion in rows.items():
                self._note(group, name, text, motion, sets, rows[REAL], own, study.rng(4, r, g), size)
            rng = study.rng(5, r, g)
            self._hits(group, SHUFFLED, text, rows[REAL], sets, [rng.permutation(s) for s in sets], size)
            if self.before is not None and r % 2 == 1:
                two = metrics.multimodality(self.before[own], rows[GENERATED][own])
                study.add("t2m", group, GENERATED, multimodality=two)
        self.before = rows[GENERATED]

    def _note(
        self, group: str, row: str, text: np.ndarray, motion: np.ndarray, sets: list[np.ndarray], real: np.ndarray,
        own: np.ndarray, rng: np.random.Generator, size: float,
    ) -> None:  # fmt: skip
        self._hits(group, row, text, motion, sets, sets, size)
        order = rng.permutation(own)
        half = len(order) // 2
        between = (real[order[:half]], real[order[half:]]) if row == REAL else (motion[own], real[own])
        self.study.add("t2m", group, row, fid=metrics.fid(*between), diversity=metrics.diversity(motion[own], rng))

    def _hits(
        self, group: str, row: str, text: np.ndarray, motion: np.ndarray, sets: list[np.ndarray],
        given: list[np.ndarray], size: float,
    ) -> None:  # fmt: skip
        """R-precision and MM-Dist over the groups; `given` are the motions handed to the texts of `sets`."""
        hits = metrics.retrieval([(text[s], motion[m]) for s, m in zip(sets, given, strict=True)])
        self.study.add("t2m", group, row, **hits, group=size)


def note_physical(study: Study, group_row: str, motions: list[np.ndarray], rows: np.ndarray) -> None:
    """Note slide, floor, jerk and bones of motions (one a clip of `rows`), each a mean over clips."""
    bones = drawing.bones_of(study.model)
    each = {}
    for i, joints in zip(rows.tolist(), motions, strict=True):
        mean, deepest = penetration(joints)
        each[i] = {"slide_mm": foot_slide(joints), "float_mm": floating(joints), "below_mm": mean,
                   "deepest_mm": deepest, "jerk": jerk(joints), "bone_mm": bone_error(joints, bones)}  # fmt: skip
    for group, members in study.groups.items():
        own = [each[i] for i in members.tolist() if i in each]
        for name in own[0] if own else ():
            finite = [e[name] for e in own if np.isfinite(e[name])]
            if finite:
                study.add("physical", group, group_row, **{name: float(np.mean(finite))})


def note_sides(study: Study, row: str, captions: list[list[str]], motions: list[np.ndarray], rows: np.ndarray) -> None:
    """Note how often motions keep what their captions claim about left and right."""
    place = {int(i): k for k, i in enumerate(rows)}
    for group, members in study.groups.items():
        own = [place[i] for i in members.tolist() if i in place]
        for kind, found in agreement([(t, motions[k]) for k in own for t in captions[k]]).items():
            study.add("sides", group, row, **{kind: found["right"], f"{kind}_count": found["count"]})
