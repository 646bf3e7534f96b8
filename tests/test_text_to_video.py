"""Latte-1: the published files fit, and a prompt becomes what diffusers' own pipeline makes of it at equal noise."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import serving
from gradio_client import Client
from gradio_client.exceptions import AppError
from loopback_hub import LoopbackHub
from PIL import Image
from playwright.sync_api import Browser, expect
from safetensors.torch import save_file
from torch import nn

from zoo import backbones
from zoo.__main__ import main
from zoo.catalog.card import cards
from zoo.catalog.checkpoint import load_into
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result
from zoo.engine.verify import admit, verify
from zoo.errors import CheckpointError, ChecksumError, DownloadError, RequestError
from zoo.media import pictures, video
from zoo.networks import autoencoders, text_encoders
from zoo.networks.build import build_module
from zoo.sampling import Schedule, guided, sample

TINY = {
    "input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 2, "num_heads": 4, "num_frames": 4, "context_dim": 16,
}  # fmt: skip


@pytest.fixture
def ours() -> nn.Module:
    torch.manual_seed(0)
    with torch.device("meta"):
        module = backbones.build("latte-t2v", TINY)
    load_into(module, {key: torch.randn(value.shape) / 5 for key, value in module.state_dict().items()})
    return module.eval()


@pytest.fixture
def theirs(ours: nn.Module) -> nn.Module:
    from diffusers.models.transformers.latte_transformer_3d import LatteTransformer3DModel

    module = LatteTransformer3DModel(**{key: value for key, value in ours.config.items() if not key.startswith("_")})
    module.load_state_dict(ours.state_dict())
    return module.eval()


def test_the_published_configuration_has_the_published_number_of_weights(says) -> None:
    with torch.device("meta"):
        module = backbones.build("latte-t2v", {})
    state = module.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (967, 1_057_246_880)
    null = {"caption_projection.y_embedding": torch.empty(120, 4096, device="meta")}  # in the file, unknown to the class
    load_into(module, state | null)
    with torch.device("meta"):
        dit = backbones.build("dit", {"depth": 2})
    with says(CheckpointError, "this is a Latte-1, the text-to-video model"):
        load_into(dit, state)


@torch.no_grad()
@pytest.mark.parametrize("frames", [4, 1])
def test_our_axes_change_nothing(ours: nn.Module, theirs: nn.Module, frames: int) -> None:
    x, t, y = torch.randn(2, frames, 4, 8, 8), torch.tensor([999.0, 3.0]), torch.randn(2, 6, 16)
    wanted = theirs(x.transpose(1, 2), t, y, enable_temporal_attentions=frames > 1, return_dict=False)[0]
    assert torch.equal(ours(x, t, y), wanted.transpose(1, 2))


def test_the_loop_is_that_of_the_pipeline_of_diffusers(ours: nn.Module, theirs: nn.Module) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, LattePipeline

    pipeline = LattePipeline(
        tokenizer=None, text_encoder=None, vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4), transformer=theirs,
        scheduler=DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    x, prompt, negative = torch.randn(1, 4, 4, 8, 8), torch.randn(1, 6, 16), torch.randn(1, 6, 16)
    wanted = pipeline(
        prompt=None, negative_prompt=None, prompt_embeds=prompt, negative_prompt_embeds=negative, latents=x.transpose(1, 2).clone(),
        num_inference_steps=10, guidance_scale=7.5, video_length=4, height=8, width=8, output_type="latent",
    ).frames  # fmt: skip
    steps = sample(guided(ours, prompt, 7.5, null_label=negative), x, Schedule.linear(1e-4, 0.02, 1000), "ddim", 10, spacing="stride")
    *_, last = steps
    assert ((last.x - wanted.transpose(1, 2)).abs().max() / wanted.abs().max()).item() < 1e-4


# ---- a prompt, through the hub, from files that arrive as the published ones lie

REPO = "authors/film-1"
VAE = {"block_out_channels": [32, 32], "layers_per_block": 1, "latent_channels": 4, "sample_size": 16}
T5 = {"vocab_size": 36, "num_context_tokens": 120, "hidden_size": 16, "depth": 2, "num_heads": 4, "mlp_ratio": 2.5}
ASKED = Request("film", prompt="A RED bus  in front of the sea ", negative_prompt="cat", seeds=(5,), steps=10)


def published(folder: str, **more: object) -> list[dict]:
    return [{"from": "huggingface", "repo": REPO, "file": f"{folder}/model.safetensors", "layout": "diffusers"} | more]


WORDS = {
    "film": {
        "title": "Film-1", "family": "latte-t2v", "task": "text-to-video", "arch": TINY, "text": "words", "guidance": {"default": 7.5},
        "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}, "latent": {"vae": "frames", "scale": 0.18215},
        "sampling": {"solver": "ddim", "steps": 50, "spacing": "stride"}, "weights": published("transformer"),
    },
    "words": {
        "title": "T5", "family": "t5", "task": "text-encoder", "arch": T5,
        "weights": published("text_encoder", file="text_encoder/model-00001-of-00003.safetensors", also=["tokenizer/spiece.model"]),
    },
    "frames": {
        "title": "VAE", "family": "autoencoder-kl", "task": "autoencoder", "arch": VAE | {"norm_num_groups": 32},
        "weights": published("vae"),
    },
    "smooth": {
        "title": "Temporal VAE", "family": "autoencoder-kl-temporal", "task": "autoencoder", "arch": VAE,
        "weights": published("vae_temporal_decoder"),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def pieces() -> bytes:
    """A spiece.model with T5's special numbers: pad 0, end 1, unknown 2."""
    import sentencepiece

    said = ["a red bus in front of a green house", "a cat and a dog", "sunset over the sea", "tropical fish dart through the sea"]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(said * 20), model_writer=file, vocab_size=36, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2
    )
    return file.getvalue()


def their_tokenizer(pieces: bytes) -> Callable:
    import sentencepiece
    from transformers import T5Tokenizer

    known = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    return T5Tokenizer(vocab=[(known.id_to_piece(k), known.get_score(k)) for k in range(known.vocab_size())], extra_ids=0)


@pytest.fixture(scope="module")
def their_encoder() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(3)
    words = {"d_model": 16, "d_kv": 4, "d_ff": 40, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu", "vocab_size": 36}
    return T5EncoderModel(T5Config(**words)).eval()


@pytest.fixture
def film(hub_with, hub_server: LoopbackHub, pieces: bytes, their_encoder: nn.Module, tmp_path: Path) -> Hub:
    """A hub that knows a tiny Latte-1, and a server that has its five parts, the encoder cut into three files."""
    hub = hub_with(WORDS)
    torch.manual_seed(1)

    def put(name: str, state: dict) -> None:
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "file")
        hub_server.files[REPO, name] = (tmp_path / "file").read_bytes()

    for name in ("film", "frames", "smooth"):
        state = build_module(hub.card(name)).state_dict()
        put(hub.card(name).weights[0].file, {key: torch.randn(value.shape) / 5 for key, value in state.items()})
    held = {key: value for key, value in their_encoder.state_dict().items() if key != "encoder.embed_tokens.weight"}
    keys = sorted(held)
    for number in range(3):
        put(f"text_encoder/model-{number + 1:05}-of-00003.safetensors", {key: held[key] for key in keys[number::3]})
    hub_server.files[REPO, "tokenizer/spiece.model"] = pieces
    return hub


def run(hub: Hub, request: Request, **options: object) -> Result:
    *_, result = hub.generate(request, **options)
    return result


def brought(hub: Hub) -> Hub:
    """With all that the video model needs, and the other decoder."""
    for name in ("film", "smooth"):
        for _ in hub.fetch(name):
            pass
    return hub


def test_tokens_are_those_of_t5(pieces: bytes, tmp_path: Path) -> None:
    theirs = their_tokenizer(pieces)
    (tmp_path / "spiece.model").write_bytes(pieces)
    for prompt in ("a red bus", "", "  Sunset over   the SEA ", "zebra 12!", "fish " * 200):
        wanted = theirs(prompt.lower().strip(), padding="max_length", max_length=12, truncation=True)
        found, filled = text_encoders.tokens({"num_context_tokens": 12}, {"spiece.model": tmp_path / "spiece.model"}, prompt)
        assert found == wanted["input_ids"]
        assert filled == sum(wanted["attention_mask"])
    assert found[-1] == 1  # a long prompt, too, has an end


@torch.no_grad()
@pytest.mark.parametrize("decoder", ["frames", "smooth"])
def test_a_prompt_becomes_what_the_pipeline_of_diffusers_makes_of_it(
    film: Hub, their_encoder: nn.Module, pieces: bytes, decoder: str
) -> None:
    from diffusers import DDIMScheduler, LattePipeline
    from diffusers.models.transformers.latte_transformer_3d import LatteTransformer3DModel

    request = Request(**ASKED.__dict__ | {"vae": decoder})
    result = run(brought(film), request)
    ours = film.load(film.card("film")).module
    theirs = LatteTransformer3DModel(**{key: value for key, value in ours.config.items() if not key.startswith("_")})
    theirs.load_state_dict(ours.state_dict())
    published = {  # scheduler/scheduler_config.json of maxin-cn/Latte-1
        "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False, "timestep_spacing": "leading",
    }  # fmt: skip
    pipeline = LattePipeline(
        tokenizer=their_tokenizer(pieces), text_encoder=their_encoder, vae=film.load(film.card(decoder)).module,
        transformer=theirs.eval(), scheduler=DDIMScheduler(**published),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    wanted = pipeline(
        request.prompt, negative_prompt=request.negative_prompt, latents=noise[None].transpose(1, 2).clone(), num_inference_steps=10,
        guidance_scale=7.5, video_length=4, height=16, width=16, clean_caption=False, output_type="np",
    ).frames  # fmt: skip
    assert result.images.shape == (1, 4, 16, 16, 3)
    assert np.std(result.images.astype(float), axis=(0, 2, 3)).min() > 5  # neither is empty
    assert np.abs(result.images / 255 - wanted).max() < 0.5 / 255 + 1e-4  # ours is rounded to whole grey levels


def test_a_cut_checkpoint_arrives_is_verified_and_is_told_apart(film: Hub, hub_server: LoopbackHub, says, tmp_path: Path) -> None:
    card = film.card("words")
    told = [item.file for item in film.fetch("words")]
    assert list(dict.fromkeys(told)) == [*(f"text_encoder/model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)), "tokenizer/spiece.model"]
    digest, manifest, _ = verify(film.store, card)
    assert "3 other files as when they were stored" in digest
    assert f"{sum(v.numel() for v in build_module(card).state_dict().values()):,} numbers" in manifest
    files = []
    for (_, name), content in hub_server.files.items():
        if name.startswith(("text_encoder", "tokenizer")):
            files.append(tmp_path / name.rpartition("/")[2])
            files[-1].write_bytes(content)
    film.store.remove("words")
    with says(RequestError, "also needs", "model-00003-of-00003.safetensors"):
        admit(film.store, card, files[:2])
    with says(CheckpointError, "model-00001-of-00003.safetensors", "is missing"):
        load_into(build_module(card), files[:2])
    admit(film.store, card, files)
    with says(CheckpointError, "this is T5's text encoder"):
        load_into(build_module(film.card("film")), files[:3])
    kept = film.store.find(card)
    kept.also["spiece.model"].write_bytes(b"something else")
    with says(DownloadError, "is not downloaded"):  # its size has changed
        run(film, ASKED)


def test_the_encoder_leaves_memory_and_is_not_asked_twice(film: Hub, says) -> None:
    brought(film)
    first = run(film, ASKED)
    assert "words" not in film.models.sizes()
    assert {"film", "frames"} <= film.models.sizes().keys()
    encoder = film.store.find(film.card("words")).path
    encoder.write_bytes(bytes(encoder.stat().st_size))  # it could not be read any more
    again = run(Hub(device="cpu", cache_dir=film.cache_dir), ASKED)
    assert again.receipts[0]["pixels"] == first.receipts[0]["pixels"]
    assert set(first.receipts[0]["weights"]) == {"film", "frames", "words"}
    with says(CheckpointError, "neither a safetensors file"):
        run(film, Request("film", prompt="a dog", steps=10))


def test_what_guidance_leads_away_from_changes_the_video_and_bad_prompts_are_refused(film: Hub, says) -> None:
    brought(film)
    with_cat, without, again = (run(film, Request(**ASKED.__dict__ | {"negative_prompt": said})) for said in ("cat", "", "cat"))
    assert with_cat.receipts[0]["pixels"] == again.receipts[0]["pixels"] != without.receipts[0]["pixels"]
    for wrong in ({"prompt": ""}, {"prompt": "word " * 5000}, {"prompt": "a", "negative_prompt": 7}, {"negative_prompt": "x" * 1001}):
        with says(RequestError, "prompt"):
            run(film, Request("film", **wrong))
    with says(RequestError, "works through guidance"):
        run(film, Request(**ASKED.__dict__ | {"guidance": 1.0}))
    with says(RequestError, "tiny-dit reads no text"):
        run(film, Request("tiny-dit", labels=1, negative_prompt="a cat"))
    with says(RequestError, "does not decode"):
        run(film, Request("tiny-dit", labels=1, vae="smooth"))


def test_one_frame_is_a_picture(film: Hub) -> None:
    result = run(brought(film), Request(**ASKED.__dict__ | {"frames": 1, "vae": "smooth"}))
    assert result.images.shape == (1, 1, 16, 16, 3)
    picture = Image.open(result.files[0].with_suffix(".png"))
    assert np.array_equal(np.asarray(picture), result.images[0, 0])
    assert pictures.read_png(result.files[0].with_suffix(".png"))[1]["request"]["frames"] == 1
    assert video.read(result.files[0])[0].shape == (1, 16, 16, 3)
    assert json.loads(result.files[0].with_suffix(".json").read_text()) == result.receipts[0]


def test_any_number_of_steps_is_taken_where_no_stride_gives_it(film: Hub, says) -> None:
    brought(film)
    with says(RequestError, "No whole stride"):
        Schedule.linear(1e-4, 0.02, 1000).respaced(400, "stride")
    assert run(film, Request(**ASKED.__dict__ | {"steps": 400}), preview=False).stopped_at is None


def test_a_number_of_frames_that_nobody_trained_interpolates_the_table(film: Hub) -> None:
    brought(film)
    assert run(film, Request(**ASKED.__dict__ | {"frames": 7})).images.shape == (1, 7, 16, 16, 3)
    assert run(film, ASKED).images.shape == (1, 4, 16, 16, 3)


def test_a_run_survives_the_removal_of_its_encoder(film: Hub) -> None:
    brought(film)
    for item in film.generate(ASKED):
        if getattr(item, "step", 0) == 3:
            film.models.remove("words")
    assert isinstance(item, Result)
    assert len(item.receipts[0]["weights"]) == 3


@pytest.mark.parametrize("name", ["film", "words", "frames", "smooth"])
def test_every_part_is_verified_and_any_changed_file_is_noticed(film: Hub, says, name: str) -> None:
    brought(film)
    card = film.card(name)
    assert len(list(verify(film.store, card))) == 3
    *_, last = film.store.find(card).digests
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    with says(ChecksumError, "has changed"):
        list(verify(film.store, card))


def test_the_embedding_of_t5_is_asked_for_where_a_file_lacks_it(their_encoder: nn.Module, film: Hub, says) -> None:
    state = {key: value for key, value in their_encoder.state_dict().items() if key != "shared.weight"}
    module = build_module(film.card("words"))
    load_into(module, state)  # some files name the encoder's own copy of it
    assert torch.equal(module.embed_tokens.weight, their_encoder.shared.weight)
    with says(CheckpointError, "embed_tokens.weight is missing"):
        load_into(module, {key: value for key, value in state.items() if "embed" not in key})


def test_a_prompt_and_what_it_leads_away_from_are_on_the_page_and_in_the_api(film: Hub, browser: Browser) -> None:
    brought(film)
    with serving(film) as url:
        client = Client(url, verbose=False)
        path, receipt = client.predict("film", "", "a red bus", 4, 8, 7, 10, "ddim", 7.5, "cat", api_name="/generate_video")
        assert (receipt["request"]["prompt"], receipt["request"]["negative_prompt"]) == ("a red bus", "cat")
        plain = client.predict("film", "", "a red bus", 4, 8, 7, 10, "ddim", 7.5, api_name="/generate_video")[1]
        assert plain["pixels"] != receipt["pixels"]
        with pytest.raises(AppError, match="give a prompt"):
            client.predict("film", "", "", 4, 8, 7, 10, "ddim", 7.5, api_name="/generate_video")
        client.close()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.get_by_role("tab", name="Video").click()
        for title, reads in (("Latte-XL/2 UCF-101", False), ("Film-1", True)):
            page.click("#video-model input")
            page.get_by_role("option", name=title).click()
            expect(page.locator("#video-label")).to_have_count(int(not reads))
            expect(page.locator("#video-negative")).to_have_count(int(reads))
        page.click("#video-generate")
        expect(page.locator("#video-progress .error")).to_contain_text("give a prompt")
        page.set_input_files("#video-drop ~ input[type=file], .controls > input[type=file] >> nth=-1", path)
        expect(page.locator("#video-prompt textarea")).to_have_value("a red bus")
        expect(page.locator("#video-negative :is(input, textarea)")).to_have_value("cat")
        page.click("#video-generate")
        expect(page.locator("#video-verdict")).to_contain_text("Identical: every pixel of every frame")
        page.close()


@torch.no_grad()
def test_frames_are_decoded_together_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    decoder = autoencoders.build_temporal(VAE).eval()
    z = torch.randn(2, 5, 4, 8, 8)
    for parameter in decoder.parameters():
        parameter.add_(torch.randn(parameter.shape) / 10)
    whole = autoencoders.decode(decoder, z, 0.5)
    assert torch.equal(whole[1], decoder.decode(z[1] / 0.5, num_frames=5).sample.clamp(-1, 1))
    monkeypatch.setattr(autoencoders, "CHUNK", 2 * autoencoders.CHUNK // autoencoders.together(decoder, z))
    assert autoencoders.together(decoder, z) == 2
    parts = autoencoders.decode(decoder, z, 0.5)
    assert torch.equal(parts[0, :2], decoder.decode(z[0, :2] / 0.5, num_frames=2).sample.clamp(-1, 1))
    assert not torch.equal(parts[0, :2], whole[0, :2])  # frames do look at their neighbours


def test_the_card_is_the_published_model(capsys: pytest.CaptureFixture) -> None:
    card = cards()["latte-1"]
    with torch.device("meta"):
        sizes = {part: sum(v.numel() for v in build_module(cards()[part]).state_dict().values()) for part in ("latte-1", card.text)}
    assert sizes == {"latte-1": card.cost.params, card.text: cards()[card.text].cost.params}
    assert main(["show", "latte-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "latte-1"
