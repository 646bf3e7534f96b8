"""From noise to the clean sample: how the samples of a request walk, in whichever thread or process that is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from zoo.engine.modulation_tables import with_tables
from zoo.sampling import Schedule, Step, Trace, ask, guided, power_cosine, sample, seeded, solver_options, step_starts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.catalog.card import Card
    from zoo.engine.request import Request


def predictor(
    card: Card, request: Request, module: Callable[..., Tensor], context: Tensor | None, device: torch.device
) -> Callable[..., Tensor]:
    """The network as a solver of a resolved request asks it: (x, t) -> raw output, guided; context: (2, n, d), for a model of prompts."""
    count, null, module = len(request.seeds), card.arch.get("num_classes"), with_tables(card, request, module)
    labels = torch.tensor(request.labels, device=device) if request.labels else None
    if context is not None:
        labels, null = context[:1].expand(count, -1, -1), context[1:]
    own, scale = card.guidance, request.guidance
    if own.power is not None and scale != 1:
        scale = power_cosine(scale, own.power)
    schedule = Schedule.from_card(card.schedule)
    return guided(module, labels, scale, own.channels, null, request.interval, schedule, own.interval_open, own.decided_at)


def passes(card: Card, request: Request, times: Sequence[float]) -> list[int]:
    """Rows that the network computes for one sample at each evaluation of a run, told these times: 2 where guidance is on, else 1."""
    asked: list[int] = []

    def counting(x: Tensor, *_: Tensor) -> Tensor:
        asked.append(len(x))
        return x

    context = torch.zeros(2, 1, 1) if card.text else None
    one = request.sample(0)
    predict, x = predictor(card, one, counting, context, torch.device("cpu")), torch.zeros(1, *one.shape(card))
    for t, began in zip(times, step_starts(Schedule.from_card(card.schedule), request.solver, times), strict=True):
        ask(predict, x, t, began)
    return asked


def walk(
    card: Card, request: Request, module: nn.Module, context: Tensor | None, device: torch.device, trace: Trace | None = None
) -> Iterator[Step]:
    """All samples of a resolved request together, a step at a time; trace: is filled with what the network is asked."""
    noise = seeded(request.seeds, request.shape(card), device)
    predict = predictor(card, request, module, context, device)
    if trace is not None:
        trace.context, predict = context, trace.watch(predict)
    schedule = Schedule.from_card(card.schedule)
    options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing, card.sampling.last_step_size) | {
        "prediction": card.prediction or None
    }
    return _and_wait(sample(predict, noise(-1), schedule, request.solver, request.steps, noise=noise, **options))


def _and_wait(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps, and then the last one again and again: by dopri5 some images need fewer evaluations than others, and wait."""
    for step in steps:
        yield step
    while True:
        yield step


def progress_of(steps: Sequence[Step]) -> tuple[int, int]:
    """How many rounds all walks of a run have gone together, by their latest steps, and how many it will be: equal at the end."""
    return max(step.index + 1 for step in steps), max(step.total for step in steps)


def result_so_far(step: Step) -> Tensor:
    """What a walk has come to at a step: the sample at its end, before that the clean prediction."""
    return step.x if step.index + 1 == step.total else step.x0


def parts_of(request: Request, device: torch.device) -> list[Request]:
    """What of a request walks on its own. Matrix products round differently with the number of rows: on a CPU, where a batch gains little,
    each sample walks alone, and so it is the same alone and in company; elsewhere all go together. By dopri5 each walks alone everywhere,
    for its steps follow the error of all that walk together."""
    alone = device.type == "cpu" or request.solver == "dopri5"
    return [request.sample(k) for k in range(len(request.seeds))] if alone else [request]
