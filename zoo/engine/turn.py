"""What a computing thread does at a time, and for whom a thread works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch

from zoo.engine.job import Job
from zoo.engine.shared_pass import Rows

_current = threading.local()
"""Of a thread: the job for which it works, where it works for one, and whether it computes for all."""


@dataclass(eq=False)
class Turn:
    """Something to compute for a job, once."""

    job: Job | None
    work: Callable[[], None]
    whole: bool = False
    """With all cores, and nothing beside it."""
    rows: Rows | None = None
    """Of the pass that it makes, where that may be one with others'."""


def current_job() -> Job | None:
    """The job for which this thread works, None where it works for none."""
    return getattr(_current, "job", None)


def work_for(job: Job) -> None:
    """This thread works for a job from now on."""
    _current.job = job


def computes_here() -> bool:
    """Whether this thread computes for all, and so must not wait for a job."""
    return getattr(_current, "computes", False)


def compute_here() -> None:
    """This thread computes for all from now on, with one core unless a turn takes more."""
    _current.computes = True
    torch.set_num_threads(1)
