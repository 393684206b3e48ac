"""The optimizer against `torch.optim.SGD`, to the bit."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from search_spaces import build
from trials.training.optimizer import NesterovSGD
from trials.training.recipe import Recipe


@pytest.mark.parametrize(
    ("dtype", "as_tensor"), [(torch.float32, False), (torch.float64, True)], ids=str
)
def test_steps_equal_those_of_torch_optim_to_the_bit(dtype, as_tensor):
    recipe = Recipe(epochs=1, momentum=0.8, weight_decay=3e-3)
    ours = build("resnet-8", "2:1", width=4).to(dtype).to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    optimizer = NesterovSGD(ours, recipe)
    reference = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=0.8, nesterov=True, weight_decay=3e-3, fused=True
    )
    generator = torch.Generator().manual_seed(0)
    for rate in (0.125, 0.25, 0.0625):  # exact in float32
        x = torch.randn(8, 3, 8, 8, generator=generator, dtype=dtype)
        optimizer.learning_rate = torch.tensor(rate) if as_tensor else rate
        reference.param_groups[0]["lr"] = rate
        optimizer.forget_gradients()
        reference.zero_grad()
        for model in (ours, theirs):
            model(x).square().mean().backward()
        optimizer.step()
        reference.step()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert torch.equal(optimizer.state[name], reference.state[other]["momentum_buffer"])


def test_a_training_loads_no_compiler():
    """It would take seconds in every worker."""
    code = (
        "import sys; from trials import *; load = load_data('digits', train_limit=40); "
        "spec = TrialSpec(backbone='plain-5', width=2, placement='2:1', recipe=Recipe(epochs=1)); "
        "run_trial(spec, load); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
