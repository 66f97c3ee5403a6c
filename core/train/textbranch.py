"""Where the text branch comes from, and how it is kept as it is while the motion branch learns.

GPT-2 (Radford et al., 2019) gives it where the sizes are GPT-2's; a compact model's is pre-trained on captions alone,
the step "text" of core/train/bimodal.py. In stages 1 and 2 it is frozen, but for the two rows of the embedding table
that text never had: <start_of_motion> and <end_of_motion>.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from core.errors import CoreError
from core.model.motiongpt3 import MotionGPT3

BLOCK = re.compile(r"h\.(\d+)\.(?:attn\.(c_attn|c_proj)|mlp\.(c_fc|c_proj)|(ln_1|ln_2))\.(weight|bias)")
NEW_ROW_SPREAD = 1e-9
"""New rows of the table are drawn with the covariance of the old ones times this, as transformers does."""


# -- frozen ----------------------------------------------------------------------------------------------------------


def text_names(model: MotionGPT3) -> list[str]:
    """The parameters of the text branch: everything `fn.0`, the table of tokens and that of positions."""
    return [
        name
        for name, _ in model.named_parameters()
        if name.startswith("backbone.") and (".fn.0." in name or ".wte." in name or ".wpe." in name)
    ]


def freeze_text(model: MotionGPT3) -> None:
    """Let nothing of the text branch move but the rows of <start_of_motion> and <end_of_motion>, as the official code
    does. `requires_grad_(True)` on its parameters thaws it again."""
    table, positions = model.backbone.wte.weight, model.backbone.wpe.weight
    for name in text_names(model):
        model.get_parameter(name).requires_grad_(False)
    table.requires_grad_(True)
    if getattr(table, "rows_kept", False):
        return
    table.rows_kept = True  # type: ignore[attr-defined]
    rows = [model.tokenizer.som, model.tokenizer.eom]

    def only_new_rows(gradient: torch.Tensor) -> torch.Tensor:
        if positions.requires_grad:  # thawed: the whole table learns
            return gradient
        masked = torch.zeros_like(gradient)
        masked[rows] = gradient[rows]
        return masked

    table.register_hook(only_new_rows)


# -- from GPT-2 ------------------------------------------------------------------------------------------------------


def gpt2_folder(source: Path | str, allow_download: bool = False) -> Path:
    """The folder on this computer with GPT-2's weights, vocab.json and merges.txt.

    Args:
        source: that folder, or a name on the Hugging Face hub, such as "gpt2", that has been fetched before.
        allow_download: fetch it where it has not.
    Raises:
        CoreError: gpt2_missing.
    """
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        files = ["config.json", "model.safetensors", "vocab.json", "merges.txt"]
        try:
            folder = Path(snapshot_download(str(source), allow_patterns=files, local_files_only=not allow_download))
        except Exception as error:  # the hub's errors have no common base, and a missing cache is one of them
            raise CoreError(
                "gpt2_missing", f"GPT-2 ('{source}') is not on this computer ({type(error).__name__}).",
                "Fetch it with `hf download gpt2`, name its folder, or choose text_branch = \"own\".",
            ) from error  # fmt: skip
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise CoreError("gpt2_missing", f"There is no {name} in '{folder}'.", "Fetch GPT-2's folder again.")
    return folder


def from_gpt2(model: MotionGPT3, source: Path | str, *, allow_download: bool = False, seed: int = 0) -> None:
    """Fill the text branch with GPT-2's weights; the motion branch stays as it was initialised.

    Args:
        source: a folder that transformers can read a GPT-2 from, or a name on the Hugging Face hub that has been
            fetched before. allow_download: fetch it where it has not.
        seed: of the two rows that GPT-2's table lacks, drawn near the mean of the others.
    Raises:
        CoreError: gpt2_missing; gpt2_does_not_fit where its sizes are not the model's.
    """
    gpt2 = _gpt2(source, allow_download)
    _check_sizes(model, gpt2.config)
    given = gpt2.transformer.state_dict()
    backbone, used = model.backbone, set()
    with torch.no_grad():
        for key, value in given.items():
            if key in ("ln_f.weight", "ln_f.bias"):
                name = f"ln_f.fn.0.{key.removeprefix('ln_f.')}"
            elif found := BLOCK.fullmatch(key):
                layer, attention, mlp, norm, kind = found.groups()
                part = f"{attention}.fn.0" if attention else f"mlp.fn.0.{mlp}" if mlp else f"{norm}.fn.0"
                name = f"h.{layer}.{part}.{kind}"
            else:
                continue
            backbone.get_parameter(name).copy_(value)
            used.add(f"backbone.{name}")
        old = given["wte.weight"]
        backbone.wte.weight[: len(old)] = old
        backbone.wte.weight[len(old) :] = _new_rows(old, len(backbone.wte.weight) - len(old), seed)
        backbone.wpe.weight.copy_(given["wpe.weight"][: len(backbone.wpe.weight)])
    left = set(text_names(model)) - used - {"backbone.wte.weight", "backbone.wpe.weight"}
    if left:
        raise CoreError("gpt2_does_not_fit", f"'{source}' has no weights for {sorted(left)[0]}.", "Use GPT-2's own.")


def _gpt2(source: Path | str, allow_download: bool) -> Any:
    from transformers import GPT2LMHeadModel

    try:
        return GPT2LMHeadModel.from_pretrained(source, local_files_only=not allow_download, dtype=torch.float32)
    except Exception as error:  # OSError where there is none, anything else where what is there is broken
        raise CoreError(
            "gpt2_missing", f"GPT-2's weights cannot be read from '{source}' ({type(error).__name__}).",
            "Fetch them with `hf download gpt2`, or name their folder.",
        ) from error  # fmt: skip


def _check_sizes(model: MotionGPT3, theirs: Any) -> None:
    cfg = model.cfg.backbone
    sizes = {
        "width": (cfg.width, theirs.n_embd),
        "layers": (cfg.layers, theirs.n_layer),
        "heads": (cfg.heads, theirs.n_head),
        "ff": (cfg.ff, theirs.n_inner or 4 * theirs.n_embd),
        "words": (model.tokenizer.som, theirs.vocab_size),
    }
    wrong = [f"{k} {ours} here, {other} there" for k, (ours, other) in sizes.items() if ours != other]
    if cfg.positions > theirs.n_positions:
        wrong.append(f"positions {cfg.positions} here, {theirs.n_positions} there")
    if theirs.activation_function != "gelu_new":
        wrong.append(f"activation gelu_new here, {theirs.activation_function} there")
    if wrong:
        raise CoreError("gpt2_does_not_fit", f"This GPT-2 is not of the model's sizes: {'; '.join(wrong)}.",
                        "Take GPT-2 small for the official sizes, or choose text_branch = \"own\".")  # fmt: skip


def _new_rows(old: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Rows (count, D) near the mean of the old ones: what they mean is still to be learned."""
    generator = torch.Generator().manual_seed(seed)
    centred = (old - old.mean(0)).double()
    covariance = centred.T @ centred / len(old) * NEW_ROW_SPREAD
    root = torch.linalg.cholesky(covariance + 1e-18 * torch.eye(old.shape[1], dtype=torch.float64))
    noise = torch.randn(count, old.shape[1], generator=generator, dtype=torch.float64)
    return (old.double().mean(0) + noise @ root.T).to(old.dtype)
