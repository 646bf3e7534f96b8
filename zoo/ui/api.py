"""The public endpoints: what gradio_client and other programs call, with names and parameters that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.errors import ZooError
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
            request = controls.make_request(hub.card(str(model)), label, count, seed, steps, solver, guidance)
            for item in hub.generate(request):
                if isinstance(item, Result):
                    yield [str(path) for path in item.files], list(item.receipts)
                elif item.preview is not None:
                    yield list(item.preview), {"request": item.request.to_dict(), "step": item.step, "total": item.total}
        except ZooError as error:
            raise gr.Error(str(error), print_exception=False) from None

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
