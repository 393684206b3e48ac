"""How many trials fit on the nodes of a cluster, against a packing by hand."""

from __future__ import annotations

import pytest

from search_spaces import InputError
from trials.running.resources import Resources, plan_resources


@pytest.mark.parametrize(
    ("asked", "nodes", "per_trial", "at_once"),
    [
        ({}, [{"CPU": 4}], {"cpu": 1, "gpu": 0}, 4),
        ({}, [{"CPU": 16, "GPU": 1}], {"cpu": 1, "gpu": 0.25}, 4),
        ({}, [{"CPU": 2, "GPU": 8}], {"cpu": 1, "gpu": 0.25}, 2),
        ({"cpus_per_trial": 0.1}, [{"CPU": 0.3}], {"cpu": 0.1, "gpu": 0}, 3),  # in floats 2.99...
        ({"gpus_per_trial": 0}, [{"CPU": 4, "GPU": 1}], {"cpu": 1, "gpu": 0}, 4),
        ({"gpus_per_trial": 1}, [{"CPU": 8, "GPU": 2}], {"cpu": 1, "gpu": 1}, 2),
        ({"gpus_per_trial": "auto"}, [{"CPU": 8, "GPU": 2}], {"cpu": 1, "gpu": 1}, 2),
        ({"gpus_per_trial": "auto"}, [{"CPU": 8}], {"cpu": 1, "gpu": 0}, 8),
        # What is left over on several nodes or GPUs cannot be put together.
        ({"cpus_per_trial": 2}, [{"CPU": 3}, {"CPU": 3}], {"cpu": 2, "gpu": 0}, 2),
        ({"gpus_per_trial": 0.3}, [{"CPU": 64, "GPU": 4}], {"cpu": 1, "gpu": 0.3}, 12),
        ({"gpus_per_trial": 2}, [{"CPU": 8, "GPU": 3}] * 2, {"cpu": 1, "gpu": 2}, 2),
        ({}, [{"CPU": 8}, {"CPU": 4, "GPU": 2}], {"cpu": 1, "gpu": 0.25}, 4),
        ({"cpus_per_trial": 4}, [{"CPU": 7}, {"CPU": 3}, {"CPU": 9}], {"cpu": 4, "gpu": 0}, 3),
        ({}, [{"memory": 1e9}, {"CPU": 2}], {"cpu": 1, "gpu": 0}, 2),  # a head without CPUs
        ({"concurrent": 1}, [{"CPU": 8}], {"cpu": 1, "gpu": 0}, 1),
        ({"concurrent": 20}, [{"CPU": 8}], {"cpu": 1, "gpu": 0}, 20),
    ],
)
def test_resources_of_a_trial_and_trials_at_once(asked, nodes, per_trial, at_once):
    assert plan_resources(Resources(**asked), nodes) == (per_trial, at_once)


@pytest.mark.parametrize(
    ("asked", "nodes", "words"),
    [
        ({"cpus_per_trial": 5}, [{"CPU": 4}], "5 CPUs .* the 4 there are; lower --cpus-per-trial"),
        ({}, [{}], "lower --cpus-per-trial"),
        ({"gpus_per_trial": 0.1}, [{"CPU": 4}], "lower --gpus-per-trial"),
        ({"gpus_per_trial": 2}, [{"CPU": 4, "GPU": 1}], "lower --gpus-per-trial"),
        ({"gpus_per_trial": 1.5}, [{"CPU": 4, "GPU": 4}], "--gpus-per-trial must be whole"),
        # Enough in all, but on no single node: Ray would wait for ever.
        (
            {"cpus_per_trial": 4},
            [{"CPU": 3}, {"CPU": 3}],
            r"no single node \(largest: 3 CPUs, 0 GPUs",
        ),
        ({"gpus_per_trial": 2}, [{"CPU": 9, "GPU": 1}] * 2, "no single node .*--gpus-per-trial"),
        ({"gpus_per_trial": 1}, [{"CPU": 9}, {"GPU": 1}], "no single node"),
    ],
)
def test_what_the_cluster_can_never_give_is_refused(asked, nodes, words):
    with pytest.raises(InputError, match=words) as caught:
        plan_resources(Resources(**asked), nodes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpus_per_trial": float("inf")},
        {"gpus_per_trial": -1},
        {"concurrent": 0},
        {"max_failures": -1},
    ],
    ids=str,
)
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(InputError, match="at least"):
        Resources(**wrong)


def test_a_text_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="GPUs per trial is 'some'; it must be auto or a number"):
        Resources(gpus_per_trial="some")
