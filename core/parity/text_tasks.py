"""Groups of text out: motion-to-text and text-to-text, written greedily token by token."""

from __future__ import annotations

import torch

from core.model.motiongpt3 import MotionGPT3
from core.parity.bimodal import same_text
from core.parity.fixtures import Fixtures
from core.parity.report import Recorder


def write_rows(
    model: MotionGPT3, prompts: list[torch.Tensor], codes: torch.Tensor | None, length: int, penalty: float
) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Write an answer to each prompt (T,).

    Returns:
        tokens padded with the end token to `length`, as the official code returns them; and the raw logits (steps, V)
        of each, up to the step that ended it.
    """
    rows, logits = [], []
    for i, prompt in enumerate(prompts):
        steps: list[torch.Tensor] = []
        tokens, _ = model.write(
            prompt[None],
            None if codes is None else codes[i : i + 1, None],
            on_logits=lambda raw, steps=steps: steps.append(raw.float().clone()),
            max_new_tokens=length,
            penalty=penalty,
        )
        rows.append(tokens + [model.tokenizer.eos] * (length - len(tokens)))
        logits.append(torch.stack(steps))
    return rows, logits


def _text_out(f: Fixtures, r: Recorder, name: str, codes: torch.Tensor | None) -> None:
    model = f.model
    ids, real = f.main[f"{name}/prompt_ids_global"], f.main[f"{name}/attention_mask"] > 0
    same_text(f, r, name, ids, real)
    expected = f.main[f"{name}/generated_ids"]
    prompts = [row[keep] for row, keep in zip(ids, real, strict=True)]
    rows, logits = write_rows(model, prompts, codes, expected.shape[1], float(f.setting("repetition_penalty", 1.1)))
    r.same_rows(f"{name}/generated_ids", rows, expected.tolist())
    if f"{name}/step_logits_raw" in f.main:
        raw = f.main[f"{name}/step_logits_raw"]
        for i, ours in enumerate(logits):
            r.near(f"{name}/step_logits_raw, row {i}", ours, raw[i, : len(ours)])
    with r.optional():
        # The spaces around an answer are no part of it: the official code keeps the leading one, we do not.
        r.same(f"{name}: text of the tokens", [model.tokenizer.decode(row) for row in rows],
               [text.strip() for text in f.texts(f"{name}_out")])  # fmt: skip


def m2t(f: Fixtures, r: Recorder) -> None:
    vae = f.model.vae
    mean, logvar = vae.encode(f.main["motion_in/feats_norm"], f.main["motion_in/lengths"])
    _text_out(f, r, "m2t", vae.to_code(vae.sample(mean, logvar, f.main["m2t/eps"][0])))


def t2t(f: Fixtures, r: Recorder) -> None:
    _text_out(f, r, "t2t", None)
