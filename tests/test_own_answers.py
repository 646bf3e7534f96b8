"""What somebody says of his model at the import: odd answers get a sentence, and what is taken makes a model that works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_own_models import SIZES, weights

from zoo.__main__ import main
from zoo.catalog.own_cards import own_cards

TEN = [f"thing {number}" for number in range(10)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cards"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"ema": weights("dit", SIZES | {"num_classes": 10, "learn_sigma": True})}, tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["--heads", "0"], "0 heads do not divide a width of 48"),
        (["--heads", "-1"], "-1 heads do not divide"),
        (["--heads", "4", "--scale", "nan"], "above 0"),
        (["--heads", "4", "--scale", "0"], "above 0"),
        (["--heads", "4", "--vae", "tiny-dit"], "tiny DiT does not decode pictures from 4 channels: choose tiny-vae"),
        (["--heads", "4", "--vae", "latte-1-temporal-decoder"], "does not decode pictures"),
        (["--heads", "4", "--input-size", "16"], "it takes 8 to a side, not 16: leave the size out"),
        (["--heads", "4", "--schedule", "linear,0.0001,0.02,-5"], "is not understood"),
        (["--heads", "4", "--schedule", "linear,0.0001,0.02,1000.5"], "is not understood"),
        (["--heads", "4", "--schedule", "scaled-linear,0.02,0.01,1000"], "numbers that rise"),
        (["--heads", "4", "--schedule", "linear,0,0,1000"], "is not understood"),
        (["--heads", "4", "--schedule", "vp-sde,0.1,nan"], "is not understood"),
        (["--heads", "4", "--name", "\u65e5\u672c"], "no letter from a to z"),
    ],
    ids=str,
)
def test_an_odd_answer_is_refused_in_a_sentence_and_leaves_nothing(
    file: Path,
    own_folder: Path,
    capsys: pytest.CaptureFixture,
    said: list[str],
    words: str,
) -> None:
    assert main(["import", str(file), *said]) == 1
    assert words in capsys.readouterr().err
    assert not list(own_folder.glob("*"))


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"\xef\xbb\xbf" + "\n".join(TEN).encode(), "thing 0"),
        ("\r\n".join(TEN).encode(), "thing 0"),
        ("\n\n".join(TEN).encode() + b"\n \n", "thing 0"),
        ("\n".join(f"{number}\tthing" for number in range(10)).encode(), "0 thing"),
        ("\n".join(["a\u2028b", *TEN[1:]]).encode(), "a b"),
        (b"\n".join([b"yes", b"no", b"null", b"1.5", b"- x", b"{a: b}", b"#c", b"~", b"2026-01-01", b"same"]), "yes"),
        (b"same\n" * 10, "same"),
    ],
    ids=["byte order mark", "CRLF", "empty lines", "tabs", "a line separator", "words of YAML", "one name for all"],
)
def test_a_file_of_class_names_is_read_as_people_write_them(
    file: Path, own_folder: Path, tmp_path: Path, content: bytes, first: str
) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    assert main(["import", str(file), "--heads", "4", "--labels", str(tmp_path / "names.txt")]) == 0
    card = own_cards(own_folder)["mine"]
    assert (len(card.label_names), card.label_names[0]) == (10, first)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "\n".join(TEN[:7]).encode(),
            "These are 7 class names for 10 classes: give 10, one a line (11 if",
        ),
        (b"", "holds no class names"),
        ("\n".join(TEN).encode("utf-16"), "not UTF-8"),
        ("\n".join([*TEN[:2], "a\x1b[31mb", *TEN[3:]]).encode(), "Line 3 of"),
        (b"x" * 200_000, "too long"),
    ],
    ids=["too few", "none", "UTF-16", "a control character", "no list"],
)
def test_a_file_of_other_things_than_class_names_is_refused(
    file: Path,
    own_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    content: bytes,
    words: str,
) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    assert main(["import", str(file), "--heads", "4", "--labels", str(tmp_path / "names.txt")]) == 1
    assert words in capsys.readouterr().err
    assert not list(own_folder.glob("*"))


@pytest.mark.parametrize(
    ("name", "identity", "title"),
    [
        ("Caf\u00e9 \U0001f389", "cafe", "Caf\u00e9 \U0001f389"),
        ("../../etc/passwd", "etc-passwd", "../../etc/passwd"),
        ("a\nb\u202e", "a-b", "a b"),
        ("x" * 500, "x" * 60, "x" * 80),
        ("null", "null", "null"),
    ],
)
def test_a_name_becomes_an_id_without_leaving_the_folder(file: Path, own_folder: Path, name: str, identity: str, title: str) -> None:
    assert main(["import", str(file), "--heads", "4", "--name", name]) == 0
    assert {key: card.title for key, card in own_cards(own_folder).items()} == {identity: title}


def test_a_model_that_knows_no_class_is_sampled_without_guidance(tmp_path: Path) -> None:
    torch.save(weights("dit", SIZES | {"num_classes": 0, "learn_sigma": True}), tmp_path / "free.pt")
    assert main(["import", str(tmp_path / "free.pt"), "--heads", "4", "--vae", "tiny-vae"]) == 0
    assert main(["sample", "free", "--seed", "0", "--steps", "2", "--out", str(tmp_path)]) == 0


def test_a_model_whose_training_went_astray_is_not_taken(tmp_path: Path, own_folder: Path, capsys: pytest.CaptureFixture) -> None:
    state = weights("dit", SIZES | {"num_classes": 0, "learn_sigma": True})
    state["blocks.1.attn.qkv.weight"][0, 0] = float("nan")
    torch.save(state, tmp_path / "astray.pt")
    assert main(["import", str(tmp_path / "astray.pt"), "--heads", "4"]) == 1
    assert "not finite, in 1 tensors of its model, the first of them blocks.1.attn.qkv.weight" in capsys.readouterr().err
    assert not list(own_folder.glob("*"))
