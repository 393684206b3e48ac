"""Single blocks: shapes, strides, shortcuts, and one ReLU per convolution."""

import pytest
import torch
from torch import nn

from search_spaces.networks.blocks import (
    BasicBlock,
    Fork,
    MergeRunBlock,
    MergeRunLastBlock,
    PlainBlock,
    PreBasicBlock,
    PreBottleneckBlock,
    PrePlainBlock,
)

# Convolutions without projections, ReLUs, output channels as a multiple of the width.
BLOCKS = {
    PlainBlock: (1, 1, 1),
    PrePlainBlock: (1, 1, 1),
    BasicBlock: (2, 2, 1),
    PreBasicBlock: (2, 2, 1),
    PreBottleneckBlock: (3, 3, 4),
    MergeRunBlock: (4, 4, 1),
    MergeRunLastBlock: (4, 3, 1),
}
MERGE_RUN = (MergeRunBlock, MergeRunLastBlock)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def run(block, x):
    return block((x, x)) if isinstance(block, MERGE_RUN) else block(x)


@pytest.mark.parametrize(("stride", "size"), [(1, 8), (2, 7)])
@pytest.mark.parametrize("block_class", BLOCKS)
def test_block_halves_the_image_by_its_stride(block_class, stride, size):
    width = 6
    channels_out = BLOCKS[block_class][2] * width
    channels_in = channels_out if stride == 1 else channels_out // 2
    outputs = run(block_class(channels_in, width, stride), torch.randn(2, channels_in, size, size))
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        assert output.shape == (2, channels_out, -(-size // stride), -(-size // stride))
    assert isinstance(outputs, tuple) == (block_class is MergeRunBlock)


@pytest.mark.parametrize("block_class", BLOCKS)
def test_block_is_written_paired(block_class):
    convs, relus, expansion = BLOCKS[block_class]
    block = block_class(6 * expansion, 6, 1)
    modules = list(block.modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == convs
    assert sum(isinstance(m, nn.ReLU) for m in modules) == len(block.sites) == relus
    assert not any(m.inplace for m in modules if isinstance(m, nn.ReLU))
    assert all(m.bias is None for m in modules if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("block_class", "projections", "projection_norms"),
    [
        (BasicBlock, 1, 1),
        (PreBasicBlock, 1, 0),
        (PreBottleneckBlock, 1, 0),
        (MergeRunBlock, 2, 2),
        (MergeRunLastBlock, 2, 2),
    ],
)
def test_only_a_width_change_adds_projections(block_class, projections, projection_norms):
    expansion = BLOCKS[block_class][2]
    straight = list(block_class(8 * expansion, 8, 1).modules())
    widening = list(block_class(4 * expansion, 8, 2).modules())

    def count(kind):
        return sum(isinstance(m, kind) for m in widening) - sum(
            isinstance(m, kind) for m in straight
        )

    assert (count(nn.Conv2d), count(nn.BatchNorm2d)) == (projections, projection_norms)
    strides = [m.stride for m in widening if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert strides.count((2, 2)) == projections + (block_class is PreBottleneckBlock)


@pytest.mark.parametrize("block_class", [BasicBlock, PreBasicBlock, PreBottleneckBlock])
def test_block_with_a_silent_branch_is_its_shortcut(block_class):
    block = block_class(4 * BLOCKS[block_class][2], 4, 1)
    last = [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    x = torch.rand(2, 4 * BLOCKS[block_class][2], 8, 8)
    assert torch.equal(block.eval()(x), x)


def test_merge_and_run_hands_both_branches_the_mean_of_the_inputs():
    block = MergeRunBlock(4, 4, 1).eval()
    for branch in (block.branch1, block.branch2):
        nn.init.zeros_(branch.conv2.weight)
    x1, x2 = torch.rand(2, 3, 4, 8, 8)
    for output in block((x1, x2)):
        torch.testing.assert_close(output, (x1 + x2) / 2)


def test_fork_gives_the_same_tensor_twice():
    x = torch.rand(1, 2, 3, 3)
    x1, x2 = Fork()(x)
    assert x1 is x
    assert x2 is x
