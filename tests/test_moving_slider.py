"""A slider whose ends moved takes a value from before as the nearest there is; one whose ends stay refuses what lies outside."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest
from conftest import free_port
from gradio_client import Client
from gradio_client.exceptions import AppError

from zoo.ui.parts.moving_slider import moving_slider

pytestmark = [  # gradio leaves its event loops to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip


@pytest.fixture
def client() -> Iterator[Client]:
    """Of a page on which a run of two steps follows one of 25, and the slider says what arrives."""
    with gr.Blocks() as page:
        step, fixed, arrived = moving_slider(1, 25, 25, label="Step"), gr.Slider(1, 10, 1, label="Guidance"), gr.Number()
        gr.Button().click(lambda: gr.update(maximum=2, value=2), None, step, api_name="run")
        step.input(lambda value: value, step, arrived, api_name="look")
        fixed.input(lambda value: value, fixed, arrived, api_name="guide")
    page.launch(server_name="127.0.0.1", server_port=free_port(), quiet=True, prevent_thread_lock=True)
    visitor = Client(page.local_url, verbose=False)
    yield visitor
    visitor.close()
    page.close()


def test_a_value_from_before_the_ends_moved_is_the_nearest_that_there_is(client: Client) -> None:
    assert client.predict(25, api_name="/look") == 25
    client.predict(api_name="/run")
    assert [client.predict(value, api_name="/look") for value in (25, 2, 1, 0)] == [2, 2, 1, 1]


def test_a_value_that_never_was_on_a_slider_is_refused(client: Client) -> None:
    with pytest.raises(AppError):
        client.predict(11, api_name="/guide")
