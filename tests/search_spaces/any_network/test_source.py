"""Which code a name leads to, and that no name of a stranger runs any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers import odd_networks

from search_spaces import FunctionBackbone, InputError, backbone_from_json, build, parse_backbone
from search_spaces.any_network.source import names_code, read_source, source_of

FILE = odd_networks.__file__
ODD = f"{FILE}:shared_relu"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("nothere.py:make", "there is no file"),
        (f"{FILE}:nothing", "has no function 'nothing'"),
        (f"{FILE}:CHANNELS", "has no function 'CHANNELS'"),
        (f"{FILE}:wants_depth", "wants other arguments.*'depth'.*--backbone-args"),
        (f"{FILE}:fails", "makes no network: RuntimeError: no luck today"),
        (f"{FILE}:no_module", "returns 'a text'; it must return an nn.Module"),
        (f"{FILE}:scripted", "is TorchScript"),
        ("no.such.module:make", "there is no module 'no.such.module'"),
        ("helpers.odd_networks:nothing", "has no function"),
        ("torchvision:resnet81", "no classification model 'resnet81'; similar: .*resnet18"),
        ("torchvision:deeplabv3_resnet50", "no classification model"),
        ("torchvision:", "is unknown; write torchvision:NAME"),
        ("a b:c", "is unknown; write torchvision:NAME"),
        ("timm:hf_hub:evil/model", "is unknown; write torchvision:NAME"),
        ("preresnet19", "or torchvision:NAME"),
        ("resnet-101", "the network of ImageNet is torchvision:resnet101"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_way_out(name, rule):
    with pytest.raises(InputError, match=rule) as caught:
        parse_backbone(name)
    assert "\n" not in str(caught.value)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'relu-search\[timm\]'"):
        parse_backbone("timm:resnet18")


@pytest.mark.parametrize("text", ["[1]", "{", '{"a b": 1}', "3", '{"a": 1' + "0" * 20_000 + "}"])
def test_arguments_must_be_a_json_object(text):
    with pytest.raises(InputError, match="JSON object"):
        read_source("torchvision:resnet18", text)


@pytest.mark.parametrize("key", ["weights", "pretrained", "checkpoint_path", "num_classes"])
def test_a_library_gets_no_weights_and_no_number_of_classes(key):
    with pytest.raises(InputError, match=f"has '{key}'"):
        read_source("timm:resnet18", f'{{"{key}": "x"}}')


def test_a_network_that_does_not_take_the_number_of_classes_is_told_so():
    made = parse_backbone(f"{FILE}:without_classes")
    with pytest.raises(InputError, match=r"returns \(1, 10\) .* 7 classes.*num_classes"):
        made.measured(7, 3, (12, 12))


def test_images_that_are_too_small_give_the_error_of_the_network():
    made = parse_backbone(f"{FILE}:wants_large_images")
    with pytest.raises(InputError, match=r"on images of 3x12x12 pixels: RuntimeError: .*size"):
        made.measured(10, 3, (12, 12))


def test_a_function_is_named_by_its_import_path():
    source = source_of(odd_networks.shared_relu)
    assert source.text == "helpers.odd_networks:shared_relu"
    assert FunctionBackbone(odd_networks.shared_relu) == parse_backbone(source.text)
    with pytest.raises(InputError, match="cannot be imported by other processes"):
        FunctionBackbone(lambda num_classes: odd_networks.Nested(num_classes=num_classes))


def test_models_of_a_library_are_no_code_but_texts_in_their_arguments_are():
    assert not names_code("torchvision:resnet18", '{"width_per_group": 32}')
    assert names_code("timm:resnet18", '{"act_layer": "silu"}')
    assert names_code("os:system", None)
    assert names_code("evil.py:make", None)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A file that makes a network, and leaves a trace when it is imported."""
    file = tmp_path / "trap.py"
    file.write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'trace')!r}).touch()\n"
        "from helpers.odd_networks import shared_relu\n"
    )
    return file


def test_what_a_file_records_runs_only_if_it_is_named_again(trap):
    entries = parse_backbone(f"{trap}:shared_relu").to_json()
    trace = trap.with_name("trace")
    trace.unlink()
    for name in [name for name in sys.modules if name.startswith("relu_search_own_")]:
        del sys.modules[name]
    recorded = backbone_from_json(entries, may_run=False)
    assert len(recorded.sites) == 4
    for use in (
        lambda: build(recorded),
        lambda: recorded.prove(10, 3, (8, 8)),
        lambda: recorded.measured(10, 3, (8, 8)),
    ):
        with pytest.raises(InputError, match=f"add: --backbone {trap}:shared_relu"):
            use()
    assert not trace.exists()
    with pytest.raises(InputError, match="is not that of the run"):
        recorded.named_again(ODD.replace("shared_relu", "fails"))
    build(recorded.named_again(f"{trap}:shared_relu"))
    assert trace.exists()


def test_a_file_that_has_changed_is_refused(trap):
    recorded = backbone_from_json(parse_backbone(f"{trap}:shared_relu").to_json(), may_run=False)
    trap.write_text(trap.read_text() + "# another line\n")
    with pytest.raises(InputError, match="has changed since the run began"):
        recorded.named_again(f"{trap}:shared_relu")


def test_a_file_may_have_moved(trap, tmp_path):
    recorded = backbone_from_json(parse_backbone(f"{trap}:shared_relu").to_json(), may_run=False)
    moved = tmp_path / "elsewhere.py"
    trap.rename(moved)
    assert build(recorded.named_again(f"{moved}:shared_relu")).placement.bits == "1111"
