"""Prompts in words that no training caption has: does what comes out still look like the caption they paraphrase?

paraphrases.json holds pairs of a prompt and a caption of the training data that means the same; each prompt has at
least one content word that no caption of the data's train splits has. The motion for the prompt, made as users make it
(`core.tasks.generate`), is embedded by the matcher, and the pair's caption ranked among about 150 different ones by
its distance to it. Beside it: the same where the model reads the prompt as it is, without looking for the caption it
is nearest to, and where the caption itself is the prompt, the best the prompt could do.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from core.errors import CoreError
from core.evaluate.metrics import distances
from core.evaluate.study import Study
from core.skeleton import FPS
from core.tasks.generate import MAX_SECONDS, MIN_SECONDS, generate
from core.train.data import Clip

FILE = Path(__file__).with_name("paraphrases.json")
CANDIDATES = 150
REPEATS = 3
"""Motions a prompt: more change the median rank of some seventy prompts little."""
SECONDS = 4.0
"""Where no clip with the caption says how long it takes: the panel's own duration."""


def load_paraphrases(path: Path = FILE) -> list[dict[str, str]]:
    """[{"prompt": ..., "caption": ...}]. Raises CoreError("data_broken")."""
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(p["prompt"], str) and isinstance(p["caption"], str) for p in pairs):
            raise ValueError("prompt and caption must be text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CoreError("data_broken", f"{path.name} is not a list of prompts and captions ({error}).",
                        "Copy it from the project again.") from error  # fmt: skip
    return list(pairs)


def candidates(pairs: list[dict[str, str]], known: list[str], rng: np.random.Generator) -> list[str]:
    """The set's captions, then others drawn from `known`, up to CANDIDATES different ones."""
    own = list(dict.fromkeys(p["caption"] for p in pairs))
    others = sorted(set(known) - set(own))
    more = rng.permutation(len(others))[: max(0, CANDIDATES - len(own))]
    return own + [others[i] for i in more]


def usual_seconds(caption: str, clips: list[Clip]) -> float:
    """Median length of the clips with this caption; SECONDS where there is none."""
    found = [len(c.joints) / FPS for c in clips if caption in c.captions]
    return float(np.clip(np.median(found), MIN_SECONDS, MAX_SECONDS)) if found else SECONDS


def ranks(distance: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Rank of candidate own[i] in row i of `distance` (N, candidates): 1 is the nearest."""
    return 1 + (distance < distance[np.arange(len(own)), own][:, None]).sum(1)


def paraphrases(study: Study) -> None:
    """The part "paraphrases": median rank of the caption for prompt and caption, and the share of the first ten."""
    pairs = load_paraphrases()
    clips = study.train + study.clips
    known = [t for c in clips for t in c.captions if t.strip()]
    texts = candidates(pairs, known, study.rng(6))
    vectors = np.asarray(study.matcher.embed_text(texts))
    own = np.array([texts.index(p["caption"]) for p in pairs])
    seconds = [usual_seconds(p["caption"], clips) for p in pairs]
    repeats = min(study.repeats, REPEATS)
    study.say(f"paraphrases: {len(pairs)} prompts, {len(texts)} captions to choose from, {repeats} repeat(s)")
    ways = (("paraphrase", "prompt", False), ("read literally", "prompt", True), ("caption itself", "caption", True))
    for row, key, literal in ways:
        made = [
            generate(study.model, p[key], s, (study.seed * 7919 + 31 * k) % 2**31, variations=repeats,
                     guidance=study.guidance, steps=study.steps, literal=literal)
            for k, (p, s) in enumerate(zip(pairs, seconds, strict=True))
        ]  # fmt: skip
        for repeat in range(repeats):
            motion = np.asarray(study.matcher.embed_motion([m[repeat] for m in made]))
            found = ranks(distances(motion, vectors), own)
            study.add("paraphrases", "prompts", row, median_rank=float(np.median(found)), mean_rank=float(found.mean()),
                      first=float((found == 1).mean()), first_10=float((found <= 10).mean()))  # fmt: skip
