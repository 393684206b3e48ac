"""Statistics of the present weights, against a computation by hand."""

from __future__ import annotations

import torch
from torch import nn

from trials.training.evaluation import precise_statistics
from trials.training.recipe import Recipe

RECIPE = Recipe(epochs=1)


def test_precise_statistics_are_those_of_the_images():
    """The second layer sees what the first one gives in training, as in any training step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    model[0].momentum = 0.3
    for _ in range(3):
        model(5 * torch.randn(8, 3, 4, 4) + 2)  # running statistics of other images
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    addresses = [buffer.data_ptr() for buffer in model.buffers()]
    x, other = torch.randn(50, 3, 4, 4), torch.randn(9, 3, 4, 4)
    with precise_statistics(model, x, RECIPE):
        assert not model.training
        found = model(other)

    def normal(values, by, *, unbiased):
        mean = by.mean(dim=(0, 2, 3), keepdim=True)
        variance = by.var(dim=(0, 2, 3), keepdim=True, unbiased=unbiased)
        return (values - mean) / (variance + 1e-5).sqrt()

    first, first_of_x = normal(other, x, unbiased=True), normal(x, x, unbiased=False)
    expected = normal(first.relu(), first_of_x.relu(), unbiased=True)
    torch.testing.assert_close(found, expected)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert [buffer.data_ptr() for buffer in model.buffers()] == addresses
    assert model[0].momentum == 0.3
