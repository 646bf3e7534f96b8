"""The public endpoints: what gradio_client and other programs call, with names and parameters that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.errors import RequestError, ZooError
from zoo.request import Result
from zoo.ui import controls

if TYPE_CHECKING:
    from zoo.hub import Hub


def endpoints(hub: Hub) -> None:
    """Put /list_models and /generate_image here; they show nothing on the page."""

    def list_models() -> list[dict[str, Any]]:
        """List every model of this hub: id, title, family, task, licence, bytes, local, labels."""
        return hub.describe()

    def generate_image(model, label, count, seed, steps, solver, guidance) -> Iterator[tuple[list, Any]]:
        """Generate images: earlier answers are previews, the last one holds the finished pictures and one receipt an image.

        model: an id of /list_models; label: class name or number; count: 1 to 64 images; seed: of the first image, empty draws one;
        steps, solver, guidance: empty takes the model's own.
        """
        try:
            card = hub.card(str(model))
            if card.video:
                raise RequestError(f"{card.id} makes videos: ask /generate_video.")
            request = controls.make_request(card, label, count, seed, steps, solver, guidance)
            for item in hub.generate(request):
                if isinstance(item, Result):
                    yield [str(path) for path in item.files], list(item.receipts)
                elif item.preview is not None:
                    yield list(item.preview), {"request": item.request.to_dict(), "step": item.step, "total": item.total}
        except ZooError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def generate_video(model, label, prompt, frames, fps, seed, steps, solver, guidance, negative_prompt) -> tuple[str, Any]:
        """Generate a video: an MP4 file and its receipt.

        model: an id of /list_models; label: class name or number; prompt, negative_prompt: for a text-to-video model; frames,
        steps, solver, guidance: empty takes the model's own; fps: 1 to 60; seed: empty draws one.
        """
        try:
            card = hub.card(str(model))
            if not card.video:
                raise RequestError(f"{card.id} makes no videos: choose one of {', '.join(c.id for c in hub.offered if c.video)}.")
            subject = prompt if card.text else label
            more = {"frames": frames, "fps": fps, "negative_prompt": negative_prompt}
            request = controls.make_request(card, subject, 1, seed, steps, solver, guidance, **more)
            *_, result = hub.generate(request, preview=False)
        except ZooError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return str(result.files[0]), result.receipts[0]

    gr.api(list_models, api_name="list_models")
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
        gr.Button("generate_image").click(generate_image, inputs, outputs, api_name="generate_image", preprocess=False)
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
        gr.Button("generate_video").click(generate_video, inputs, outputs, api_name="generate_video", preprocess=False)
