"""Weights are exchanged only between networks with the same tensors."""

from __future__ import annotations

import pytest
import torch

from search_spaces import InputError
from trials.fast.weight_copies import copy_tensors, require_same_names


def tensors(*names, value=1.0):
    return {name: torch.full((2,), value) for name in names}


def test_all_tensors_are_copied_but_step_counters():
    source = tensors("a.weight", "bn.running_mean", "bn.num_batches_tracked", value=3.0)
    target = tensors("bn.running_mean", "a.weight", "b.num_batches_tracked")
    copy_tensors(source, target)
    assert {name: tensor[0].item() for name, tensor in target.items()} == {
        "bn.running_mean": 3.0,
        "a.weight": 3.0,
        "b.num_batches_tracked": 1.0,
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [(["a", "b"], ["a"]), (["a"], ["a", "b"]), (["a", "c"], ["a", "b"])],
    ids=["one too many", "one missing", "another"],
)
def test_other_tensors_are_refused_before_any_is_copied(source, target):
    there = tensors(*target)
    with pytest.raises(InputError, match="eager back end"):
        copy_tensors(tensors(*source, value=3.0), there)
    assert all((tensor == 1).all() for tensor in there.values())


def test_the_message_has_the_first_names_in_order():
    names = [f"n{i}" for i in range(9)]
    with pytest.raises(InputError, match=r"differ in 8 tensors, first n1, n2, n3; ") as caught:
        require_same_names(reversed(names), ["n0"])
    assert "\n" not in str(caught.value)
