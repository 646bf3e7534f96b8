"""A comparison or a grid as files: one self-contained HTML page, one JSON, the samples; and the tables that the page of the hub shows."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import zoo
from zoo.compare import block_diagram
from zoo.compare.compare import names, noise
from zoo.compare.complexity import complexity
from zoo.compare.paper_counts import beside_the_paper
from zoo.compare.setting import Setting
from zoo.media import pictures, video

STYLE = """body{font:15px system-ui,sans-serif;max-width:1280px;margin:24px auto;padding:0 16px;color:#1f2937;background:#fff}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%}
td,th{padding:4px 12px 4px 0;border-bottom:1px solid #d1d5db;text-align:left;font-weight:400;vertical-align:top}thead th{font-weight:600}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:20px}h2{font-size:1rem}svg{max-width:100%;height:auto}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(96px,1fr));gap:4px}.samples img{width:100%}
.wide{overflow-x:auto}
@media(prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}td,th{border-color:#374151}}"""


def entries(columns: Sequence[Setting]) -> list[dict[str, Any]]:
    """Every column as JSON values: the receipts of its samples, their files and its figures."""
    return [{"receipt": one.receipts, "files": [str(path) for path in one.files], "figures": one.figures()} for one in columns]


def setting(column: Setting) -> str:
    """What a column runs, in words that tell any two settings apart."""
    request, card = column.request, column.card
    words = [card.title, f"{request.steps} steps {request.solver}", f"guidance {request.guidance:g}" if card.guidable else "no guidance"]
    words += [f"eta {request.eta:g}"] if request.eta else []
    words += [request.vae] if card.latent and request.vae != card.latent.vae else []
    words += [f"{request.frames} frames"] if card.video else []
    return ", ".join(words)


def subject(column: Setting) -> str:
    """What the samples of a column show: the class or classes, or the prompt."""
    classes = list(dict.fromkeys(column.card.label_names[label] for label in column.labels))
    whole = len(classes) == len(column.card.label_names) > 1
    return column.request.prompt or ("every class in turn" if whole else ", ".join(classes)) or "unconditional samples"


def rows(columns: Sequence[Setting]) -> list[tuple[str, list[str]]]:
    """The table under a comparison: what is told, and a cell a column."""
    figures = [one.figures() for one in columns]
    per = [max(one["samples"], 1) for one in figures]
    cells = [
        ("Time", [f"{one['seconds']:.2f} s, {one['seconds'] / count:.2f} s per sample" for one, count in zip(figures, per, strict=True)]),
        ("Time to first preview", [f"{one['first_preview']:.2f} s" if one["first_preview"] else "no preview" for one in figures]),
        ("Network evaluations per sample", [f"{one['evaluations']}" for one in figures]),
        ("Forward passes per sample, with guidance", [f"{one['passes']}" for one in figures]),
        ("Parameters", [f"{one['parameters'] / 1e6:.1f} M" for one in figures]),
        ("Multiply-adds per sample, network only", [work(one["multiply_adds"]) for one in figures]),
        ("Peak memory, weights included", [f"{one['memory'] / 1e6:.0f} MB" if one["memory"] else "not measured" for one in figures]),
        ("Recognised, measured on these samples", [_recognised(one) for one in figures]),
        ("Frechet distance, measured on these samples", [_distance(one) for one in figures]),
        ("Reported by the authors, not measured here", [_reported(one) for one in figures]),
        ("Not measured", [one.get("not_judged", "") for one in figures]),
        ("Stopped", [f"after step {one['stopped_at']}" if one["stopped_at"] else "" for one in figures]),
    ]  # fmt: skip
    return [(name, values) for name, values in cells if any(values)]


def work(count: float) -> str:
    """Multiply-adds in words."""
    size, unit = next((one for one in ((1e12, "T"), (1e9, "G")) if count >= one[0]), (1e6, "M"))
    return f"{count / size:.2f} {unit}"


def _recognised(figures: dict[str, Any]) -> str:
    if "recognised" not in figures:
        return ""
    right, count = figures["recognised"], figures["judged"]
    return f"{100 * right / count:.1f} % ({right} of {count}), by {figures['judge']}"


def _reported(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures["reported"].items())


def _distance(figures: dict[str, Any]) -> str:
    if "judged" not in figures:
        return ""
    distance = figures["frechet"]
    return f"{distance:.2f} from {figures['judged']} samples" if distance is not None else f"needs {figures['enough']} samples or more"


def architectures(columns: Sequence[Setting]) -> list[tuple[str, list[str]]]:
    """The architectures side by side: facts from the cards, parameters and multiply-adds by part as counted."""
    networks = [complexity(one.card, one.request.frames) for one in columns]
    facts = [(word, [one.facts[word] for one in networks]) for word in networks[0].facts]
    counts = []
    for what, in_words in (("params", lambda count: f"{count / 1e6:.3g} M"), ("macs", work)):
        wholes = [sum(getattr(one, what).values()) for one in networks]
        title = {"params": "parameters", "macs": "multiply-adds per pass"}[what]
        counts.append((f"{title}, total", [in_words(whole) for whole in wholes]))
        for part in dict.fromkeys(part for one in networks for part in getattr(one, what)):
            shares = [getattr(one, what).get(part, 0) for one in networks]
            pairs = zip(shares, wholes, strict=True)
            cells = [f"{in_words(share)}, {100 * share / whole:.1f} %" if share else "" for share, whole in pairs]
            counts.append((f"{title}: {part}", cells))
    papers = [beside_the_paper(one.card) for one in columns]
    return [*facts, *counts, *([("at the XL/2 sizes of its paper", papers)] if any(papers) else [])]


def drawings(columns: Sequence[Setting]) -> str:
    """The block of each column's network, side by side."""
    cells = "".join(
        f"<div><h3>{html.escape(f'{name}: {one.card.title}')}</h3>{block_diagram.drawing(one.card)}</div>"
        for name, one in zip(names(len(columns)), columns, strict=True)
    )
    return f'<div class="columns">{cells}</div>'


def table(cells: Sequence[tuple[str, list[str]]], heads: Sequence[str], title: str = "Cost and quality") -> str:
    """Rows as an HTML table under the names of the columns, in a box of its own that scrolls where the page is narrow."""
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(value)}</td>" for value in values)}</tr>'
        for name, values in cells
    )
    whole = f'<table class="compared"><thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide" role="region" aria-label="{html.escape(title)}" tabindex="0">{whole}</div>'


def heading(name: str, column: Setting) -> str:
    """A column's name and its setting."""
    return f"{name}: {setting(column)}"


def page(columns: Sequence[Setting]) -> str:
    """A whole comparison as one HTML file that needs nothing else."""
    heads = [heading(name, one) for name, one in zip(names(len(columns)), columns, strict=True)]
    samples = "".join(
        f'<div><h2>{html.escape(head)}</h2><div class="samples">{"".join(map(_picture, one.receipts, one.samples))}</div></div>'
        for head, one in zip(heads, columns, strict=True)
    )
    seeds = columns[0].seeds
    seed_words = (
        f"seed {seeds[0]}"
        if len(seeds) == 1
        else f"{len(seeds)} samples, seeds {', '.join(map(str, seeds[:8]))}{' ...' * (len(seeds) > 8)}"
    )
    versions = columns[0].receipts[0]["versions"]
    origin = f"Made by Patchwork {zoo.__version__} with torch {versions['torch']} on {columns[0].receipts[0]['device']}."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Patchwork: {html.escape(subject(columns[0]))}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(subject(columns[0]))}</h1><p>{html.escape(seed_words)}. {html.escape(noise(columns))} {html.escape(origin)}</p>"
        f'<div class="columns">{samples}</div><h2>Cost and quality</h2>{table(rows(columns), heads)}'
        f"<h2>Architectures</h2>{drawings(columns)}{table(architectures(columns), names(len(columns)), 'Architectures')}</body></html>"
    )


def _picture(receipt: dict[str, Any], image: np.ndarray) -> str:
    """A picture, or a video as an animated one, inside the page."""
    if image.ndim == 4:
        kind, content = "webp", video.animation(image, receipt["request"]["fps"])
    else:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        kind, content = "png", file.getvalue()
    words = html.escape(f"{receipt['label']}, seed {receipt['seed']}")
    return f'<img alt="{words}" title="{words}" src="{pictures.data_url(content, f"image/{kind}")}">'


def files(columns: Sequence[Setting]) -> dict[str, bytes]:
    """The report of a finished comparison by file name: comparison.html and comparison.json."""
    facts = {
        "patchwork": zoo.__version__, "subject": subject(columns[0]), "noise": noise(columns),
        "columns": [
            {"name": name, "setting": setting(one)} | entry
            for name, one, entry in zip(names(len(columns)), columns, entries(columns), strict=True)
        ],
        "architectures": [
            {"model": one.card.id, "parameters": dict(network.params), "multiply_adds": dict(network.macs), **network.facts}
            for one in columns for network in [complexity(one.card, one.request.frames)]
        ],
    }  # fmt: skip
    for entry in facts["columns"]:
        entry["files"] = [Path(path).name for path in entry["files"]]
    return {"comparison.html": page(columns).encode(), "comparison.json": json.dumps(facts, indent=1).encode()}
