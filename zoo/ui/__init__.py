"""The page: one Blocks, one file a tab, every handler a call of the Hub. Only here is gradio imported."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: no version check, no telemetry
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**12)  # after each call it would make a table of all before, for nobody
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

if (found := importlib.util.find_spec("spaces")) and found.origin is None:
    sys.modules["spaces"] = None  # our folder of that name, no package: gradio takes it for PyPI's, where it runs in a Space

import zoo
from zoo.catalog import environment, settings

with environment.local_only():  # gradio breaks on a proxy that its client cannot name, and on an address that is none
    import gradio as gr
    from gradio.tunneling import CURRENT_TUNNELS

from zoo.inside.inspector import Looker
from zoo.ui import language
from zoo.ui.api import endpoints
from zoo.ui.arrival import Arrival
from zoo.ui.help import HELP
from zoo.ui.learn import marks
from zoo.ui.parts import gallery_entries
from zoo.ui.parts.controls import first_generator
from zoo.ui.parts.learn_panel import build_learn_panel
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.parts.story_bar import StoryBar
from zoo.ui.server import doors, event_log, opening, page_files, sessions
from zoo.ui.server.login.greeting import greet
from zoo.ui.server.page import REFUSALS, Page
from zoo.ui.tabs.compare.grid import GridTab
from zoo.ui.tabs.compare.side_by_side import CompareTab
from zoo.ui.tabs.compare.votes import VotesTab
from zoo.ui.tabs.image import ImageTab, image_tab
from zoo.ui.tabs.look.hand_over import look_tab
from zoo.ui.tabs.models import ModelsTab
from zoo.ui.tabs.video import VideoTab, video_tab

if TYPE_CHECKING:
    from zoo.catalog.settings import Serving
    from zoo.engine.hub import Hub

HERE = Path(__file__).parent
EVENTS = 400
"""Events that gradio handles at once: more than may wait in the engine and run, else who waits would keep the others out."""
NEWER = ("run_history",)
"""Arguments of launch() that gradio 6.2, the oldest that serves this page, does not have yet."""
__all__ = ["build", "first_generator", "launch", "until_interrupted"]


def build(hub: Hub, *, login: bool = False) -> Page:
    """The whole page around one hub, with the public API; login: whether it says who is logged in."""
    with Page(title="Patchwork", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as page:
        words = "<h1>Patchwork</h1><p>Diffusion transformers: generate with them, compare them, look inside them.</p>"
        gr.HTML(f"{words}{language.SWITCH}", elem_id="banner")
        who = gr.HTML(elem_id="who", visible=login)
        stories = StoryBar(hub)
        message = gr.HTML(elem_id="message")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Image", id="image") as stills:
                image = image_tab(hub, page, stills)
                page.visitor = image.visitor
            film = None
            if any(card.video for card in hub.offers):
                with gr.Tab("Video", id="video") as video:
                    film = video_tab(hub, image.visitor, video)
            with gr.Tab("Compare", id="compare") as comparing, gr.Tabs() as views:
                with gr.Tab("Side by side", id="side-by-side"):
                    beside = CompareTab(hub, image.visitor)
                with gr.Tab("X/Y grid", id="grid") as table:
                    grid = GridTab(hub, image.visitor, table)
                with gr.Tab("Votes", id="votes") as votes:
                    beside.wire(VotesTab(hub, image.visitor, votes), views, comparing)
            compared = beside.download.lists | grid.download.lists
            comparing.select(lambda: {part: gr.update(choices=make()) for part, make in compared.items()}, None, [*compared], **PRIVATE)
            page.looker = looker = Looker(hub)
            with gr.Tab("Look inside", id="look", visible=bool(looker.models())) as inside:
                look = look_tab(hub, looker, inside)
            with gr.Tab("Models", id="models") as models:
                offers = [image.offer, *([film.offer] if film else []), look.offer, beside.download, grid.download]
                lists = {part: make for offer in offers for part, make in offer.lists.items()}
                cards = ModelsTab(hub, page, tabs, models, image, film, lists)
            results = [(cards.inside, look.come, [cards.list]), *((part.inside, look.take, [part.path]) for part in (beside, grid))]
            for tab, path in [(image, image.download), *([(film, film.file)] if film else [])]:
                part = tab.settings
                results.append((tab.inside, look.take_or_prepare, [path, part.model, part.label, part.prompt, part.seed, part.steps]))
            for button, handler, inputs in results:
                there = button.click(lambda: (gr.Tabs(selected="look"), True), None, [tabs, look.coming], queue=False, **PRIVATE)
                there.then(handler, [*inputs, look.model, look.chosen], look.all, **PRIVATE)
            for button, path in [(image.beside, image.download), *([(film.beside, film.file)] if film else [])]:
                there = button.click(lambda: gr.Tabs(selected="compare"), None, tabs, queue=False, **PRIVATE)
                there.then(beside.take, path, beside.take_outputs, **PRIVATE)
            for part in (beside, grid):
                part.open.click(_opener(image, film, tabs), part.path, [tabs, *image.back, *(film.back if film else [])], **PRIVATE)
        with gr.Row(elem_classes="dropped"):
            dropped = gr.UploadButton("Drop a file", size="sm")
        build_learn_panel()
        Arrival(hub, tabs, message, image, film, beside, grid, look, cards, stories).wire(page, dropped)
        endpoints(hub, looker)
        if login:
            titles = [image.history.title, *([film.history.title] if film else [])]
            page.load(greet(len(titles)), None, [who, *titles], queue=False, **PRIVATE)
        page.temp_file_sets.append(gallery_entries.SERVED)
    return page.queue(default_concurrency_limit=None)  # the engine has a queue of its own, which says how long it is


def until_interrupted(hub: Hub) -> NoReturn:
    """Serve until Ctrl-C or SIGTERM; then end at once, with what runs written as far as three seconds allow."""
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    while hub.prepare(first_generator(hub).id) and not interrupted.wait(0.2):
        pass
    gc.collect()
    gc.freeze()  # all that the libraries are, half a million objects: looking through them keeps everybody waiting for 0.3 s each time
    while not interrupted.wait(1.0):  # Windows hears of Ctrl-C between two waits only
        pass
    hub.close(3.0)
    for tunnel in CURRENT_TUNNELS:
        tunnel.kill()
    event_log.say("stopped")
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    os._exit(0)  # the server's threads would wait for every connection that is open


def _opener(image: ImageTab, film: VideoTab | None, tabs: gr.Tabs) -> Callable[[str], dict]:
    """A handler that puts the settings of a result back on the tab that makes such, and goes there."""

    def open_result(path: str) -> dict:
        if film and path.endswith(".webp"):
            return film.restore(path) | {tabs: gr.Tabs(selected="video")}
        return image.restore(path) | {tabs: gr.Tabs(selected="image")}

    return open_result


def launch(page: Page, hub: Hub, serving: Serving, **more: Any) -> None:
    """Open the page to visitors, and go on. more: for launch() of gradio."""
    hub.check_folder()
    page.allowed_hosts = serving.allowed_hosts
    page.guarded, page.expects_oauth = serving.with_login, serving.login == "huggingface"
    if serving.log:
        event_log.start(hub, serving.log, serving.log_prompts)
        facts = {"models": len(hub.offers), "device": str(hub.device), "memory": hub.models.budget}
        event_log.say("starting", version=zoo.__version__, host=serving.host, port=serving.port, **facts)
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", settings.OF_A_SPACE)  # which uvicorn reads
    with nullcontext() if serving.share else environment.local_only():  # the tunnel may need a proxy
        page.launch(
            prevent_thread_lock=True, server_name=serving.host, server_port=serving.port, share=serving.share, root_path=serving.root_path,
            app_kwargs={"exception_handlers": REFUSALS, "middleware": doors(hub, serving, page.looker), "lifespan": opening(serving)},
            **appearance(hub), **more,
        )  # fmt: skip
    if serving.log:
        event_log.take_over("uvicorn", "uvicorn.error")
    page.app.state.launched = True
    sessions.bound(page)
    hub.results.retention.prune_soon()


def _joined(kind: str) -> str:
    """What the browser reads of one kind, js or css, in one piece: `page` first, as the others stand on it."""
    files = sorted((HERE / "browser").glob(f"*.{kind}"), key=lambda path: (path.stem != "page", path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def appearance(hub: Hub) -> dict[str, Any]:
    """Arguments of launch() that make the page look and stay as designed: theme, styles, keys; no request leaves the machine."""
    theme = gr.themes.Base(
        primary_hue="teal",
        neutral_hue="gray",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size="sm",
    ).set(  # contrast of at least 4.5 to 1
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
    )
    tables = {language.CHINESE: page_files.address(f"{language.CHINESE}.json")}
    of_classes = f"const CLASS_FILES = {json.dumps(page_files.of_classes())};"
    options = {
        "theme": theme,
        "css": _joined("css"),
        "head": f"<script>const HELP = {json.dumps(HELP)}, LEARN = {json.dumps(marks())}, TABLES = {json.dumps(tables)};\n"
        f"{of_classes}\n{_joined('js')}</script>",
        "allowed_paths": [str(hub.results.folder)],
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "max_file_size": "50mb",
        "max_threads": max(EVENTS, 2 * hub.engine.limits.waiting),
    }
    return {name: value for name, value in options.items() if name not in NEWER or name in inspect.signature(gr.Blocks.launch).parameters}
