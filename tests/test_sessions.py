"""What the server keeps of its visitors' sessions is bounded: a call of the API costs nothing for good, and a visitor keeps what is his."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from conftest import free_port
from gradio import route_utils
from gradio.utils import get_upload_folder
from gradio_client import Client
from PIL import Image

from zoo import ui
from zoo.catalog.settings import Serving
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.media import pictures
from zoo.ui.parts import gallery_entries, runs
from zoo.ui.server import sessions

MOST = 20
pytestmark = [  # gradio leaves its event loops to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip


@pytest.fixture
def page(hub: Hub) -> Iterator[gr.Blocks]:
    built = ui.build(hub)
    ui.launch(built, hub, Serving(port=free_port(), allowed_hosts=("a.example",)), quiet=True)
    sessions.bound(built, MOST)
    yield built
    built.close()


def test_what_events_show_or_hide_holds_nothing_that_has_its_own_moments_to_be_seen(page: gr.Blocks) -> None:
    """Gradio tells all that a container holds what it tells the container: a row that was shown again showed its Stop, too."""
    config = page.get_config_file()
    props = {part["id"]: part["props"] for part in config["components"]}
    kinds = {part["id"]: part["type"] for part in config["components"]}
    held: dict[int, list[int]] = {}

    def below(node: dict) -> list[int]:
        held[node["id"]] = [one for child in node.get("children", ()) for one in (child["id"], *below(child))]
        return held[node["id"]]

    below(config["layout"])
    apart = [k for k in held if props.get(k, {}).get("visible", True) is not True]
    shown = {
        out
        for event in config["dependencies"]
        if [name for _, name in event["targets"]] != ["load"]  # once, before anything is built
        for out in event["outputs"]
        if held.get(out) and kinds[out] != "tabs"  # which events only change from one to another
    }
    assert shown
    assert {k: [props[one].get("elem_id") for one in held[k] if one in apart] for k in shown if set(held[k]) & set(apart)} == {}


def test_what_may_be_asked_again_while_it_is_answered_is_one_event_whatever_asks(page: gr.Blocks) -> None:
    """Else the answer to the earlier of two events may come last, and stay."""
    events = [event for event in page.get_config_file()["dependencies"] if event["trigger_mode"] == "always_last"]
    asked = [(tuple(event["inputs"]), tuple(event["outputs"])) for event in events if [name for _, name in event["targets"]] != ["then"]]
    assert len(asked) > 5
    assert len(set(asked)) == len(asked)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def ask(page: gr.Blocks, times: int, fetch: bool = True) -> None:
    """Call /list_models as programs do, each time in a session of its own."""
    with httpx.Client(timeout=60, base_url=page.local_url) as client:
        for _ in range(times):
            event = client.post("gradio_api/call/list_models", json={"data": []}).json()["event_id"]
            if fetch:
                assert "complete" in client.get(f"gradio_api/call/list_models/{event}").text


def test_sessions_and_their_boxes_are_bounded_however_many_call_and_whether_or_not_they_fetch(page: gr.Blocks) -> None:
    ask(page, 2 * MOST)
    ask(page, 2 * MOST, fetch=False)
    ask(page, MOST // 2)
    holder, queue = page.app.state_holder, page._queue
    for kept in (holder.session_data, holder.time_last_used, queue.pending_messages_per_session, queue.pending_event_ids_session):
        assert len(kept) <= MOST + 2


def test_a_session_holds_no_copy_of_the_page(page: gr.Blocks) -> None:
    ask(page, 1)
    [session] = page.app.state_holder.session_data.values()
    assert dict(session.config_values) == {}
    assert session.state_data == {}


def test_the_page_is_described_once_however_many_come_at_a_time_and_by_the_address_that_each_asked_for(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    described, describe = [], route_utils.update_root_in_config
    monkeypatch.setattr(route_utils, "update_root_in_config", lambda config, root: described.append(root) or describe(config, root))
    with httpx.Client(timeout=60, base_url=page.local_url) as client:
        assert client.head("/").status_code == 200
        for path in ("/", "/config"):
            with ThreadPoolExecutor(12) as pool:
                answers = [pool.submit(client.get, path) for _ in range(12)]
            [content] = {answer.result().content for answer in answers}
            assert b"tiny-dit" in content
        assert len(described) == 2
        elsewhere = client.get("/config", headers={"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"})
        assert elsewhere.json()["root"] == "https://a.example"
        assert client.get("/config").json()["root"] == page.local_url.rstrip("/")
        assert client.get("/nothing-of-that-name").status_code == 404


def test_no_table_of_all_calls_is_made_after_each(page: gr.Blocks) -> None:
    ask(page, 3)
    queue = page._queue
    assert queue.cached_event_analytics_summary == {"functions": {}}
    assert len(queue.event_analytics) <= 1


def test_a_visitor_keeps_what_is_his_while_programs_call(page: gr.Blocks) -> None:
    holder = page.app.state_holder
    state = next(key for key, block in page.blocks.items() if isinstance(block, gr.State))
    holder["visitor"][state] = "his"
    ask(page, 2 * MOST)
    assert holder["visitor"][state] == "his"


def test_what_nobody_uses_any_more_is_forgotten_sooner_once_its_page_is_closed(page: gr.Blocks) -> None:
    holder = page.app.state_holder
    for name in ("open", "closed", "recent"):
        holder[name].is_closed = name != "open"
    for name in ("open", "closed"):
        holder.time_last_used[name] -= dt.timedelta(seconds=sessions.CLOSED + 1)
    holder.delete_all_expired_state()
    assert set(holder.session_data) == {"open", "recent"}
    holder.time_last_used["open"] -= dt.timedelta(seconds=sessions.UNUSED)
    holder.delete_all_expired_state()
    assert set(holder.session_data) == {"recent"}


def test_clients_are_answered_as_before(page: gr.Blocks) -> None:
    client = Client(page.local_url, verbose=False)
    assert "tiny-dit" in [row["id"] for row in client.predict(api_name="/list_models")]
    files, receipts = client.predict("tiny-dit", "star", 1, 5, 2, "ddim", 2.0, api_name="/generate_image")
    assert len(files) == len(receipts) == 1


def test_a_program_that_does_not_fetch_its_answer_finds_the_last_one_and_few_before(page: gr.Blocks, hub: Hub) -> None:
    with httpx.Client(timeout=60, base_url=page.local_url) as client:
        asked = ["tiny-dit", "star", 1, 0, 300, "ddim", 2.0]
        event = client.post("gradio_api/call/generate_image", json={"data": asked}).json()["event_id"]
        box = page._queue.pending_messages_per_session[event]
        until(lambda: event not in page._queue.event_ids_to_events)
        assert box.qsize() <= runs.UNREAD + 8
        *_, last = client.get(f"gradio_api/call/generate_image/{event}").text.strip().split("event: ")
    assert last.startswith("complete")
    assert len(json.loads(last.partition("data: ")[2])[1]) == 1


def test_steps_that_no_program_can_ask_for_are_not_kept(page: gr.Blocks, hub: Hub) -> None:
    before = hub._steps.bytes
    client = Client(page.local_url, verbose=False)
    client.predict("tiny-dit", "star", 1, 5, 2, "ddim", 2.0, api_name="/generate_image")
    client.predict("tiny-latte", "rocket flies up", "", 2, 8, 1, 2, "ddim", 2.0, api_name="/generate_video")
    client.predict([{"model": "tiny-dit", "label": 4, "steps": 2}, {"steps": 3, "model": "tiny-dit"}], api_name="/compare")
    assert hub._steps.bytes == before
    *_, result = hub.generate(Request("tiny-dit", labels=4, steps=2))
    assert hub.last_step(result.run) == 2
    assert hub._steps.bytes - before > 2 * 2 * 4 * 16 * 16 * 4  # two steps, each noisy and clean, of 4 x 16 x 16 numbers


def test_previews_of_the_api_are_in_its_answers_and_leave_no_file(page: gr.Blocks, hub: Hub, tmp_path: Path) -> None:
    folder = Path(get_upload_folder())
    before = set(folder.rglob("*.*"))
    client = Client(page.local_url, verbose=False, download_files=tmp_path)
    job = client.submit("tiny-dit", "star", 3, 7, 200, "ddim", 2.0, api_name="/generate_image")
    *early, (gallery, receipts) = list(job)
    with_previews = [(entries, progress) for entries, progress in early if entries]
    assert with_previews
    for entries, progress in with_previews:
        assert progress["total"] == 200
        pixels = [Image.open(io.BytesIO(base64.b64decode(entry["image"]["url"].partition(",")[2]))) for entry in entries]
        assert [picture.size for picture in pixels] == [(64, 64)] * 3
    for entry, receipt in zip(gallery, receipts, strict=True):
        image, inside = pictures.read_png(entry["image"])
        assert inside == receipt
        assert pictures.digest(image) == receipt["pixels"]
    new = set(folder.rglob("*.*")) - before
    assert len(new) == 3  # the finished ones, which are those of the results and no copies
    assert {one.stat().st_ino for one in new} == {next(hub.results.folder.rglob(one.name)).stat().st_ino for one in new}


def test_what_is_served_stays_what_it_was_while_its_file_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(b"first")
    link = gallery_entries.served(file)
    assert gallery_entries.served(file) == link
    (tmp_path / "part").write_bytes(b"second, longer")
    (tmp_path / "part").replace(file)
    assert link.read_bytes() == b"first"
    assert gallery_entries.served(file).read_bytes() == b"second, longer"
    assert {str(link), str(gallery_entries.served(file))} <= gallery_entries.SERVED


def test_what_is_told_to_a_session_that_is_gone_does_not_end_the_queue_of_all_others(page: gr.Blocks) -> None:
    boxes = page._queue.pending_messages_per_session
    boxes["nobody"].put_nowait("lost")  # where gradio's own raises KeyError in the task that hands out all events
    assert "nobody" not in boxes
    boxes.max_size = 1
    ask(page, 10, fetch=False)
    boxes.max_size = 2000
    ask(page, 1)
    assert not page._queue.stopped
