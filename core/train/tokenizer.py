"""The compact model's own tokenizer: a small byte-level BPE in GPT-2's manner."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from core.prompts import EOS, Tokenizer, motion_to_text
from core.train.rewording import corpus


def train_tokenizer(captions: list[str], file: Path, size: int = 1200) -> Tokenizer:
    """Learn merges from captions, the rewording lists and durations; write tokenizer.json."""
    backend = Backend(models.BPE())
    # Capitals and final punctuation mean nothing to a caption model; a person may type them all the same.
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[.!?;:]+(?=\s|$)"), "")]
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = sorted(set(captions)) + corpus() + [" " + w for w in corpus()]
    texts += [f"a person walks | {n / 10:.1f} seconds" for n in range(10, 99)] + [motion_to_text().replace("<", " ")]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    file.parent.mkdir(parents=True, exist_ok=True)
    backend.save(str(file))
    return Tokenizer(file)
