"""What a training step costs, system by system, taken in turn so that a busy machine is as busy for each of them."""

from __future__ import annotations

import time

import numpy as np

from core.train.ablation_data import Batches
from core.train.ablation_systems import Objective, Sizes, System, build
from core.train.ablation_train import TEXT_WEIGHT, Budget, Stepper, World
from core.train.optimise import mixed_precision

ROUNDS = 24


def step_seconds(
    world: World, systems: list[System], sizes: Sizes, budget: Budget, rounds: int = ROUNDS
) -> dict[str, float]:
    """Median processor seconds of a step of each system, by name: batch, losses, gradients, optimisers."""
    made = []
    for system in systems:
        net = build(system, sizes, world.tokenizer, world.vae, 0)
        batches = Batches(system.kind, world.motions["train"], world.tokenizer, world.vae, 0)
        made.append((system.name, Objective(net, sizes), batches, Stepper(net, budget)))
    taken: dict[str, list[float]] = {name: [] for name, *_ in made}
    for step in range(rounds):
        for name, objective, batches, stepper in made:
            started = time.process_time()
            with mixed_precision(objective.net.backbone.wte.weight.device):
                parts = objective(batches(step, budget.batch))
            stepper(parts["motion"] + TEXT_WEIGHT * parts["text"])
            taken[name].append(time.process_time() - started)
    return {name: float(np.median(seconds[len(seconds) // 4 :])) for name, seconds in taken.items()}
