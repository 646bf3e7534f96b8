"""Text encoders from transformers: prompts to the context that a text-to-image model attends to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

VOCABULARY, MERGES = "vocab.json", "merges.txt"


def build(arch: dict) -> nn.Module:
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


def tokenizer(files: Mapping[str, Path]) -> Any:
    """CLIP's tokenizer from its vocab.json and merges.txt, wherever they lie. Raises CheckpointError for damaged ones."""
    from transformers import CLIPTokenizer

    try:
        vocabulary = json.loads(files[VOCABULARY].read_text(encoding="utf-8"))
        lines = files[MERGES].read_text(encoding="utf-8").splitlines()
        merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        return CLIPTokenizer(vocab=vocabulary, merges=merges)
    except KeyError as error:
        raise CheckpointError(f"The text encoder lacks {error.args[0]}: fetch it again, or import that file with it.") from None
    except Exception as error:  # tokenizers raises bare Exception for merges that do not fit the vocabulary
        reason = " ".join(str(error).split())[:100]
        raise CheckpointError(f"{VOCABULARY} or {MERGES} of the text encoder is damaged ({reason}): fetch it again.") from None


@torch.no_grad()
def encode(encoder: nn.Module, files: Mapping[str, Path], prompts: Sequence[str]) -> Tensor:
    """Encode prompts as the last hidden states (b, n, d) in float32, each cut or padded to the n tokens that the encoder holds.

    No padding mask is given, as U-ViT's libs/clip.py gives none.
    """
    length = encoder.config.max_position_embeddings
    words = tokenizer(files)(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    device = next(encoder.parameters()).device
    return encoder(input_ids=words["input_ids"].to(device)).last_hidden_state.float()
