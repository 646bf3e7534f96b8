"""The door of a page that asks for a login: whatever is asked, it passes with a name or not at all."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from starlette.datastructures import URL, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from zoo.ui.server import event_log
from zoo.ui.server.hosts import HEALTH
from zoo.ui.server.login import form
from zoo.ui.server.login.accounts import TooOftenError
from zoo.ui.server.login.sessions import AGE
from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zoo.ui.server.login.guard import Guard, Visit

START = "/gradio_api/startup-events"
"""What gradio asks its own server while it is launched, and nobody afterwards."""
HUB = ("/login/huggingface", "/login/callback")
"""Gradio's routes to Hugging Face and back; its session knows afterwards who came."""
HEARTBEAT = "/gradio_api/heartbeat/"
"""Before the word of a session of the page; elsewhere it is a parameter."""
MOST_SESSIONS = 20_000
"""Of which it is known whose they are."""
NOT_YOURS = PlainTextResponse("This session belongs to somebody else: reload the page.", 403)
MOST_BYTES = 20_000
"""Of a form."""
WRONG = "The name or the password is wrong."
NO_COOKIE = "This browser did not keep the login: allow cookies for this site, or open the page in a tab of its own."


class LoginDoor:
    """Middleware outside of everything that answers, the page's cache included. Who passes is `scope["user"]`, and `scope["visitor"]` is
    what his history, votes and limits go by."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app, self.guard = app, guard
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, request = own_path(scope), Request(scope, receive)
        read = request.method in ("GET", "HEAD")
        if read and (path == HEALTH or (path == START and not getattr(scope["app"].state, "launched", False))):
            await self.app(scope, receive, send)
        elif read and path in HUB and self.guard.huggingface:
            await self._through_hub(request, send)
        else:
            try:
                visit = await self.guard.visit(request)
                answer = await self._own(path, request, visit)
            except TooOftenError as error:
                visit, answer = None, self._too_often(request, error)
            if answer is None and visit:
                await (self._inside(visit, request, send) if self._owns(visit, path, request) else NOT_YOURS(scope, receive, send))
            else:
                await (answer or form.refusal(request, self.guard, 401))(scope, receive, send)

    async def _own(self, path: str, request: Request, visit: Visit | None) -> Response | None:
        """What the door itself answers: the login and the logout. Raises TooOftenError."""
        if path == "/login" and request.method == "POST":
            return await self._login(request)
        if path == "/login" and request.method in ("GET", "HEAD"):
            to = form.local(request.query_params.get("next", "/"))
            if visit:
                return RedirectResponse(form.root(request.scope) + to, 303, form.HEADERS)
            words = NO_COOKIE if "came" in request.query_params else form.NEEDED
            return form.login_page(request, self.guard, to, words, 401)
        if path == "/logout" and request.method == "POST":
            if visit:
                self.guard.sessions.close(visit.word)
            answer = RedirectResponse(f"{form.root(request.scope)}/", 303, form.HEADERS)
            self._set(answer, request, self.guard.cookie, "", 0)
            return answer
        return None

    def _owns(self, visit: Visit, path: str, request: Request) -> bool:
        """Whether the session of the page whose events are asked for is this user's: it is his who asked for it first."""
        word = path.removeprefix(HEARTBEAT) if path.startswith(HEARTBEAT) else request.query_params.get("session_hash", "")
        if not word:
            return True
        owner = self._owners.setdefault(word[:100], visit.user)
        self._owners.move_to_end(word[:100])
        if len(self._owners) > MOST_SESSIONS:
            self._owners.popitem(last=False)
        return owner == visit.user

    # ---- in and out

    async def _login(self, request: Request) -> Response:
        """A form of a browser, or of a program such as gradio_client, which keeps the cookie as well."""
        words = await _fields(request)
        if words is None:
            return JSONResponse({"error": "This is no form with username and password."}, 400, form.HEADERS)
        name, to, browser = words.get("username", ""), form.local(words.get("next", "/")), form.page_wanted(request)
        try:
            visit = await self.guard.enter(request, name, words.get("password", ""))
            status, fault, more = 401, WRONG, {}
        except TooOftenError as error:
            visit, status, fault, more = None, 429, str(error), {"retry-after": str(error.seconds)}
        if visit:
            event_log.say("login", visitor=event_log.mark(self.guard.identity(visit.user)), outcome="done")
        else:
            if browser:
                return form.login_page(request, self.guard, to, fault, status, more, name)
            return JSONResponse({"error": fault, "detail": fault}, status, form.HEADERS | more)
        if old := request.cookies.get(self.guard.cookie):
            self.guard.sessions.close(old)
        answer = (
            RedirectResponse(URL(f"{form.root(request.scope)}/login").include_query_params(next=to, came=1), 303, form.HEADERS)
            if browser
            else JSONResponse({"success": True}, headers=form.HEADERS)
        )
        self._open(answer, request, visit.user, visit.proof)
        self._set(answer, request, f"{self.guard.cookie}-known", self.guard.device(visit.user), 365 * 24 * 3600)
        return answer

    def _open(self, answer: Response, request: Request, user: str, proof: str = "") -> None:
        self._set(answer, request, self.guard.cookie, self.guard.sessions.open(user, proof), AGE)

    def _set(self, answer: Response, request: Request, name: str, value: str, age: int) -> None:
        """A cookie that no script reads; over https other pages may frame this one, as huggingface.co does."""
        proto = request.headers.get("x-forwarded-proto", "").split(",")[0].strip() or request.url.scheme
        across = "; Secure; SameSite=None; Partitioned" if proto == "https" else "; SameSite=Lax"
        path = form.root(request.scope) or "/"
        answer.headers.append("set-cookie", f"{name}={value}; Max-Age={age}; Path={path}; HttpOnly{across}")

    def _too_often(self, request: Request, error: TooOftenError) -> Response:
        return form.refusal(request, self.guard, 429, str(error), {"retry-after": str(error.seconds)})

    # ---- Hugging Face

    async def _through_hub(self, request: Request, send: Send) -> None:
        """Gradio's way to Hugging Face and back; who comes back gets a session of ours, and his token is kept nowhere."""
        begun, refused = False, None

        async def note(message: Message) -> None:
            nonlocal begun, refused
            if message["type"] == "http.response.start":
                begun = True
                info = request.scope["session"].pop("oauth_info", None)
                if info and own_path(request.scope) == HUB[1]:
                    user = self.guard.member(info.get("userinfo") or {})
                    if user:
                        answer = Response()
                        self._open(answer, request, user)
                        MutableHeaders(scope=message).append("set-cookie", answer.headers["set-cookie"])
                    else:
                        name = (info.get("userinfo") or {}).get("preferred_username")
                        refused = f"{name} is no member of this hub: ask who runs it, or log in as somebody else."
            if not refused:
                await send(message)

        fault = ""
        try:
            await self.app(request.scope, request.receive, note)
        except Exception as error:  # whatever the way there raises: no network, somebody who said no
            if begun and not refused:
                raise
            logging.getLogger(__name__).warning("the login by Hugging Face failed: %s", type(error).__name__)
            fault = f"Hugging Face logged nobody in ({getattr(error, 'error', '') or type(error).__name__}): try once more."
        if words := refused or fault:
            answer = form.login_page(request, self.guard, "/", words, 403 if refused else 502)
            await answer(request.scope, request.receive, send)

    # ---- inside

    async def _inside(self, visit: Visit, request: Request, send: Send) -> None:
        """Answer somebody who is logged in: nobody else's cache keeps it, and a stream ends when his login does."""
        stream = over = False

        async def receive() -> Message:
            return {"type": "http.disconnect"} if over else await request.receive()

        async def note(message: Message) -> None:
            nonlocal stream, over
            if over:
                return
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                stream = headers.get("content-type", "").startswith("text/event-stream")
                if "private" not in (kept := headers.get("cache-control", "")) and "no-store" not in kept:
                    headers["cache-control"] = ", ".join(["private", *(word for word in kept.split(", ") if word not in ("", "public"))])
            elif stream and not self.guard.holds(visit):
                over = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        scope = request.scope | {"user": visit.user, "visitor": self.guard.identity(visit.user)}
        await self.app(scope, receive, note)


async def _fields(request: Request) -> dict[str, str] | None:
    """The words of a small form, None for anything else."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None

    async def again() -> Message:
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    try:
        fields = await Request(request.scope, again).form(max_files=0, max_fields=10)
    except HTTPException:
        return None
    return {name: value for name, value in fields.items() if isinstance(value, str)}
