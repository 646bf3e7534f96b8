"""The public endpoints: what gradio_client and other programs call, with names and parameters that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.compare.compare import aligned, from_json, together
from zoo.compare.report import entries
from zoo.engine.request import Progress, Result
from zoo.errors import RequestError
from zoo.inside import attention_figures
from zoo.media import figures
from zoo.ui.parts import controls, gallery_entries, runs

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker


def endpoints(hub: Hub, looker: Looker) -> None:
    """Put the endpoints here; they show nothing on the page."""

    def list_models() -> list[dict[str, Any]]:
        """List every model of this hub: id, title, family, task, licence, bytes, local, labels."""
        return hub.describe()

    gr.api(list_models, api_name="list_models")
    work = handlers(hub, looker)
    first = controls.first_generator(hub)
    with gr.Row(visible=False):
        inputs = [
            gr.Textbox(first.id, label="model"),
            gr.Textbox(first.label_names[0], label="label"),
            gr.Number(1, label="count"),
            gr.Number(None, label="seed"),
            gr.Number(None, label="steps"),
            gr.Textbox(None, label="solver"),
            gr.Number(None, label="guidance"),
        ]
        outputs = [gr.Gallery(label="gallery", format="png"), gr.JSON(label="receipt")]
        plain = {"preprocess": False, "postprocess": False}
        images = _endpoint(hub, work["generate_image"], lambda place: ([], place))
        gr.Button("generate_image").click(images, inputs, outputs, api_name="generate_image", **plain)
        inputs = [
            gr.Textbox(label="model"),
            gr.Textbox(label="label"),
            gr.Textbox(label="prompt"),
            gr.Number(None, label="frames"),
            gr.Number(8, label="fps"),
            gr.Number(None, label="seed"),
            gr.Number(None, label="steps"),
            gr.Textbox(None, label="solver"),
            gr.Number(None, label="guidance"),
            gr.Textbox("", label="negative_prompt"),
        ]
        outputs = [gr.File(label="video"), gr.JSON(label="receipt")]
        videos = _endpoint(hub, work["generate_video"], lambda place: (None, place))
        gr.Button("generate_video").click(videos, inputs, outputs, api_name="generate_video", **plain)
        inputs = [
            gr.File(label="image"),
            gr.Textbox(label="model"),
            gr.Number(None, label="layer"),
            gr.Number(None, label="head"),
            gr.Textbox(None, label="patch"),
        ]
        outputs = [gr.File(label="overlay"), gr.JSON(label="facts")]
        settings = gr.JSON(label="settings")
        gr.Button("compare").click(
            _endpoint(hub, work["compare"], lambda place: [{"receipt": [], "files": [], "figures": place}]),
            settings,
            gr.JSON(label="columns"),
            api_name="compare",
            preprocess=False,
        )
        gr.Button("look_inside").click(
            _endpoint(hub, work["look_inside"], lambda place: (None, place)), inputs, outputs, api_name="look_inside", preprocess=False
        )


def _endpoint(hub: Hub, handler: Callable[..., Iterator[Any]], waiting: Callable[[dict], Any]) -> Callable[..., Any]:
    """A generator as an endpoint: it runs as a job, its asker waits without a thread, and one who leaves ends it.

    waiting: what is answered meanwhile, from the place in the queue as JSON values.
    """

    @wraps(handler)
    async def answer(*values: Any) -> AsyncIterator[Any]:
        job = runs.new_job("run", join=_joined, kind=handler.__name__)
        try:
            async for item in runs.read(hub.engine.submit(job, lambda _: handler(*values))):
                yield waiting(_progress(item)) if isinstance(item, Progress) else item
        except Exception as error:
            raise gr.Error(runs.sentence(error), print_exception=False) from None
        finally:
            job.cancel()

    return answer


def _joined(earlier: Any, later: Any) -> Any:
    """Two answers that nobody has read as one: the later, with the earlier's previews where it has none."""
    if isinstance(later, tuple) and earlier[0] and not later[0]:
        return earlier[0], later[1] | {"preview_step": earlier[1]["preview_step"]}
    return later


def _progress(item: Progress) -> dict[str, Any]:
    """How far a run is, as JSON: seconds_left is None where nothing was measured yet."""
    return {"stage": item.stage, "ahead": item.ahead, "step": item.step, "total": item.total, "seconds_left": item.seconds_left}


def handlers(hub: Hub, looker: Looker, preview: bool = True) -> dict[str, Callable[..., Iterator[Any]]]:
    """What the endpoints do that run as jobs, by name: generators of their answers. preview: whether pictures show how far they are."""
    return {
        "generate_image": _images(hub, preview),
        "generate_video": _videos(hub),
        "compare": _compares(hub),
        "look_inside": _looks(hub, looker),
    }


def _images(hub: Hub, preview: bool) -> Callable[..., Any]:
    def generate_image(model, label, count, seed, steps, solver, guidance) -> Iterator[tuple[list, Any]]:
        """Generate images: earlier answers say how far the run is, some with previews; the last one holds the finished pictures and one
        receipt an image. A job that is cancelled ends within one step.

        model: an id of /list_models; label: class name or number; count: 1 to 64 images; seed: of the first image, empty draws one;
        steps, solver, guidance: empty takes the model's own.
        """
        card = hub.card(str(model))
        if card.video:
            raise RequestError(f"{card.id} makes videos: ask /generate_video.")
        request = controls.make_request(card, label, count, seed, steps, solver, guidance)
        for item in hub.generate(request, preview=preview, stop=runs.stop_flag(), keep_steps=False):
            if isinstance(item, Result):
                yield gallery_entries.files(item.files), list(item.receipts)
            else:
                pictures = [] if item.preview is None else gallery_entries.previews(item.preview)
                yield pictures, {"request": item.request.to_dict(), "preview_step": item.preview_step} | _progress(item)

    return generate_image


def _videos(hub: Hub) -> Callable[..., Any]:
    def generate_video(
        model, label, prompt, frames, fps, seed, steps, solver, guidance, negative_prompt
    ) -> Iterator[tuple[dict | None, Any]]:
        """Generate a video: an MP4 file and its receipt. Earlier answers hold no file yet and say how far the run is; a job that is
        cancelled ends within one step.

        model: an id of /list_models; label: class name or number; prompt, negative_prompt: for a text-to-video model; frames,
        steps, solver, guidance: empty takes the model's own; fps: 1 to 60; seed: empty draws one.
        """
        card = hub.card(str(model))
        if not card.video:
            raise RequestError(f"{card.id} makes no videos: choose one of {', '.join(c.id for c in hub.offers if c.video)}.")
        subject = prompt if card.text else label
        more = {"frames": frames, "fps": fps, "negative_prompt": negative_prompt}
        request = controls.make_request(card, subject, 1, seed, steps, solver, guidance, **more)
        for item in hub.generate(request, preview=False, stop=runs.stop_flag(), keep_steps=False):
            if isinstance(item, Result):
                yield gallery_entries.file(item.files[0]), item.receipts[0]
            else:
                yield None, _progress(item)

    return generate_video


def _compares(hub: Hub) -> Callable[..., Any]:
    def compare(settings) -> Iterator[list[dict[str, Any]]]:
        """Compare settings on the same class and noise: of each, in their order, its receipts, its files and its figures. Earlier answers
        hold the figures so far.

        settings: a JSON list of settings, each with a model of /list_models and the words of /generate_image (label, count, seed, steps,
        solver, guidance) or of a request (labels and seeds as lists, eta, vae, prompt, frames ...). One that names no seed or no class
        takes those of the first, its class by name. label may be "each" for all classes in turn. A client that cancels ends the run.
        """
        columns = aligned(hub, from_json(settings) if isinstance(settings, str) else settings)
        for _ in together(hub, columns, runs.stop_flag(), preview=False, keep_steps=False):
            yield [{"receipt": [], "files": [], "figures": column.figures()} for column in columns]
        yield [one | {"files": [gr.FileData(path=path).model_dump() for path in one["files"]]} for one in entries(columns)]

    return compare


def _looks(hub: Hub, looker: Looker) -> Callable[..., Any]:
    def look_inside(image, model, layer, head, patch) -> Iterator[tuple[str | None, Any]]:
        """Look inside a model: an overlay (PNG) of the attention of one patch, and shapes and predictions. Earlier answers hold no file
        yet and say how far the run is; a job that is cancelled ends within one step.

        image: a file; any picture or clip for a vision model, for a generator one that it made here; layer: from 0, empty takes the
        last; head: from 0, empty takes the mean of all; patch: its number row by row from 0, or a token such as class; empty takes
        the class token, or the middle.
        """
        card = hub.card(str(model))
        path = (image or {}).get("path") if isinstance(image, dict) else image
        if not path:
            raise RequestError("Bring a picture: image is empty.")
        chosen = None if layer in (None, "") else controls.whole("Layer", layer, 0, 1000)
        yield None, {"stage": "loading"}
        for item in looker.open(card.id, path, chosen, stop=runs.stop_flag()):
            if isinstance(item, Progress):
                yield None, _progress(item)
                continue
            chosen = max(item.maps) if chosen is None else chosen
            one = head not in (None, "")
            heads = (controls.whole("Head", head, 0, 1000),) if one else ()
            query = item.query(patch)
            overlay = attention_figures.overlay(item, chosen, query, attention_figures.ONE if one else attention_figures.MEAN, heads)
            name = f"{card.id}-looks-{hashlib.sha256(overlay.tobytes()).hexdigest()[:10]}.png"
            [file] = hub.results.bundle({name: figures.png(overlay)})
            yield str(file), attention_figures.facts(item) | {"layer": chosen, "head": head, "query": query}

    return look_inside
