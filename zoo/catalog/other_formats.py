"""What a file is that is no file of weights: told by how it begins, how it is named, or what a zip archive holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNPACK = "unpack it, and name the file with the weights"
BEGINNINGS = (
    (rb"GGUF", "a GGUF file, as llama.cpp has them", "bring the PyTorch or safetensors file of which it was made"),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes them", "save the weights of a PyTorch model"),
    (rb"\x93NUMPY", "an array of NumPy", "save the tensors by name with torch.save, or as safetensors"),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", "a packed archive", UNPACK),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|.{4}ftyp", "a picture or a clip", "name the file with the weights"),
    (rb"%PDF|\x7fELF|MZ\x90", "a document or a program", "name the file with the weights"),
    (rb"\0{64}", "zeros at its beginning, as a download has that did not finish", "fetch it again"),
)
"""How a file begins, what it is then, and what to do."""
NAMES = (
    (r"\.onnx$", "an ONNX program", "save the state_dict() of the PyTorch model that was exported"),
    (r"\.ckpt(-\d+)?\.(index|meta|data-.*)$|\.pb$|\.tflite$|\.h5$", "a file of TensorFlow", "save the weights of a PyTorch model"),
    (r"\.(msgpack|npz|orbax)$", "a file of JAX or NumPy", "save the tensors by name with torch.save, or as safetensors"),
    (r"\.mlmodel$|\.engine$|\.plan$|\.trt$", "a compiled program", "save the state_dict() of the PyTorch model that was compiled"),
)
"""What a name ends in, what the file is then, and what to do."""
MEMBERS = (
    (r".+\.npy", "an archive of NumPy arrays", "save the tensors by name with torch.save, or as safetensors"),
    (r"(config|metadata)\.json|model\.weights\.h5", "a model of Keras", "save the weights of a PyTorch model"),
    (r"(.+/)?(archive_format|serialized_exported_program\.json)|.+/models/.+\.json", "an exported program",
     "save the state_dict() of the PyTorch model that was exported"),
)  # fmt: skip
"""The name of a file in a zip archive, what that archive is then, and what to do."""
HEAD = 512
"""Bytes of a beginning, so that a tar archive shows."""


def is_page(head: bytes) -> bool:
    """Whether a file begins as a web page does, or as the XML in which a store of files answers with an error."""
    return bool(re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|\?xml|head|body)", head, re.IGNORECASE))


def described(head: bytes, name: str) -> str:
    """What a file is by its beginning and its name, and what to do, to stand after "neither a safetensors file nor ..."."""
    for pattern, what, advice in BEGINNINGS:
        if re.match(pattern, head, re.DOTALL):
            return f", but {what}: {advice}"
    for pattern, what, advice in NAMES:
        if re.search(pattern, name, re.IGNORECASE):
            return f", but {what}: {advice}"
    text = head.decode("utf-8", "ignore")
    if text and all(sign.isprintable() or sign.isspace() for sign in text):
        return f", but text, which begins with {' '.join(text.split())[:60]!r}: name the file with the weights, or fetch it again"
    return ": name the file with the weights, or fetch the model again"


def described_archive(names: Iterable[str]) -> str:
    """What a zip archive is by the names in it, and what to do, to stand after "a zip archive, but not a checkpoint of torch.save"."""
    names = list(names)
    for pattern, what, advice in MEMBERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return f": it is {what}, so {advice}"
    return f": {UNPACK}"
