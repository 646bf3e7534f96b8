"""One file over the network: what its hub announces, then its bytes, resumed where they stopped and checked as they come.

The only module that opens the network; it imports no torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zoo.catalog import environment
from zoo.catalog.card import Source
from zoo.catalog.store import OnProgress, Part, Store
from zoo.errors import CancelledError, DownloadError, VariableError, ZooError

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the client is imported: it asks about the file only
STALL, ATTEMPTS = 10.0, 3
"""Seconds without a byte after which a connection counts as dropped, and how many in a row before a source is given up."""
ENDPOINTS = {
    "huggingface": ("HF_ENDPOINT", "https://huggingface.co"),
    "modelscope": ("MODELSCOPE_ENDPOINT", "https://modelscope.cn"),
}
"""The variable that names another address of a hub, and its own."""
CHUNK, AGENT, PAGE = 1 << 20, "patchwork", "it answered with a web page, not a file"


class UnavailableError(Exception):
    """A source that cannot be used now, and why; wrong: it gave other bytes than it or the card promised; silent: it was not reached, or
    not any more; partial: how much of a file is there, in words; proxy: what stood between, in words."""

    def __init__(self, reason: str, wrong: bool = False, silent: bool = False, partial: str = "", proxy: str = "") -> None:
        super().__init__(f"{reason} at {partial}, which are kept" if partial else reason)
        self.wrong, self.silent, self.partial, self.proxy = wrong, silent, partial, proxy


@dataclass(frozen=True)
class Remote:
    """A file as its hub announces it; an empty sha256 means that the hub names none."""

    url: str
    size: int
    sha256: str = ""
    tag: str = ""
    """The server's ETag, which changes when the content does."""
    commit: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """What is sent to the host of the URL; what names the user among it, to no other host."""

    @property
    def key(self) -> str:
        """Name of the unfinished file: the same for the same content from any hub."""
        return self.sha256 or hashlib.sha256(f"{self.url} {self.tag} {self.size}".encode()).hexdigest()[:40]


def address(source: Source) -> str:
    """Where a source is asked. Raises VariableError for an endpoint in the environment that is no address."""
    if source.origin == "url":
        return source.url
    variable, usual = ENDPOINTS[source.origin]
    return environment.endpoint(variable) or usual


def on_huggingface(source: Source, file: str) -> Remote:
    """Ask Hugging Face (or HF_ENDPOINT) about a file, with the user's token if there is one."""
    endpoint, token = address(source), environment.token("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    file_url = hf_hub_url(source.repo, file, revision=source.revision or None, endpoint=endpoint)
    metadata = get_hf_file_metadata(file_url, token=token, timeout=STALL, library_name=AGENT, endpoint=endpoint)
    digest = metadata.etag if re.fullmatch(r"[0-9a-f]{64}", metadata.etag or "") else ""
    url = hf_hub_url(source.repo, file, revision=metadata.commit_hash, endpoint=endpoint)
    headers = build_hf_headers(token=token, library_name=AGENT)
    return Remote(url, metadata.size or 0, digest, metadata.etag or "", metadata.commit_hash or "", headers)


def on_modelscope(source: Source, file: str) -> Remote:
    """Ask ModelScope (or MODELSCOPE_ENDPOINT) about a file, with the user's token if there is one.

    By a request of our own: the hub's client sends the token to any port of the host, and wherever that redirects within it.
    """
    from urllib.parse import urlencode

    token, revision = environment.token("MODELSCOPE_API_TOKEN"), source.revision or "master"
    place = f"{address(source)}/api/v1/models/{source.repo}/repo"
    headers = {"User-Agent": AGENT} | ({"Cookie": f"m_session_id={token}"} if token else {})
    with _session() as session:
        answer = session.get(f"{place}/files", params={"Revision": revision, "Recursive": "True"}, headers=headers, timeout=STALL)
    answer.raise_for_status()
    try:
        files = {item["Path"]: item for item in answer.json()["Data"]["Files"]}
        size, digest = (int(files[file]["Size"]), str(files[file].get("Sha256") or "")) if file in files else (0, "")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UnavailableError("its list of files cannot be read") from None
    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise UnavailableError(
                f"its list of files holds {name[:60]!r}, which would lead outside any folder: the repository is not trusted"
            )
    if file not in files:
        raise UnavailableError(f"it has no file {file}")
    return Remote(f"{place}?{urlencode({'Revision': revision, 'FilePath': file})}", size, digest.lower(), headers=headers)


def on_the_web(source: Source, _: str) -> Remote:
    """Ask a plain web server about the file of a URL."""
    import requests

    words = {"headers": {"User-Agent": AGENT, "Accept-Encoding": "identity"}, "timeout": STALL, "allow_redirects": True}
    answer = requests.head(source.url, **words)
    if answer.status_code in (403, 405, 501):  # servers that sign an address for GET only
        answer = requests.get(source.url, stream=True, **words)
        answer.close()
    answer.raise_for_status()
    if "text/html" in answer.headers.get("Content-Type", ""):
        raise UnavailableError(PAGE)
    return Remote(
        source.url, int(answer.headers.get("Content-Length", 0)), tag=answer.headers.get("ETag", ""), headers={"User-Agent": AGENT}
    )


def reason(error: BaseException, url: str = "") -> UnavailableError:
    """Whatever a client raises, as one clause: the status where a server answered, else what failed; url: what was asked, which tells
    whether a proxy stands between."""
    if isinstance(error, UnavailableError):
        return error
    if isinstance(error, ZooError):
        return UnavailableError(str(error).rstrip("."))
    answer, proxy = getattr(error, "response", None), _proxy(url)
    name, words = type(error).__name__, environment.without_password(" ".join(str(error).split())).rstrip(".")
    status = getattr(answer, "status_code", None) or getattr(error, "status_code", None)
    if refused := re.search(r"\b([45]\d\d) [A-Z]", words) if "Proxy" in name else None:  # it answered in place of the server
        status = int(refused[1])
    meaning = {
        401: "a token is needed (401): set HF_TOKEN or MODELSCOPE_API_TOKEN", 403: "access refused (403)", 404: "not found (404)",
        429: "too many requests (429)",
    }.get(status)  # fmt: skip
    if proxy and status == 407:
        return UnavailableError(f"{proxy} asks for a name and a password (407): write it as http://name:password@host:port")
    if refused or (proxy and status in (502, 503, 504)):
        return UnavailableError(f"{proxy or 'a proxy'} answered {status}")
    if status:
        return UnavailableError(meaning or f"the server answered {status}")
    if "NotExist" in name or "NotFound" in name:
        return UnavailableError("not found (404)")
    if "SOCKS" in words:
        return UnavailableError(f"{proxy or 'a socks proxy'} needs more packages: pip install 'httpx[socks]' 'requests[socks]'")
    if "Timeout" in name or "timed out" in words:
        return UnavailableError(f"no answer within {STALL:.0f} s", silent=True, proxy=proxy)
    if "Connect" in name or "Network" in name or "ProxyError" in name or isinstance(error, ConnectionError):
        return UnavailableError("no connection", silent=True, proxy=proxy)
    return UnavailableError(f"{name}: {words[:120]}{f', through {proxy}' if proxy else ''}")


def _proxy(url: str) -> str:
    """What stands between this machine and a URL, in words and without its password; empty for nothing."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    name = next((scheme for scheme in (parts.scheme, "all") if proxies.get(scheme)), "")
    if not name or proxy_bypass(parts.hostname or ""):
        return ""
    return f"the proxy {environment.without_password(proxies[name])[:60]} of {name}_proxy"


def bring(remote: Remote, store: Store, on_progress: OnProgress, stop: threading.Event) -> str:
    """The sha256 of a file once it is whole and checked in the store; whoever else asks for it meanwhile waits for the same bytes.

    told(bytes done, bytes a second). Raises UnavailableError, DownloadError for a full disk, CancelledError with the bytes done.
    """
    if store.has(remote.sha256, remote.size):
        return remote.sha256
    part = Part(store, remote.key, on_progress)
    try:
        store.room(remote.size - part.size)
        lock = _wait_for_lock(part, on_progress, stop)
        try:
            if store.has(remote.sha256, remote.size):
                return remote.sha256
            with part:
                return _complete(part, remote, stop)
        finally:
            lock.release()
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(
            f"{error.filename or store.folder} cannot be written ({error.strerror or error}) at {part.size:,} of {remote.size:,} bytes, "
            "which are kept: free some space, or set PATCHWORK_CACHE to a folder on another disk.",
            command="python -m zoo cache --prune",
        ) from None


def _wait_for_lock(part: Part, on_progress: OnProgress, stop: threading.Event) -> FileLock:
    """The lock of an unfinished file, held; until then what somebody else brings is told."""
    lock = FileLock(part.path.with_suffix(".lock"))
    while True:
        try:
            lock.acquire(timeout=0.2)
            return lock
        except Timeout:
            on_progress(part.size, None)
            if stop.is_set():
                raise CancelledError(f"{part.size:,}") from None


def _complete(part: Part, remote: Remote, stop: threading.Event) -> str:
    """Connect until all bytes are here; the digest under which they are then in the store."""
    part.take_up(remote.size)
    idle = 0
    while not remote.size or part.done < remote.size:
        before = part.done
        problem = _connect(part, remote, stop)
        if problem is None:
            break
        idle = 0 if part.done > before else idle + 1
        if problem.final or idle >= ATTEMPTS:
            partial = f"{part.done:,} of {remote.size:,} bytes" if part.done else ""
            raise UnavailableError(problem.words, silent=problem.silent, partial=partial, proxy=problem.proxy)
        if stop.wait(min(2**idle, 4) / 4):
            raise CancelledError(f"{part.done:,}")
    digest = part.sha256()
    if remote.sha256 and digest != remote.sha256:
        part.restart()
        raise UnavailableError(
            f"its bytes are wrong: sha256 {remote.sha256[:12]}... was promised, {digest[:12]}... came and was thrown away", wrong=True
        )
    return part.settle(digest)


def _connect(part: Part, remote: Remote, stop: threading.Event) -> _Problem | None:
    """One connection, until it ends; what went wrong, None where it brought all that it had."""
    import requests
    import urllib3

    headers = remote.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={part.done}-"} if part.done else {})
    try:
        with _session() as session, session.get(remote.url, headers=headers, stream=True, timeout=STALL) as answer:
            if problem := _mismatch(answer, part, remote.size):
                return problem
            for piece in iter(lambda: answer.raw.read1(CHUNK), b""):
                part.write(piece)
                if stop.is_set():
                    raise CancelledError(f"{part.done:,}")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        cause = reason(error, remote.url)
        return _Problem("the connection dropped" if part.done else str(cause), silent=bool(part.done) or cause.silent, proxy=cause.proxy)
    return None if part.done >= remote.size else _Problem("the connection dropped", silent=True)


def _session() -> Any:
    """A client that follows redirects, and tells who the user is to the host that was asked, and to no other."""
    import requests

    class OwnHostSession(requests.Session):
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Called for every redirect: without Authorization where the host is another; a Cookie, which is gone by now, comes back only
            where it is the same."""
            cookie = response.request.headers.get("Cookie")
            if cookie and not self.should_strip_auth(response.request.url, prepared_request.url):
                prepared_request.headers["Cookie"] = cookie
            super().rebuild_auth(prepared_request, response)

    return OwnHostSession()


def _mismatch(answer: Any, part: Part, total: int) -> _Problem | None:
    """Why an answer is not the file that was announced, from where we are; a server that ignores ranges starts anew."""
    status, length = answer.status_code, answer.headers.get("Content-Length")
    if status == 416:  # what was kept is not of this file
        part.restart()
        return _Problem("the server refused to go on")
    if status >= 400:
        import requests

        return _Problem(str(reason(requests.HTTPError(response=answer), answer.url)), final=status in (401, 403, 404, 410))
    if "text/html" in answer.headers.get("Content-Type", ""):
        return _Problem(PAGE, final=True)
    if part.done and status == 200:
        part.restart()
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != part.done or int(match[2]) != total:
            part.restart()
            return _Problem(f"it now offers another file ({answer.headers.get('Content-Range', 'of unknown length')})")
    if total and length and int(length) != total - part.done:
        size = int(length) + part.done
        part.restart()
        return _Problem(f"it now offers {size:,} bytes instead of {total:,}")
    return None


@dataclass(frozen=True)
class _Problem:
    words: str
    final: bool = False
    silent: bool = False
    proxy: str = ""


def caches() -> dict[str, Path]:
    """Where the hubs' own clients keep what they fetch, by hub: HF_HUB_CACHE, HF_HOME and MODELSCOPE_CACHE are honoured."""
    from huggingface_hub import constants

    own = environment.user_path(environment.text("MODELSCOPE_CACHE") or "~/.cache/modelscope")
    return {"huggingface": Path(constants.HF_HUB_CACHE), "modelscope": own}


def in_cache(source: Source, file: str) -> tuple[Path, str] | None:
    """A file that the hub's own client has fetched before, and the sha256 that its name promises if it does."""
    if source.origin == "huggingface":
        try:
            environment.endpoint("HF_ENDPOINT")  # what is no address breaks the client when it is imported
        except VariableError:
            return None
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(source.repo, file, revision=source.revision or None)
        name = Path(path).resolve().name if isinstance(path, str) else ""
        return (Path(path), name if re.fullmatch(r"[0-9a-f]{64}", name) else "") if name else None
    if source.origin == "modelscope":
        from modelscope_hub import HubApi, HubConfig
        from modelscope_hub.errors import HubError

        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        with suppress(HubError, ValueError, OSError, RuntimeError):  # the last where there is no home
            api = HubApi(HubConfig(endpoint=address(source), token=""), user_agent=AGENT)  # a token it knows is unpickled
            return Path(api.download_file(source.repo, "model", file, revision=source.revision or None, local_files_only=True)), ""
    return None
