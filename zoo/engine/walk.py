"""From noise to the clean sample: how the samples of a request walk, in whichever thread or process that is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from zoo.engine.modulation_tables import with_tables
from zoo.sampling import Schedule, Step, Trace, guided, sample, seeded, solver_options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.catalog.card import Card
    from zoo.engine.request import Request


def predictor(card: Card, request: Request, module: nn.Module, context: Tensor | None, device: torch.device) -> Callable[..., Tensor]:
    """The network as a solver of a resolved request asks it: (x, t) -> raw output, guided; context: (2, n, d), for a model of prompts."""
    count, null, module = len(request.seeds), card.arch.get("num_classes"), with_tables(card, request, module)
    labels = torch.tensor(request.labels, device=device) if request.labels else None
    if context is not None:
        labels, null = context[:1].expand(count, -1, -1), context[1:]
    return guided(module, labels, request.guidance, card.guidance.channels, null)


def walk(
    card: Card, request: Request, module: nn.Module, context: Tensor | None, device: torch.device, trace: Trace | None = None
) -> Iterator[Step]:
    """All samples of a resolved request together, a step at a time; trace: is filled with what the network is asked."""
    noise = seeded(request.seeds, request.shape(card), device)
    predict = predictor(card, request, module, context, device)
    if trace is not None:
        trace.context, predict = context, trace.watch(predict)
    schedule = Schedule.from_card(card.schedule)
    options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing)
    return sample(predict, noise(-1), schedule, request.solver, request.steps, noise=noise, **options)


def parts_of(request: Request, device: torch.device) -> list[Request]:
    """What of a request walks on its own. Matrix products round differently with the number of rows: on a CPU, where a batch gains little,
    each sample walks alone, and so it is the same alone and in company; elsewhere all go together."""
    return [request.sample(k) for k in range(len(request.seeds))] if device.type == "cpu" else [request]
