"""A checkpoint that no card describes becomes a model: what its weights tell is read off them, what they do not is asked for by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from test_vision_files import ARCHES, authors, module_of
from torch import Tensor

from zoo import backbones
from zoo.__main__ import main
from zoo.catalog.architectures import recognise
from zoo.catalog.card import cards
from zoo.catalog.own_cards import nearest, own_cards
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result

SIZES = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 48, "depth": 2, "num_heads": 4}
GENERATORS = {
    "dit": ("dit", {"num_classes": 10, "learn_sigma": True}),
    "dit without classes": ("dit", {"num_classes": 0, "learn_sigma": False}),
    "dit of pixels": ("dit", {"num_classes": 3, "in_channels": 3, "input_size": 24, "patch_size": 4, "learn_sigma": True, "mlp_ratio": 2}),
    "u-vit": ("u-vit", {"num_classes": 5, "conv": False, "mlp_time_embed": True, "qkv_bias": True}),
    "u-vit of pixels": ("u-vit", {"num_classes": 0, "in_channels": 3, "input_size": 16, "patch_size": 4}),
    "u-vit of texts": ("u-vit", {"context_dim": 24, "num_context_tokens": 77, "skip": False}),
    "latte": ("latte", {"num_frames": 6, "num_classes": 4, "learn_sigma": True}),
    "latte without classes": ("latte", {"num_frames": 4, "num_classes": 0, "learn_sigma": True}),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cards"


def weights(family: str, words: dict) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: value + 0.02 * torch.randn(value.shape) for key, value in backbones.build(family, words).state_dict().items()}


@pytest.mark.parametrize("case", GENERATORS)
def test_the_architecture_of_a_generator_is_read_off_its_keys_and_shapes(case: str) -> None:
    family, more = GENERATORS[case]
    words = SIZES | more
    found = recognise(weights(family, words))
    assert (found.family, found.unknown) == (family, ("num_heads", "family") if family == "dit" else ("num_heads",))  # a SiT's are the same
    assert {key: found.words[key] for key in words if key != "num_heads"} == {key: words[key] for key in words if key != "num_heads"}
    rebuilt = backbones.build(family, dict(found.words) | {"num_heads": 4}).state_dict()
    assert {key: value.shape for key, value in rebuilt.items()} == {key: value.shape for key, value in weights(family, words).items()}


@pytest.mark.parametrize("names", ["transformers", "authors"])
@pytest.mark.parametrize("family", ARCHES)
def test_the_architecture_of_a_vision_transformer_is_read_under_both_namings(family: str, names: str) -> None:
    module = module_of(family)
    found = recognise(module.state_dict() if names == "transformers" else authors(family, module))
    unknown = {"input_size"} if family == "swin" else {"num_heads"}
    assert (found.family, set(found.unknown)) == (family, unknown)
    assert {word: value for word, value in ARCHES[family].items() if word not in unknown} == dict(found.words)


@pytest.mark.parametrize("identity", [card.id for card in cards().values() if card.family in ("dit", "u-vit", "latte")])
def test_every_generator_that_ships_is_recognised(identity: str) -> None:
    card = cards()[identity]
    with torch.device("meta"):
        state = backbones.build(card.family, card.arch).state_dict()
    found = recognise(state)
    assert found.family == card.family
    assert found.task == card.task
    assert {word: value for word, value in found.words.items() if word in card.arch and word != "depth"} == {
        word: value for word, value in card.arch.items() if word in found.words and word != "depth"
    }


def mine(tmp_path: Path, **more: object) -> Path:
    state = weights("dit", SIZES | {"num_classes": 10, "learn_sigma": True})
    path = tmp_path / "My DiT, 10 things.pt"
    torch.save({"model": state, "ema": {key: value + 0.01 for key, value in state.items()}} | more, path)
    return path


def test_heads_that_no_weight_tells_are_asked_for_by_their_flag(tmp_path: Path, capsys: pytest.CaptureFixture, own_folder: Path) -> None:
    assert main(["import", str(mine(tmp_path))]) == 1
    said = capsys.readouterr()
    assert [word for word in ("--heads", "--schedule", "--vae", "--scale", "width 48") if word not in said.err] == []
    assert "Traceback" not in said.err
    assert not list(own_folder.glob("*"))
    assert not list((own_folder.parent / "models").rglob("pins/*"))


def test_a_checkpoint_of_ones_own_is_imported_listed_and_sampled(tmp_path: Path, capsys: pytest.CaptureFixture, own_folder: Path) -> None:
    names = [f"thing {number}" for number in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    said = ["--heads", "4", "--labels", str(tmp_path / "names.txt"), "--name", "Ten things", "--vae", "tiny-vae", "--scale", "0.8"]
    assert main(["import", str(mine(tmp_path)), *said, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["id"] == "ten-things"
    assert "ema, averaged; model would fit as well" in err
    assert "scale: 0.8" in err
    card = own_cards(own_folder)["ten-things"]
    assert (card.title, card.label_names, card.latent.vae, card.arch["num_heads"]) == ("Ten things", tuple(names), "tiny-vae", 4)
    assert card.schedule == cards()["dit-xl-2-256"].schedule
    assert main(["list"]) == 0
    assert any(line.startswith("ten-things ") for line in capsys.readouterr().out.splitlines())
    assert main(["sample", "ten-things", "--label", "thing 3", "--seed", "0", "--steps", "2", "--out", str(tmp_path), "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)[0]
    assert receipt["label"] == "thing 3"
    assert receipt["weights_taken_from"] == {"ten-things": "ema, averaged; model would fit as well"}
    assert main(["verify", "ten-things"]) == 0


def test_the_other_weights_are_taken_where_they_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = mine(tmp_path)
    for name, chosen in (("Averaged", []), ("Raw", ["--weights", "model"])):
        assert main(["import", str(path), "--heads", "4", "--name", name, *chosen]) == 0
    assert main(["import", str(path), "--heads", "4", "--name", "No", "--weights", "nothing"]) == 1
    assert "ema, model" in capsys.readouterr().err
    hub = Hub(device="cpu")
    averaged, raw = (hub.load(hub.card(name)).module.state_dict() for name in ("averaged", "raw"))
    state = torch.load(path)
    assert torch.equal(raw["x_embedder.proj.bias"], state["model"]["x_embedder.proj.bias"])
    assert torch.equal(averaged["x_embedder.proj.bias"], state["ema"]["x_embedder.proj.bias"])


def test_two_arguments_are_an_id_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["import", "dit-xl-2-256", str(mine(tmp_path))]) == 1
    assert "width 48 instead of 1152" in capsys.readouterr().err
    assert main(["import", "tiny-dit"]) == 1
    assert "name the file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["--heads", "5"], ["5 heads do not divide a width of 48"]),
        (["--heads", "4", "--schedule", "cosine"], ["'cosine'", "give linear,0.0001,0.02,1000"]),
        (["--heads", "4", "--schedule", "linear,1"], ["linear,1"]),
        (["--heads", "4", "--vae", "tiny-vee"], ["tiny-vae"]),
        (["--heads", "4", "--like", "tiny-vit"], ["tiny-vit", "dit"]),
        (["--heads", "4", "--name", "tiny dit"], ["tiny-dit", "another name"]),
        (["--heads", "4", "--name", "???"], ["give one that does"]),
        (["--heads", "4", "--labels", "nowhere.txt"], ["nowhere.txt", "another file"]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, own_folder: Path, said: list[str], words: list[str]
) -> None:
    assert main(["import", str(mine(tmp_path)), *said]) == 1
    line = capsys.readouterr().err
    assert "Traceback" not in line
    assert [word for word in words if word not in line] == [], line
    assert not list(own_folder.glob("*"))


def test_as_many_names_as_rows_mean_that_there_is_no_null_label(tmp_path: Path, own_folder: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"n{number}" for number in range(11)))
    assert main(["import", str(mine(tmp_path)), "--heads", "4", "--labels", str(tmp_path / "names.txt"), "--name", "eleven"]) == 0
    card = own_cards(own_folder)["eleven"]
    assert (card.arch["num_classes"], card.arch["null_label"], card.guidable) == (11, False, False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3), "fc.bias": torch.zeros(8)}, "it looks like a ResNet"),
        ({"some.thing": torch.zeros(8)}, "some.thing"),
        ({"epoch": 3}, "holds no weights"),
    ],
    ids=["resnet", "unknown", "none"],
)
def test_a_file_of_another_network_is_told_what_it_looks_like(
    content: dict, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert main(["import", str(tmp_path / "x.pt")]) == 1
    assert words in capsys.readouterr().err


def test_a_vision_model_of_ones_own_is_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture, own_folder: Path) -> None:
    torch.save({"teacher": {f"backbone.{key}": value for key, value in authors("vit", module_of("vit")).items()}}, tmp_path / "seer.pth")
    assert main(["import", str(tmp_path / "seer.pth"), "--heads", "4"]) == 0
    card = own_cards(own_folder)["seer"]
    assert (card.task, card.arch["num_classes"], card.label_names[:2]) == ("image-classification", 5, ("class 0", "class 1"))
    picture = next(Path(__file__).parent.parent.joinpath("zoo/catalog/data").glob("example-star.png"))
    assert main(["look", str(picture), "--model", "seer", "--out", str(tmp_path / "inside")]) == 0


def test_a_broken_card_of_a_user_keeps_nothing_else_from_starting(
    own_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["import", str(mine(tmp_path)), "--heads", "4", "--name", "mine"]) == 0
    (own_folder / "broken.md").write_text("---\nzoo: [\n---\n")
    (own_folder / "bytes.md").write_bytes(b"\xff\xfe")
    hub = Hub(device="cpu")
    assert "mine" in hub.cards
    assert not {"broken", "bytes"} & hub.cards.keys()
    assert "broken.md is left out" in caplog.text


def test_a_model_of_ones_own_stands_in_every_list(own_folder: Path, tmp_path: Path, says: Callable) -> None:
    assert main(["import", str(mine(tmp_path)), "--heads", "4", "--name", "mine", "--vae", "tiny-vae"]) == 0
    hub = Hub(device="cpu")
    assert "mine" in [row["id"] for row in hub.describe()]
    *_, result = hub.generate(Request("mine", 3, 0, 2))
    assert isinstance(result, Result)
    head = yaml.safe_load((own_folder / "mine.md").read_text().split("---")[1])
    assert head["zoo"]["weights"][0]["from"] == "own"


def test_a_model_of_ones_own_answers_for_no_other_unless_it_is_named(tmp_path: Path, own_folder: Path) -> None:
    path = mine(tmp_path)
    assert main(["import", str(path), "--heads", "6", "--name", "first"]) == 0
    assert main(["import", str(path), "--name", "second"]) == 1
    assert main(["import", str(path), "--name", "third", "--like", "first"]) == 0
    assert own_cards(own_folder)["third"].arch["num_heads"] == 6


@pytest.mark.parametrize(("side", "vae"), [(16, "tiny-vae"), (32, "dit-xl-2-256"), (64, "dit-xl-2-512")])
def test_the_autoencoder_is_that_of_a_model_with_latents_of_the_same_size(side: int, vae: str) -> None:
    words = SIZES | {"hidden_size": 192, "depth": 6, "num_classes": 10, "learn_sigma": True, "input_size": side}
    base = nearest(recognise(weights("dit", words)), cards())
    assert base.latent.vae == (cards()[vae].latent.vae if vae in cards() and cards()[vae].latent else vae)
