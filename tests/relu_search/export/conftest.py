"""Exported models, and a function that damages a card."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.exporting import NORMALISATION, initial_network, network_of

from relu_search import export_model


@pytest.fixture
def exported(tmp_path):
    """A folder with an exported network, and a function that changes its card."""
    folder = tmp_path / "model"
    export_model(initial_network(), folder)

    def change(**entries):
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, **entries}))

    return folder, change


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A model in all forms, pairs folded, uint8 images in; and its folder."""
    model = network_of("plain-5", "2:1", steps=3)
    folder = tmp_path_factory.mktemp("whole") / "out"
    export_model(
        model,
        folder,
        ["safetensors", "onnx", "pt2", "python"],
        details={
            "image_size": [16, 16],
            "normalisation": NORMALISATION,
            "classes": [f"class {i}" for i in range(10)],
        },
        fold="always",
        normalise_inside=True,
        real_images=torch.full((3, 16, 16, 3), 200, dtype=torch.uint8),
    )
    return model, folder


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "given"
    export_model(network_of("plain-8", "2:1"), folder, details={"image_size": [16, 16]})
    return folder
