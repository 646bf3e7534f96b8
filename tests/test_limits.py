"""What one visitor may ask of a public hub: requests a minute, pictures a day, bytes; right under concurrency, and in bounded memory."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import serving
from gradio_client import Client
from gradio_client.exceptions import AppError
from loopback_hub import LoopbackHub
from test_downloads import bytes_of, card_of, source

from zoo.catalog import settings, sources
from zoo.catalog.store import Store
from zoo.compare import votes
from zoo.engine import allowances
from zoo.engine.allowances import DAY, MINUTE, Allowances, Taken
from zoo.engine.hub import Hub
from zoo.engine.job import Job
from zoo.engine.limits import Limits, network
from zoo.engine.request import Request
from zoo.errors import DownloadError, RequestError, VariableError
from zoo.ui.server import bodies


class Clock:
    """A time that stands still until it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_more_than_the_limit_is_taken_within_any_window_and_the_wait_is_long_enough() -> None:
    clock, dice, most = Clock(), random.Random(1), 10
    taken, log = Taken(MINUTE, clock), []
    for _ in range(3000):
        amount = dice.randint(1, 4)
        wait = taken.take("somebody", amount, most)
        if wait:
            assert wait <= MINUTE + 0.001
            if dice.random() < 0.3:
                clock.now += wait
                assert taken.take("somebody", amount, most) == 0.0
                log.append((clock.now, amount))
        else:
            log.append((clock.now, amount))
        assert sum(count for time, count in log if time > clock.now - MINUTE) <= most
        clock.now += dice.random() * 4
    assert len(log) > 500


def test_what_is_more_than_the_limit_alone_never_fits_and_what_is_given_back_may_be_taken_again() -> None:
    taken = Taken(DAY, Clock())
    assert taken.take("somebody", 11, 10) == float("inf")
    assert taken.take("somebody", 10, 10) == 0.0
    taken.give_back("somebody", 4)
    assert (taken.left("somebody", 10), taken.left("another", 10)) == (4, 10)
    assert taken.take("somebody", 4, 10) == 0.0
    taken.give_back("somebody", 100)
    assert len(taken) == 0


def test_many_visitors_are_counted_in_bounded_memory_and_forgotten_after_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowances, "VISITORS", 100)
    clock = Clock()
    taken = Taken(MINUTE, clock)
    for k in range(1000):
        taken.take(f"visitor {k}", 1, 1)
    assert len(taken) == 100
    assert taken.take("visitor 999", 1, 1) > 0
    clock.now += 2 * MINUTE
    assert taken.take("visitor 999", 1, 1) == 0.0
    assert len(taken) == 1


def test_as_many_as_are_allowed_get_through_when_all_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Taken, "_part", lambda *_: time.sleep(0.001))  # between the look and the taking
    many = Allowances(Limits(requests_minute=50, pictures_day=70))
    passed: list[int] = []

    def ask() -> None:
        for _ in range(20):
            try:
                many.ask(Job(address="192.0.2.1", request=Request("tiny-dit", 0, (0, 1))))
                passed.append(1)
            except RequestError:
                pass

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 35
    assert many.pictures.left("192.0.2.1", 70) == 0


def test_a_visitor_is_his_login_or_else_his_address_and_this_machine_is_not_counted_unless_asked(says) -> None:
    counts = Allowances(Limits(requests_minute=1))
    for _ in range(3):
        counts.ask(Job(address="127.0.0.1"))
        counts.ask(Job(address="::ffff:127.0.0.1"))
        counts.ask(Job())
        counts.ask(Job(address="192.0.2.9", lane="quick"))
    counts.ask(Job(address="192.0.2.1", account="a"))
    with says(RequestError, "1 requests a minute", "try again in"):
        counts.ask(Job(address="192.0.2.1", account="b"))
    counts.ask(Job(address="192.0.2.1", name="ann"))
    counts.ask(Job(address="192.0.2.1", name="ben"))
    with says(RequestError, "a minute"):
        counts.ask(Job(address="192.0.2.2", name="ann"))
    asked = Allowances(Limits(requests_minute=1, loopback=True))
    asked.ask(Job(address="127.0.0.1"))
    with says(RequestError, "a minute"):
        asked.ask(Job(address="127.0.0.1"))


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("a name", "a name"),
        ("fe80::1%eth0", "fe80::"),
    ],
)  # fmt: skip
def test_an_address_is_counted_as_its_owner(address: str, whose: str) -> None:
    assert network(address) == whose


def test_a_whole_network_of_ipv6_has_the_places_of_one_address() -> None:
    limits = Limits(address_flying=2)
    flying = [Job(address=f"2001:db8::{k}") for k in range(2)]
    assert not limits.admits(Job(address="2001:db8::99"), flying)
    assert limits.admits(Job(address="2001:db9::99"), flying)


def test_pictures_are_counted_when_they_are_made_and_given_back_when_they_are_not(hub: Hub, says) -> None:
    counted = Hub(device="cpu", cache_dir=hub.cache_dir, pictures_day=10)
    left = lambda: counted.engine.allowances.pictures.left("192.0.2.1", 10)  # noqa: E731

    def submit(count: int, **words: int) -> Job:
        return counted.submit(Request("tiny-dit", 0, tuple(range(count)), **{"steps": 2} | words), address="192.0.2.1", preview=False)

    assert submit(4).result().files
    assert left() == 6
    with says(RequestError, "7 pictures are too many", "of 10 in 24 hours", "6 are left", "ask for 6 at most, or try again in 24 h"):
        submit(7)
    with says(RequestError, "11 pictures", "ask for 6 at most."):
        submit(11)
    stopped = submit(2, steps=60)  # which takes a while: it is stopped on the way, and what is there is a picture
    for event in stopped:
        if getattr(event, "step", 0) > 1:
            stopped.stop.set()
    assert left() == 4
    early = counted.submit(Request("tiny-dit", 0, steps=2), address="192.0.2.1", stop=_set())
    early.wait(60)
    assert left() == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "load", _breaks)
        with pytest.raises(ZeroDivisionError):
            submit(3).result()
    assert left() == 4
    assert submit(4).result().files
    with says(RequestError, "none is left: try again in"):
        submit(1)
    assert allowances.pictures(Job(request=Request("tiny-latte", 0, (0, 1), frames=4))) == 8


def _set() -> threading.Event:
    flag = threading.Event()
    flag.set()
    return flag


def _breaks(*_: object) -> None:
    raise ZeroDivisionError


def test_a_request_that_was_never_measured_is_refused_once_its_steps_are(hub: Hub, tmp_path: Path, says) -> None:
    slow = Hub(device="cpu", cache_dir=tmp_path, max_seconds=0.001)
    with says(RequestError, "s of computing", "one request may take 0 s here"):
        slow.submit(Request("tiny-dit", 0, steps=10), preview=False).result()
    assert slow.core_seconds(Request("tiny-dit", 0, steps=10)) > 0.001
    with says(RequestError, "s of computing"):
        slow.submit(Request("tiny-dit", 0, steps=10))


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[str]:
    """The page of a hub that counts its visitors on loopback as well."""
    hub = Hub(device="cpu", cache_dir=tmp_path, requests_minute=4, pictures_day=5, queue=1, limit_loopback=True)
    with serving(hub) as url:
        yield url


def test_programs_are_told_in_a_sentence_what_they_had_and_when_there_is_more(limited: str) -> None:
    client, another = Client(limited, verbose=False), Client(limited, verbose=False)
    ask = {"api_name": "/generate_image"}
    assert len(client.predict("tiny-dit", "star", 3, 0, 2, "ddim", 2.0, **ask)[0]) == 3
    with pytest.raises(AppError, match=r"3 pictures are too many: of 5 in 24 hours.* 2 are left: ask for 2 at most"):
        another.predict("tiny-dit", "star", 3, 0, 2, "ddim", 2.0, **ask)
    columns = json.dumps([{"model": "tiny-dit", "label": "star", "count": 2, "seed": 0, "steps": 2}, {"model": "tiny-unet", "steps": 2}])
    with pytest.raises(AppError, match="too many: of 5 in 24 hours"):
        client.predict(columns, api_name="/compare")
    client.predict(api_name="/list_models")  # which is none that is counted
    with pytest.raises(AppError, match="There is no model"):
        client.predict("tiny-dot", "star", 1, 0, 2, "ddim", 2.0, **ask)
    with pytest.raises(AppError, match=r"4 requests a minute .*: try again in \d+ s\."):
        another.predict("tiny-dit", "star", 1, 0, 2, "ddim", 2.0, **ask)
    for one in (client, another):
        one.close()


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("queue", "0", "1 to 999999999"), ("queue", "many", "whole number"), ("requests-minute", "1.5", "whole number"),
        ("pictures-day", "-1", "whole number"), ("pictures-day", "９", "whole number"), ("models-gb", "0", "above 0"),
        ("log", "xml", "json or text"), ("log-prompts", "perhaps", "on or off"), ("metrics", "2", "on or off"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch, says, flag: str, value: str, words: str) -> None:
    variable = f"PATCHWORK_{flag.replace('-', '_').upper()}"
    monkeypatch.setenv(variable, value)
    with says(VariableError, variable, words):
        settings.chosen([])
        Hub(device="cpu")  # which reads those that the command line needs, too
    if "on or off" not in words:
        with says(VariableError, f"--{flag}", words):
            settings.chosen([f"--{flag}", value])


def test_settings_reach_the_engine(tmp_path: Path) -> None:
    flags = ["--queue", "7", "--requests-minute", "3", "--pictures-day", "9", "--limit-loopback", "--models-gb", "2.5", "--log", "JSON"]
    for_hub, serving = settings.chosen(flags)
    hub = Hub(device="cpu", cache_dir=tmp_path, **for_hub)
    assert hub.engine.limits == Limits(waiting=7, requests_minute=3, pictures_day=9, loopback=True)
    assert hub.store.budget.most == 2_500_000_000
    assert (serving.log, serving.log_prompts, serving.metrics) == ("json", False, None)


# ---- disk


def test_weights_above_the_budget_are_refused_before_their_first_byte(remote: LoopbackHub, tmp_path: Path, says) -> None:
    card = card_of(source("huggingface", remote))
    store = Store(tmp_path / "models", most=2_000_000)
    with says(DownloadError, "3,000,000 bytes", "of the 2,000,000", "0 are taken", "PATCHWORK_MODELS_GB"):
        sources.fetch(card, store)
    assert remote.bodies() == []
    assert sources.fetch(card, Store(tmp_path / "models", most=3_000_000)).path.read_bytes() == bytes_of(remote)
    with says(DownloadError, "w.pt would take 10 bytes", "3,000,000 are taken"):
        (tmp_path / "w.pt").write_bytes(bytes(10))
        Store(tmp_path / "models", most=3_000_005).add(tmp_path / "w.pt")


def test_two_downloads_at_once_do_not_both_take_the_last_room(tmp_path: Path, says) -> None:
    budget = Store(tmp_path, most=100).budget
    with budget.hold({"a": 60}, "A"):
        with says(DownloadError, "B would take 50 bytes", "60 are taken"), budget.hold({"b": 50}, "B"):
            pass
        with budget.hold({"a": 60}, "A"), budget.hold({"c": 40}, "C"):  # the first is the same file
            assert "D would take 1 bytes" in budget.refusal(1, "D")
    assert budget.refusal(100, "D") == ""


def test_choices_are_kept_in_a_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "MOST", 5)
    kept = votes.Votes(tmp_path / "choices.sqlite3")
    for k in range(12):
        kept.add(f"{k % 2:032x}", "star", [k], ["a", "b"], 0)
    assert [vote.seeds for vote in kept.all()] == [(k,) for k in range(7, 12)]


def post(url: str, path: str, content: bytes | Iterator[bytes], kind: str) -> tuple[int, str]:
    """What the server answers."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", path, content, {"Content-Type": kind}, encode_chunked=not isinstance(content, bytes))
    except (BrokenPipeError, ConnectionResetError):
        pass  # it answered before all was sent
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


FORM = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n%s\r\n--b--\r\n'


@pytest.fixture(scope="module")
def small(hub: Hub) -> Iterator[str]:
    """A page that takes little in one request."""
    with pytest.MonkeyPatch.context() as patch, serving(hub) as url:
        patch.setattr(bodies, "MOST", 3000)
        patch.setattr(bodies, "MOST_UPLOAD", 5000)
        yield url


def test_a_request_that_is_too_long_is_refused_whether_or_not_it_says_how_long_it_is(small: str) -> None:
    join, upload = "/gradio_api/queue/join", "/gradio_api/upload"
    assert post(small, join, b"{" + bytes(3000), "application/json") == (413, "This request has 3,001 bytes, and 3,000 are taken at most.")
    pieces = (b" " * 1000 for _ in range(9))
    status, text = post(small, join, pieces, "application/json")
    assert (status, text) == (413, "This request has more than 3,000 bytes, which are taken at most.")
    assert post(small, upload, FORM % bytes(9000), "multipart/form-data; boundary=b")[0] == 413
    status, text = post(small, upload, FORM % b"a picture", "multipart/form-data; boundary=b")
    assert status == 200, text
    assert Path(json.loads(text)[0]).read_bytes() == b"a picture"


def test_uploads_take_no_more_disk_than_they_may_and_old_ones_leave_for_new(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.Uploads, "here", classmethod(lambda cls: cls(tmp_path, 26_000)))
    old = tmp_path / "old" / "a.png"
    old.parent.mkdir()
    old.write_bytes(bytes(6000))
    (tmp_path / "old" / "link.png").hardlink_to(old)  # as those to results are: it takes no bytes of its own
    (tmp_path / "b.png").write_bytes(bytes(900))
    (tmp_path / "empty").mkdir()  # as gradio leaves it
    with serving(hub) as url:
        send: Callable[[], tuple[int, str]] = lambda: post(url, "/gradio_api/upload", FORM % bytes(600), "multipart/form-data; boundary=b")  # noqa: E731
        assert send() == (507, "All uploads together take as much room as they may here: try again in an hour.")
        monkeypatch.setattr(bodies, "YOUNG", -1.0)
        assert send()[0] == 200
    assert (old.exists(), (tmp_path / "b.png").exists(), (tmp_path / "empty").exists()) == (True, False, False)


def test_what_others_ask_meanwhile_is_answered(small: str) -> None:
    connection = HTTPConnection(urlsplit(small).netloc, timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Length", "4000")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.endheaders(b"--b\r\n")  # and no more for now
    with urllib.request.urlopen(f"{small}gradio_api/info", timeout=60) as answer:
        assert answer.status == 200
    connection.close()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{small}nothing", timeout=60)
