"""A plain sentence from what was measured, for motion that the model hardly knows: nothing in it is invented."""

from __future__ import annotations

from typing import Any

SPRINTS, RUNS, WALKS = 2.2, 1.6, 0.35
"""Metres a second from which somebody runs for certain, may run, and walks."""
STEPS = 0.65
"""Share of the time that both feet together stand, under which it is a run: so 86 % of the runs in the captioned
bundles are one, and 1 % of the walks."""
TURNS = 40
"""Degrees from which a turn is worth a word."""
BENDS = 45
"""Degrees that the trunk leans when somebody bends down."""
BUSY = 0.9
"""Metres a second of the hands relative to the chest, from which the arms are worth a word."""
AIR = 0.2
"""Seconds in the air that make a jump."""
LOW, FLAT = 0.75, 0.35
"""Height of the hips, as a share of standing, under which somebody crouches, and is down on the floor."""
_ENDS = {
    "lying": "lies down on the floor", "sitting": "sits down", "kneeling": "kneels down",
    "on all fours": "goes down on hands and knees",
}  # fmt: skip


def sentence(facts: dict[str, Any]) -> str:
    """What can be said of a motion from its facts (core/captions/facts.py) alone: "a person crouches down, stands up
    and raises both hands"."""
    said = _height(facts)
    if facts["posture"] not in _ENDS:
        said += (_flight(facts) or _way(facts)) if len(said) < 2 else []
        said += _limb(facts, "foot")
    said = said[:2] + _limb(facts, "hand")
    if not said:
        said = ["stands"] if facts["in_place"] else ["moves about"]
    if facts["arms_mps"] >= BUSY and said in (["stands"], ["moves about"]):
        said.append("moves the arms")
    return "a person " + " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def _height(facts: dict[str, Any]) -> list[str]:
    if facts["posture"] in _ENDS:
        return [_ENDS[facts["posture"]]]
    if facts["lowest"] < FLAT:
        return ["gets up from the floor"]
    bends = facts["lean_deg"] >= BENDS
    if facts["airborne_s"] >= AIR or not (facts["lowest"] < LOW or bends):
        return []
    down = "bends down" if bends else "crouches down"
    return [down, "stands up"] if facts["posture"] == "standing" and facts["lowest"] < LOW else [down]


def _flight(facts: dict[str, Any]) -> list[str]:
    return ["jumps"] if facts["airborne_s"] >= AIR and not runs(facts) else []


def runs(facts: dict[str, Any]) -> bool:
    """Whether the feet leave the ground between steps, on the way."""
    standing = facts["contacts"]["left foot"] + facts["contacts"]["right foot"]
    speed = facts["gait_mps"] or facts["speed_mps"]
    return bool(speed >= SPRINTS or (speed >= RUNS and standing < STEPS))


def _way(facts: dict[str, Any]) -> list[str]:
    turn = []
    if abs(facts["turn_deg"]) >= TURNS:
        turn = ["turns to the left" if facts["turn_deg"] > 0 else "turns to the right"]
    if (facts["in_place"] and not facts["gait_mps"]) or (facts["gait_mps"] or facts["speed_mps"]) < WALKS:
        return turn
    way = "in place" if facts["in_place"] else facts["direction"].partition(" and ")[0]
    where = {"left": " to the left", "right": " to the right"}.get(way, f" {way}")
    return [("runs" if runs(facts) else "walks") + (where if facts["in_place"] or way != "in place" else ""), *turn]


def _limb(facts: dict[str, Any], part: str) -> list[str]:
    names = [name for name in facts["raised"] if name.endswith(part)]
    if len(names) == 2:
        return ["raises both hands" if part == "hand" else "kicks"]
    return [f"raises the {names[0]}"] if names else []
