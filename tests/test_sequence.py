"""Several prompts in a row: lengths, borders, seeds, joins without a pop, paths, and going on from something."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from motions import walk

from core.errors import Cancelled, CoreError
from core.features import facing, retarget
from core.model.checkpoint import load_model
from core.model.motiongpt3 import MotionGPT3
from core.restpose import REST_OFFSETS
from core.skeleton import bone_lengths
from core.tasks.generate import generate
from core.tasks.sequence import Segment, sequence

WALK, WAVE, RUN = "a person walks forward", "a person waves with the right hand", "a person runs"


@pytest.fixture(scope="module")
def model() -> MotionGPT3:
    return load_model(None)


@lru_cache(maxsize=1)
def usual() -> float:
    """The 95th percentile of how much a joint's speed changes in a frame, the fastest joint, in the model's motion."""
    changes = [jumps(j) for i, p in enumerate((WALK, WAVE, RUN)) for j in generate(load_model(None), p, 4.0, i)]
    return float(np.percentile(np.concatenate(changes), 95))


def jumps(joints: np.ndarray) -> np.ndarray:
    """(T - 2,) the largest change of a joint's speed at each inner frame, m/s."""
    return np.linalg.norm(np.diff(joints.astype(float), 2, axis=0), axis=-1).max(1) * 20


def ring(radius: float) -> np.ndarray:
    angle = np.linspace(0.0, 2 * np.pi, 60)
    return np.stack([radius * np.cos(angle), 0 * angle, radius * np.sin(angle)], -1)


def test_each_segment_has_its_time(model: MotionGPT3) -> None:
    made = sequence(model, [Segment(WALK, 3.0), Segment(WAVE, 2.0), Segment(RUN, 1.55)], 0.8, 7)
    assert made.joints.shape == (131, 22, 3)
    assert made.joints.dtype == np.float32
    assert made.borders == [0, 60, 100]
    assert made.seeds == [7, 8, 9]
    assert made.notes == []
    assert made.path_error_mm is None
    assert [(first < border < last) for (first, last), border in zip(made.transitions, (60, 100), strict=True)] == [
        True,
        True,
    ]
    assert all(last - first == 17 for first, last in made.transitions)  # 16 frames are filled
    assert np.ptp(bone_lengths(made.joints), axis=0).max() < 0.002
    assert np.allclose(made.joints[0, 0, [0, 2]], 0.0, atol=1e-5)
    assert facing(made.joints[:1])[0, 2] > 0.99


def test_what_is_no_transition_is_the_segments_own(model: MotionGPT3) -> None:
    """The first segment is that of `generate` with the same seed, up to where the transition begins."""
    made = sequence(model, [Segment(WALK, 3.0), Segment(WAVE, 2.0)], 0.8, 7)
    alone = generate(model, WALK, 3.0, 7)[0]
    first, _ = made.transitions[0]
    assert np.allclose(made.joints[: first + 1], alone[: first + 1], atol=1e-5)
    again = sequence(model, [Segment(WALK, 3.0), Segment(WAVE, 2.0)], 0.8, 7)
    assert np.array_equal(again.joints, made.joints)
    other = sequence(model, [Segment(WALK, 3.0), Segment(WAVE, 2.0)], 0.8, 8)
    assert not np.allclose(other.joints, made.joints, atol=0.05)


@pytest.mark.parametrize("transition", [0.4, 0.8, 1.5])
def test_joins_do_not_pop(model: MotionGPT3, transition: float) -> None:
    """At both ends of the transitions no joint's speed changes more than it usually does, but for a foot set down."""
    prompts = [WALK, WAVE, WALK, RUN, WAVE]
    found, inside = [], []
    for seed in range(3):
        made = sequence(model, [Segment(prompt, 3.0) for prompt in prompts], transition, 10 * seed)
        change = jumps(made.joints)
        for first, last in made.transitions:
            found += [change[first - 1], change[last - 1]]
            inside.append(np.linalg.norm(np.diff(made.joints[first : last + 1], axis=0), axis=-1).max() * 20)
    assert np.mean(found) < 0.7 * usual()
    assert np.mean(np.array(found) > usual()) <= 0.2
    assert np.max(inside) < 10.0  # m/s: nothing flies across the room


def test_a_walk_goes_on_where_it_was_heading(model: MotionGPT3) -> None:
    made = sequence(model, [Segment(WALK, 3.0), Segment(WALK, 3.0), Segment(WALK, 3.0)], 0.8, 1)
    alone = np.linalg.norm(generate(model, WALK, 3.0, 1)[0][-1, 0, [0, 2]])
    assert np.linalg.norm(made.joints[-1, 0, [0, 2]]) > 1.5 * alone
    for first, last in made.transitions:
        ways = facing(made.joints[[first, last]])
        assert (ways[0] * ways[1]).sum() > 0.6
        gone = np.linalg.norm(made.joints[last, 0] - made.joints[first, 0])
        assert gone < 2.0 * (last - first) / 20


def test_any_length_is_made_in_parts(model: MotionGPT3) -> None:
    told: list[float] = []
    made = sequence(
        model, [Segment(WAVE, 25.0), Segment(WALK, 2.0)], 0.6, 0, progress=lambda fraction, _: told.append(fraction)
    )
    assert made.joints.shape == (540, 22, 3)
    assert made.borders == [0, 500]
    assert len(made.transitions) == 3
    assert made.seeds == [0, 1]
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert np.isfinite(made.joints).all()


def test_notes_say_what_was_changed(model: MotionGPT3) -> None:
    made = sequence(model, [Segment("a zebra gallops", 1.0), Segment(WAVE, 1.0)], 4.0, 0)
    assert any(note.startswith('"a zebra gallops": ') for note in made.notes)
    assert any("transition" in note for note in made.notes)
    assert made.joints.shape == (40, 22, 3)
    literal = sequence(model, [Segment("a zebra gallops", 1.0)], 0.5, 0, literal=True)
    assert literal.notes == []


def test_it_goes_on_from_what_came_before(model: MotionGPT3) -> None:
    """On another body, elsewhere, facing elsewhere: frame 0 is its last frame, and nothing jumps."""
    before = retarget(walk(3.0), (REST_OFFSETS * 1.15).astype(np.float32))[:, :, [2, 1, 0]] * [1, 1, -1]
    before = (before + np.array([3.0, 0.0, 1.0])).astype(np.float32)
    made = sequence(model, [Segment(WAVE, 3.0)], 0.8, 0, start=before)
    assert made.joints.shape == (61, 22, 3)
    assert made.borders == [1]
    assert np.array_equal(made.joints[0], before[-1])
    assert np.allclose(bone_lengths(made.joints).mean(0), bone_lengths(before).mean(0), atol=0.01)
    change = jumps(np.concatenate([before[-10:], made.joints[1:]]))
    assert change[8:10].max() < max(usual(), 1.3 * jumps(before)[-5:].max())
    assert abs(made.joints[..., 1].min(1).mean()) < 0.1
    assert (facing(made.joints[-20:]).mean(0) * facing(before[-10:]).mean(0)).sum() > 0.0


def test_a_path_is_followed(model: MotionGPT3) -> None:
    made = sequence(model, [Segment(WALK, 6.0), Segment(RUN, 4.0)], 0.8, 3, path=ring(2.0) + np.array([5.0, 0.0, 0.0]))
    assert made.path_error_mm is not None
    assert made.path_error_mm < 250.0
    way = made.joints[:, 0][:, [0, 2]] - [5.0, 0.0]
    assert abs(np.median(np.linalg.norm(way, axis=-1)) - 2.0) < 0.15
    short = sequence(model, [Segment(WALK, 2.0)], 0.8, 3, path=np.array([[0, 0, 0], [0, 0, 50.0]]))
    assert any("50.0 m long" in note for note in short.notes)
    fast = sequence(model, [Segment(WALK, 2.0)], 0.8, 3, path=np.array([[0, 0, 0], [0, 0, 50.0]]), timed=True)
    assert fast.joints[-1, 0, 2] == pytest.approx(50.0, abs=0.5)
    assert any("times the motion's own speed" in note for note in fast.notes)
    there = sequence(model, [Segment(WALK, 4.0)], 0.8, 3, start=walk(2.0), path=np.array([[0, 0, 4.0], [5, 0, 4.0]]))
    assert np.array_equal(there.joints[0], walk(2.0)[-1])


@pytest.mark.parametrize(
    ("segments", "options", "code"),
    [
        ([], {}, "segments_empty"),
        ([Segment(" ", 2.0)], {}, "prompt_empty"),
        ([Segment(WALK, 0.5)], {}, "duration_out_of_range"),
        ([Segment(WALK, float("nan"))], {}, "duration_out_of_range"),
        ([Segment(WALK, 120.0)] * 31, {}, "sequence_too_long"),
        ([Segment(WALK, 2.0)], {"transition": 0.0}, "transition_out_of_range"),
        ([Segment(WALK, 2.0)], {"seed": -1}, "seed_out_of_range"),
        ([Segment(WALK, 2.0)], {"path": np.zeros((3, 3))}, "path_invalid"),
        ([Segment(WALK, 2.0)], {"start": np.zeros((3, 9, 3))}, "joints_invalid"),
    ],
)
def test_what_cannot_be_made_is_refused_before_the_work(
    model: MotionGPT3, segments: list[Segment], options: dict, code: str
) -> None:
    transition, seed = options.pop("transition", 0.8), options.pop("seed", 0)

    def progress(_: float, message: str) -> None:
        pytest.fail(f"it began: {message}")

    with pytest.raises(CoreError) as caught:
        sequence(model, segments, transition, seed, progress=progress, **options)
    assert caught.value.code == code


def test_cancel_is_heard(model: MotionGPT3) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 30

    with pytest.raises(Cancelled):
        sequence(model, [Segment(WALK, 3.0)] * 5, 0.8, 0, cancelled=cancelled)
    assert len(asked) < 40
