"""Folders of weights that somebody else keeps: searched for what the cards name, read where they lie, and never written.

A folder may be the cache of a hub's own client, the folder of another Patchwork, repositories as they are downloaded, or files. It is
looked through in a thread of its own, so that one that does not answer keeps nobody waiting.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from zoo.catalog import download, environment
from zoo.catalog.card import PREPARATION, Card, Source
from zoo.catalog.files import atomic_write
from zoo.catalog.mounted_folder import Lying, MountedFolder, Seen
from zoo.catalog.store import LocalFiles, Store, sha256
from zoo.errors import ChecksumError, DownloadError, ZooError

PATIENCE = 10.0
"""Seconds within which a file must begin to come."""
NOT_SEARCHED = ("bundled", "own")
"""Origins of weights that lie elsewhere: in the repository, and in the store."""


Found = tuple[LocalFiles, Mapping[Path, str]]
"""Files, and the digests that somebody promised of them."""


class Mounts:
    """What the folders of an operator, and the caches of the hubs' clients, hold of the models here.

    What is downloaded or imported into the store comes before it, so that nothing that was made before changes with what is mounted.
    """

    def __init__(
        self, cards: Callable[[], Iterable[Card]], folders: Sequence[Path], caches: Mapping[str, Path], memory: Path | None = None
    ) -> None:
        """cards: those whose weights are looked for; folders: in the order in which they are asked; caches: of the hubs' clients, by
        hub, which need not be there; memory: the file in which digests are kept, for reading all that lies there takes long."""
        self._cards, self._memory, self._rejected = cards, memory, dict[Path, tuple[Lying, str]]()
        self._digests: dict[str, list] | None = None
        places = [(path, "") for path in folders] + [(path, hub) for hub, path in caches.items()]
        self.folders = [MountedFolder(path, cards, hub) for path, hub in places]

    def find(self, card: Card) -> LocalFiles | None:
        """The files of a card, as far as names and sizes tell; an empty digest is one that nobody has read yet."""
        return next(self._found(card), (None, {}))[0]

    def checked(self, card: Card) -> LocalFiles:
        """The files of a card, each read once to tell its digest. What turns out to be another file is passed over from then on.

        Raises ChecksumError where it does and nothing else is left, DownloadError where the folder has gone or does not answer.
        """
        error: ZooError | None = None
        while (found := next(self._found(card), None)) is not None:
            files, expected = found
            try:
                digests = {path: self._digest(card, path, expected.get(path, "")) for path in files.digests}
            except ChecksumError as wrong:
                error = wrong
                continue
            return replace(files, sha256=digests[files.path], digests=digests)
        raise error or DownloadError(f"The weights of {card.title} are no longer where they were mounted: mount them again.")

    def reject(self, files: LocalFiles, reason: str) -> None:
        """Pass files over that turned out not to be the model, until they change."""
        if lying := self._lying(files.path):
            self._rejected[lying.path] = lying, reason

    def remarks(self, card: Card) -> list[str]:
        """What lies in these folders under a name of a card and is not it, a sentence each."""
        faults = (fault for folder in self.folders for _, fault in self._in(folder, folder.seen, card) if fault)
        return list(dict.fromkeys(faults))

    def _found(self, card: Card) -> Iterator[Found]:
        """What may be the files of a card, the best first."""
        for folder in self.folders:
            yield from (found for found, _ in self._in(folder, folder.look(), card) if found)

    def _in(self, folder: MountedFolder, seen: Seen, card: Card) -> Iterator[tuple[Found | None, str]]:
        """What lies in a folder under the names of a card: found, or what is wrong with it."""
        if kept := seen.kept.get(card.id):
            found, fault = self._judged(folder, seen, kept.path, kept.also, dict(kept.digests))
            yield (replace(found[0], chosen=kept.chosen, taken=kept.taken), found[1]) if found else None, fault
        for source in card.weights:
            if source.origin not in NOT_SEARCHED:
                yield from self._of_source(folder, seen, source, card)

    def _of_source(self, folder: MountedFolder, seen: Seen, source: Source, card: Card) -> Iterator[tuple[Found | None, str]]:
        name = source.file.rpartition("/")[2]
        here = sorted(seen.files.get(name, ()), key=lambda lying: (not exact(lying.path, source), -lying.changed))
        for lying in here:
            in_place = exact(lying.path, source)
            sized = source.sha256 and lying.size == source.bytes  # its digest will tell
            if not in_place and not sized and not self._names_one(name, card):
                continue
            base = lying.path.parents[source.file.count("/") if in_place else 0]
            beside = {file: base / (file if in_place else file.rpartition("/")[2]) for file in source.files[1:]}
            if lacking := [file for file, path in beside.items() if path not in seen.by_path and file != PREPARATION]:
                yield None, f"{lying.path} lacks {', '.join(lacking[:3])} beside it, which {card.title} needs: bring that, too."
                continue
            also = {file.rpartition("/")[2]: path for file, path in beside.items() if path in seen.by_path}
            promised = {path: seen.by_path[path].promised for path in (lying.path, *also.values())}
            promised |= {lying.path: source.sha256} if source.sha256 else {}
            misfit = _misfit(source, lying)
            yield (None, misfit) if misfit and not lying.fault else self._judged(folder, seen, lying.path, also, promised)

    def _judged(
        self, folder: MountedFolder, seen: Seen, path: Path, also: Mapping[str, Path], promised: dict[Path, str]
    ) -> tuple[Found | None, str]:
        every = {one: seen.by_path.get(one) for one in (path, *also.values())}
        for one, lying in every.items():
            was, reason = self._rejected.get(one, (None, ""))
            if fault := f"{one} has gone." if lying is None else reason if was == lying else lying.fault:
                return None, fault
        digests = {one: self._remembered(lying) for one, lying in every.items()}
        size = sum(lying.size for lying in every.values())
        return (LocalFiles(path, digests[path], also, folder.origin, size, digests, folder=folder.path), promised), ""

    def _names_one(self, name: str, card: Card) -> bool:
        """Whether a file's name alone tells the model, as the authors' own names do, and model.safetensors does not."""
        return {one.id for one in self._cards() for source in one.weights if source.file.rpartition("/")[2] == name} <= {card.id}

    def _lying(self, path: Path) -> Lying | None:
        return next((folder.seen.by_path[path] for folder in self.folders if path in folder.seen.by_path), None)

    # ---- digests

    def _digest(self, card: Card, path: Path, promised: str) -> str:
        """The sha256 of a file, read unless it was before. Raises ChecksumError where another was promised, DownloadError."""
        lying = self._lying(path)
        if lying is None or not _comes(path):
            raise DownloadError(
                f"{path}, the weights of {card.title}, cannot be read: the folder has gone or does not answer; mount it again."
            )
        digest = self._remembered(lying) or self._remember(lying, sha256(path))
        if promised and digest != promised:
            reason = (
                f"{path} ({lying.size:,} bytes) is not the file of {card.title}: its sha256 is {digest[:12]}..., not {promised[:12]}... "
                "as was promised: bring that one."
            )
            self._rejected[path] = lying, reason
            raise ChecksumError(reason)
        return digest

    def _remembered(self, lying: Lying) -> str:
        if self._digests is None:
            self._digests = {}
            with suppress(OSError, ValueError, RecursionError):
                read = json.loads(self._memory.read_text(encoding="utf-8")) if self._memory else {}
                self._digests = read if isinstance(read, dict) else {}
        known = self._digests.get(str(lying.path))
        return str(known[2]) if isinstance(known, list) and known[:2] == [lying.size, lying.changed] and len(known) == 3 else ""

    def _remember(self, lying: Lying, digest: str) -> str:
        self._digests[str(lying.path)] = [lying.size, lying.changed, digest]
        if self._memory:
            with suppress(OSError), atomic_write(self._memory) as part:  # a cache may be somebody else's: it is read again next time
                part.write_text(json.dumps(dict(self._digests), indent=1), encoding="utf-8")
        return digest


def store_in(
    cache: Path, cards: Callable[[], Iterable[Card]], folders: Sequence[str | Path] | None = None, gigabytes: float | None = None
) -> Store:
    """The store of a cache folder, with what is mounted beside it: these folders (default: PATCHWORK_MODELS), then the hubs' caches.

    gigabytes: that its own files may take (default: PATCHWORK_MODELS_GB, else as many as the disk has).
    """
    gigabytes = environment.amount("PATCHWORK_MODELS_GB") if gigabytes is None else gigabytes
    most = None if gigabytes is None else int(gigabytes * 1e9)
    named = environment.folders(environment.text("PATCHWORK_MODELS")) if folders is None else [Path(path).absolute() for path in folders]
    return Store(cache / "models", Mounts(cards, named, download.caches(), cache / "models" / "mounted.json"), most)


def exact(path: Path, source: Source) -> bool:
    """Whether a file lies where its repository says, in a folder that bears the repository's name, as each hub's client writes it."""
    owner, _, name = source.repo.rpartition("/")
    if not name:
        return False
    whole = {f"models--{owner}--{name}", f"{owner}--{name}", name, name.replace(".", "___")}
    *folders, _ = path.parts
    depth = source.file.count("/")
    inside, above = folders[len(folders) - depth :], folders[: len(folders) - depth]
    if inside != source.file.split("/")[:-1]:
        return False
    return above[-1:] != [] and (above[-1] in whole or (above[-2:-1] == ["snapshots"] and above[-3] in whole))


def _misfit(source: Source, lying: Lying) -> str:
    """Why a file cannot be that of a source, without reading it."""
    if source.bytes and lying.size != source.bytes:
        what = "its copy is not whole: copy it again" if lying.size < source.bytes else "it is another file: bring the right one"
        return f"{lying.path} holds {lying.size:,} bytes, not {source.bytes:,}; {what}."
    if source.sha256 and lying.promised not in ("", source.sha256):
        return f"{lying.path} is another file, sha256 {lying.promised[:12]}... instead of {source.sha256[:12]}... as the card says."
    return ""


def _comes(path: Path) -> bool:
    """Whether a file can be opened and begins to come within PATIENCE: a mount may hang for ever."""
    came = threading.Event()

    def work() -> None:
        with suppress(OSError), path.open("rb") as file:
            file.read(1)
            came.set()

    threading.Thread(target=work, daemon=True).start()
    return came.wait(PATIENCE)
