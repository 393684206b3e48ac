"""Canaries: each private part of torch that trials uses still does what trials expects of it."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from search_spaces import build
from trials.compat import TF32_ADVICE, compiled_once, training_format

BROKEN = (
    f"torch {torch.__version__} has changed: {{}} Look at trials/compat.py, the only place that "
    "uses torch._dynamo."
)


@pytest.fixture
def backend(monkeypatch):
    """Tracing is real; no C++ is compiled. Records how torch.compile is called."""
    import torch._dynamo

    whole, calls = torch.compile, []

    def compile_eager(function, **options):
        calls.append(options)
        return whole(function, **options, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_eager)
    yield calls
    torch._dynamo.reset()


def scaled(x, factor):
    return x * 2 if factor == 1 else x * 3


@pytest.mark.filterwarnings("ignore")
def test_a_second_graph_is_an_error_and_not_a_silent_fallback(backend):
    from torch._dynamo.exc import RecompileError

    compiled = compiled_once(scaled)
    assert backend == [{"dynamic": False, "fullgraph": True}]
    x = torch.ones(3)
    for _ in range(2):
        assert compiled(x, 1).tolist() == [2.0] * 3, BROKEN.format("compiled code is wrong.")
    try:
        compiled(x, 2)
    except RecompileError:
        return
    pytest.fail(BROKEN.format("config.error_on_recompile no longer makes recompiling an error."))


@pytest.mark.filterwarnings("ignore")
def test_what_was_compiled_before_does_not_count(backend):
    """Two stand-ins, one after the other, each with a graph of its own."""
    for size in (3, 4, 5):
        try:
            assert compiled_once(scaled)(torch.ones(size), 1).tolist() == [2.0] * size
        except torch._dynamo.exc.RecompileError:
            pytest.fail(BROKEN.format("reset() no longer forgets earlier graphs."))


@pytest.fixture
def warning_compiler(monkeypatch):
    """torch's compiler with a back end that warns with the given text instead of compiling."""
    import torch._dynamo

    whole = torch.compile

    def warn_with(text):
        def backend(graph, _inputs):
            warnings.warn(text, UserWarning, stacklevel=1)
            return graph.forward

        def compile_by_it(function, **options):
            return whole(function, **options, backend=backend)

        monkeypatch.setattr(torch, "compile", compile_by_it)

    yield warn_with
    torch._dynamo.reset()


def test_the_compilers_advice_to_round_is_not_shown(warning_compiler):
    """Precision fp32 is chosen on purpose. All warnings are errors in these tests."""
    warning_compiler(f"{TF32_ADVICE} but not enabled. Consider setting ...")
    assert compiled_once(scaled)(torch.ones(3), 1).tolist() == [2.0] * 3


def test_another_warning_of_the_compiler_is_shown(warning_compiler):
    warning_compiler("these tensor cores are something else")
    with pytest.raises(Exception, match="these tensor cores are something else"):
        compiled_once(scaled)(torch.ones(3), 1)


def test_the_compilers_advice_still_begins_so():
    source = Path(torch.__file__).parent / "_inductor" / "compile_fx.py"
    assert TF32_ADVICE in source.read_text(), BROKEN.format("TF32_ADVICE begins in another way.")


TRAINS = """
import numpy as np, torch
from search_spaces import build
from trials import Recipe, train
from trials.data.image_sets import ImageSet, TrainingData
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import stand_in_epochs
from trials.training.spec import TrialSpec

size, way = {size}, {way!r}
images = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), dtype=np.uint8)
part = ImageSet(images=images, labels=np.arange(64) % 4)
data = TrainingData(
    name="x", train=part, validation=part.first(4), pad=0, flip=False, mean=(128.0,) * 3,
    std=(64.0,) * 3, classes=tuple("abcd"), split_seed=0, split_digest="",
)
recipe = Recipe(epochs=1, batch_size=32)
spec = TrialSpec(backbone={backbone!r}, width={width}, placement="paired", recipe=recipe)
if way == "pack":
    pack = PackedTraining(data)
    pack.join(0, spec)
    pack.epoch()
else:
    by = stand_in_epochs(spec, compiled=False, captured=True) if way == "stand-in" else None
    list(train(build(spec.backbone, num_classes=4), data, recipe, seed=0, epoch_by=by))
"""


@pytest.mark.parametrize(
    ("backbone", "width", "size", "way"),
    [
        ("preresnet-8", 4, 64, "plain"),
        pytest.param("preresnet-8", 4, 64, "stand-in", marks=pytest.mark.slow),
        pytest.param("preresnet-8", 4, 64, "pack", marks=pytest.mark.slow),
        pytest.param("resnet-8", 8, 58, "plain", marks=pytest.mark.slow),
        pytest.param("preresnet-bottleneck-11", 2, 64, "plain", marks=pytest.mark.slow),
    ],
)
def test_narrow_shortcuts_of_large_images_train_without_damage_to_memory(
    backbone, width, size, way
):
    """In channels_last torch 2.14.1 writes beyond a tensor here, and the process is aborted."""
    code = TRAINS.format(backbone=backbone, width=width, size=size, way=way)
    checked = os.environ | {"MALLOC_CHECK_": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=checked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("backbone", "width", "size", "expected"),
    [
        ("preresnet-8", 4, 64, torch.contiguous_format),
        ("preresnet-8", 4, 32, torch.channels_last),
        ("preresnet-8", 16, 64, torch.channels_last),
        ("plain-8", 4, 64, torch.channels_last),
    ],
)
def test_other_networks_stay_in_channels_last(backbone, width, size, expected):
    model = build(backbone, width=width)
    assert training_format(model, (size, size), torch.device("cpu")) == expected
    assert training_format(model, (size, size), torch.device("cuda")) == torch.channels_last
