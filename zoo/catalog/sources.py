"""The sources of a card, tried in turn -> verified files in the store."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.catalog import download, environment
from zoo.catalog.card import PREPARATION, Card, Source
from zoo.catalog.download import Remote, UnavailableError
from zoo.catalog.store import LocalFiles, Store, sha256
from zoo.errors import CancelledError, ChecksumError, DownloadError, VariableError, ZooError

PATIENCE = 10.0
"""Seconds after which a source that does not answer is left for the next."""
HUBS = {"huggingface": "Hugging Face", "modelscope": "ModelScope", "url": "the authors' server"}
"""Where programs can download from, in words."""
REMOTE = tuple(HUBS)


@dataclass(frozen=True)
class Transfer:
    """How far a download has come. notes: what went otherwise than the card says, such as a source that did not answer."""

    model: str
    file: str
    source: str
    done: int
    total: int
    speed: float | None = None
    """Bytes a second over the last seconds."""
    notes: tuple[str, ...] = ()

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at the present speed."""
        return (self.total - self.done) / self.speed if self.speed else None


Tell = Callable[[Transfer], None]


def fetch(
    card: Card,
    store: Store,
    prefer: str = "",
    offline: bool = False,
    tell: Tell = lambda _: None,
    stop: threading.Event | None = None,
) -> LocalFiles:
    """Return the verified files of a card, downloaded from the first of its sources that answers unless they are here.

    prefer: huggingface | modelscope | url, tried before the others (default: the variable ZOO_HUB, else the card's order);
    tell is told how far it is; once stop is set it ends within seconds, and the next download goes on from there.
    Raises DownloadError that names what each source answered, ChecksumError where no source gave the promised bytes.
    """
    try:
        return local_files(card, store)
    except ChecksumError:
        raise
    except DownloadError:
        sources = [source for source in card.weights if source.origin in REMOTE]
        if not sources:
            raise
    for source in sources:
        if files := _from_hub_cache(card, source, store):
            return files
    if offline:
        raise DownloadError(
            f"{card.title} is not downloaded, and this hub is offline: choose a model that is downloaded.{_lying(card, store)}",
            command=by_hand(card),
        )
    store.room(0)  # said before anybody is asked
    first = prefer or environment.text("ZOO_HUB").lower()
    if first and first not in REMOTE:
        raise DownloadError(f"There is no hub {first[:40]!r}: choose one of {', '.join(REMOTE)}.")
    if prefer and all(source.origin != prefer for source in sources):
        raise DownloadError(
            f"{card.title} cannot be downloaded from {prefer}: choose {' or '.join(dict.fromkeys(s.origin for s in sources))}."
        )
    return _first_that_answers(card, sorted(sources, key=lambda s: s.origin != first), store, tell, stop or threading.Event())


def local_files(card: Card, store: Store) -> LocalFiles:
    """The files of a card that are on this machine, bundled ones checked. Raises DownloadError that says how to get them."""
    files, source = store.find(card), card.weights[0]
    if files and files.folder:
        return store.mounts.checked(card)
    if files:
        return _check_bundled(card, files) if files.origin == "bundled" else files
    if source.origin == "bundled":
        file = f"zoo/catalog/weights/{source.file}"
        raise DownloadError(f"The weights of {card.title} are missing: restore {file} from the repository.", command=f"git checkout {file}")
    lying = _lying(card, store)
    if downloadable(card):
        raise DownloadError(
            f"{card.title} is not downloaded ({card.size}, licence {card.licence}): download it first.{lying}",
            command=f"python -m zoo fetch {card.id}",
        )
    if source.origin == "own":
        raise DownloadError(
            f"The weights of {card.title}, which were imported here, are gone: import {source.file} once more.", command=by_hand(card)
        )
    raise DownloadError(
        f"{card.title} is not on this machine, and no program can download it: get {source.file} from {source.url} and import it.{lying}",
        command=by_hand(card),
    )


def _lying(card: Card, store: Store) -> str:
    """What else is to be said where a model is not here: which mounted file bears its name and is not it."""
    return "".join(f" {remark}" for remark in store.mounts.remarks(card)[:2]) if store.mounts else ""


def downloadable(card: Card) -> bool:
    """Whether a program can download a model: some can only be fetched by a person with a browser."""
    return any(source.origin in REMOTE for source in card.weights)


def stream(cards: Sequence[Card], store: Store, prefer: str, offline: bool, stop: threading.Event) -> Iterator[Transfer]:
    """Fetch several cards, one after the other, in a thread of its own; each Transfer as it is told. Closing it stops the download.

    Raises what `fetch` raises, and CancelledError within a second of stop, however long the line takes to notice.
    """
    updates: queue.Queue[Transfer | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            for card in cards:
                fetch(card, store, prefer if any(source.origin == prefer for source in card.weights) else "", offline, updates.put, stop)
            updates.put(None)
        except ZooError as error:
            updates.put(error)
        except OSError as error:  # of the folder itself: what files and servers do is said where it happens
            updates.put(DownloadError(f"{store.folder} cannot be used ({error.strerror or error}): set PATCHWORK_CACHE to another folder."))
        except BaseException as error:  # whatever it is, the reader must not wait for ever
            updates.put(_broke_off(cards[0], error))

    threading.Thread(target=work, daemon=True).start()
    stop_checks = 0
    try:
        while True:
            try:
                item = updates.get(timeout=0.5)
            except queue.Empty:
                stop_checks += stop.is_set()
                if stop_checks > 1:
                    raise CancelledError(
                        f"The download of {cards[0].title} was stopped; what has arrived is kept: start it again to go on from there."
                    ) from None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _broke_off(card: Card, error: BaseException) -> DownloadError:
    """What is said of an error that no door has words for."""
    words = " ".join(str(error).split()).rstrip(".")
    failure = DownloadError(
        f"The download of {card.title} broke off ({type(error).__name__}{': ' * bool(words)}{words[:120]}); what has arrived is kept: "
        "start it again to go on from there.",
        command=by_hand(card),
    )
    failure.__cause__ = error
    return failure


def _first_that_answers(card: Card, sources: Sequence[Source], store: Store, tell: Tell, stop: threading.Event) -> LocalFiles:
    notes: list[str] = []
    reasons: list[tuple[Source, UnavailableError]] = []
    for source in sources:
        try:
            with store.arriving(card.id):
                return _bring(card, source, store, tell, stop, notes)
        except UnavailableError as reason:
            notes.append(f"{place(source)}: {reason}")
            reasons.append((source, reason))
    kind = ChecksumError if any(reason.wrong for _, reason in reasons) else DownloadError
    raise kind(_failure(card, reasons), command=by_hand(card))


def _failure(card: Card, reasons: Sequence[tuple[Source, UnavailableError]]) -> str:
    """Why no source gave the files of a card, each reason said once."""
    if all(reason.silent for _, reason in reasons):
        names = _join_names(HUBS[source.origin] for source, _ in reasons)
        partial = next((reason.partial for _, reason in reversed(reasons) if reason.partial), "")
        if partial:
            return f"The download of {card.title} from {names} broke off at {partial}, which are kept: start it again to go on from there."
        proxy = next((reason.proxy for _, reason in reasons if reason.proxy), "")
        set_here = (download.ENDPOINTS.get(source.origin, ("",))[0] for source, _ in reasons)
        what = _join_names(["the network", *["that proxy"][: bool(proxy)], *(name for name in set_here if name and environment.text(name))])
        return f"{names} could not be reached{f' through {proxy}' if proxy else ''} for {card.title}: check {what}, then try again."
    places: dict[str, list[str]] = {}
    for source, reason in reasons:
        places.setdefault(str(reason), []).append(place(source))
    words = "; ".join(f"{_join_names(names)}: {reason}" for reason, names in places.items())
    return f"{card.title} could not be downloaded ({words}): try again later."


def _join_names(names: Iterable[str]) -> str:
    """Names one after the other, each once: a, b and c."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last


def _bring(card: Card, source: Source, store: Store, tell: Tell, stop: threading.Event, notes: list[str]) -> LocalFiles:
    """All files of one source into the store, and the card pinned to them."""
    remotes = {}
    for file in source.files:
        try:
            remotes[file] = ask(source, file)
        except UnavailableError as reason:
            if file != PREPARATION or reason.silent:
                raise
            notes = [*notes, f"{place(source)} has no {PREPARATION} ({reason}): pictures are prepared as the card says"]
        if stop.is_set():
            raise CancelledError(f"The download of {card.title} was stopped before it began.")
    expected_digest = source.sha256 or remotes[source.file].sha256
    if source.sha256 and remotes[source.file].sha256 not in ("", source.sha256):
        remote_digest = remotes[source.file].sha256
        raise UnavailableError(
            f"it offers another file, sha256 {remote_digest[:12]}... instead of {source.sha256[:12]}... as the card says", wrong=True
        )
    remotes[source.file] = replace(remotes[source.file], sha256=expected_digest)
    earlier_digests, all_notes = store.pin(card.id).get("was", {}), list(notes)
    total = sum(remote.size for remote in remotes.values())
    commit = remotes[source.file].commit
    origin = f"from {place(source)}" + (f" at {commit[:12]}" if commit else "")
    sizes = {remote.key: remote.size for remote in remotes.values()}
    with store.budget.hold(sizes, card.title):
        while True:
            digests, before = {}, 0
            for file, remote in remotes.items():

                def report(amount: int, speed: float | None, file: str = file, before: int = before) -> None:
                    tell(Transfer(card.id, file, place(source), before + amount, total, speed, tuple(all_notes)))

                try:
                    digest = digests[file] = download.bring(remote, store, report, stop)
                except CancelledError as error:
                    raise CancelledError(
                        f"The download of {card.title} was stopped at {error} bytes, which are kept: start it again to go on from there."
                    ) from None
                if earlier_digests.get(file, digest) != digest:
                    note = f"{file} is not what it was: its sha256 is {digest[:12]}..., and was {earlier_digests[file][:12]}..."
                    all_notes.extend([note] if note not in all_notes else [])
                before += remote.size
                tell(Transfer(card.id, file, place(source), before, total, None, tuple(all_notes)))
            with store.changing():  # who removes another model may just have deleted a file that both need: it is brought again
                if all(store.has(digest, remotes[file].size) for file, digest in digests.items()):
                    entries = {file: store.entry(digest) for file, digest in digests.items()}
                    return store.keep(card, entries, origin, commit=commit, notes=all_notes, fetched=time.strftime("%Y-%m-%d"))


def ask(source: Source, file: str) -> Remote:
    """What a source says of one of its files. Raises UnavailableError where it does not answer within PATIENCE, or refuses."""
    client = {"huggingface": download.on_huggingface, "modelscope": download.on_modelscope, "url": download.on_the_web}[source.origin]
    answer: list[Any] = []

    def work() -> None:
        try:
            answer.append(client(source, file))
        except BaseException as error:  # whatever the client raises is said in words here, the one door
            answer.append(download.reason(error, _address(source)))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not answer:
        raise UnavailableError(f"no answer within {PATIENCE:.0f} s", silent=True)
    if isinstance(answer[0], Exception):
        raise answer[0]
    return answer[0]


def _address(source: Source) -> str:
    try:
        return download.address(source)
    except VariableError:
        return ""


def _check_bundled(card: Card, local: LocalFiles) -> LocalFiles:
    digest = sha256(local.path)
    if local.sha256 and digest != local.sha256:
        raise ChecksumError(
            f"{local.path.name} ({local.path.stat().st_size} bytes) is damaged: its sha256 is {digest[:12]}..., not {local.sha256[:12]}... "
            f"as the card of {card.title} says. Restore zoo/catalog/weights/{local.path.name} from the repository.",
            command=f"git checkout zoo/catalog/weights/{local.path.name}",
        )
    return replace(local, sha256=digest)


def _from_hub_cache(card: Card, source: Source, store: Store) -> LocalFiles | None:
    """The files of a source that the hubs' own clients have fetched before: used where they lie."""
    paths = {file: download.in_cache(source, file) for file in source.files}
    if not all(path for file, path in paths.items() if file != PREPARATION):
        return None
    paths = {file: path for file, path in paths.items() if path}
    try:
        entries = {file: {"sha256": sha256(path), "bytes": path.stat().st_size, "path": str(path)} for file, (path, _) in paths.items()}
    except OSError:  # another user's
        return None
    digests = {file: digest for file, (_, digest) in paths.items() if digest} | ({source.file: source.sha256} if source.sha256 else {})
    if any(entries[file]["sha256"] != digest for file, digest in digests.items()):
        return None
    return store.keep(card, entries, f"from the cache of {source.origin}")


def place(source: Source) -> str:
    """Where a source is, in words."""
    if source.repo:
        return f"{source.repo} on {HUBS[source.origin]}"
    return source.url.split("?")[0] or (f"{source.file}, imported here" if source.origin == "own" else "")


def by_hand(card: Card) -> str:
    """How a person gets the files of a card here without this program's network."""
    source = card.weights[0]
    if source.origin == "own":
        return f"python -m zoo import {card.id} {source.file}"
    names = [name.rpartition("/")[2] for name in source.files]
    command = {
        "huggingface": f"hf download {source.repo} {' '.join(source.files)}",
        "modelscope": f"modelscope download --model {source.repo} {' '.join(source.files)}",
    }.get(source.origin, f"get {source.file} from {source.url}")
    return f"{command} (where there is a network), then python -m zoo import {card.id} {' '.join(names)}"
