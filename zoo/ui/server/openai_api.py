"""The OpenAI way in: /v1/models and /v1/images/generations, for programs that were written for that service.

A request runs as a job of the engine, as those of the page do: it waits without a thread, and ends when who asked for it leaves.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio.route_utils import get_root_url
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from zoo.engine.job import Job
from zoo.engine.request import MAX_PROMPT, Progress, Result, short
from zoo.errors import BusyError, CardError, DownloadError, LentGPUError, OutOfMemoryError, RequestError
from zoo.media import figures
from zoo.ui.parts import controls, runs
from zoo.ui.server.file_tickets import FileTickets

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub

PATH = "/v1"
MAX_BODY = 1 << 16
"""Bytes of a request: a prompt and a few numbers."""
MOST, PARTIAL = 10, 3
"""Pictures of one request, and partial ones of one that is streamed, as that service has it."""
OURS = ("seed", "steps", "solver", "guidance", "eta", "vae", "negative_prompt")
"""What a request may say besides the words of that service; its client sends them as extra_body."""
HEARD = ("model", "prompt", "n", "size", "response_format", "output_format", "stream", "partial_images", "user", "safety_identifier", *OURS)
UNHEARD = ("quality", "style", "moderation", "background", "output_compression", "complexity")
"""Words of that service that change no picture here."""
BEGUN = b""
"""Said by a request that is in order."""


class Refusal(Exception):  # noqa: N818
    """What that service answers instead: a status, a sentence, which word it is about, and a short name."""

    def __init__(self, status: int, text: str, param: str | None = None, code: str | None = None, seconds: float | None = None) -> None:
        super().__init__(text)
        self.status, self.param, self.code, self.seconds = status, param, code, seconds

    @property
    def body(self) -> dict[str, Any]:
        """As JSON values."""
        kind = "rate_limit_error" if self.status == 429 else "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """As a whole answer."""
        headers = {} if self.status != 429 else {"Retry-After": str(max(1, round(self.seconds or 1)))}
        return JSONResponse(self.body, self.status, headers)


def refusal(error: Exception) -> Refusal:
    """What an error says to a program: its own words where they help, else that it is a fault of this one, which is logged."""
    if isinstance(error, Refusal):
        return error
    text = runs.sentence(error)
    if isinstance(error, BusyError):
        return Refusal(429, text, code="rate_limit_exceeded", seconds=error.seconds)
    his = isinstance(error, (RequestError, CardError, DownloadError, OutOfMemoryError))
    return Refusal(400 if his else 503 if isinstance(error, LentGPUError) else 500, text)


class OpenAiApi(Starlette):
    """Answers below /v1, every error in the shape of that service."""

    def __init__(self, hub: Hub, tickets: FileTickets) -> None:
        self.hub, self.tickets = hub, tickets
        routes = [
            Route(f"{PATH}/models", self.models),
            Route(f"{PATH}/models/{{model:path}}", self.model),
            Route(f"{PATH}/images/generations", self.generations, methods=["POST"]),
            Route(f"{PATH}/files/{{ticket}}", self.file),
        ]
        super().__init__(routes=routes, exception_handlers={HTTPException: _unknown, Refusal: _refused})

    async def models(self, _: Request) -> Response:
        """The models that make pictures, ready or not."""
        return JSONResponse(
            {"object": "list", "data": await run_in_threadpool(lambda: [self._told(card) for card in controls.makers(self.hub, False)])}
        )

    async def model(self, request: Request) -> Response:
        """One of them."""
        return JSONResponse(await run_in_threadpool(lambda: self._told(self._card(request.path_params["model"]))))

    async def file(self, request: Request) -> Response:
        """A picture whose address was an answer."""
        path = await run_in_threadpool(self.tickets.find, request.path_params["ticket"])
        if path is None:
            raise Refusal(404, "This picture is no longer kept: make it once more.")
        return FileResponse(path)

    async def generations(self, request: Request) -> Response:
        """Pictures of a class or of a text: at once when all are done, or as a stream."""
        values = await _values(request)
        root = get_root_url(request, request.url.path, request.scope.get("root_path"))
        whose = account(request, values.get("safety_identifier") or values.get("user"))
        with runs.asked_by(request):
            job = Job(whose, request.client.host if request.client else "", kind="openai", name=request.scope.get("visitor", ""))
        try:
            self.hub.engine.submit(job, lambda _: self._made(values, lambda path: f"{root}{PATH}/files/{self.tickets.give(path)}"))
            events = _bytes(job, asyncio.create_task(cancel_when_left(request, job)))
            if values.get("stream") is True:
                await anext(events)  # what is not in order is refused before the answer begins
                return StreamingResponse(_streamed(events), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
            return Response([body async for body in events][-1], media_type="application/json")
        except (StopAsyncIteration, IndexError):  # who asked has left, or the hub ends
            raise Refusal(503, "The hub is shutting down, or the client is gone: nothing was made.") from None
        except Exception as error:
            raise refusal(error) from None

    def _card(self, name: Any) -> Card:
        """The card of a model that makes pictures. Raises Refusal with 404."""
        if name in (None, ""):
            return controls.first_generator(self.hub)
        try:
            card = self.hub.card(name)
        except RequestError as error:
            raise Refusal(404, str(error), "model", "model_not_found") from None
        if not card.generates or card.video:
            able = ", ".join(one.id for one in controls.makers(self.hub, False)[:6])
            raise Refusal(404, f"{card.id} makes no pictures: choose one such as {able}.", "model", "model_not_found")
        return card

    def _told(self, card: Card) -> dict[str, Any]:
        more = {"title": card.title, "licence": card.licence, "local": self.hub.local(card), "labels": list(card.label_names)}
        return {"id": card.id, "object": "model", "created": 0, "owned_by": "patchwork"} | more

    def _made(self, values: Mapping[str, Any], address: Callable[[Path], str]) -> Iterator[bytes]:
        """What is answered, in pieces; work of a job. Raises Refusal, or a ZooError."""
        card = self._card(values.get("model"))
        count = _checked(values, card)
        request = controls.make_request(card, values["prompt"], count, **{word: values.get(word) for word in OURS})
        if missing := controls.missing(self.hub, self.hub.parts(card)):
            raise Refusal(400, missing, "model", "model_not_downloaded")
        side = self.hub.memory.side(card, request)
        size = f"{side}x{side}"
        if values.get("size") not in (None, "", "auto", size):
            raise Refusal(400, f"{card.id} makes {size}, not {short(values['size'])}: leave size at auto.", "size", "invalid_value")
        streams, wanted, sent = values.get("stream") is True, values.get("partial_images") or 0, 0
        common = {"background": "opaque", "output_format": "png", "quality": "auto", "size": size}
        job = self.hub.submit(request, preview=wanted > 0, stop=runs.stop_flag(), keep_steps=False)
        yield BEGUN
        for item in job:
            if isinstance(item, Progress) and item.preview is not None and sent < wanted:
                if item.preview_step * (wanted + 1) >= item.total * (sent + 1):
                    yield _event("partial_image", figures.png(Image.fromarray(item.preview[0])), common | {"partial_image_index": sent})
                    sent += 1
            elif isinstance(item, Result) and item.stopped_at is None:
                if streams:
                    yield _event("completed", item.files[0].read_bytes(), common | {"usage": _USAGE, "receipt": item.receipts[0]})
                    return
                linked = values.get("response_format") == "url"
                told = [{"url": address(path)} if linked else {"b64_json": _base64(path.read_bytes())} for path in item.files]
                data = [one | {"receipt": receipt} for one, receipt in zip(told, item.receipts, strict=True)]
                yield json.dumps({"created": int(time.time()), "data": data, "usage": _USAGE} | common).encode()


_USAGE = {
    "input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}  # fmt: skip
"""Nothing is counted in tokens here, but some clients need the words."""


async def _values(request: Request) -> dict[str, Any]:
    """The body of a request. Raises Refusal."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "Send JSON: the header Content-Type must be application/json.")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise Refusal(413, f"This request is larger than {MAX_BODY:,} bytes: send a shorter prompt.")
        values = json.loads(body)
    except (ValueError, RecursionError, ClientDisconnect):
        values = None
    if not isinstance(values, dict):
        raise Refusal(400, 'The body is no JSON object: send one such as {"model": "tiny-dit", "prompt": "star"}.')
    return values


def _checked(values: Mapping[str, Any], card: Card) -> int:
    """How many pictures, where the words of a request are such, and fit each other. Raises Refusal, or RequestError."""
    if unknown := [word for word in values if word not in HEARD and word not in UNHEARD]:
        raise Refusal(400, f"Unknown parameter: {short(unknown[0])}: leave it out.", unknown[0][:60], "unknown_parameter")
    prompt = values.get("prompt")
    if not isinstance(prompt, (str, int)) or isinstance(prompt, bool) or len(str(prompt)) > MAX_PROMPT:
        what = "a class, by name or number, such as " + card.label_names[0] if card.label_names else "what to draw"
        raise Refusal(400, f"prompt must be a text of at most {MAX_PROMPT} characters: say {what}.", "prompt", "invalid_value")
    count = 1 if values.get("n") is None else controls.whole("n", values["n"], 1, MOST)
    for word, taken in (("response_format", ("b64_json", "url")), ("output_format", ("png",)), ("stream", (True, False))):
        if values.get(word) is not None and (values[word] not in taken or type(values[word]) is not type(taken[0])):
            able = " or ".join(json.dumps(one) for one in taken)
            raise Refusal(400, f"{word} must be {able}, not {short(values[word])}.", word, "invalid_value")
    if values.get("background") == "transparent":
        raise Refusal(400, "Pictures are opaque here: leave background out.", "background", "invalid_value")
    if values.get("partial_images"):
        controls.whole("partial_images", values["partial_images"], 0, PARTIAL)
        if values.get("stream") is not True:
            raise Refusal(400, "Partial images come in a stream only: set stream to true.", "partial_images", "invalid_value")
    if values.get("stream") is True and (count != 1 or values.get("response_format") == "url"):
        raise Refusal(400, "A stream holds one picture, inside its events: leave n and response_format out.", "stream", "invalid_value")
    return count


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _event(kind: str, png: bytes, more: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    name = f"image_generation.{kind}"
    told = {"type": name, "created_at": int(time.time()), "b64_json": _base64(png)} | dict(more)
    return f"event: {name}\ndata: {json.dumps(told)}\n\n".encode()


async def _bytes(job: Job, leaving: asyncio.Task) -> AsyncIterator[bytes]:
    """What a job answers; whoever stops reading it ends it."""
    try:
        async for item in job:
            if not isinstance(item, Progress):
                yield item
    finally:
        job.cancel()
        leaving.cancel()


async def _streamed(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The rest of a stream; what goes wrong is its last event."""
    try:
        async for event in events:
            yield event
    except Exception as error:
        yield f"event: error\ndata: {json.dumps({'type': 'error'} | refusal(error).body)}\n\n".encode()


async def cancel_when_left(request: Request, job: Job) -> None:
    """End a job when who asked for it is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


def account(request: Request, word: Any, lane: str = "run") -> str:
    """Whose share of the machine a job takes: that of who is logged in, else of the word by which a client names itself, if it does."""
    whose = request.scope.get("visitor") or (word and f"program {str(word)[:100]}")
    return f"{whose} {lane}" if whose else ""


async def _refused(_: Request, error: Exception) -> Response:
    return refusal(error).response


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = f"Nothing answers {request.method} {request.url.path[:60]}: there are GET {PATH}/models and POST {PATH}/images/generations."
    return Refusal(status, text, code="unknown_url").response
