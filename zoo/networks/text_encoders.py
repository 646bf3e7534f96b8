"""Text encoders from transformers: a prompt to the context that a text-to-image or text-to-video model attends to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zoo.catalog.files import atomic_write
from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

VOCABULARY, MERGES, PIECES = "vocab.json", "merges.txt", "spiece.model"
MAX_CONTEXTS = 100
"""Contexts that stay on disk, at most 2 MB each."""


def build_clip(arch: dict) -> nn.Module:
    """Build transformers' CLIPTextModel, randomly initialised, from vocab_size num_context_tokens hidden_size depth num_heads mlp_ratio."""
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=arch["vocab_size"],
            hidden_size=arch["hidden_size"],
            intermediate_size=int(arch["hidden_size"] * arch["mlp_ratio"]),
            num_hidden_layers=arch["depth"],
            num_attention_heads=arch["num_heads"],
            max_position_embeddings=arch["num_context_tokens"],
            hidden_act="quick_gelu",
            bos_token_id=arch["vocab_size"] - 2,
            eos_token_id=arch["vocab_size"] - 1,
        )
    )
    model.embeddings.position_ids = torch.arange(arch["num_context_tokens"], device="cpu")[None]  # in no file, so never left on meta
    return model


def build_t5(arch: dict) -> nn.Module:
    """Build the encoder of transformers' T5 v1.1, randomly initialised, from vocab_size hidden_size depth num_heads mlp_ratio."""
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Stack

    return T5Stack(
        T5Config(
            vocab_size=arch["vocab_size"],
            d_model=arch["hidden_size"],
            d_kv=arch["hidden_size"] // arch["num_heads"],
            d_ff=int(arch["hidden_size"] * arch["mlp_ratio"]),
            num_layers=arch["depth"],
            num_heads=arch["num_heads"],
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def tokens(arch: Mapping[str, Any], files: Mapping[str, Path], prompt: str) -> tuple[list[int], int]:
    """Cut a prompt into the num_context_tokens numbers that its encoder takes, padded, and how many of them are the prompt's.

    CLIP's prompts are mended by ftfy first, as the tokenizer of U-ViT's libs/clip.py does where ftfy is installed, which U-ViT's README
    asks for; its encoder sees no padding mask, as that gives none: all its numbers count. T5's prompts are lowered and stripped, as
    diffusers' LattePipeline does with clean_caption=False. Raises CheckpointError for missing or damaged files.
    """
    from ftfy import fix_text

    count = arch["num_context_tokens"]
    try:
        if PIECES in files:
            pieces = _pieces(files)
            numbers = [*pieces.encode(prompt.lower().strip())[: count - 1], pieces.eos_id()]
            return numbers + [pieces.pad_id()] * (count - len(numbers)), len(numbers)
        words = _clip_tokenizer(files)(fix_text(prompt), padding="max_length", truncation=True, max_length=count)
        return words["input_ids"], count
    except KeyError as error:
        raise CheckpointError(f"The text encoder lacks {error.args[0]}: fetch it again, or import that file with it.") from None
    except Exception as error:  # tokenizers raises bare Exception for merges that do not fit the vocabulary
        reason = " ".join(str(error).split())[:100]
        file_name = PIECES if PIECES in files else f"{VOCABULARY} or {MERGES}"
        raise CheckpointError(f"{file_name} of the text encoder is damaged ({reason}): fetch it again.") from None


def piece_numbers(files: Mapping[str, Path], text: str) -> list[int]:
    """The numbers of the pieces of a text as it stands, and of its end, by T5's tokenizer. Raises CheckpointError for a damaged file."""
    try:
        pieces = _pieces(files)
        return [*pieces.encode(text), pieces.eos_id()]
    except (KeyError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{PIECES} of the text encoder is damaged or missing ({str(error)[:100]}): fetch it again.") from None


def _pieces(files: Mapping[str, Path]) -> Any:
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(files[PIECES]))


def _clip_tokenizer(files: Mapping[str, Path]) -> Any:
    from transformers import CLIPTokenizer

    vocabulary = json.loads(files[VOCABULARY].read_text(encoding="utf-8"))
    lines = files[MERGES].read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


@torch.no_grad()
def encode(encoder: nn.Module, arch: Mapping[str, Any], files: Mapping[str, Path], prompt: str) -> tuple[Tensor, int]:
    """Encode one prompt as the last hidden states (n, d) in float32 on the CPU, and how many of them, from the first, the prompt fills."""
    numbers, length = tokens(arch, files, prompt)
    ids = torch.tensor([numbers], device=next(encoder.parameters()).device)
    mask = (torch.arange(len(numbers), device=ids.device) < length)[None] if length < len(numbers) else None
    return encoder(input_ids=ids, attention_mask=mask).last_hidden_state[0].float().cpu(), length


class Contexts:
    """What prompts were encoded to, kept in a folder, so that a text encoder is loaded for new prompts only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def bytes(self) -> int:
        """What the folder holds."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def get(self, encoder_key: str, prompt: str, encode: Callable[[], tuple[Tensor, int]]) -> tuple[Tensor, int]:
        """The context of a prompt and its filled part, from the folder or encoded now; what: the encoder, its digest and dtype."""
        name = hashlib.sha256(json.dumps([encoder_key, prompt]).encode()).hexdigest()
        path = self.folder / f"{name}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):  # not there, or damaged: encoded again
            tensors = load_file(path)
            os.utime(path)
            return tensors["context"], int(tensors["filled"])
        context, length = encode()
        with suppress(OSError, SafetensorError):  # a full disk costs the encoding next time, not the picture
            with atomic_write(path, private=True) as part:
                save_file({"context": context.contiguous(), "filled": torch.tensor(length)}, part)
            for old in sorted(self.folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime)[:-MAX_CONTEXTS]:
                old.unlink(missing_ok=True)
        return context, length
