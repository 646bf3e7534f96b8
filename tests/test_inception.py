"""The Inception of the Frechet Inception Distance: the keys of its file, the numbers of torch-fidelity, the resize of TensorFlow 1."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.networks.inception import Inception, resize

FEATURES = [30, 644, 882, 1123, 1652, 2029]
"""A large feature of each end of the last block's branches."""
LOGITS = [0, 1, 500, 1007]


def seeded() -> Inception:
    """The network with numbers of one seed everywhere, scaled so that a layer gives about what it is given."""
    with torch.device("meta"):
        module = Inception()
    generator, state = torch.Generator().manual_seed(0), {}
    for key, value in sorted(module.state_dict().items()):
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        drawn = torch.rand(value.shape, generator=generator)
        if value.ndim > 1:
            state[key] = (2 * drawn - 1) * (6 / value[0].numel()) ** 0.5
        else:  # factors and variances about 1, means and biases about 0
            state[key] = drawn + (0.5 if key.endswith(("bn.weight", "running_var")) else -0.5)
    module.load_state_dict(state, assign=True)
    return module


def pictures() -> Tensor:
    """Two pictures, 24 high and 40 wide, of levels that are computed in whole numbers: (2, 3, 24, 40) uint8."""
    c, y, x = torch.meshgrid(torch.arange(3), torch.arange(24), torch.arange(40), indexing="ij")
    return torch.stack([7 * y + 3 * x + 50 * c, x * y + 31 * c * y]).remainder(256).to(torch.uint8)


@pytest.fixture(scope="module")
def network() -> Inception:
    """The seeded network, made once."""
    return seeded()


def test_the_keys_and_shapes_are_those_of_the_published_file() -> None:
    """94 convolutions with five tensors and a counter each, and the classifier with its bias: as torch-fidelity's module has them."""
    with torch.device("meta"):
        state = Inception().state_dict()
    counters = {key for key in state if key.endswith("num_batches_tracked")}
    assert (len(state), len(counters)) == (566, 94)
    assert sum(value.numel() for key, value in state.items() if key not in counters) == 23_885_392
    assert {key.split(".")[0] for key in state} == {
        "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "Mixed_5b", "Mixed_5c", "Mixed_5d",
        "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "fc",
    }  # fmt: skip
    assert [key.removeprefix("Conv2d_1a_3x3.") for key in state][:6] == [
        "conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked",
    ]  # fmt: skip
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch1x1.conv.weight": (64, 192, 1, 1),
        "Mixed_5d.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch_pool.bn.running_mean": (192,),
        "Mixed_7a.branch7x7x3_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
        "fc.weight": (1008, 2048),
        "fc.bias": (1008,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


@torch.no_grad()
def test_features_and_logits_are_those_of_torch_fidelity(network: Inception) -> None:
    """What FeatureExtractorInceptionV3 of torch-fidelity 0.4.0 gave of the same weights and pictures, as `2048` and `logits`."""
    between = 0.3 / 127.5  # of two levels, so that it is the nearest that counts
    features, logits = network(pictures() / 127.5 - 1 + between)
    assert (features.shape, logits.shape) == ((2, 2048), (2, 1008))
    given = [
        (features[:, FEATURES], [[53.87753, 48.10455, 37.79813, 36.4383, 51.3297, 71.16819],
                                 [54.61177, 50.13371, 40.04613, 35.76352, 52.40288, 71.84824]]),
        (features.mean(1), [5.527596, 5.660593]),
        (logits[:, LOGITS], [[-3.68464, -4.439327, -13.46723, -21.93752], [-4.463436, -4.712145, -15.27027, -23.11309]]),
        (logits.std(1), [13.80418, 14.16004]),
    ]  # fmt: skip
    for ours, theirs in given:
        torch.testing.assert_close(ours, torch.tensor(theirs), rtol=1e-4, atol=0)


def test_the_resize_reads_a_pixel_at_its_number_times_the_ratio_of_the_sizes() -> None:
    four = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])  # read at 0, 0.5, 1, and at 1.5, past the last pixel
    up = [[0.0, 2.0, 4.0, 4.0], [4.0, 6.0, 8.0, 8.0], [8.0, 10.0, 12.0, 12.0], [8.0, 10.0, 12.0, 12.0]]
    assert resize(four, 4)[0, 0].tolist() == up
    wide = torch.tensor([[[[10.0, 99.0, 20.0, 40.0, 99.0]]]])  # read at 0 and 2.5: what lies between does not count
    assert resize(wide, 2)[0, 0].tolist() == [[10.0, 30.0], [10.0, 30.0]]
    own = torch.arange(27.0).view(1, 3, 3, 3)
    assert torch.equal(resize(own, 3), own)
