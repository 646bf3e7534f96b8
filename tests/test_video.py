"""Videos: through the hub, into files that play and carry their receipt, and back; on the page and over the API."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import serving
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, expect

from zoo.__main__ import main
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request, Result
from zoo.engine.verify import admit
from zoo.errors import MediaError, RequestError
from zoo.media import pictures, video
from zoo.networks.build import build_module

WORDS = {
    "title": "Film", "family": "latte", "task": "class-to-video", "labels": "emoji",
    "arch": {
        "input_size": 32, "patch_size": 4, "in_channels": 3, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_frames": 6,
        "num_classes": 100,
    },
    "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}, "guidance": {"default": 2.0},
    "sampling": {"solver": "dpm-solver++", "steps": 5},
    "weights": [{"from": "manual", "url": "https://example.org/page", "file": "film.pt"}],
}  # fmt: skip
UNCONDITIONAL = {key: value for key, value in WORDS.items() if key not in ("labels", "guidance")} | {
    "title": "Free film", "task": "unconditional-video-generation", "arch": WORDS["arch"] | {"num_classes": 0},
}  # fmt: skip
ASKED = Request("film", labels=4, seeds=7)


@pytest.fixture
def film(hub_with, tmp_path: Path) -> Hub:
    """A hub with two tiny video models of pixels, random but smooth enough to look at."""
    hub = hub_with({"film": WORDS, "free": UNCONDITIONAL})
    torch.manual_seed(0)
    for name in ("film", "free"):
        state = build_module(hub.card(name)).state_dict()
        torch.save({key: value + torch.randn(value.shape) / 50 for key, value in state.items()}, tmp_path / "film.pt")
        admit(hub.store, hub.card(name), [tmp_path / "film.pt"])
    return hub


def run(hub: Hub, request: Request, **options: object) -> Result:
    *_, result = hub.generate(request, **options)
    return result


def moving() -> np.ndarray:
    """Sixteen frames in which a bright square moves over a soft ground."""
    y, x = np.mgrid[:48, :64]
    frames = np.stack([np.stack([x * 2, y * 3, (x + y)], -1)] * 16).astype(np.uint8)
    for k, frame in enumerate(frames):
        frame[16:32, 2 + 3 * k : 18 + 3 * k] = (250, 220, 40)
    return frames


def write(frames: np.ndarray, path: Path, fps: int, receipt: dict) -> None:
    """A video's files beside each other."""
    for suffix, content in video.files(frames, fps, receipt):
        path.with_suffix(suffix).write_bytes(content)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def played(path: Path) -> dict:
    """What imageio-ffmpeg reads of a video."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    reader.close()
    return meta


# ---- files


@pytest.mark.parametrize("fps", [1, 8, 30])
def test_every_file_gives_back_its_frames_and_its_receipt(tmp_path: Path, fps: int) -> None:
    frames, receipt = moving(), {"request": {"model": "m", "prompt": 'odd = ; # \\ "text"\nünï'}, "seed": 3}
    write(frames, tmp_path / "a", fps, receipt)
    for kind, gap in ((".mp4", 12), (".gif", 12), (".webp", 0)):
        found, said = video.read(tmp_path / f"a{kind}")
        assert found.shape == frames.shape
        assert np.abs(found.astype(int) - frames).mean() <= gap
        assert said == receipt
    meta = played(tmp_path / "a.mp4")
    assert (meta["codec"], meta["size"], meta["fps"]) == ("h264", (64, 48), fps)
    assert meta["pix_fmt"].startswith("yuv420p")
    assert meta["duration"] == pytest.approx(16 / fps, abs=0.02)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # faststart


def test_foreign_and_broken_videos_are_refused(says, tmp_path: Path) -> None:
    write(moving(), tmp_path / "a", 8, {"request": {}})
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:300])
    (tmp_path / "text.gif").write_text("no")
    with says(MediaError, "cannot be read"):
        video.read(tmp_path / "cut.mp4")
    with says(MediaError, "cannot be read"):
        video.read(tmp_path / "text.gif")
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "bare.webp")
    with says(MediaError, "no receipt"):
        video.read(tmp_path / "bare.webp")


def test_the_space_time_slice_and_flicker_show_what_moves() -> None:
    frames = moving()
    cut = video.space_time(frames, 20, scale=2)
    assert cut.shape == (32, 64, 3)
    assert np.array_equal(cut[6], frames[3, 20])
    still = np.repeat(frames[:1], 16, axis=0)
    shaken = still.copy()
    shaken[::2] += 5
    assert video.flicker(still) == 0 < video.flicker(shaken)


# ---- the hub


def test_a_video_is_the_same_again_and_alone_or_in_a_batch(film: Hub) -> None:
    one = run(film, ASKED)
    assert one.images.shape == (1, 6, 32, 32, 3)
    frames, receipt = video.read(one.files[0].with_suffix(".webp"))
    assert np.array_equal(frames, one.images[0])
    assert receipt == one.receipts[0]
    assert receipt["pixels"] == pictures.digest(frames)
    assert (receipt["request"]["frames"], receipt["request"]["fps"]) == (6, 8)
    two = run(film, replace(ASKED, seeds=(6, 7)), preview=False)
    assert one.receipts[0]["pixels"] == two.receipts[1]["pixels"] != two.receipts[0]["pixels"]


def test_an_unconditional_video_and_other_numbers_of_frames(film: Hub, says) -> None:
    assert run(film, Request("free", frames=9, fps=3)).images.shape == (1, 9, 32, 32, 3)
    assert run(film, replace(ASKED, frames=1)).files[0].suffix == ".mp4"
    for frames in (0, 65, 10**4, -1, 2.5, "many", True):
        with says(RequestError, "Frames must be a whole number from 1 to 64"):
            run(film, replace(ASKED, frames=frames))
    for fps in (0, 61, "fast", None):
        with says(RequestError, "Frames a second must be a whole number from 1 to 60"):
            run(film, replace(ASKED, fps=fps))
    with says(RequestError, "leave frames at 1"):
        run(film, Request("tiny-dit", labels=1, frames=4))


def test_previews_are_clips_and_cost_a_small_share(film: Hub) -> None:
    items = list(film.generate(replace(ASKED, steps=40)))
    clips = [item.preview for item in items if isinstance(item, Progress) and item.preview is not None]
    assert clips
    assert all(clip.shape == (1, 6, 32, 32, 3) for clip in clips)


def test_a_stopped_video_keeps_the_last_clean_prediction(film: Hub) -> None:
    stop = threading.Event()
    for item in film.generate(replace(ASKED, steps=30), stop=stop):
        if item.step if isinstance(item, Progress) else False:
            stop.set()
    assert isinstance(item, Result)
    assert 1 <= item.stopped_at < 30
    assert video.read(item.files[0])[1]["stopped_at"] == item.stopped_at
    with contextlib.closing(film.generate(replace(ASKED, steps=30), visitor="ab" * 16)) as left:
        next(item for item in left if item.step == 2)
    assert len(film.results.history("ab" * 16, ".mp4")) == 1
    assert film.results.history("ab" * 16) == []


def test_a_video_at_the_terminal(film: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setattr("zoo.__main__.cards", lambda: film.cards)
    monkeypatch.setenv("PATCHWORK_CACHE", str(film.cache_dir))
    out = tmp_path / "films"
    assert main(["sample", "film", "--label", "star", "--seed", "7", "--frames", "5", "--fps", "4", "--out", str(out)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == out
    assert {file.suffix for file in out.iterdir()} == {".mp4", ".gif", ".webp", ".json"}
    assert len(video.read(path)[0]) == 5


# ---- the page and the API


def test_the_video_tab_draws_plays_keeps_and_restores(film: Hub, browser: Browser, tmp_path: Path) -> None:
    with serving(film) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        page.goto(url)
        page.get_by_role("tab", name="Video").click()
        for title, classes in (("Free film", 0), ("Film", 1)):
            page.click("#video-model input")
            page.get_by_role("option", name=re.compile(f"^{title} ")).click()
            expect(page.locator("#video-label")).to_have_count(classes)
        expect(page.locator("#video-steps input")).to_have_value("5")  # its own, which come with its classes
        page.wait_for_timeout(300)
        page.locator("#video-steps input").fill("12")
        page.locator("#video-seed input").fill("5")
        page.locator("#video-fps input").fill("6")
        page.click("#video-generate")
        expect(page.locator("#video-facts")).to_contain_text(re.compile(r"Film · dog · seed 5 · 12 steps.* 6 frames · \d+\.\d s"))
        page.wait_for_function("document.querySelector('#player video')?.readyState === 4")
        page.wait_for_function("document.querySelector('#player video').currentTime > 0.1")
        assert page.evaluate("document.querySelector('#player video').loop")
        expect(page.locator("#strip .cells img")).to_have_count(6)
        before = page.get_attribute("#strip .large", "src")
        page.locator("#strip input").fill("4")
        expect(page.locator("#strip output")).to_have_text("4 of 6")
        assert page.get_attribute("#strip .large", "src") != before
        expect(page.locator("#slice img")).to_have_count(1)
        files = {}
        for kind in ("mp4", "gif", "webp"):
            with page.expect_download() as loading:
                page.click(f"#save{kind}")
            files[kind] = tmp_path / f"got.{kind}"
            loading.value.save_as(files[kind])
            assert len(video.read(files[kind])[0]) == 6
        page.locator("#video-steps input").fill("3")
        page.locator("#video-seed input").fill("1")
        page.set_input_files("#video-drop ~ input[type=file], .controls > input[type=file] >> nth=-1", files["mp4"])
        expect(page.locator("#video-verdict")).to_contain_text("are back on the controls")
        expect(page.locator("#video-steps input")).to_have_value("12")
        expect(page.locator("#video-fps input")).to_have_value("6")
        page.click("#video-generate")
        expect(page.locator("#video-verdict")).to_contain_text("Identical: every pixel of every frame")
        several = run(film, replace(ASKED, seeds=(3, 4)))
        page.set_input_files("#video-drop ~ input[type=file], .controls > input[type=file] >> nth=-1", several.files[1])
        expect(page.locator("#video-verdict")).to_contain_text("seed 4, are back")
        page.click("#video-generate")
        expect(page.locator("#video-facts")).to_contain_text(re.compile(r"seed 4 · 5 steps.* \d+\.\d s"))
        expect(page.locator("#video-verdict")).to_contain_text("Identical: every pixel of every frame")
        page.locator("#video-frames input").fill("0")
        page.click("#video-generate")
        expect(page.locator("#video-progress .error")).to_contain_text("Frames must be a whole number from 1 to 64")
        page.locator("#video-frames input").fill("6")
        page.locator("#video-steps input").fill("900")
        page.click("#video-generate")
        page.click("#video-stop")
        expect(page.locator("#video-facts")).to_contain_text("stopped after step")
        page.close()


def test_generate_video_over_the_api(film: Hub) -> None:
    with serving(film) as url:
        client = Client(url, verbose=False)
        path, receipt = client.predict("film", "star", "", 5, 4, 7, 6, "ddim", 2.0, api_name="/generate_video")
        frames, said = video.read(path)
        assert (len(frames), said["request"]["fps"], said["pixels"]) == (5, 4, receipt["pixels"])
        for wrong, words in (
            (("film", "star", "", 0, 4, 7, 6, "ddim", 2.0), "Frames must be"),
            (("film", "star", "", 10**4, 4, 7, 6, "ddim", 2.0), "1 to 64"),
            (("film", "star", "", 5, 0, 7, 6, "ddim", 2.0), "Frames a second"),
            (("film", "stra", "", 5, 4, 7, 6, "ddim", 2.0), "such as star"),
            (("tiny-dit", "star", "", 5, 4, 7, 6, "ddim", 2.0), "makes no videos"),
        ):
            with pytest.raises(AppError, match=words):
                client.predict(*wrong, api_name="/generate_video")
        with pytest.raises(AppError, match="ask /generate_video"):
            client.predict("film", "star", 1, 7, 3, "ddim", 2.0, api_name="/generate_image")
        client.close()
