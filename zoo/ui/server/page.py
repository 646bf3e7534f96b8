"""The page as gradio serves it, with one door at which everything that a call can raise becomes a sentence."""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FnIndexInferError
from gradio.utils import LRUCache
from gradio_client.utils import is_file_obj, is_http_url_like, traverse
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

    allowed_hosts: tuple[str, ...] = ()
    """Names under which others may open it."""
    proxied = False
    """Whether a request came through a proxy, which brings others to where only this machine could come."""
    looker: Looker
    """What looks inside, for the page and for all other ways in."""
    visitor: gr.BrowserState | None = None
    """Names the browser to the events that keep something of it; where a login is asked for, it is the user, whatever a browser says."""
    guarded = False
    """Whether a login is asked for."""
    expects_oauth = False
    """Whether gradio brings its routes to Hugging Face and back; by itself it does so only for its own button."""

    def queue(self, *values: Any, **words: Any) -> Page:
        """As gradio does, with mailboxes that outlive those who leave; from the start, for somebody may call while the page is launched."""
        super().queue(*values, **{"max_size": sys.maxsize} | words)  # None is 1 on ZeroGPU: the second visitor would be sent away
        boxes = self._queue.pending_messages_per_session = Mailboxes(self._queue.pending_messages_per_session.max_size)
        self._queue.event_ids_to_events = LRUCache(boxes.max_size)  # gradio 6.2 forgets no event
        self._queue.event_analytics = LRUCache(boxes.max_size)
        return self

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *more: Any, **words: Any) -> list[Any]:
        """As gradio does. Raises gr.Error for values that the components do not take."""
        try:
            traverse(inputs, _refuse_address, _is_address)
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

    async def process_api(self, block_fn: Any, inputs: list[Any], *values: Any, **words: Any) -> dict[str, Any]:
        """As gradio does, for nobody but whom the login door let in. Raises gr.Error for everything that goes wrong."""
        if getattr(block_fn, "fn", block_fn) is None:
            raise _refusal("This event runs in the browser alone: call one of /gradio_api/info.")
        try:
            return await super().process_api(block_fn, self._known(block_fn, inputs, words.get("request")), *values, **words)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            raise _refusal(runs.sentence(error)) from None

    def _known(self, block_fn: Any, inputs: list[Any], request: gr.Request | None) -> list[Any]:
        """The values of an event, with the user's identity where it asks for the browser's."""
        if not self.guarded:
            return inputs
        user = getattr(getattr(request, "request", None), "scope", {}).get("visitor", "")
        asked = [part is self.visitor for part in getattr(block_fn, "inputs", ())]
        return [user if known else value for value, known in zip_longest(inputs, asked[: len(inputs)], fillvalue=False)]


def _is_address(value: Any) -> bool:
    """Whether a value is a file that lies elsewhere: gradio would fetch it, from here."""
    return is_file_obj(value) and is_http_url_like(value["path"].strip().lower())


def _refuse_address(value: dict[str, Any]) -> None:
    raise InvalidPathError(value["path"])


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
