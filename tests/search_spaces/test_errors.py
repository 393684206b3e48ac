"""InputError: one printable line of bounded length, whatever the message quotes."""

import numpy as np
import pytest
import torch

from search_spaces import (
    Backbone,
    InputError,
    Placement,
    SearchSpace,
    apply_placement,
    build,
    measure_complexity,
    module_name_of,
    module_names,
    module_placement,
    ratio_text,
    relu_sites,
    resolve_placement,
)
from search_spaces.errors import shown


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\nlines,\ttabs  and café ½ ", "two lines, tabs and café ½"),
        ("\x1b[31mred\x00", r"\x1b[31mred\x00"),
        ("reversed \u202e text", r"reversed \u202e text"),
        ("x" * 5_000, "x" * 999 + "…"),
        ("\x00" * 900, (r"\x00" * 900)[:999] + "…"),
    ],
    ids=range(5),
)
def test_message_is_one_printable_line_of_at_most_1000_characters(message, line):
    assert str(InputError(message)) == line


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("01*27", "'01*27'"),
        (-3, "-3"),
        (0.25, "0.25"),
        (None, "None"),
        (["val_loss"], "['val_loss']"),
        (b"x", "b'x'"),
        (torch.zeros(200, 200), "a value of type Tensor"),
        ([torch.zeros(200, 200)], "[a value of type Tensor]"),
        (10**5_000, "a whole number of 16610 bits"),
    ],
    ids=range(9),
)
def test_a_value_is_shown_if_it_is_short_and_else_its_type(value, text):
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 500, list(range(500)), b"x" * 500, {"a": ["b" * 99] * 9}])
def test_a_long_value_is_cut(value):
    assert 20 <= len(shown(value)) <= 80


NETWORK = build("plain-5", width=2)
BACKBONE = Backbone.parse("plain-5")
WRONG = [2.5, b"x", {"a": NETWORK}, [NETWORK], np.zeros((90, 90))]
CALLS = {
    "placement": lambda x: apply_placement(NETWORK, x),
    "activation": lambda x: apply_placement(NETWORK, Placement("111"), x),
    "model": lambda x: apply_placement(x, Placement("111")),
    "model of sites": relu_sites,
    "backbone of build": build,
    "placement of build": lambda x: build("plain-5", x),
    "classes": lambda x: build("plain-5", num_classes=x),
    "width": lambda x: build("plain-5", width=x),
    "Backbone": lambda x: Backbone(x, 8),
    "depth": lambda x: Backbone("plain", x),
    "space": SearchSpace,
    "granularity": lambda x: SearchSpace("plain-5", x),
    "least": lambda x: SearchSpace("plain-5", min_relus=x),
    "norm": lambda x: SearchSpace("plain-5", norm=x),
    "bits": Placement,
    "text": Placement.parse,
    "block norm": lambda x: Placement("11", x),
    "modules": module_names,
    "module": lambda x: module_placement(BACKBONE, x),
    "backbone of a module": lambda x: module_placement(x, "2:1"),
    "named placement": lambda x: module_name_of(BACKBONE, x),
    "ratio": lambda x: ratio_text(BACKBONE, x),
    "backbone of a placement": lambda x: resolve_placement(x, "111"),
    "complexity": lambda x: measure_complexity(BACKBONE, x),
    "backbone of a complexity": lambda x: measure_complexity(x, Placement("111")),
}


def test_a_text_is_no_placement_of_a_network_that_is_built():
    with pytest.raises(InputError, match=r"placement is '1\*3'; .*Placement\.parse"):
        apply_placement(NETWORK, "1*3")


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_argument_of_another_type_is_one_short_line(call, value):
    with pytest.raises(InputError) as caught:
        call(value)
    assert len(str(caught.value)) < 200
    assert "Conv2d" not in str(caught.value)
