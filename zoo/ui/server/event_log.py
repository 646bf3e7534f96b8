"""What happens, one line an event, for whoever runs the hub: as JSON or as words, without what visitors wrote unless he asks for it."""

from __future__ import annotations

import json
import logging
import queue
import secrets
import sys
import threading
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TextIO
from weakref import WeakSet

from zoo.engine.limits import is_local, network
from zoo.engine.watcher import Watcher, outcome
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job

EVENTS = logging.getLogger("zoo.events")
MOST = 10_000
"""Lines that may wait to be written; where whatever reads them stands still, more are lost, and their number is said later."""
PATIENCE = 1.0
"""Seconds that the end of the program waits for the last lines."""
SALT = secrets.token_bytes(16)
"""Of this run of the program: a visitor's mark is the same in all its lines, and nobody finds the visitor by it."""


def say(event: str, **fields: Any) -> None:
    """Write down that something happened. fields: numbers and words of this program, and marks of visitors."""
    EVENTS.info(event, extra={"fields": fields})


def mark(visitor: str) -> str:
    """What stands for a visitor, or an address."""
    return blake2b(visitor.encode("utf-8", "surrogatepass"), key=SALT, digest_size=4).hexdigest() if visitor else ""


class EventLog(Watcher):
    """Says what the engine does."""

    def __init__(self, hub: Hub, prompts: bool) -> None:
        """prompts: whether to say what visitors asked for."""
        self.hub, self.prompts = hub, prompts
        self._outer: WeakSet[Job] = WeakSet()
        """Jobs whose generation is told as that of the job that they asked for."""

    def begun(self, job: Job) -> None:
        """A generation begins."""
        if job.request:
            if job.parent:
                self._outer.add(_root(job))
            say("begun", **self._facts(job))

    def ended(self, job: Job, error: BaseException | None) -> None:
        """A job is over; of those that are over in moments only what went wrong is told."""
        word, failure = outcome(job, error), error or job.failure
        if job.request or (job.lane != "quick" and job not in self._outer) or word == "failed":
            why = {"error": _kind(failure)} if failure else {}
            root = _root(job)
            times = {"waited": round(root.waited, 3), "computed": round(job.compute_seconds, 3)}
            say("ended", **self._facts(job), outcome=word, **times, **why)

    def refused(self, job: Job, error: Exception) -> None:
        """A job was not taken."""
        say("refused", **self._facts(job), error=_kind(error))

    def downloaded(self, models: Sequence[str], size: int, seconds: float, error: BaseException | None) -> None:
        """A download is over."""
        word = "done" if error is None else "cancelled" if isinstance(error, GeneratorExit) else "failed"
        why = {} if error is None or word == "cancelled" else {"error": _kind(error)}
        say("downloaded", models=",".join(models), bytes=size, seconds=round(seconds, 1), outcome=word, **why)

    def _facts(self, job: Job) -> dict[str, Any]:
        facts: dict[str, Any] = {"kind": job.kind, "lane": job.lane}
        if asked := job.request:
            facts |= {"model": asked.model, "steps": asked.steps, "pictures": len(asked.seeds), "frames": asked.frames}
            if self.prompts:
                facts |= {
                    "labels": list(asked.labels),
                    "seeds": list(asked.seeds),
                    "prompt": asked.prompt,
                    "negative_prompt": asked.negative_prompt,
                }
        facts["visitor"] = mark(job.name or job.account.removesuffix(f" {_root(job).lane}"))
        if not is_local(job.address):
            facts["address"] = mark(network(job.address))
        return facts


def _root(job: Job) -> Job:
    """The job for which this one works in the end."""
    while job.parent:
        job = job.parent
    return job


def _kind(error: BaseException) -> str:
    """What is told of an error: its class; the words of one that a visitor caused may be his."""
    return type(error).__name__ if isinstance(error, ZooError) else f"fault {type(error).__name__}"


class Line(logging.Formatter):
    """A record as one line: JSON, or words and key=value; a fault keeps its traceback, without the words of the error unless prompts are
    logged."""

    def __init__(self, form: str, prompts: bool) -> None:
        """form: json | text."""
        super().__init__()
        self.form, self.prompts = form, prompts

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {"time": time, "level": record.levelname.lower()} | self._fields(record)
        if self.form == "json":
            return json.dumps(fields, default=str)
        trace = fields.pop("traceback", "")
        head = [str(fields.pop(word)) for word in ("time", "level", "event")]
        words = [f"{name}={_word(value)}" for name, value in fields.items()]
        return " ".join([*head, *words]) + ("\n" + trace.rstrip() if trace else "")

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        if (fields := getattr(record, "fields", None)) is not None:
            return {"event": record.getMessage()} | fields
        error = getattr(record, "fault", None) or (record.exc_info and record.exc_info[1])
        if not error:
            return {"event": "said", "logger": record.name, "message": record.getMessage()}
        last = "".join(traceback.format_exception_only(error)) if self.prompts else f"{type(error).__name__}\n"
        words = {"message": record.msg.partition(":")[0], "error": type(error).__name__}
        return {"event": "fault", "logger": record.name} | words | {"traceback": "".join(traceback.format_tb(error.__traceback__)) + last}


def _word(value: Any) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


class Writer(logging.Handler):
    """Hands lines to a thread that writes them: who logs, the event loop first, never waits for whatever reads them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._lost = stream, 0
        self._lines: queue.Queue[str | threading.Event] = queue.Queue(MOST)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait for what there is to be written, for as long as that may take. Uvicorn, when it starts, flushes and closes every handler
        that there is: this one writes on."""
        written = threading.Event()
        try:
            self._lines.put_nowait(written)
        except queue.Full:
            return
        written.wait(PATIENCE)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                try:
                    self._stream.write(f"{line}\n")
                    self._stream.flush()
                except (OSError, ValueError):  # nobody reads it any more
                    continue
            if self._lost and self._lines.empty():
                lost, self._lost = self._lost, 0
                logging.getLogger(__name__).warning("%d lines were lost, as nobody read them in time", lost)


def start(hub: Hub, form: str, prompts: bool, stream: TextIO | None = None) -> Writer:
    """Write everything that is logged from now on to a stream (default: stderr) in one form."""
    writer = Writer(stream or sys.stderr)
    writer.setFormatter(Line(form, prompts))
    logging.getLogger().addHandler(writer)
    EVENTS.setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = lambda one: logging.getLogger(__name__).error("a thread ended by an error", extra={"fault": one.exc_value})
    hub.engine.watchers.append(EventLog(hub, prompts))
    return writer


def take_over(*names: str) -> None:
    """Write what these libraries log in the same form, which have set up a way of their own by now."""
    for name in names:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
