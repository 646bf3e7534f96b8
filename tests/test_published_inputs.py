"""Recorded numbers of texts, and of a picture at another size than the model's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from test_look import card_words, random_module
from test_published_numbers import CATS, cats, recorded, stand_in

from zoo.engine.hub import Hub
from zoo.engine.verify import admit, verify
from zoo.errors import CheckpointError
from zoo.networks.build import build_module

__all__ = ["cats", "stand_in"]


@torch.no_grad()
def test_a_picture_of_another_size_is_compared_with_the_position_table_interpolated(stand_in: Callable, says: Callable, cats: Path) -> None:
    from transformers import ViTImageProcessorPil

    module = random_module("vit")
    with Image.open(cats) as picture:
        x = ViTImageProcessorPil(size={"height": 56, "width": 56})(picture, return_tensors="pt")["pixel_values"]
    hidden = module.vit(x, interpolate_pos_encoding=True).last_hidden_state
    entry = recorded({"picture": CATS}, "last_hidden_state[0, :3, :3]", hidden[0, :3, :3].flatten(), side=56)
    for pixels in ({"resample": "bilinear"}, {"resize": 40, "resample": "bilinear"}):  # whatever the model's own size is cut from
        hub, card = stand_in(card_words("vit", pixels=pixels), module, [entry])
        *_, said = verify(hub.store, card, [cats])
        assert "verified against 9" in said
        assert f"last_hidden_state[0, :3, :3] of the picture {CATS} at 56 x 56" in said
    hub, card = stand_in(card_words("vit"), module, [entry | {"side": 64}])
    with says(CheckpointError, "mine computes"):
        list(verify(hub.store, card, [cats]))


@torch.no_grad()
def test_what_a_text_encoder_makes_of_a_text_is_compared(
    stand_in: Callable, hub_with: Callable[..., Hub], says: Callable, tmp_path: Path
) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    words = {**{chr(97 + k): k for k in range(3)}, "a</w>": 3, "cat</w>": 4, "t</w>": 5, "ca": 6, "c": 2, "<|startoftext|>": 7}
    (tmp_path / "vocab.json").write_text(json.dumps(words | {"<|endoftext|>": 8}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    torch.manual_seed(0)
    theirs = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=9, hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=7,
            bos_token_id=7, eos_token_id=8,
        )
    ).eval()  # fmt: skip
    hidden = theirs(torch.tensor([[7, 3, 4, 8]])).last_hidden_state  # as it is: nothing fills it up
    arch = {"vocab_size": 9, "num_context_tokens": 7, "hidden_size": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 4}
    source = {"from": "huggingface", "repo": "a/b", "file": "model.safetensors", "also": ["vocab.json", "merges.txt"]}
    entry = recorded({"text": "a cat"}, "last_hidden_state[0, 1:4, 1:4]", hidden[0, 1:4, 1:4].flatten())
    card = {"title": "small CLIP", "family": "clip-text", "task": "text-encoder", "arch": arch, "weights": [source]}
    hub = hub_with({
        "mine": card | {"expected": [entry]}, "other": card | {"expected": [entry | {"input": {"text": "cat a"}}]},
        "odd": card | {"expected": [entry | {"output": "pooler_output[0, :9]"}]},
    })  # fmt: skip
    state = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in theirs.state_dict().items()}
    state |= {
        "vision_model.post_layernorm.weight": torch.ones(3),
        "text_projection.weight": torch.ones(3, 3),
        "logit_scale": torch.ones(()),
    }
    save_file(state, tmp_path / "model.safetensors")
    for name in ("mine", "other", "odd"):
        admit(hub.store, hub.card(name), [tmp_path / file for file in ("model.safetensors", "vocab.json", "merges.txt")])
    *_, said = verify(hub.store, hub.card("mine"))
    assert "verified against 9" in said
    assert "last_hidden_state[0, 1:4, 1:4] of the text 'a cat'" in said
    with says(CheckpointError, "other computes"):
        list(verify(hub.store, hub.card("other")))
    with says(CheckpointError, "odd has no pooler_output"):
        list(verify(hub.store, hub.card("odd")))


def test_the_pieces_of_a_text_are_compared_as_it_stands(hub_with: Callable[..., Hub], says: Callable, tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    (tmp_path / "text.txt").write_text("Studies show that a dog is good\nowning a dog is good for you\n" * 20)
    SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=22, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    numbers = [*pieces.encode("Studies show a dog"), 1]
    arch = {"vocab_size": 22, "num_context_tokens": 12, "hidden_size": 16, "depth": 1, "num_heads": 2, "mlp_ratio": 2}
    source = {"from": "huggingface", "repo": "a/b", "file": "model.safetensors", "also": ["spiece.model"]}
    words = {"title": "small T5", "family": "t5", "task": "text-encoder", "arch": arch, "weights": [source]}
    hub = hub_with({
        "mine": words | {"expected": [recorded({"text": "Studies show a dog"}, "tokens", numbers, tolerance=0)]},
        "other": words | {"expected": [recorded({"text": "Studies show a cat"}, "tokens", numbers[:2], tolerance=0)]},
    })  # fmt: skip
    torch.manual_seed(0)
    save_file(build_module(hub.card("mine")).state_dict(), tmp_path / "model.safetensors")
    for name in ("mine", "other"):
        admit(hub.store, hub.card(name), [tmp_path / "model.safetensors", tmp_path / "spiece.model"])
    *_, said = verify(hub.store, hub.card("mine"))
    assert f"verified against {len(numbers)}, the farthest 0e+00 away: tokens of the text 'Studies show a dog'" in said
    with says(CheckpointError, "tokens of other are", "its card has 2"):
        list(verify(hub.store, hub.card("other")))
