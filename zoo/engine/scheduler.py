"""Who computes next: jobs take turns of one step each on the cores of a machine, whoever had the least first."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from zoo.engine.allowances import Allowances
from zoo.engine.job import Job
from zoo.engine.limits import Limits
from zoo.engine.memory import trim
from zoo.engine.request import Progress
from zoo.engine.shared_pass import MEMBERS, Rows, together
from zoo.engine.turn import Turn, compute_here, current_job, work_for
from zoo.engine.watcher import Watchers
from zoo.errors import ZooError

T = TypeVar("T")
IDLE = 10.0
"""Seconds without anything to do after which a computing thread ends."""


class Scheduler:
    """A few threads that compute, one a core, and the jobs that take turns on them.

    A job in flight has a thread of its own for all that is no computing: loading, writing files, waiting for its turns. A job that waits
    for a place among those in flight has none. Each turn goes to the account that had the least of the machine so far, and among its
    jobs to the one whose last turn is longest ago; a newcomer begins with as much as the least of those who are there.
    """

    def __init__(self, cores: int, limits: Limits) -> None:
        """cores: threads that compute at once (1 on a GPU)."""
        self.cores, self.limits = cores, limits
        self.allowances, self.watchers = Allowances(limits), Watchers()
        self._condition = threading.Condition()
        self._waiting: list[tuple[Job, Callable[[Job], Iterator[Any]]]] = []
        self._flying: list[Job] = []
        self._turns: dict[Job, deque[Turn]] = {}
        self._last_turn: dict[Job, float] = {}
        self._used: dict[str, float] = {}
        self._spare: deque[Callable[[], None]] = deque()
        self._busy = 0
        self._blocked = False
        """Whether the next turn needs all cores and waits for them."""
        self.closed = False
        """Whether it ends: nothing new begins."""
        self._threads: dict[int, threading.Thread] = {}
        """Those that compute, by number; they begin when there is something to do, and end when there was nothing for a while."""

    # ---- jobs

    def submit(self, job: Job, work: Callable[[Job], Iterator[Any]]) -> Job:
        """Give a job its work, a generator of its events. It begins at once where there is a place, and where the asker is a job itself.

        Raises RequestError where the queue is full, or the asker has too many there, or has had too many.
        """
        job.on_cancel = lambda: self._leave(job)
        job.place = lambda: self._place(job)
        try:
            with self._condition:
                if self.closed:
                    job.end()
                elif parent := current_job():
                    job.belong_to(parent)
                    self.limits.check_cost(job)
                    self.allowances.draw(job)
                    self._begin(job, work, counted=False)
                else:
                    self.limits.check(job, [one for one, _ in self._waiting], self._flying, self._seconds_for)
                    self.allowances.ask(job)
                    self._waiting.append((job, work))
                    self._admit()
        except ZooError as error:
            self.watchers.tell("refused", job, error)
            raise
        return job

    def jobs(self) -> list[Job]:
        """The jobs in flight, those that others asked for left out, then those that wait."""
        with self._condition:
            return [*self._flying, *(job for job, _ in self._waiting)]

    def counts(self) -> tuple[int, int]:
        """How many of these are in flight, and how many wait."""
        jobs = self.jobs()
        return sum(job.started for job in jobs), sum(not job.started for job in jobs)

    @property
    def broken(self) -> bool:
        """Whether a thread that computes has died, so that its turns never come."""
        with self._condition:
            return any(not thread.is_alive() for thread in self._threads.values())

    def _admit(self) -> None:
        """Let those who wait begin, in their order, as far as there are places. The condition is held."""
        for entry in list(self._waiting):
            if self.limits.admits(entry[0], self._flying):
                self._waiting.remove(entry)
                self._begin(*entry)

    def _begin(self, job: Job, work: Callable[[Job], Iterator[Any]], counted: bool = True) -> None:
        job.started, job.begun_at = True, time.monotonic()
        self._used.setdefault(job.account, min(self._used.values(), default=0.0))
        self._turns[job] = deque()
        if counted:
            self._flying.append(job)
        threading.Thread(target=job.context.run, args=(self._fly, job, work), name="job", daemon=True).start()

    def _fly(self, job: Job, work: Callable[[Job], Iterator[Any]]) -> None:
        """Do the work of a job in flight, in a thread of its own."""
        error = None
        work_for(job)
        self.watchers.tell("begun", job)
        try:
            for event in work(job):
                job.put(event)
        except Exception as raised:
            error = raised
        with self._condition:
            del self._turns[job]
            self._last_turn.pop(job, None)
            if job in self._flying:
                self._flying.remove(job)
            if not any(other.account == job.account for other in self._turns):
                self._used.pop(job.account, None)
            self._admit()
            self._condition.notify_all()
        self._end(job, error)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        """Nothing more will come of a job."""
        self.allowances.settle(job, error)
        self.watchers.tell("ended", job, error)
        job.end(error)

    def _leave(self, job: Job) -> None:
        """Take a cancelled job out of the queue; one in flight ends by its flag."""
        with self._condition:
            entry = next((entry for entry in self._waiting if entry[0] is job), None)
            if entry is not None:
                self._waiting.remove(entry)
        if entry is not None:
            self._end(job)

    def _place(self, job: Job) -> Progress:
        with self._condition:
            waiting = [one for one, _ in self._waiting]
            if job not in waiting:
                return Progress("waiting", job.request)
            ahead = [one for one in [*self._flying, *waiting[: waiting.index(job)]] if one.lane == job.lane]
            return Progress("waiting", job.request, ahead=len(ahead), seconds_left=self._seconds_for(ahead))

    def _seconds_for(self, jobs: Sequence[Job]) -> float | None:
        """What these will still take on all cores, None where one of them was never measured."""
        left = [None if one.seconds is None else max(0.0, one.seconds - one.compute_seconds) for one in jobs]
        return None if None in left else sum(left) / self.cores

    def close(self, seconds: float) -> None:
        """End: who waits is sent away, what runs ends within its step and is written, for as long as that may take."""
        with self._condition:
            self.closed = True
            waiting, self._waiting = self._waiting, []
            flying = list(self._turns)
        for job, _ in waiting:
            self._end(job)
        for job in flying:
            job.stop.set()
        deadline = time.monotonic() + seconds
        for job in flying:
            job.wait(max(0.0, deadline - time.monotonic()))

    # ---- computing

    def compute(self, work: Callable[..., T], *arguments: Any, whole: bool = False) -> T:
        """Do one piece of work as a turn of the job for which this thread works, or of one of its own; what it gives.

        whole: with all cores, and nothing beside it.
        """
        [value] = self.all([lambda: work(*arguments)], whole)
        return value

    def all(self, works: Sequence[Callable[[], T]], whole: bool = False) -> list[T]:
        """Do several pieces of work side by side, each a turn; what they give, in their order."""
        return self.rounds([(one() for one in [work]) for work in works], lambda _: False, whole)

    def rounds(
        self,
        tasks: Sequence[Iterator[T]],
        after: Callable[[list[T]], bool],
        whole: bool | Callable[[int], bool] = False,
        rows: Rows | None = None,
    ) -> list[T]:
        """Let every task take a step, each a turn of this thread's job, then call `after` with what they gave, and again while it says so.

        whole: of all rounds, or by their number from 0; rows: of a task, where its passes may be one with others'. The last round's values.
        The tasks of a round run side by side on as many cores as are free. Raises what a task or `after` raised.
        """
        job = current_job()
        if job is None:
            with _Guest(self) as job:
                return self._rounds(job, tasks, after, whole, rows)
        return self._rounds(job, tasks, after, whole, rows)

    def _rounds(
        self,
        job: Job,
        tasks: Sequence[Iterator[T]],
        after: Callable[[list[T]], bool],
        whole: bool | Callable[[int], bool],
        rows: Rows | None,
    ) -> list[T]:
        values: list[Any] = [None] * len(tasks)
        left, errors, done, number = [len(tasks)], [], threading.Event(), [0]

        def turn(k: int) -> Turn:
            def work() -> None:
                try:
                    if not errors:
                        values[k] = next(tasks[k])
                except BaseException as error:
                    errors.append(error)
                with self._condition:
                    left[0] -= 1
                    if left[0]:
                        return
                try:
                    more = not errors and after(values)
                except BaseException as error:
                    errors.append(error)
                    more = False
                if more:
                    left[0], number[0] = len(tasks), number[0] + 1
                    self._enqueue(job, [turn(k) for k in range(len(tasks))])
                else:
                    done.set()

            return Turn(job, work, whole(number[0]) if callable(whole) else whole, rows)

        self._enqueue(job, [turn(k) for k in range(len(tasks))])
        done.wait()
        if errors:
            raise errors[0]
        return values

    def spare(self, work: Callable[[], None]) -> None:
        """Do something for which nobody waits when a core has nothing else to do."""
        with self._condition:
            self._spare.append(work)
            self._start_threads()
            self._condition.notify()

    def also(self, job: Job, work: Callable[[], None], whole: bool = False) -> None:
        """Do something more for a job as a turn of its own, for which nobody waits; it is lost where it fails, or the job has ended."""
        self._enqueue(job, [Turn(job, work, whole)])

    def _enqueue(self, job: Job, turns: Sequence[Turn]) -> None:
        with self._condition:
            if job in self._turns:
                self._turns[job].extend(turns)
                self._start_threads()
                if self._blocked or any(turn.whole for turn in turns):
                    self._condition.notify_all()  # only the first thread takes those
                else:
                    self._condition.notify(len(turns))

    def _start_threads(self) -> None:
        """Let as many threads compute as there are cores. The condition is held."""
        for k in range(self.cores):
            if k not in self._threads:
                self._threads[k] = threading.Thread(target=self._compute, args=(k,), name=f"compute {k}", daemon=True)
                self._threads[k].start()

    def _compute(self, number: int) -> None:
        """What each computing thread does; only the first computes with all cores, for each that does keeps a team of threads."""
        compute_here()
        with ThreadPoolExecutor(MEMBERS, initializer=compute_here) as helpers:  # it has no thread before a pass is shared
            while self._work(number, helpers):
                pass  # nothing of what was done stays while the next is waited for

    def _work(self, number: int, helpers: Executor) -> bool:
        """Wait for what a thread does next, and do it; whether there was anything."""
        if turns := self._next_turns(number):
            self._do(turns, helpers)
        return bool(turns)

    def _next_turns(self, number: int) -> list[Turn]:
        """Wait for what a thread does next, none where it ends; the last to end gives free memory back to the machine."""
        with self._condition:
            while not (turns := self._take(first=number == 0)):
                if not self._condition.wait(IDLE) and not self._turns:
                    del self._threads[number]
                    break
            idle = not self._threads
        if idle:
            trim()
        return turns

    def _do(self, turns: Sequence[Turn], helpers: Executor) -> None:
        """Do one turn, or those that share a pass, and note what each took."""
        cores = self.cores if turns[0].whole else 1
        torch.set_num_threads(cores)
        begun = time.perf_counter()
        try:
            if len(turns) == 1:
                turns[0].work()
            else:
                together([turn.work for turn in turns], helpers)
        except Exception as error:  # of something that nobody waits for, such as a preview: it is lost, and the thread goes on
            logging.getLogger(__name__).error("a turn that nobody waits for failed", exc_info=error)
        seconds = (time.perf_counter() - begun) * cores
        self.watchers.tell("computed", seconds, sum(turn.rows.count for turn in turns if turn.rows))
        with self._condition:
            self._busy -= cores
            shares = [turn.rows.count for turn in turns] if len(turns) > 1 else [1]
            for turn, share in zip(turns, shares, strict=True):
                self._note(turn.job, seconds * share / sum(shares))
            if turns[0].whole or self._blocked:  # else this thread takes what comes next, and nobody needs to wake
                self._condition.notify_all()

    def _note(self, job: Job | None, seconds: float) -> None:
        """A job has taken so much of one core. The condition is held."""
        if job and job.account in self._used:
            self._used[job.account] += seconds
        while job:
            job.compute_seconds += seconds
            job = job.parent

    def _take(self, first: bool) -> list[Turn]:
        """The next turn for a thread that is free, with those that share its pass; none where it must wait. The condition is held."""
        ready = [job for job, turns in self._turns.items() if turns]
        if not ready:
            if self._spare and self._busy < self.cores:
                self._busy += 1
                return [Turn(None, self._spare.popleft(), whole=False)]
            return []
        job = self._first(ready)
        whole = self._turns[job][0].whole
        cores = self.cores if whole else 1
        self._blocked = whole and not (first and not self._busy)
        if self._blocked or self._busy + cores > self.cores:
            return []
        self._busy += cores
        turns = [self._pop(job)]
        if (rows := turns[0].rows) and not whole:
            turns += self._company(rows)
        return turns

    def _first(self, jobs: Sequence[Job]) -> Job:
        """Whose turn it is. The condition is held."""
        return min(jobs, key=lambda one: (self._used.get(one.account, 0.0), self._last_turn.get(one, 0.0)))

    def _pop(self, job: Job) -> Turn:
        self._last_turn[job] = time.perf_counter()
        return self._turns[job].popleft()

    def _company(self, rows: Rows) -> list[Turn]:
        """The turns that may share a pass with one of so many rows, in their order. The condition is held."""
        turns: list[Turn] = []
        room = rows.most - rows.count
        while len(turns) < MEMBERS - 1:
            heads = {job: waiting[0] for job, waiting in self._turns.items() if waiting}
            fitting = [
                job
                for job, turn in heads.items()
                if turn.rows and turn.rows.model == rows.model and turn.rows.count <= room and not turn.whole
            ]
            if not fitting:
                break
            turns.append(self._pop(self._first(fitting)))
            room -= turns[-1].rows.count
        return turns


class _Guest:
    """A job for a thread that computes without being one."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.job = scheduler, Job()

    def __enter__(self) -> Job:
        with self.scheduler._condition:
            self.scheduler._used.setdefault(self.job.account, min(self.scheduler._used.values(), default=0.0))
            self.scheduler._turns[self.job] = deque()
        return self.job

    def __exit__(self, *_: object) -> None:
        with self.scheduler._condition:
            del self.scheduler._turns[self.job]
            self.scheduler._last_turn.pop(self.job, None)
            self.scheduler._used.pop(self.job.account, None)
