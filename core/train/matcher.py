"""Training of the matcher (core/evaluate/matcher.py).

InfoNCE both ways (van den Oord et al., 2018) over batches in which every clip stands beside its mirrored copy and every
caption beside the same words with left and right swapped: the hardest negatives there are for sides and turns. A text
is no negative of a motion that it describes as well (TMR's filter, by the captions themselves instead of a similarity).
Broken motions (statues that glide, limbs that hardly swing, trembling) are negatives of every text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from core.errors import CoreError
from core.evaluate.matcher import Matcher, MatcherConfig, config_of, mirrored_input, motion_input
from core.evaluate.retrieval import by_source
from core.machine import machine
from core.train.augment import augmented
from core.train.data import Clip, canonical_bones, load_data_source
from core.train.loop import Loop, mixed_precision
from core.train.matcher_batches import Batches, Texts
from core.train.processes import is_main, launched, own_device, processes

PAIRS = 64
"""Clips a batch; each comes with its mirrored copy."""
MOTION_DROP, TEXT_DROP = 0.2, 0.1
"""Shares of patches and of the sentence encoder's numbers that a step does not see."""

CARD = (Path(__file__).parent / "matcher_card.md").read_text(encoding="utf-8")
"""What every matcher's card says, with places for the figures."""
ATTRIBUTION = {
    "cmu": '"The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding '
    'from NSF EIA-0196217."',
    "accad": "ACCAD Open Motion Data Project, The Ohio State University (CC BY 3.0)",
    "reactidle": "Landa et al. 2025, ReActIdle (MIT)",
    "bandai": "Kobayashi et al. 2023, Bandai Namco Research Motiondataset (CC BY-NC 4.0)",
    "hdm05": "Müller, Röder, Clausen, Eberhardt, Krüger, Weber: Mocap Database HDM05, 2007 (CC BY-SA 3.0)",
}


def loss_of(matcher: Matcher, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """InfoNCE both ways. batch["also"] (texts, motions): True where a pair is no negative though it is no positive."""
    with mixed_precision(matcher.mean.device):
        rows = batch["rows"]
        keep = torch.rand(len(rows), rows.shape[1] // matcher.cfg.patch, device=rows.device) >= MOTION_DROP
        keep[:, 0] = True  # never nothing
        motion = matcher.read_motion(rows, batch["frames"], keep)
        text = matcher.read_text(F.dropout(batch["states"], TEXT_DROP), batch["real"])
    scale = matcher.log_scale.clamp(max=float(np.log(60.0))).exp()
    scores = (scale * text @ motion.T).masked_fill(batch["also"], -1e4)
    n = len(text)
    own = torch.arange(n, device=scores.device)
    to_motion, to_text = F.cross_entropy(scores, own), F.cross_entropy(scores[:, :n].T, own)
    right = (scores.argmax(1) == own).float().mean()
    return to_motion + to_text, {"to_motion": float(to_motion.detach()), "to_text": float(to_text.detach()),
                                 "right": float(right), "scale": float(scale.detach())}  # fmt: skip


def new_matcher(cfg: MatcherConfig, clips: list[Clip]) -> Matcher:
    """A matcher with the statistics of the training clips."""
    matcher = Matcher(cfg)
    bones = canonical_bones(clips)
    rows = np.concatenate([motion_input(c.joints, bones) for c in clips[:: max(1, len(clips) // 1500)]])
    rows = np.concatenate([rows, mirrored_input(torch.from_numpy(rows)).numpy()])
    mean, std = rows.mean(0), rows.std(0)
    for a, b in ((0, 66), (66, 132)):  # one spread a kind of number: quiet joints are not blown up
        std[a:b] = std[a:b].mean()
    matcher.bones.copy_(torch.from_numpy(bones))
    matcher.mean.copy_(torch.from_numpy(mean))
    matcher.std.copy_(torch.from_numpy(std.clip(1e-3)))
    return matcher


def train_matcher(
    cfg: MatcherConfig, train: list[Clip], val: list[Clip], folder: Path, *, steps: int, pairs: int = PAIRS,
    composed: int = 450, seed: int = 0, every: int = 250, stop_at: float | None = None, device: torch.device,
    encoder: Any = None,
) -> Matcher:  # fmt: skip
    """Train a matcher on clips; resumes from folder/last.pt. Returns it with averaged weights.

    Of several processes each draws batches of its own: what a caption is told apart from are the clips of one process.

    Args:
        train, val: clips as `load_data_source` reads them, nothing mirrored. folder: checkpoints and curves.
        composed: clips of legs of one and arms of another to add. stop_at: seconds.
        encoder: of sentences, None: ours.
    """
    torch.manual_seed(seed)
    if encoder is None:
        from core.language.sentence import load_sentence

        encoder = load_sentence()
    matcher = new_matcher(cfg, train).to(device)
    matcher.encoder = encoder
    clips = [*train, *augmented(train, composed, 2, seed)]
    texts = Texts(list(dict.fromkeys(t for c in clips for t in c.captions)), encoder, seed)
    rank = processes(device).process_index if launched() else 0
    batches = Batches(matcher, clips, texts, pairs, seed + 1000 * rank)
    if is_main():
        print(f"{len(clips)} clips, {len(texts.rows)} wordings of {len(texts.keys)} captions", flush=True)

    def step_fn(_: int) -> tuple[torch.Tensor, dict[str, float]]:
        return loss_of(matcher, batches())

    Loop(matcher, folder, steps, step_fn, lambda: by_source(matcher, val, repeats=4), lr=1e-3, matrix_lr=2e-3,
         every=every, decay=0.995, warm_up=50, stop_at=stop_at, seed=seed,
         generators=(batches.rng, batches.buckets.rng)).run()  # fmt: skip
    return matcher


def run(
    data: list[Path], runs: Path, out: Path | None = None, *, steps: int = 3000, minutes: float | None = None,
    seed: int = 0, device: str = "auto", composed: int = 450, pairs: int = PAIRS, licence: str = "CC BY-NC 4.0",
    every: int = 250, cfg: MatcherConfig | None = None, encoder: Any = None,
) -> Path:  # fmt: skip
    """Train on the train splits of the data, measure on val and test, write the matcher's folder (default: RUNS/model).

    Raises:
        CoreError: those of `load_data_source`; data_empty where no clip is long enough or none is for training.
    """
    clips = [c for path in data for c in load_data_source(path) if len(c.joints) >= 21 and c.captions]
    split = {s: [c for c in clips if c.split == s] for s in ("train", "val", "test")}
    if len(split["train"]) < 2:
        raise CoreError("data_empty", "The data has fewer than two clips of a second or more for training.",
                        "Give data whose captions file has lines with split train.")  # fmt: skip
    matcher = train_matcher(
        cfg or MatcherConfig(), split["train"], split["val"] or split["train"][:64], runs / "matcher", steps=steps,
        pairs=pairs, composed=composed, seed=seed, every=every, stop_at=minutes and 60 * minutes,
        device=own_device(device), encoder=encoder,
    )  # fmt: skip
    out = out or runs / "model"
    if not is_main():
        return out
    figures = {s: by_source(matcher, split[s], repeats=20) for s in ("val", "test") if split[s]}
    print(json.dumps(figures), flush=True)
    last = json.loads((runs / "matcher" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    made = {
        "licence": licence, "data": ", ".join(p.name.removesuffix("_joints.npz") for p in data), "seed": seed,
        "clips": len(split["train"]), "steps": last["step"], "pairs": pairs, "minutes": round(last["seconds"] / 60, 1),
        "machine": machine(), "figures": figures,
    }  # fmt: skip
    save_matcher(matcher, out, **made)
    print(f"written to {out}", flush=True)
    return out


def save_matcher(matcher: Matcher, folder: Path, **made: Any) -> None:
    """Write model.safetensors in half precision, config.json with how it was made, and README.md, the card."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().half().contiguous() for k, v in matcher.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = config_of(matcher, **made)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    size = sum(v.numel() for v in state.values())
    (folder / "README.md").write_text(card(config, size), encoding="utf-8")


def card(config: dict[str, Any], size: int) -> str:
    """The model card, from what config.json says."""
    net, figures = config["network"], config["figures"]
    rows = []
    for split, found in figures.items():
        for source, name in (("bandai", "Bandai"), ("rest", "the rest")):
            if f"{source}_R@1" in found:
                f = {k.removeprefix(source + "_"): v for k, v in found.items() if k.startswith(source)}
                numbers = [f[k] for k in ("R@1", "R@2", "R@3", "shuffled_R@3")] + [f.get("swap"), f.get("broken")]
                cells = " | ".join("-" if v is None else f"{v:.3f}" for v in numbers)
                rows.append(f"| {split}, {name} | {f['groups']} of {f['size']:.0f} | {cells} |")
    m = config["machine"]
    owed = [ATTRIBUTION[name] for name in config["data"].split(", ") if name in ATTRIBUTION]
    where = m["gpu"] if m["gpu"] != "none" else f"{m['threads']} thread(s) of a {m['processor']}"
    return (CARD.format(
        size=size / 1e6, motion_layers=net["motion_layers"], text_layers=net["text_layers"], width=net["width"],
        embedding=net["embedding"], patch=net["patch"], licence=config["licence"], data=config["data"],
        clips=config["clips"], steps=config["steps"], pairs=config["pairs"], minutes=config["minutes"],
        seed=config["seed"], where=where, torch=m["torch"], rows="\n".join(rows),
        attribution="Attribution: " + "; ".join(owed) + "." if owed else "",
    ).rstrip() + "\n")  # fmt: skip
