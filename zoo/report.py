"""A comparison as files: one self-contained HTML page and one JSON, and the tables that the page of the hub shows as well."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from zoo import judge
from zoo.anatomy import anatomy
from zoo.compare import Column, names, noise
from zoo.hub import Hub

STYLE = """body{font:15px system-ui,sans-serif;max-width:1200px;margin:24px auto;padding:0 16px;color:#1f2937;background:#fff}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:4px 12px;border-bottom:1px solid #e5e7eb;text-align:left}
.columns{display:flex;gap:16px;flex-wrap:wrap}.columns>div{flex:1 1 220px}img{max-width:100%}
@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}td,th{border-color:#374151}}"""


def entries(hub: Hub, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Every finished column as JSON values: its receipts, its files, its figures and what a judge says of its samples."""
    return [
        {
            "receipt": list(column.result.receipts),
            "files": [str(path) for path in column.result.files],
            "figures": column.figures() | judge.judged(hub, column.card, column.result.images, list(column.request.labels)),
        }
        for column in columns
        if column.result
    ]


def rows(hub: Hub, columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """The table under a comparison: what is told, and a cell a column."""
    figures = [column.figures() | _judged(hub, column) for column in columns]
    cells: list[tuple[str, list[str]]] = [
        ("Time", [f"{one['seconds']:.2f} s" for one in figures]),
        ("To the first preview", [f"{one['first_preview']:.2f} s" if one["first_preview"] else "" for one in figures]),
        ("Network evaluations", [f"{one['evaluations']}" for one in figures]),
        ("Forward passes, guidance included", [f"{one['passes']}" for one in figures]),
        ("Parameters", [f"{one['parameters'] / 1e6:.1f} M" for one in figures]),
        ("Multiply-adds a sample", [f"{one['multiply_adds'] / 1e9:.1f} G" for one in figures]),
        ("Memory at most", [f"{one['memory'] / 1e6:.0f} MB" if one["memory"] else "not told by this machine" for one in figures]),
        ("Recognised, measured", [f"{one['recognised']} of {one['of']}, by {one['judge']}" if one.get("of") else "" for one in figures]),
        ("Frechet distance, measured", [_distance(one) for one in figures]),
        ("Reported by its authors", [", ".join(f"{name} {value:g}" for name, value in one["reported"].items()) for one in figures]),
    ]
    return [(name, values) for name, values in cells if any(values)]


def _judged(hub: Hub, column: Column) -> dict[str, Any]:
    return judge.judged(hub, column.card, column.result.images, list(column.request.labels)) if column.result else {}


def _distance(figures: dict[str, Any]) -> str:
    if not figures.get("of"):
        return ""
    return f"{figures['frechet']:.2f}" if figures["frechet"] is not None else f"from {judge.ENOUGH} samples on"


def architectures(columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """The architectures side by side: facts from the cards, parameters and multiply-adds by part as counted."""
    found = [anatomy(column.card) for column in columns]
    facts = [(word, [one.facts[word] for one in found]) for word in found[0].facts]
    parts = list(dict.fromkeys(part for one in found for part in one.params))
    counted = [(f"parameters: {part}", [_millions(one.params.get(part, 0)) for one in found]) for part in parts]
    works = list(dict.fromkeys(part for one in found for part in one.macs))
    worked = [(f"multiply-adds: {part}", [_share(one.macs.get(part, 0), sum(one.macs.values())) for one in found]) for part in works]
    return [*facts, *counted, *worked]


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else ""


def _share(macs: float, whole: float) -> str:
    return f"{macs / 1e9:.3g} G, {100 * macs / whole:.1f} %" if macs else ""


def table(cells: Sequence[tuple[str, list[str]]], heads: Sequence[str]) -> str:
    """Rows as an HTML table under the names of the columns."""
    top = "".join(f"<th>{html.escape(head)}</th>" for head in ("", *heads))
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{html.escape(value)}</td>' for value in values)}</tr>" for name, values in cells
    )
    return f'<table class="compared"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def heading(name: str, column: Column) -> str:
    """A column in words."""
    asked = column.request
    return f"{name}: {column.card.title}, {asked.steps} steps {asked.solver}, guidance {asked.guidance:g}"


def page(hub: Hub, columns: Sequence[Column]) -> str:
    """The whole comparison as one HTML file that needs nothing else."""
    heads = [heading(name, column) for name, column in zip(names(len(columns)), columns, strict=True)]
    drawn = ["".join(map(_picture, column.result.images)) if column.result else "not finished" for column in columns]
    shown = "".join(f"<div><h2>{html.escape(head)}</h2>{pictures}</div>" for head, pictures in zip(heads, drawn, strict=True))
    first = columns[0]
    what = first.request.prompt or ", ".join(dict.fromkeys(first.card.label_names[label] for label in first.request.labels))
    seeds = ", ".join(map(str, first.request.seeds))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Patchwork: a comparison</title><style>{STYLE}</style>'
        f"<h1>{html.escape(what)}, seeds {seeds}</h1><p>{html.escape(noise(columns))}</p>"
        f'<div class="columns">{shown}</div>{table(rows(hub, columns), heads)}<h2>Architectures</h2>'
        f"{table(architectures(columns), heads)}</html>"
    )


def _picture(image: np.ndarray) -> str:
    """A picture, or a video as an animated one, inside the page."""
    file = io.BytesIO()
    if image.ndim == 4:
        frames = [Image.fromarray(frame) for frame in image]
        frames[0].save(file, format="WEBP", save_all=True, append_images=frames[1:], duration=125, loop=0, lossless=True)
    else:
        Image.fromarray(image).save(file, format="PNG")
    kind = "webp" if image.ndim == 4 else "png"
    return f'<img alt="sample" width="200" src="data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}">'
