"""The sampling loop as one CUDA graph: thousands of small kernels, launched at once.

A graph is recorded for each shape and recipe and kept with the head; it reads its inputs from fixed places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from core.model import sampling

if TYPE_CHECKING:
    from core.model.diffusion import DiffusionHead
    from core.model.sampling import Recipe, Table
    from core.model.schedule import Schedule

KEPT = 8
"""Graphs kept for a head; each holds its loop's memory."""


class Graph:
    """One recorded loop. Inputs of the recording are copied; the result is read where the recording wrote it."""

    def __init__(
        self,
        head: DiffusionHead,
        recipe: Recipe,
        schedule: Schedule,
        inputs: list[torch.Tensor],
        fixed: list[Table] | None,
    ) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        self.fixed = fixed  # held, so that their memory stays theirs

        def run() -> torch.Tensor:
            c, times, x, noise = self.inputs
            return sampling.loop(head, recipe, schedule, c, times, fixed, x, noise)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels and workspaces before the recording
            run()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = run()

    def __call__(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        for place, tensor in zip(self.inputs, inputs, strict=True):
            place.copy_(tensor)
        self.graph.replay()
        return self.result.clone()


def graphed(
    head: DiffusionHead,
    recipe: Recipe,
    schedule: Schedule,
    c: torch.Tensor,
    times: torch.Tensor,
    fixed: list[Table] | None,
    x: torch.Tensor,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """`sampling.loop`, recorded once for these shapes and replayed."""
    inputs = [c, times, x, x.new_zeros(0) if noise is None else noise]
    autocast = torch.is_autocast_enabled("cuda")
    weights = tuple(p.data_ptr() for p in head.parameters())  # a recording reads the weights where they were
    key = (recipe, tuple(tuple(t.shape) for t in inputs), autocast, fixed is not None and id(fixed), weights)
    if key not in head.graphs:
        while len(head.graphs) >= KEPT:
            head.graphs.pop(next(iter(head.graphs)))
        head.graphs[key] = Graph(head, recipe, schedule, inputs, fixed)
    return head.graphs[key](inputs)
