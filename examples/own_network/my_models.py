"""A small residual network for small images, as anybody may have one."""

from torch import Tensor, nn


class Block(nn.Module):
    """conv - BN - ReLU - conv - BN, + shortcut, and the same ReLU object again."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body1 = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.body2 = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.shortcut = nn.Identity()
        if channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body2(self.relu(self.body1(x)))
        return self.relu(y + self.shortcut(x))


def make_model(num_classes: int, in_channels: int, width: int = 8, blocks: int = 2) -> nn.Module:
    """Three stages of residual blocks.

    Args:
        num_classes, in_channels: they are given by relu-search.
        width: channels of the first stage.
        blocks: per stage.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    channels = width
    for stage in range(3):
        for i in range(blocks):
            layers.append(Block(channels, width * 2**stage, 2 if stage and i == 0 else 1))
            channels = width * 2**stage
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(channels, num_classes),
    ]
    return nn.Sequential(*layers, *head)
