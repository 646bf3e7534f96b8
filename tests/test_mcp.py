"""The Model Context Protocol through its own client, over HTTP, against the real page: every endpoint is a tool."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, run_async, serving
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from PIL import Image
from test_malformed_calls import send
from test_openai_api import until

from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.media import pictures

STAR = ROOT / "zoo" / "catalog" / "data" / "example-star.png"
PATH = "gradio_api/mcp/"


@pytest.fixture(scope="module")
def served(hub: Hub) -> Iterator[str]:
    """The page of the hub that these tests hold."""
    with serving(hub) as url:
        yield url


@asynccontextmanager
async def session(url: str) -> AsyncIterator[ClientSession]:
    """A client that has said hello."""
    async with streamable_http_client(url + PATH) as (reading, writing, _), ClientSession(reading, writing) as client:
        await client.initialize()
        yield client


def talk(url: str, words: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """What a conversation gives."""

    async def conversation() -> Any:
        async with session(url) as client:
            return await words(client)

    return run_async(conversation())


def call(url: str, name: str, **words: Any) -> CallToolResult:
    """What one call gives."""
    return talk(url, lambda client: client.call_tool(name, words))


def seen(answer: CallToolResult) -> list[bytes]:
    """The pictures of an answer, as PNG files."""
    assert all(part.mimeType == "image/png" for part in answer.content[1:])
    return [base64.b64decode(part.data) for part in answer.content[1:]]


def test_every_endpoint_is_a_tool_and_nothing_else(served: str) -> None:
    tools = {tool.name: tool for tool in talk(served, lambda client: client.list_tools()).tools}
    told = Client(served, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(tools) == {name.removeprefix("/") for name in told}
    for name, tool in tools.items():
        properties = tool.inputSchema.get("properties", {})
        assert list(properties) == [part["parameter_name"] for part in told[f"/{name}"]["parameters"]]
        assert len(tool.description) > 100
        assert [word for word, schema in properties.items() if len(schema["description"]) < 10] == []
    assert [tool["name"] for tool in json.loads(send(f"{served}{PATH}schema")[1])] == list(tools)


def test_a_model_makes_pictures_and_looks_at_what_it_made(served: str, hub: Hub, tmp_path: Path) -> None:
    steps = []

    async def conversation(client: ClientSession) -> tuple[CallToolResult, ...]:
        async def note(step: float, total: float | None, words: str | None) -> None:
            steps.append((step, total, words))

        words = {"model": "tiny-dit", "label": "star", "count": 2, "seed": 7, "steps": 40}
        made = await client.call_tool("generate_image", words, progress_callback=note)
        name = made.structuredContent["pictures"][0]["picture"]
        looks = [await client.call_tool("look_inside", {"image": name, "model": model}) for model in ("tiny-vit", "tiny-dit")]
        return made, *looks

    made, judged, attended = talk(served, conversation)
    assert json.loads(made.content[0].text) == made.structuredContent
    for content, told in zip(seen(made), made.structuredContent["pictures"]):
        (tmp_path / "seen.png").write_bytes(content)
        assert pictures.read_png(tmp_path / "seen.png")[1]["pixels"] == told["pixels"]
    *_, same = hub.generate(Request("tiny-dit", hub.card("tiny-dit").label_names.index("star"), (7, 8), steps=40))
    assert [one["pixels"] for one in made.structuredContent["pictures"]] == [receipt["pixels"] for receipt in same.receipts]
    assert steps == sorted(steps)
    assert steps[-1][1:] == (40, f"step {steps[-1][0]:.0f} of 40")
    assert judged.structuredContent["facts"]["predictions"][0]["label"] == "star"
    assert attended.structuredContent["facts"]["model"] == "tiny-dit"
    assert [len(seen(one)) for one in (judged, attended)] == [1, 1]
    assert send(made.structuredContent["pictures"][0]["url"].replace("/v1/files/", "/v1/files/x"))[0] == 404


def test_a_model_compares_and_sees_a_sheet_a_column(served: str) -> None:
    answer = call(
        served, "compare", settings=[{"model": "tiny-dit", "label": "star", "count": 2, "steps": 3}, {"model": "tiny-unet", "steps": 3}]
    )
    columns = answer.structuredContent["columns"]
    assert [column["request"]["model"] for column in columns] == ["tiny-dit", "tiny-unet"]
    assert [column["figures"]["samples"] for column in columns] == [2, 2]
    assert [Image.open(io.BytesIO(sheet)).size for sheet in seen(answer)] == [(132, 64)] * 2


def test_a_model_makes_a_video_and_sees_its_frames(served: str) -> None:
    async def conversation(client: ClientSession) -> tuple[CallToolResult, ...]:
        made = await client.call_tool("generate_video", {"model": "tiny-latte", "label": "rocket flies up", "steps": 3, "frames": 8})
        return made, await client.call_tool("look_inside", {"image": made.structuredContent["picture"], "model": "tiny-vivit"})

    made, judged = talk(served, conversation)
    assert Image.open(io.BytesIO(seen(made)[0])).size == (4 * 68 - 4, 2 * 68 - 4)
    assert judged.structuredContent["facts"]["grid"] == [8, 4, 4]


def test_a_model_brings_a_picture_of_its_own_and_learns_which_models_there_are(served: str, hub: Hub) -> None:
    image = f"data:image/png;base64,{base64.b64encode(STAR.read_bytes()).decode()}"
    answer = call(served, "look_inside", image=image, model="tiny-vit", layer=0, head=1, patch=3)
    assert answer.structuredContent["facts"]["predictions"][0]["label"] == "star"
    assert call(served, "list_models").structuredContent == {"models": hub.describe()}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("generate_image", {"model": "tiny-dit", "label": "stra"}, "has no class 'stra'"),
        ("generate_image", {"model": "tiny-dot", "label": "star"}, "There is no model 'tiny-dot'"),
        ("generate_image", {"model": "tiny-dit"}, "needs label"),
        ("generate_image", {"model": "tiny-dit", "label": "star", "count": 65}, "from 1 to 64, not 65"),
        ("generate_image", {"model": "tiny-dit", "label": "star", "steps": "many"}, "not many"),
        ("generate_image", {"model": "tiny-dit", "label": "star", "magic": 1}, "takes no 'magic'"),
        ("generate_video", {"model": "tiny-dit", "label": "star"}, "makes no videos"),
        ("compare", {"settings": []}, "A comparison is a list"),
        ("look_inside", {"model": "tiny-vit", "image": "/etc/passwd"}, "There is no picture"),
        ("look_inside", {"model": "tiny-vit", "image": str(STAR)}, "There is no picture"),
        ("look_inside", {"model": "tiny-vit", "image": "http://127.0.0.1:1/star.png"}, "nothing is fetched"),
        ("look_inside", {"model": "tiny-vit", "image": "data:image/png;base64,?"}, "no picture in base64"),
        ("look_inside", {"model": "tiny-vit", "image": "data:image/png;base64,QUJD"}, "cannot be read"),
        ("look_inside", {"model": "tiny-vit", "image": {"path": "/etc/passwd"}}, "There is no picture"),
        ("arrive", {}, "There is no tool 'arrive'"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(served: str, name: str, words: dict, said: str) -> None:
    answer = call(served, name, **words)
    assert answer.isError
    [part] = answer.content
    assert said in part.text
    assert "\n" not in part.text


def test_many_ask_at_once_and_who_leaves_ends_his_call(served: str, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    async def conversation() -> None:
        async def one(label: str) -> str:
            async with session(served) as client:
                made = await client.call_tool("generate_image", {"model": "tiny-unet", "label": label, "steps": 2})
                return made.structuredContent["pictures"][0]["label"]

        async def leaving() -> None:
            async with session(served) as client:
                await client.call_tool("generate_image", {"model": "tiny-dit", "label": 0, "steps": 1000, "count": 64, "solver": "ddpm"})

        long = asyncio.create_task(leaving())
        await asyncio.to_thread(until, lambda: hub.engine.counts() == (1, 0))
        labels = ["star", "heart", "owl"] * 4
        assert await asyncio.gather(*map(one, labels)) == labels
        assert hub.engine.counts() == (1, 0)
        long.cancel()
        await asyncio.to_thread(until, lambda: hub.engine.counts() == (0, 0))

    until(lambda: hub.engine.counts() == (0, 0))
    with caplog.at_level(logging.WARNING):
        run_async(conversation())
    assert [record.message for record in caplog.records if record.name.startswith("mcp.server")] == []


def test_a_browser_is_told_what_the_address_is_for(served: str) -> None:
    assert "Model Context Protocol" in send(served + PATH)[1]
    assert f"http://127.0.0.1:7860/{PATH}" in (ROOT / "README.md").read_text(encoding="utf-8")
