"""Hand-over: an exported model is the same model, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from relu_search import export_model, load_exported
from relu_search.analysis.placement_facts import describe
from relu_search.export.card import read_card
from relu_search.search.single_training import train_single
from search_spaces import Backbone, InputError, build

NETWORKS = [
    ("plain-8", "01*3"),
    ("preplain-8", "2:1"),
    ("resnet-8", "2:1/second"),
    ("preresnet-8", "pyramidnet"),
    ("preresnet-bottleneck-11", "3:2/type3"),
    ("dfn-14", "4:3/type2"),
]


def network(backbone="plain-8", placement="01*3", **options):
    """A network with running statistics of its own."""
    generator = torch.Generator().manual_seed(3)
    options = {"num_classes": 7, "in_channels": 1, **options}
    model = build(Backbone.parse(backbone, 4), placement, generator=generator, **options)
    model.train()(torch.rand(8, options["in_channels"], 8, 8, generator=generator))
    return model.eval()


def images(channels=1):
    return torch.rand(5, channels, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def exported(tmp_path):
    """A folder with an exported network, and a function that changes its card."""
    folder = tmp_path / "model"
    export_model(network(), folder)

    def change(**entries):
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, **entries}))

    return folder, change


# --- round trip -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("backbone", "placement"), NETWORKS)
def test_a_loaded_network_gives_the_same_outputs(backbone, placement, channels, tmp_path):
    model = network(backbone, placement, in_channels=channels)
    card = export_model(model, tmp_path / "a" / "b", details={"note": "mine"})
    assert card == tmp_path / "a" / "b" / "card.json"
    for path in (card, card.parent, str(card)):
        loaded = load_exported(path)
        assert not loaded.training
        assert loaded.placement == model.placement
        with torch.no_grad():
            assert torch.equal(loaded(images(channels)), model(images(channels)))


def test_a_card_can_be_exported_again_and_keeps_its_details(tmp_path):
    first = export_model(network(), tmp_path / "a", details={"note": "mine", "seed": 4})
    second = export_model(first, tmp_path / "b", details={"seed": 5})
    a, b = read_card(first), read_card(second)
    assert b == {**a, "seed": 5}
    assert torch.equal(load_exported(first)(images()), load_exported(second)(images()))


def test_the_card_says_what_the_model_is(exported):
    folder, _ = exported
    card = read_card(folder)
    expected = {
        "schema": 2,
        "backbone": "plain-8",
        "width": 4,
        "placement": "01*3",
        "module": "2:1",
        "ratio": "2:1",
        "num_classes": 7,
        "in_channels": 1,
    }
    assert {key: card[key] for key in expected} == expected
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert card["files"] == {"model.safetensors": digest}
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "'schema'"),
        (" " * 1_000_001, "larger than"),
    ],
    ids=["empty", "cut off", "deep", "a list", "no entries", "oversized"],
)
def test_a_file_that_is_no_card_is_refused(content, says, exported):
    folder, _ = exported
    (folder / "card.json").write_text(content)
    with pytest.raises(InputError, match=says):
        load_exported(folder)


def test_a_card_that_is_not_text_or_not_there_is_refused(exported):
    folder, _ = exported
    (folder / "card.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        load_exported(folder)
    (folder / "card.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_exported(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"schema": 3},
        {"schema": 0},
        {"schema": True},
        {"backbone": "vgg-16"},
        {"backbone": 8},
        {"width": "4"},
        {"width": 0},
        {"width": 8},
        {"placement": "01*4"},
        {"placement": "0x"},
        {"num_classes": 8},
        {"num_classes": 7.0},
        {"in_channels": 3},
        {"files": []},
        {"files": {}},
        {"files": {"model.safetensors": "0" * 64}},
    ],
    ids=str,
)
def test_a_card_that_was_changed_is_refused(entries, exported):
    folder, change = exported
    change(**entries)
    with pytest.raises(InputError) as caught:
        load_exported(folder)
    assert "\n" not in str(caught.value)


def test_a_newer_schema_asks_for_an_update(exported):
    folder, change = exported
    change(schema=3)
    with pytest.raises(InputError, match=r"schema 3.*update"):
        read_card(folder)


def test_missing_weights_are_refused(exported):
    folder, _ = exported
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_exported(folder)


@pytest.mark.parametrize("part", [0, 4, 100, -1])
def test_truncated_weights_are_refused(part, exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:part])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_exported(folder)


def test_weights_with_one_altered_bit_are_refused(exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        load_exported(folder)


def test_weights_of_another_network_are_refused(exported):
    folder, _ = exported
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, weights)
    with pytest.raises(InputError, match="do not fit"):
        load_exported(folder)


@pytest.mark.parametrize("formats", [["onnx2"], ["safetensors", ""]])
def test_an_unknown_format_is_refused_and_nothing_is_written(formats, tmp_path):
    with pytest.raises(InputError, match="is unknown"):
        export_model(network(), tmp_path / "x", formats)
    assert not (tmp_path / "x").exists()


def test_a_model_that_is_not_ours_is_refused(tmp_path):
    with pytest.raises(InputError, match="Linear"):
        export_model(torch.nn.Linear(2, 2), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        export_model(network(), tmp_path / "x")
    assert (tmp_path / "x").read_text() == "mine"


# --- describe ---------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["paired", "linear", "2:1/first", "10*4"])
def test_describe_counts_what_the_built_network_has(placement):
    backbone = "resnet-8" if placement != "10*4" else "plain-10"
    facts = describe(backbone, placement, num_classes=7, image_size=8, width=4, in_channels=1)
    model = network(backbone, placement)
    elements: list[int] = []
    relus = [m for m in model.modules() if isinstance(m, torch.nn.ReLU)]
    for relu in relus:
        relu.register_forward_hook(lambda _m, _x, y: elements.append(y[0].numel()))
    model(images()[:1])
    assert facts["params"] == sum(p.numel() for p in model.parameters())
    assert facts["relu_layers"] == len(relus) == facts["relus"] + 1  # the stem's
    assert facts["relu_elements"] == sum(elements)
    kept = [site for site in facts["sites"] if site["kept"]]
    assert len(kept) == facts["relus"]
    modules = dict(model.named_modules())
    assert all(isinstance(modules[site["name"]], torch.nn.ReLU) for site in kept)


@pytest.mark.parametrize(("backbone", "placement"), NETWORKS)
def test_describe_has_the_keys_of_the_contract(backbone, placement):
    facts = describe(backbone, placement)
    keys = {"backbone", "placement", "ratio", "convs", "relus", "relu_elements", "params", "macs"}
    assert keys | {"sites"} <= set(facts)
    assert json.loads(json.dumps(facts)) == facts
    assert [s["stage"] for s in facts["sites"]] == sorted(s["stage"] for s in facts["sites"])
    assert facts["module"] == ("2:1" if placement == "01*3" else placement)


# --- one training run -------------------------------------------------------------------------


def test_train_single_reports_what_it_exports(small_config, tmp_path):
    lines: list[str] = []
    config = small_config(epochs=2, train_limit=20, width=2, out=str(tmp_path / "m"))
    row = train_single(config, "10*3", device="cpu", report=lines.append)
    assert (row["placement"], row["relus"], row["epochs"], row["failure"]) == ("10*3", 3, 2, None)
    assert [m["epoch"] for m in row["history"]] == [1, 2]
    assert row["val_accuracy"] == row["history"][-1]["val_accuracy"]
    card = read_card(tmp_path / "m")
    assert card["training"]["val_accuracy"] == row["val_accuracy"]
    assert card["training"]["recipe"]["epochs"] == 2
    assert len(lines) == 4  # headline, two epochs, the card


def test_train_single_does_not_touch_a_folder_with_files(small_config, tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        train_single(small_config(out=str(tmp_path)), "paired")
    assert [p.name for p in tmp_path.iterdir()] == ["note"]


def test_a_search_trains_a_placement_as_train_single_does(searched, small_config):
    best = searched.best
    row = train_single(small_config(), best["placement"], device="cpu")
    for name in ("val_accuracy", "val_loss", "train_loss", "params", "macs", "relu_elements"):
        assert row[name] == best[name]
