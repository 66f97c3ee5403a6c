"""Text out: prompts continued token by token, greedily or sampled.

As in the official model: at most 40 new tokens, a repetition penalty on new tokens only, never a motion token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from core.model.backbone import Cache
from core.model.draft import Draft

if TYPE_CHECKING:
    from core.model.motiongpt3 import MotionGPT3

MAX_NEW_TOKENS = 40
REPETITION_PENALTY = 1.1
LOOK_AHEAD = (8, 16)
"""Tokens that are checked at a time where a draft guesses them: at first, and at most after all guesses were right.
Checking sixteen takes hardly longer than checking eight; guessing past a wrong one is lost."""

Written = tuple[list[int], float]
"""New token ids without the end token, and their mean log-probability (the end token counted where there is one)."""


class Chooser:
    """The next tokens from logits: bans, penalty, then the best or a drawn one; and the record of what was chosen."""

    def __init__(
        self,
        model: MotionGPT3,
        rows: int,
        penalty: float,
        generator: torch.Generator | None,
        temperature: float,
        top_k: int,
    ) -> None:
        tk = model.tokenizer
        self.banned, self.eos = [tk.som, tk.eom], tk.eos
        self.penalty, self.generator, self.temperature, self.top_k = penalty, generator, temperature, top_k
        shape = (rows, model.cfg.backbone.text_vocab)
        self.written = torch.zeros(shape, dtype=torch.bool, device=model.device)
        self.out: list[list[int]] = [[] for _ in range(rows)]
        self.total, self.count, self.running = [0.0] * rows, [0] * rows, set(range(rows))

    def pick(self, raw: torch.Tensor, written: torch.Tensor) -> torch.Tensor:  # (N, V), (N, V) -> (N,)
        scores = torch.where(written, torch.where(raw > 0, raw / self.penalty, raw * self.penalty), raw)
        scores[:, self.banned] = -torch.inf
        if self.generator is None:
            return scores.argmax(-1)
        best = (scores / self.temperature).topk(min(self.top_k, scores.shape[-1]))
        chosen = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=self.generator)
        return best.indices.gather(1, chosen.to(raw.device))[:, 0]

    def choose(self, raw: torch.Tensor) -> torch.Tensor:
        """Choose and record one token a row: (N, V) logits -> (N,)."""
        tokens = self.pick(raw, self.written)
        likely = raw.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        for row, (token, logp) in enumerate(zip(tokens.tolist(), likely.tolist(), strict=True)):
            if row in self.running:
                self.total[row], self.count[row] = self.total[row] + logp, self.count[row] + 1
                if token == self.eos:
                    self.running.discard(row)
                else:
                    self.out[row].append(token)
        self.written.scatter_(1, tokens[:, None], True)
        return tokens

    def result(self) -> list[Written]:
        return [(tokens, self.total[i] / max(self.count[i], 1)) for i, tokens in enumerate(self.out)]


@torch.no_grad()
def write_all(
    model: MotionGPT3,
    ids: torch.Tensor,
    codes: torch.Tensor | None = None,
    *,
    copies: int = 1,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_k: int = 50,
    on_token: Callable[[int], None] | None = None,
    on_logits: Callable[[torch.Tensor], None] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    penalty: float = REPETITION_PENALTY,
    draft: bool | None = None,
    unchecked: bool = False,
) -> list[Written]:
    """Continue prompts in text, greedily, or sampled where a generator is given.

    Args:
        ids: (B, T) prompts of equal length. codes: (B, k, C) of the prompts' input motions.
        copies: continuations of each prompt, which is read only once; they need a generator to differ.
        on_token: called before each token; may raise to stop.
        on_logits: called once a token with the first row's logits (V,) before penalty and bans, for checks.
        penalty: of repeated new tokens.
        draft: guess ahead with an 8-bit copy of the text branch (the text stays the same); None where it pays.
        unchecked: take that copy's guesses as they are: quicker, and now and then another word.
    """
    net = model.backbone
    x, modality = model.embed(ids, codes), model.tokenizer.modality(ids)
    cache = Cache(ids.shape[1] + max_new_tokens + LOOK_AHEAD[1])
    last = torch.zeros_like(modality, dtype=torch.bool)
    last[:, -1] = True
    if on_token is not None:
        on_token(0)
    hidden = net(x, modality, cache, want=last)[:, -1].repeat(copies, 1)  # (N, D)
    if copies > 1:
        cache.repeat(copies)
    chooser = Chooser(model, len(hidden), penalty, generator, temperature, top_k)
    alone = len(hidden) == 1 and generator is None
    if alone and (Draft.worth_it(net) if draft is None else draft):
        if model.draft is None:
            model.draft = Draft(net)
        if unchecked:
            _guessed(net.logits(hidden), model.draft, cache, chooser, max_new_tokens, on_token)
        else:
            _drafted(model, model.draft, hidden, cache, chooser, max_new_tokens, on_token, on_logits)
        return chooser.result()
    text = torch.zeros(len(hidden), 1, dtype=torch.long, device=hidden.device)  # new tokens are always text
    for step in range(max_new_tokens):
        raw = net.logits(hidden).float()  # (N, V)
        if on_logits is not None:
            on_logits(raw[0])
        tokens = chooser.choose(raw)
        if not chooser.running or step == max_new_tokens - 1:
            break
        if on_token is not None:
            on_token(step + 1)
        hidden = net(net.embed(tokens[:, None]), text, cache)[:, -1]
    return chooser.result()


def _guessed(
    raw: torch.Tensor,
    draft: Draft,
    cache: Cache,
    chooser: Chooser,
    max_new_tokens: int,
    on_token: Callable[[int], None] | None,
) -> None:
    """Greedy text of one row by the draft alone; raw: (1, V), the model's own logits of the first token."""
    for step in range(max_new_tokens):
        token = int(chooser.choose(raw))
        if not chooser.running or step == max_new_tokens - 1:
            return
        if on_token is not None:
            on_token(step + 1)
        raw = draft.step(token, cache)[None]


def _drafted(
    model: MotionGPT3,
    draft: Draft,
    hidden: torch.Tensor,
    cache: Cache,
    chooser: Chooser,
    max_new_tokens: int,
    on_token: Callable[[int], None] | None,
    on_logits: Callable[[torch.Tensor], None] | None,
) -> None:
    """Greedy text of one row: the draft guesses ahead, the model checks all guesses in one pass."""
    net = model.backbone
    raw = net.logits(hidden)
    if on_logits is not None:
        on_logits(raw[0])
    token = int(chooser.choose(raw))
    ahead = LOOK_AHEAD[0]
    while chooser.running and chooser.count[0] < max_new_tokens:
        start, written = cache.length, chooser.written.clone()
        guesses = [token]
        while len(guesses) < min(ahead, max_new_tokens - chooser.count[0]):
            if on_token is not None:
                on_token(chooser.count[0] + len(guesses) - 1)
            guess = int(chooser.pick(draft.step(guesses[-1], cache)[None], written))
            if guess == chooser.eos:
                break
            written[0, guess] = True
            guesses.append(guess)
        cache.length = start
        ids = torch.tensor([guesses])
        ahead = min(2 * ahead, LOOK_AHEAD[1])
        raws = net.logits(net(net.embed(ids), torch.zeros_like(ids), cache)[0])  # (k, V): what follows each guess
        for k, raw in enumerate(raws):
            if on_logits is not None:
                on_logits(raw)
            token = int(chooser.choose(raw[None]))
            if token == chooser.eos or guesses[k + 1 : k + 2] != [token]:
                ahead = ahead if k == len(guesses) - 1 else LOOK_AHEAD[0]
                cache.length = start + k + 1  # what was guessed after this was wrong, and is read no more
                break
