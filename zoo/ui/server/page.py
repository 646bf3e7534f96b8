"""The page as gradio serves it, with one door at which everything that a call can raise becomes a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from gradio.utils import LRUCache
from starlette.requests import Request
from starlette.responses import JSONResponse

from zoo.ui.parts import runs
from zoo.ui.server.sessions import Mailboxes

if TYPE_CHECKING:
    from zoo.inside.inspector import Looker


class Page(gr.Blocks):
    """Blocks whose every event, public or private, is answered: by its own answer, or by an error in one sentence.

    Without this a call that fits no handler (too few values, a file that was never uploaded, a choice that is not on the list) gets an
    error without words, and the log a traceback.
    """

    looker: Looker
    """What looks inside, for the page and for all other ways in."""

    def queue(self, *values: Any, **words: Any) -> Page:
        """As gradio does, with mailboxes that outlive those who leave; from the start, for somebody may call while the page is launched."""
        super().queue(*values, **words)
        boxes = self._queue.pending_messages_per_session = Mailboxes(self._queue.pending_messages_per_session.max_size)
        self._queue.event_ids_to_events = LRUCache(boxes.max_size)  # gradio 6.2 forgets no event
        self._queue.event_analytics = LRUCache(boxes.max_size)
        return self

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *more: Any, **words: Any) -> list[Any]:
        """As gradio does. Raises gr.Error for values that the components do not take."""
        try:
            return await super().preprocess_data(block_fn, inputs, *more, **words)
        except Exception as error:  # gradio's components raise whatever a foreign value leads them to
            wanted = len(block_fn.inputs)
            if len(inputs) < wanted:
                what = f"{len(inputs)} values for {wanted} parameters"
            elif isinstance(error, InvalidPathError):
                what = "a file that was not uploaded here"
            else:
                what = f"a value that one of its parameters does not take ({type(error).__name__})"
            raise _refusal(f"This call of {_name(block_fn)} has {what}: see /gradio_api/info.") from None

    async def process_api(self, block_fn: Any, *values: Any, **words: Any) -> dict[str, Any]:
        """As gradio does. Raises gr.Error for everything that goes wrong."""
        if getattr(block_fn, "fn", block_fn) is None:
            raise _refusal("This event runs in the browser alone: call one of /gradio_api/info.")
        try:
            return await super().process_api(block_fn, *values, **words)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            raise _refusal(runs.sentence(error)) from None


def _refusal(text: str) -> gr.Error:
    return gr.Error(text, print_exception=False)


def _name(block_fn: Any) -> str:
    return f"/{block_fn.api_name}" if block_fn.api_visibility == "public" else "an event of the page"


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """What a request gets that names no event, or no session: raised by gradio before any door of its own."""
    path = request.url.path[:60]
    return JSONResponse({"error": f"Nothing answers this request of {path} ({type(error).__name__}): see /gradio_api/info."}, 400)


REFUSALS = dict.fromkeys((FnIndexInferError, LookupError, ValueError, TypeError, AttributeError, OSError), refuse)
"""Handlers of FastAPI, by what gradio raises for a request of unknown event, session or file."""
