"""What a hub has on disk: its own downloads and results, and the weights that somebody else keeps for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.catalog.store import LocalFiles
    from zoo.engine.hub import Hub


def state_of(files: LocalFiles | None) -> str:
    """Whether a model is on this machine and whose its files are, in words."""
    if files is None:
        return "not downloaded"
    return f"in {files.folder}" if files.folder else "included" if files.origin == "bundled" else "downloaded"


def on_disk(hub: Hub) -> dict[str, Any]:
    """As JSON values: the store's folder, all models with files here, unfinished downloads, what is wrong with mounted ones, results."""
    rows = [
        {"id": name, "bytes": sum(entry["bytes"] for entry in pin["files"].values()), "origin": pin["origin"], "files": list(pin["files"])}
        for name, pin in hub.store.all_pins().items()
    ]
    found = [(card, hub.store.find(card)) for card in hub.cards.values()]
    rows += [
        {"id": card.id, "bytes": files.bytes, "origin": f"in {files.folder}", "files": list(map(str, files.digests))}
        for card, files in found
        if files and files.folder
    ]
    mounts = hub.store.mounts
    remarks = [folder.remark for folder in mounts.folders if folder.remark]
    remarks += [remark for card, files in found if not files for remark in mounts.remarks(card)]
    return {
        "folder": str(hub.store.folder),
        "models": rows,
        "unfinished": hub.store.unfinished_bytes(),
        "remarks": list(dict.fromkeys(remarks)),
        "results": hub.results.retention.facts() | {"prompts_bytes": hub.contexts.bytes},
    }
