"""Published checkpoints: what their cards say, every kind of model through the hub, their files taken in and verified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import serving
from golden_cases import MANIFESTS
from playwright.sync_api import Browser, expect
from safetensors.torch import save_file
from test_family_cards import MANIFESTS as FLOW_MANIFESTS
from torch import nn

from zoo.__main__ import main
from zoo.catalog import checkpoint
from zoo.catalog.card import Card, cards
from zoo.engine.hub import Hub
from zoo.engine.request import SOLVERS, Request, Result, find_label
from zoo.engine.verify import admit, verify
from zoo.errors import CheckpointError, ChecksumError, DownloadError, RequestError
from zoo.networks import text_encoders
from zoo.networks.build import build_module
from zoo.sampling import Schedule, guided, sample

PUBLISHED = {
    name: card for name, card in cards().items() if card.weights[0].origin != "bundled" and name not in FLOW_MANIFESTS
}  # those have tests/test_family_cards.py
GENERATORS = [card for card in PUBLISHED.values() if card.generates]
SMALL = {"input_size": 8, "patch_size": 2, "in_channels": 3, "hidden_size": 32, "depth": 2, "num_heads": 2}
LINEAR = {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}
SCALED = {"kind": "scaled-linear", "start": 0.00085, "end": 0.012, "steps": 1000}
VP = {"kind": "vp-sde", "beta_min": 0.1, "beta_max": 20}
CLIP = {"vocab_size": 514, "num_context_tokens": 7, "hidden_size": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 4}
FAMILIES = {
    "dit": ("dit", SMALL | {"num_classes": 10, "learn_sigma": True}, LINEAR),
    "dit without learned sigma": ("dit", SMALL | {"num_classes": 10, "learn_sigma": False}, LINEAR),
    "u-vit with classes": ("u-vit", SMALL | {"num_classes": 10, "conv": False}, SCALED),
    "u-vit without": ("u-vit", SMALL, VP),
    "u-vit without a null label": ("u-vit", SMALL | {"num_classes": 10, "null_label": False}, VP),
    "latte": ("latte", SMALL | {"num_frames": 3, "num_classes": 10}, LINEAR),
    "u-vit with text": ("u-vit", SMALL | {"context_dim": 16, "num_context_tokens": 7}, SCALED),
}


# ---- the cards


def test_every_published_generator_has_a_card_that_builds_exactly_its_checkpoint() -> None:
    never = ("diffusers", "dit-s", "dit-b", "dit-l", "dit-xl-4", "dit-xl-8")
    same = {"latte-xl-2-sky": "latte-xl-2-ffs", "latte-xl-2-taichi": "latte-xl-2-ffs", "latte-1": "diffusers-latte-1"}
    assert {card.id for card in GENERATORS} - same.keys() == {name for name in MANIFESTS if not name.startswith(never)}
    for card in GENERATORS:
        manifest = MANIFESTS[same.get(card.id, card.id)]
        with torch.device("meta"):
            state = build_module(card).state_dict()
        assert {key: list(value.shape) for key, value in state.items()} == manifest["keys"], card.id
        assert card.cost.params == manifest["elements"]
        assert card.arch == manifest["words"] or not manifest["words"]


PROTOCOLS = {
    "dit-xl-2-256": ("ddpm", 250, 1.5, "sd-vae-ft-ema", 2.27),
    "dit-xl-2-512": ("ddpm", 250, 1.5, "sd-vae-ft-ema", 3.04),
    "latte-xl-2-ffs": ("ddpm", 250, 1.0, None, None),
    "latte-xl-2-sky": ("ddpm", 250, 1.0, None, None),
    "latte-xl-2-taichi": ("ddpm", 250, 1.0, None, None),
    "latte-xl-2-ucf101": ("ddpm", 250, 7.0, None, None),
    "latte-1": ("ddim", 50, 7.5, "latte-1-temporal-decoder", None),
    "latte-l-2-ffs": ("ddpm", 250, 1.0, None, None),
    "latte-b-2-ffs": ("ddpm", 250, 1.0, None, None),
    "latte-s-2-ffs": ("ddpm", 250, 1.0, None, None),
    "u-vit-s-2-cifar10": ("euler-maruyama", 1000, None, None, 3.11),
    "u-vit-s-4-celeba64": ("euler-maruyama", 1000, None, None, 2.87),
    "u-vit-m-4-imagenet64": ("dpm-solver", 50, None, None, 5.85),
    "u-vit-l-4-imagenet64": ("dpm-solver", 50, None, None, 4.26),
    "u-vit-l-2-imagenet256": ("dpm-solver", 50, 1.4, None, 3.40),
    "u-vit-h-2-imagenet256": ("dpm-solver++", 50, 1.4, None, 2.29),
    "u-vit-l-4-imagenet512": ("dpm-solver", 50, 1.7, None, 4.67),
    "u-vit-h-4-imagenet512": ("dpm-solver++", 50, 1.7, None, 4.05),
    "u-vit-s-2-mscoco": ("dpm-solver++", 50, 2.0, None, 5.95),
    "u-vit-s-2-deep-mscoco": ("dpm-solver++", 50, 2.0, None, 5.48),
}


@pytest.mark.parametrize("card", GENERATORS, ids=lambda card: card.id)
def test_the_preset_paper_is_the_published_protocol_and_its_fid_is_called_reported(card: Card) -> None:
    paper = card.preset("paper")
    assert (paper.solver, paper.steps, paper.guidance, paper.vae, next(iter(card.reported.values()), None)) == PROTOCOLS[card.id]
    assert all(name.endswith("(reported)") for name in card.reported)
    assert not card.measured
    assert "never run" in card.prose


def test_every_part_that_a_card_names_has_a_card() -> None:
    for card in PUBLISHED.values():
        if card.latent:
            assert cards()[card.latent.vae].task == "autoencoder"
            assert card.latent.scale == (0.2301 if "mscoco" in card.id else 0.18215)
        if card.text:
            assert cards()[card.text].arch["num_context_tokens"] == card.arch["num_context_tokens"]
            assert cards()[card.text].arch["hidden_size"] == card.arch["context_dim"]
        assert card.generates or sum(p.numel() for p in build_on_meta(card).parameters()) == card.cost.params


def build_on_meta(card: Card) -> nn.Module:
    with torch.device("meta"):
        return build_module(card)


@pytest.mark.parametrize(
    ("name", "index"),
    [("golden retriever", 207), ("Otter", 360), ("red panda", 387), ("geyser", 974), ("vale", 979), ("crane, wading bird", 134)],
)
def test_classes_of_imagenet_are_found_by_any_of_their_names(name: str, index: int) -> None:
    assert find_label(cards()["dit-xl-2-256"], name) == index


def test_a_name_of_two_classes_names_both(says) -> None:
    with says(RequestError, "134 (crane, wading bird)", "517 (crane, lifting machine)"):
        find_label(cards()["dit-xl-2-256"], "crane")


# ---- every solver on every family


@pytest.mark.parametrize(
    "solver", [*SOLVERS, "diffusers:DDIMScheduler", "diffusers:DPMSolverMultistepScheduler", "diffusers:PNDMScheduler"]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_solver_runs_on_every_family(name: str, solver: str) -> None:
    from zoo import backbones

    family, arch, schedule = FAMILIES[name]
    torch.manual_seed(0)
    module = backbones.build(family, arch).eval()
    labels, null = torch.tensor([1, 2]), None
    if arch.get("context_dim"):
        labels, null = torch.randn(2, 7, 16), torch.randn(7, 16)
    if not arch.get("num_classes") and not arch.get("context_dim"):
        labels = None
    predict = guided(module, labels, 1.0 if name == "u-vit without a null label" else 2.0, None, null)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *[3] * (family == "latte"), arch["in_channels"], 8, 8, generator=generator)
    count = 13 if "PNDM" in solver else 7  # PNDM begins with twelve evaluations
    steps = list(sample(predict, x, Schedule.from_card(schedule), solver, count, noise=lambda _: torch.randn(x.shape, generator=generator)))
    assert len(steps) == count
    assert all(step.x.shape == step.x0.shape == x.shape for step in steps)
    assert all(step.x.isfinite().all() for step in steps)
    assert [step.t for step in steps] == sorted((step.t for step in steps), reverse=True)


# ---- through the hub, from files that were carried here


def words(name: str, **more: object) -> dict:
    family, arch, schedule = FAMILIES[name]
    task = "text-to-image" if arch.get("context_dim") else "class-to-image" if arch.get("num_classes") else "unconditional-image-generation"
    return {
        "title": name, "family": family, "task": task, "arch": arch, "schedule": schedule, "sampling": {"solver": "dpm-solver", "steps": 4},
        "weights": [{"from": "manual", "url": "https://example.org/page", "file": "model.pt"}],
    } | more  # fmt: skip


ENCODER = {
    "title": "tiny CLIP", "family": "clip-text", "task": "text-encoder", "arch": CLIP,
    "weights": [{"from": "huggingface", "repo": "a/b", "file": "model.safetensors", "also": ["vocab.json", "merges.txt"]}],
}  # fmt: skip


def file_of(hub: Hub, name: str, folder: Path) -> Path:
    """A checkpoint of a card with random weights, in the official layout."""
    torch.manual_seed(1)
    module = build_module(hub.card(name))
    torch.save({key: torch.randn(value.shape) / 8 for key, value in module.state_dict().items()}, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture
def vocabulary(tmp_path: Path) -> list[Path]:
    """vocab.json and merges.txt of a byte-level tokenizer with one merge, as CLIP's are written."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    known = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(known)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    return [tmp_path / "vocab.json", tmp_path / "merges.txt"]


def result_of(hub: Hub, request: Request) -> Result:
    *_, result = hub.generate(request)
    return result


def test_an_unconditional_model_of_pixels_draws_through_the_hub(hub_with, says, tmp_path: Path) -> None:
    hub = hub_with({"pixels": words("u-vit without")})
    with says(DownloadError, "is not on this machine", "import it") as caught:
        result_of(hub, Request("pixels"))
    assert "python -m zoo import pixels" in caught.value.command
    assert not hub.local(hub.card("pixels"))
    admit(hub.store, hub.card("pixels"), [file_of(hub, "pixels", tmp_path)])
    assert hub.local(hub.card("pixels"))
    result = result_of(hub, Request("pixels", seeds=(1, 2)))
    assert result.images.shape == (2, 8, 8, 3)
    assert [receipt["label"] for receipt in result.receipts] == ["sample", "sample"]
    with says(RequestError, "without a null label", "guidance at 1"):
        result_of(hub, Request("pixels", guidance=2.0))
    with says(RequestError, "draws pixels itself"):
        result_of(hub, Request("pixels", vae="tiny-vae"))
    with says(RequestError, "reads no text"):
        result_of(hub, Request("pixels", prompt="a cat"))


def test_a_text_to_image_model_draws_what_its_prompt_says(hub_with, says, tmp_path: Path, vocabulary: list[Path]) -> None:
    hub = hub_with({"text": words("u-vit with text", text="tiny-clip", guidance={"default": 2.0}), "tiny-clip": ENCODER})
    admit(hub.store, hub.card("text"), [file_of(hub, "text", tmp_path)])
    assert not hub.local(hub.card("text"))
    state = build_module(hub.card("tiny-clip")).state_dict()
    whole = {f"text_model.{key}": value for key, value in state.items()} | {
        "vision_model.embeddings.x": torch.zeros(2),
        "logit_scale": torch.zeros(()),
    }
    save_file(whole, tmp_path / "model.safetensors")
    with says(RequestError, "also needs merges.txt, vocab.json"):
        admit(hub.store, hub.card("tiny-clip"), [tmp_path / "model.safetensors"])
    admit(hub.store, hub.card("tiny-clip"), [tmp_path / "model.safetensors", *vocabulary])
    assert hub.local(hub.card("text"))
    one, other, again = (result_of(hub, Request("text", prompt=prompt, seeds=3)) for prompt in ("a red bus", "a blue bird", "a red bus"))
    assert one.receipts[0]["pixels"] == again.receipts[0]["pixels"] != other.receipts[0]["pixels"]
    assert set(one.receipts[0]["weights"]) == {"text", "tiny-clip"}
    assert one.receipts[0]["request"]["prompt"] == one.receipts[0]["label"] == "a red bus"
    batch = result_of(hub, Request("text", prompt="a red bus", seeds=(2, 3)))
    assert batch.receipts[1]["pixels"] == one.receipts[0]["pixels"]
    for wrong in ("", "  ", None, "x" * 1001, 7):
        with says(RequestError, "prompt"):
            result_of(hub, Request("text", prompt=wrong))
    vocabulary[0].write_text("[]")
    admit(hub.store, hub.card("tiny-clip"), [tmp_path / "model.safetensors", *vocabulary])
    with says(CheckpointError, "vocab.json or merges.txt", "damaged"):
        result_of(Hub(device="cpu", cache_dir=hub.cache_dir), Request("text", prompt="a red bus", seeds=3))


@torch.no_grad()
def test_the_text_encoder_computes_what_clip_computes_of_the_same_tokens(hub_with, tmp_path: Path, vocabulary: list[Path]) -> None:
    from transformers import CLIPConfig, CLIPModel

    card = hub_with({"tiny-clip": ENCODER}).card("tiny-clip")
    words = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    whole = CLIPModel(
        CLIPConfig(
            text_config=words | {"vocab_size": 514, "max_position_embeddings": 7, "bos_token_id": 512, "eos_token_id": 513},
            vision_config=words | {"image_size": 8, "patch_size": 4},
        )
    ).eval()
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, tmp_path / "whole.safetensors")
    encoder = build_module(card).eval()
    checkpoint.load_into(encoder, tmp_path / "whole.safetensors")
    files = {path.name: path for path in vocabulary}
    found, filled = text_encoders.encode(encoder, card.arch, files, "ab")
    letters = json.loads(vocabulary[0].read_text())
    ids = [512, letters["a"], letters["b</w>"], *[513] * 4]
    theirs = whole.text_model(input_ids=torch.tensor([ids])).last_hidden_state
    assert (found.shape, filled) == ((7, 16), 7)
    torch.testing.assert_close(found[None], theirs, atol=1e-6, rtol=0)
    assert len(text_encoders.tokens(card.arch, files, "a text of many more than seven tokens")[0]) == 7


def test_another_autoencoder_decodes_the_same_latents(hub_with, says, tmp_path: Path) -> None:
    own = cards()["tiny-vae"]
    twin = {"title": "twin", "family": own.family, "task": own.task, "arch": dict(own.arch), "weights": words("dit")["weights"]}
    hub = hub_with({"twin": twin, "other": twin | {"arch": dict(own.arch) | {"block_out_channels": [32, 64]}}})
    admit(hub.store, hub.card("twin"), [file_of(hub, "twin", tmp_path)])
    asked = {"labels": 4, "seeds": 1, "steps": 2}
    mine, theirs = (result_of(hub, Request("tiny-dit", vae=vae, **asked)) for vae in (None, "twin"))
    assert mine.receipts[0]["pixels"] != theirs.receipts[0]["pixels"]
    assert set(theirs.receipts[0]["weights"]) == {"tiny-dit", "twin"}
    for wrong in ("other", "tiny-vit", "nothing"):
        with says(RequestError, wrong):
            result_of(hub, Request("tiny-dit", vae=wrong, **asked))


# ---- taken in and verified


@pytest.mark.parametrize("name", ["tiny-dit", "tiny-uvit", "tiny-unet", "tiny-latte", "tiny-vae", "tiny-vit", "tiny-vivit"])
def test_a_bundled_model_is_verified_against_its_card(hub: Hub, name: str, capsys: pytest.CaptureFixture) -> None:
    digest, manifest, numbers = verify(hub.store, hub.card(name))
    assert digest.endswith("as the card says.")
    assert f"{sum(v.numel() for v in build_on_meta(hub.card(name)).state_dict().values()):,} numbers" in manifest
    assert "those of the card within" in numbers
    assert main(["verify", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["holds"][0] == digest


def test_a_file_that_was_carried_here_is_pinned_and_verified_ever_after(hub_with, says, tmp_path: Path) -> None:
    hub = hub_with({"mine": words("dit"), "same": words("dit"), "else": words("dit without learned sigma")})
    card, path = hub.card("mine"), file_of(hub, "mine", tmp_path)
    kept = admit(hub.store, card, [path])
    assert admit(hub.store, hub.card("same"), [path]).path == kept.path  # one file for both
    path.write_bytes(b"the user's own file may go or change")
    assert "as when it was stored (imported from mine.pt)" in next(verify(hub.store, card))
    assert "noted here" in list(verify(hub.store, card))[2]
    assert "those of the earlier check" in list(verify(hub.store, card))[2]
    state = torch.load(kept.path)
    torch.save({key: value * 1.01 for key, value in state.items()}, path)
    pin = hub.store.pin(card.id)
    admit(hub.store, card, [path])
    hub.store.note(card.id, hub.store.pin(card.id) | {"fingerprint": pin["fingerprint"]})
    with says(CheckpointError, "in one fixed forward"):
        list(verify(hub.store, card))
    changed = hub.store.find(card).path
    content = bytearray(changed.read_bytes())
    content[-2000] ^= 1
    changed.write_bytes(content)
    with says(ChecksumError, "has changed", "remove it") as caught:
        list(verify(hub.store, card))
    assert "cache --remove mine" in caught.value.command


def test_a_file_that_is_not_the_model_is_not_taken_in(hub_with, says, tmp_path: Path) -> None:
    hub = hub_with({"mine": words("dit"), "else": words("u-vit without")})
    with says(CheckpointError, "this is a U-ViT"):
        admit(hub.store, hub.card("mine"), [file_of(hub, "else", tmp_path)])
    with says(CheckpointError, "There is no file"):
        admit(hub.store, hub.card("mine"), [tmp_path / "nowhere.pt"])
    with says(RequestError, "extra.txt is no part of mine"):
        admit(hub.store, hub.card("mine"), [file_of(hub, "mine", tmp_path), tmp_path / "extra.txt"])
    with says(RequestError, "ships with the repository"):
        admit(hub.store, hub.card("tiny-dit"), [file_of(hub, "mine", tmp_path)])
    assert hub.store.find(hub.card("mine")) is None
    assert not list(hub.store.folder.rglob("*.*"))


def test_a_preset_fills_what_was_not_asked_for(
    hub_with, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    presets = {"paper": {"solver": "ddpm", "steps": 5, "guidance": 3.0}}
    hub = hub_with({"mine": words("dit", presets=presets, labels="emoji", arch=FAMILIES["dit"][1] | {"num_classes": 100})})
    monkeypatch.setattr("zoo.__main__.cards", hub_cards := lambda: hub.cards)
    monkeypatch.setenv("PATCHWORK_CACHE", str(hub.cache_dir))
    assert hub_cards()["mine"].preset("paper").steps == 5
    assert main(["import", "mine", str(file_of(hub, "mine", tmp_path))]) == 0
    asked = ["sample", "mine", "--label", "star", "--seed", "3", "--out", str(tmp_path), "--json"]
    capsys.readouterr()
    assert main([*asked, "--preset", "paper", "--guidance", "2"]) == 0
    request = json.loads(capsys.readouterr().out)[0]["request"]
    assert (request["solver"], request["steps"], request["guidance"]) == ("ddpm", 5, 2.0)
    assert main([*asked, "--preset", "papyrus"]) == 1
    assert "choose paper" in capsys.readouterr().err


# ---- on the page


def test_the_page_shows_the_controls_that_a_model_has_and_its_presets(
    hub_with, tmp_path: Path, browser: Browser, vocabulary: list[Path]
) -> None:
    presets = {"paper": {"solver": "euler-maruyama", "steps": 300}}
    hub = hub_with({
        "pixels": words("u-vit without", title="Pixels", presets=presets),
        "text": words("u-vit with text", title="Words", text="tiny-clip", guidance={"default": 2.0}),
        "tiny-clip": ENCODER,
        "far": words("dit", title="Far away"),
    })  # fmt: skip
    admit(hub.store, hub.card("pixels"), [file_of(hub, "pixels", tmp_path)])
    admit(hub.store, hub.card("text"), [file_of(hub, "text", tmp_path)])
    admit(hub.store, hub.card("tiny-clip"), [file_of(hub, "tiny-clip", tmp_path), *vocabulary])
    with serving(hub) as url:
        page = browser.new_page()
        page.goto(url)
        for title, label, prompt, guidance in (("Pixels", 0, 0, 0), ("Words", 0, 1, 1), ("tiny DiT", 1, 0, 1), ("Pixels", 0, 0, 0)):
            page.click("#model input")
            expect(page.get_by_role("option").filter(has_text="Far away")).to_contain_text("not downloaded")
            page.get_by_role("option").filter(has_text=title).click()
            for name, there in (("label", label), ("prompt", prompt), ("guidance", guidance)):
                expect(page.locator(f"#{name}")).to_have_count(there)
        page.get_by_text("More", exact=True).click()
        page.click("#preset input")
        page.get_by_role("option", name="paper").click()
        expect(page.locator("#steps input[type=number]")).to_have_value("300")
        expect(page.locator("#solver input")).to_have_value("euler-maruyama")
        page.click("#model input")
        page.get_by_role("option").filter(has_text="Words").click()
        page.click("#generate")
        expect(page.locator("#progress .error")).to_contain_text("give a prompt")
        page.fill("#prompt textarea", "a red bus")
        page.click("#generate")
        expect(page.locator("#facts")).to_contain_text("Words · a red bus · seed")
        expect(page.locator("#gallery .grid-container img")).to_have_count(4)
        page.fill("#prompt textarea", "something else")
        page.click("#again")
        expect(page.locator("#prompt textarea")).to_have_value("a red bus")
        page.close()


# ---- memory


MEASURE = """
import sys, threading, time, torch
from pathlib import Path
from zoo import backbones
from zoo.catalog import checkpoint
ARCH = dict(input_size=32, patch_size=2, in_channels=4, hidden_size=768, depth=8, num_heads=12, num_classes=1000, learn_sigma=True)
if sys.argv[1] == "write":
    def weights(): return backbones.build("dit", ARCH).state_dict()
    opt = {"state": {i: {"exp_avg": value} for i, value in enumerate(weights().values())}}
    torch.save({"model": weights(), "ema": weights(), "opt": opt}, sys.argv[2])
else:
    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024
    with torch.device("meta"):
        module = backbones.build("dit", ARCH).to(torch.bfloat16)
    base, done = anonymous(), threading.Event()
    peak = [base]
    def watch():
        while not done.is_set():
            peak.append(anonymous())
            time.sleep(0.002)
    watcher = threading.Thread(target=watch)
    watcher.start()
    checkpoint.load_into(module, sys.argv[2])
    done.set()
    watcher.join()
    print((max(*peak, anonymous()) - base) / sum(p.numel() * p.element_size() for p in module.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_a_training_checkpoint_takes_no_more_memory_than_the_module(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent

    def measured(*arguments: str) -> str:
        return subprocess.run([sys.executable, "-c", MEASURE, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout

    measured("write", str(tmp_path / "training.pt"))
    assert 0.9 < float(measured("read", str(tmp_path / "training.pt"))) < 1.3
