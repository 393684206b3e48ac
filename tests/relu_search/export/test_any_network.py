"""Exports of networks beyond the six families; their cards run no code that nobody has named."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import torchvision
from helpers import odd_networks
from safetensors.torch import load_file

from relu_search.export.bench import run_bench
from relu_search.export.exported_model import export_model, load_exported
from relu_search.export.folded_pairs import fold_all_pairs, fold_for, macs_after_fold
from search_spaces import FunctionBackbone, InputError, build, parse_backbone

FILE = odd_networks.__file__
SIZE = {"image_size": [12, 12]}


@pytest.fixture
def network():
    made = FunctionBackbone(odd_networks.SharedRelu)
    return build(made, "2:1", generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.slow  # the ONNX exporter
def test_each_form_is_proved_and_the_weights_fit_the_users_own_network(network, tmp_path):
    export_model(network, tmp_path, ["onnx", "pt2"], details=SIZE)
    card = json.loads((tmp_path / "card.json").read_text())
    assert {name: form["proof"]["argmax_agreement"] for name, form in card["forms"].items()} == {
        "safetensors": 1,
        "onnx": 1,
        "pt2": 1,
    }
    assert (card["backbone"], card["width"]) == ("helpers.odd_networks:SharedRelu", None)
    theirs = odd_networks.SharedRelu()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))
    images = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    again = load_exported(tmp_path, card["backbone"])
    assert torch.equal(again(images), network(images))
    assert again.placement.bits == "0101"


def test_models_of_torchvision_load_without_being_named(tmp_path):
    made = build("torchvision:squeezenet1_1", num_classes=4)
    export_model(made, tmp_path, details={"image_size": [32, 32]})
    again = load_exported(tmp_path)
    theirs = torchvision.models.squeezenet1_1(num_classes=4)
    assert again.state_dict().keys() == theirs.state_dict().keys()


def test_the_code_of_a_card_runs_only_if_it_is_named(tmp_path):
    trap, trace = tmp_path / "trap.py", tmp_path / "trace"
    trap.write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        "from helpers.odd_networks import shared_relu\n"
    )
    export_model(build(f"{trap}:shared_relu"), tmp_path / "out", details=SIZE)
    trace.unlink()
    for name in [name for name in sys.modules if name.startswith("relu_search_own_")]:
        del sys.modules[name]
    for use in (
        lambda: load_exported(tmp_path / "out"),
        lambda: export_model(tmp_path / "out", tmp_path / "again"),
        lambda: run_bench(str(tmp_path / "out"), batches=[1], rounds=2),
    ):
        with pytest.raises(InputError, match=r"add: --backbone trap\.py:shared_relu"):
            use()
    assert not trace.exists()
    assert str(tmp_path) not in (tmp_path / "out" / "card.json").read_text()
    assert load_exported(tmp_path / "out", f"{trap}:shared_relu").placement.bits == "1111"


def test_the_python_form_is_refused_for_its_reason(network, tmp_path):
    with pytest.raises(InputError, match="format python writes the six families"):
        export_model(network, tmp_path, ["python"], details=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_pairs_are_folded_where_the_graph_allows_it(network):
    pairs = fold_for(network, "never", ["pt2"], (3, 12, 12)).pairs
    # conv1 - conv2 of both blocks: their first ReLU is dropped
    assert [(pair.pair.first, pair.pair.second) for pair in pairs] == [
        ("model.block1.conv1", "model.block1.conv2"),
        ("model.block2.conv1", "model.block2.conv2"),
    ]
    images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    difference = fold_all_pairs(network)(images) - network(images)
    assert difference.abs().max() < 1e-5


def test_a_convolution_that_is_called_twice_is_not_folded():
    network = build(FunctionBackbone(odd_networks.Looped), "linear").eval()
    assert fold_for(network, "never", ["pt2"], (3, 12, 12)).pairs == ()


def test_a_network_that_cannot_be_traced_is_left_and_reported(tmp_path):
    class Branching(odd_networks.Nested):
        def forward(self, x):
            return super().forward(x if x.shape[2] > int(x.new_tensor(3)) else -x)

    odd_networks.Branching = Branching
    Branching.__module__, Branching.__qualname__ = "helpers.odd_networks", "Branching"
    try:
        network = build(FunctionBackbone(Branching)).eval()
        folded = fold_for(network, "always", ["pt2"], (3, 12, 12))
        assert folded.networks["pt2"] is network
        assert folded.to_json()["norms"].startswith("torch.fx cannot trace this network")
        with pytest.raises(InputError, match="nothing in it can be folded"):
            macs_after_fold(network, (3, 12, 12))
    finally:
        del odd_networks.Branching


@pytest.mark.parametrize("width", [8, "x"])
def test_a_family_has_a_width_in_its_card_and_a_function_a_network(width, tmp_path):
    export_model(build(parse_backbone("plain-8", 2)), tmp_path, details={"image_size": [8, 8]})
    card = json.loads((tmp_path / "card.json").read_text())
    card |= {"backbone": "evil.py:make", "width": width}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"backbone 'evil\.py:make' is unknown|'width' is 'x'"):
        load_exported(tmp_path)
