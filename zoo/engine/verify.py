"""Is this file that model? Its digest, its keys and shapes, the numbers of one fixed forward, and those that others published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from zoo.catalog import checkpoint, sources
from zoo.catalog.card import PREPARATION, SHARD, Card
from zoo.catalog.folders import weights_in
from zoo.catalog.store import LocalFiles, Store, sha256
from zoo.catalog.weight_choice import Taken
from zoo.engine import published_numbers
from zoo.errors import CheckpointError, ChecksumError, RequestError
from zoo.networks import autoencoders
from zoo.networks.build import build_module, example_pass, renaming
from zoo.networks.inception import statistics
from zoo.networks.preparation import prepared

TOLERANCE = 1e-3
"""Of the output's deviation: machines round differently, other weights are far away."""


def verify(store: Store, card: Card, inputs: Sequence[Path] = ()) -> Iterator[str]:
    """Check the files of a card on this machine, one sentence for each thing that holds.

    inputs: files of which numbers on the card were recorded and which are not ours to ship, see published_numbers.inputs_by_key.
    Raises DownloadError where they are not here, ChecksumError for another digest, CheckpointError for other keys, shapes or numbers.
    """
    paths = published_numbers.inputs_by_key(card, inputs)
    files = sources.fetch(card, store, offline=True)
    yield _check_digests(card, files)
    module, taken = load_module(card, files.weights, files.chosen)
    numbers = sum(value.numel() for value in module.state_dict().values())
    yield (
        f"manifest: {len(module.state_dict())} tensors of {numbers:,} numbers, every key and shape that {card.title} has and no other, "
        f"nothing unpickled that could run{f'; taken from {taken.words}' if taken.words else ''}."
    )
    yield _compare_fingerprint(store, card, fingerprint(card, module))
    if card.expected:
        yield published_numbers.compare(store, card, module, files, paths)


def admit(
    store: Store, card: Card, files: Sequence[Path], progress: Callable[[int], None] = lambda _: None, chosen: str = ""
) -> LocalFiles:
    """Take files that somebody carried here into the store as the weights of a card, and what else it needs.

    files: the weights, one file or all shards, or an index or a folder that tells them, and after them what else the model needs;
    chosen: which of several sets of weights in the file; empty for the averaged ones where there are some.

    Raises RequestError where a file is missing or unknown, CheckpointError where it is not this model, DownloadError for a full disk.
    """
    source = card.weights[0]
    if source.origin == "bundled":
        raise RequestError(f"{card.id} ships with the repository: restore its file from there.", command="git checkout zoo/catalog/weights")
    files = weights_in(files[0]) if len(files) == 1 else files
    file_names = {name.rpartition("/")[2]: name for name in source.files[1:]}
    others = {path.name: path for path in files[1:]}
    if missing := sorted(file_names.keys() - others.keys() - {PREPARATION}):
        raise RequestError(f"{card.id} also needs {', '.join(missing)}: name {'them' if len(missing) > 1 else 'it'} after the weights.")
    if unknown := sorted(others.keys() - file_names.keys()):
        raise RequestError(
            f"{unknown[0]} is no part of {card.id}: give the weights{', then ' + ', '.join(file_names) if file_names else ' alone'}."
        )
    prepared(card, others)
    module, taken = load_module(card, [files[0], *(others[name] for name in file_names if SHARD.fullmatch(name))], chosen)
    if broken := [key for key, value in module.named_parameters() if not value.isfinite().all()]:
        raise CheckpointError(
            f"{files[0]} holds numbers that are not finite, in {len(broken)} tensors of its model, the first of them {broken[0]}: its "
            "training went astray, so bring an earlier checkpoint of it."
        )
    if autoencoders.STATISTICS in others:
        autoencoders.attach_statistics(module, others[autoencoders.STATISTICS])
    if card.task == "judge":
        statistics(next(iter(others.values())))
    with store.arriving(card.id):
        while True:
            digests = {source.file: store.add(files[0], progress)} | {file_names[name]: store.add(path) for name, path in others.items()}
            with store.changing():  # who removes another model may just have deleted a file that both need
                if all((store.blobs / digest).is_file() for digest in digests.values()):
                    entries = {name: store.entry(digest) for name, digest in digests.items()}
                    return store.keep(card, entries, f"imported from {files[0].name}", chosen=chosen, taken=taken.words)


def load_module(card: Card, weights: Sequence[Path], chosen: str = "") -> tuple[nn.Module, Taken]:
    """The model of a card in float32 with the weights of a file, or its shards, which fit it strictly; and which of several sets of
    weights were taken. Raises CheckpointError."""
    with torch.device("meta"):
        module = build_module(card)
    taken = checkpoint.load_into(module, weights, renaming(card), chosen)
    return module.eval().requires_grad_(False), taken


@torch.no_grad()
def fingerprint(card: Card, module: nn.Module) -> tuple[float, ...]:
    """Mean, deviation, first and last number of what the module makes, in float32, of noise of seed 0 (at time 500, class 0)."""
    generator = torch.Generator().manual_seed(0)
    output = example_pass(card, module, lambda *shape: torch.randn(shape, generator=generator)).float().flatten()
    return tuple(float(f"{value:.6g}") for value in (output.mean(), output.std(), output[0], output[-1]))


def _check_digests(card: Card, files: LocalFiles) -> str:
    for path, digest in files.digests.items():
        if digest and sha256(path) != digest:
            again = "bring the right file" if files.folder else "remove it, and download it again"
            raise ChecksumError(
                f"{path} ({path.stat().st_size} bytes) has changed: its sha256 is {sha256(path)[:12]}..., not {digest[:12]}... as "
                f"when it was {'first read' if files.folder else 'downloaded'}: {again}.",
                command="" if files.folder else f"python -m zoo cache --remove {card.id} && python -m zoo fetch {card.id}",
            )
    on_card = any(source.sha256 == files.sha256 for source in card.weights)
    when = f"first read in {files.folder}" if files.folder else f"stored ({files.origin})"
    whose = "as the card says" if on_card else f"as when it was {when}; the card names none"
    others = f"; {len(files.digests) - 1} other files as when they were stored" if len(files.digests) > 1 else ""
    return f"digest: {files.path.stat().st_size:,} bytes, sha256 {files.sha256}, {whose}{others}."


def _compare_fingerprint(store: Store, card: Card, numbers: tuple[float, ...]) -> str:
    reference = card.fingerprint or tuple(store.notes(card).get("fingerprint", ()))
    words = "fingerprint: mean {:g}, deviation {:g}, first {:g}, last {:g} of one fixed forward in float32".format(*numbers)
    if not reference:
        noted = store.annotate(card, fingerprint=numbers)  # a bundled one has its fingerprint in the card
        where = "noted here" if noted else f"which {store.folder} has no place to note"
        return f"{words}, {where}: neither the card nor an earlier check has any to compare with."
    gap = max(abs(a - b) for a, b in zip(numbers, reference, strict=True)) / max(numbers[1], 1e-9)
    if not gap <= TOLERANCE:
        raise CheckpointError(f"{card.id} computes {numbers} in one fixed forward, not {reference}: its file or the code has changed.")
    whose = "card" if card.fingerprint else "earlier check"
    return f"{words}, those of the {whose} within {gap:.0e} of the deviation."
