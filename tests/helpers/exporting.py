"""Small networks to export."""

from __future__ import annotations

import torch
from torch import nn

from search_spaces import Backbone, build, resolve_placement

NETWORKS = [
    ("plain-8", "01*3"),
    ("preplain-8", "2:1"),
    ("resnet-8", "2:1/second"),
    ("preresnet-8", "pyramidnet"),
    ("preresnet-bottleneck-11", "3:2/type3"),
    ("dfn-14", "4:3/type2"),
]
PLACEMENTS = {
    "plain-8": ("paired", "2:1", "linear", "101101"),
    "preplain-8": ("paired", "2:1", "linear", "2:1@drop-norm"),
    "resnet-8": ("paired", "2:1/first", "2:1/second", "0*6@drop-norm"),
    "preresnet-8": ("paired", "2:1/second", "pyramidnet", "01*3@drop-norm"),
    "preresnet-bottleneck-11": ("paired", "3:2/type1", "3:2/type2", "3:2/type3"),
    "dfn-14": ("paired", "4:3/type1", "4:3/type2", "linear"),
}
NORMALISATION = {"mean": [120.0, 125.0, 130.0], "std": [60.0, 65.0, 70.0]}


def initial_network(backbone="plain-8", placement="01*3", **options):
    """A network with initial weights and statistics of one batch of noise."""
    generator = torch.Generator().manual_seed(3)
    options = {"num_classes": 7, "in_channels": 1, **options}
    model = build(Backbone.parse(backbone, 4), placement, generator=generator, **options)
    model.train()(torch.rand(8, options["in_channels"], 8, 8, generator=generator))
    return model.eval()


def images(channels=1):
    return torch.rand(5, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def placement_of(backbone, text):
    """A placement text, or a module name with or without the norm suffix."""
    name, at, _ = text.partition("@drop-norm")
    return resolve_placement(backbone, name, "drop" if at else "keep")


def network_of(backbone, placement, *, classes=10, activation="relu", steps=0):
    """A small network, trained on noise for a few steps so that BatchNorms have seen something."""
    generator = torch.Generator().manual_seed(3)
    spec = Backbone.parse(backbone, 4)
    model = build(
        spec,
        placement_of(spec, placement),
        num_classes=classes,
        activation=activation,
        generator=generator,
    ).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        images = torch.randn(16, 3, 16, 16, generator=generator) * 2 + 0.5
        labels = torch.randint(0, classes, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()
