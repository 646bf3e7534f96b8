"""What ZeroGPU says where it lends no GPU, or takes one back: as one sentence, as of any error that a visitor can mend."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from zoo.errors import BusyError, LentGPUError

ABORTED = (
    "The GPU was taken back before the end, because the run took longer than was asked for or more memory than there is: "
    "try again with fewer images, frames or steps."
)
WORKER, GONE = "ZeroGPU worker error", "Connection closed by visitor"
"""Title of what goes wrong in the process that has the GPU; begin of what is raised for a visitor who left while a GPU was waited for."""


def told(run: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """A generator that PyPI `spaces` decorated, raising LentGPUError, or BusyError where the visitor's quota is spent, in the
    place of its errors."""

    @functools.wraps(run)
    def events(work: Any) -> Iterator[Any]:
        try:
            yield from run(work)
        except gr.Error as error:
            raise _sentence(error) from None
        except RuntimeError as error:
            if str(error).startswith(GONE):
                return
            raise

    return events


def _sentence(error: gr.Error) -> Exception:
    title, words = getattr(error, "title", ""), " ".join(re.sub(r"<[^>]*>", "", str(error.message)).split())
    if title == WORKER:
        if words == "GPU task aborted":
            return LentGPUError(ABORTED)
        logging.getLogger(__name__).error("a run on the lent GPU failed: %s", words, extra={"fault": error})
        return RuntimeError(f"the process with the GPU raised {words}")
    kind = BusyError if "quota" in title.lower() else LentGPUError
    return kind(f"{title or 'ZeroGPU'}: {words.rstrip('. ')}.")
