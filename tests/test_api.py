"""Other programs: /list_models and /generate_image through gradio_client, against the real page."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from zoo.engine.hub import Hub
from zoo.media import pictures


@pytest.fixture(scope="module")
def client(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(server, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    yield made
    made.close()


def generate(
    client: Client, model="tiny-dit", label="star", count=1, seed=3, steps=3, solver="dpm-solver++", guidance=2.0
) -> tuple[list, list]:
    gallery, receipts = client.predict(model, label, count, seed, steps, solver, guidance, api_name="/generate_image")
    return [Path(item["image"]) for item in gallery], receipts


def test_only_the_public_endpoints_have_names(client: Client) -> None:
    assert set(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == {
        "/list_models",
        "/generate_image",
        "/generate_video",
        "/look_inside",
        "/compare",
    }


def test_the_parameters_have_the_promised_names(client: Client) -> None:
    told = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/generate_image"]
    assert [p["parameter_name"] for p in told["parameters"]] == ["model", "label", "count", "seed", "steps", "solver", "guidance"]
    told = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/look_inside"]
    assert [p["parameter_name"] for p in told["parameters"]] == ["image", "model", "layer", "head", "patch"]
    told = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/compare"]
    assert [p["parameter_name"] for p in told["parameters"]] == ["settings"]


def test_the_list_of_models_is_the_hubs(client: Client, hub: Hub) -> None:
    assert client.predict(api_name="/list_models") == hub.describe()


def test_pictures_arrive_as_pngs_with_their_receipts(client: Client) -> None:
    files, receipts = generate(client, count=2, seed=7)
    assert [pictures.read_png(path)[1] for path in files] == receipts
    assert [(receipt["seed"], receipt["index"], receipt["label"]) for receipt in receipts] == [(7, 0, "star"), (8, 1, "star")]


def test_a_picture_is_the_same_again_and_alone(client: Client) -> None:
    batch = generate(client, count=3, seed=30)[1]
    alone = generate(client, count=1, seed=31)[1]
    assert alone[0]["pixels"] == batch[1]["pixels"]


def test_what_is_left_open_is_the_models_own(client: Client) -> None:
    _, receipts = client.predict("tiny-uvit", "4", 1, None, None, None, None, api_name="/generate_image")
    asked = receipts[0]["request"]
    assert (asked["steps"], asked["solver"], asked["guidance"], asked["labels"]) == (25, "dpm-solver++", 3.0, [4])
    assert asked["seeds"] == [receipts[0]["seed"]]


def test_previews_come_before_the_result(client: Client) -> None:
    job = client.submit("tiny-dit", "heart", 1, 3, 100, "ddim", 2.0, api_name="/generate_image")
    job.result(timeout=120)
    told = [receipt for _, receipt in job.outputs()]
    steps = [(r["stage"], r["step"], r["total"]) for r in told[:-1] if r["stage"] == "sampling"]
    assert steps
    assert steps == sorted(steps)
    assert any(pictures and r["preview_step"] <= r["step"] for pictures, r in job.outputs()[:-1])
    assert told[-1][0]["stopped_at"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "tiny-dot"}, "'tiny-dot'"),
        ({"model": ""}, "There is no model ''"),
        ({"model": "tiny-vae"}, "does not make pictures"),
        ({"label": "stra"}, "has no class 'stra'"),
        ({"label": None}, "has no class"),
        ({"label": ["star"]}, "has no class"),
        ({"steps": 0}, "Steps must be a whole number from 1 to 1000, not 0"),
        ({"steps": 10**6}, "not 1000000"),
        ({"steps": "many"}, "not many"),
        ({"guidance": "nan"}, "Guidance must be a number from 0 to 50"),
        ({"count": 10**4}, "Images must be a whole number from 1 to 64, not 10000"),
        ({"count": None}, "Images must be a whole number"),
        ({"seed": -2}, "Seed must be a whole number"),
        ({"seed": 1.5}, "not 1.5"),
        ({"solver": "magic"}, "Solver 'magic' is unknown"),
        ({"solver": ["ddim"]}, "unknown"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_and_the_server_goes_on(client: Client, change: dict, words: str) -> None:
    with pytest.raises(AppError) as caught:
        generate(client, **change)
    assert words in str(caught.value)
    assert generate(client, count=1, steps=2)[1][0]["label"] == "star"


def test_a_nan_that_no_client_would_send_is_refused_as_well(server: str) -> None:
    call = f"{server}gradio_api/call/generate_image"
    body = b'{"data": ["tiny-dit", "star", 1, 3, 3, "ddim", NaN]}'
    asked = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}", timeout=60) as answer:
        told = answer.read().decode()
    assert "event: error" in told
    assert "Guidance must be a number from 0 to 50, not nan." in told
