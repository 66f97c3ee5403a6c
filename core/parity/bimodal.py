"""Groups of the backbone: embeddings, the hidden states of every layer, logits; and its CMA modes."""

from __future__ import annotations

import torch

from core.model.motiongpt3 import MotionGPT3
from core.parity.fixtures import Fixtures, NumberedTokenizer
from core.parity.motion_vae import input_codes
from core.parity.report import Recorder


def real_rows(ids: torch.Tensor, real: torch.Tensor) -> list[list[int]]:
    """The tokens of each row without its padding, on whichever side it stands."""
    return [row[keep].tolist() for row, keep in zip(ids, real, strict=True)]


def tokenizer(f: Fixtures, r: Recorder) -> None:
    """The ids of the special tokens, as the folder's config names them."""
    tk = f.model.tokenizer
    if isinstance(tk, NumberedTokenizer):
        f.texts("tokenizer/")  # absent: nothing of ours to compare
    names = {
        "tokenizer_eos_id": tk.eos,
        "text_vocab_size": tk.text_vocab,
        "som_id": tk.som,
        "eom_id": tk.eom,
        "masked_motion_id": tk.masked,
        "pad_motion_id": tk.pad_motion,
        "holder_out_id": tk.holder_out,
        "holder_in_id": tk.holder_in,
    }
    known = {name: ours for name, ours in names.items() if name in f.config}
    if known:
        r.same("special tokens", list(known.values()), [f.number(name) for name in known])


def same_text(f: Fixtures, r: Recorder, name: str, ids: torch.Tensor, real: torch.Tensor) -> None:
    """The recorded texts, tokenised here, are the recorded ids; rows are cut at the prompt's length."""
    with r.optional():
        encoded = [f.model.tokenizer.encode(text)[: ids.shape[1]] for text in f.texts(name)]
        r.same_rows(f"{name}: tokens of the text", encoded, real_rows(ids, real))


def _prompts(f: Fixtures) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (B, T), which of them are real, their modality with -1 for padding, and the input codes (B, 1, C)."""
    ids, real = f.main["backbone/input_ids_global"], f.main["backbone/attention_mask"] > 0
    modality = f.model.tokenizer.modality(ids).masked_fill(~real, -1)
    return ids, real, modality, input_codes(f)[: len(ids), None]


def _run(model: MotionGPT3, ids: torch.Tensor, modality: torch.Tensor, codes: torch.Tensor) -> list[torch.Tensor]:
    """Embeddings without positions, then the states: before the first block, ..., the final ones."""
    embedded = model.embed(ids, codes)
    states: list[torch.Tensor] = [embedded]
    model.backbone(embedded, modality, trace=states)
    return states


def _rows_at_holders(model: MotionGPT3, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return hidden[ids == model.tokenizer.holder_out].view(len(ids), model.cfg.backbone.holders, -1)


def backbone(f: Fixtures, r: Recorder) -> None:
    model = f.model
    ids, real, modality, codes = _prompts(f)
    same_text(f, r, "backbone_prompts", ids, real)
    with r.optional():
        kinds = f.main["backbone/type_ids"]
        r.same("modalities", modality[real].tolist(), kinds[real].tolist())
    embedded, *states = _run(model, ids, modality, codes)
    for b, name in enumerate(("text", "motion")):
        r.close(f"backbone/inputs_embeds_{name}", embedded, where=modality == b)
        for j, state in enumerate(states):
            r.close(f"backbone/hidden_{name}_{j}", state, where=modality == b)
    with r.optional():
        width = f.main["backbone/text_logits"].shape[1]
        first = int(f.main["backbone/text_logits_slice"][0]) if "backbone/text_logits_slice" in f.main else 0
        part = slice(first, first + width)
        r.close("backbone/text_logits", model.backbone.logits(states[-1][:, part]), where=(modality == 0)[:, part])
    # The path that inference takes, which need not compute all of the above.
    r.close("backbone/motion_hidden_cond", model.condition(torch.where(real, ids, -1), codes, pad=-1))


def cma(f: Fixtures, r: Recorder) -> None:
    """The same prompts and weights, attention shared in some layers only."""
    f.main["cma/motion_hidden_cond"]
    model = f.model_with(str(f.setting("cma_mode_tested")))
    ids, real, modality, codes = _prompts(f)
    final = _run(model, ids, modality, codes)[-1]
    r.close("cma/hidden_text_last", final, where=modality == 0)
    r.close("cma/hidden_motion_last", final, where=modality == 1)
    r.close("cma/motion_hidden_cond", _rows_at_holders(model, ids, final), label="cma/motion_hidden_cond, all rows")
    r.close("cma/motion_hidden_cond", model.condition(torch.where(real, ids, -1), codes, pad=-1))
