"""Training with each activation: repeatable, and without effect on the random state of torch."""

import pytest
import torch

from search_spaces import InputError
from trials import Recipe, TrialSpec, load_data, run_trial

NAMES = ["relu", "leaky_relu", "prelu", "rrelu", "elu", "crelu"]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", train_limit=60, validation_images=20)


@pytest.mark.parametrize("activation", ["prelu", "rrelu", "crelu"])
def test_training_repeats_to_the_bit_and_keeps_the_random_state_of_torch(digits, activation):
    recipe = Recipe(epochs=1, batch_size=20, schedule="one-cycle")
    spec = TrialSpec(
        backbone="preresnet-8",
        placement="paired",
        width=2,
        recipe=recipe,
        seed=3,
        activation=activation,
    )
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(run_trial(spec, digits))
        assert torch.equal(torch.get_rng_state(), before)
    one, other = (result.model.state_dict() for result in results)
    assert all(torch.equal(other[key], tensor) for key, tensor in one.items())
    metrics = [[{**m.to_json(), "seconds": 0} for m in r.epochs] for r in results]
    assert metrics[0] == metrics[1]
    assert results[0].model.activation == activation
    assert TrialSpec.from_json(spec.to_json()) == spec


def test_activations_give_different_losses_from_equal_initial_weights(digits):
    recipe = Recipe(epochs=1, batch_size=20, schedule="one-cycle")
    losses = {
        run_trial(
            TrialSpec(backbone="plain-5", placement="paired", width=4, recipe=recipe, activation=a),
            digits,
        )
        .epochs[-1]
        .train_loss
        for a in NAMES
    }
    assert len(losses) == len(NAMES)


def test_a_spec_with_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="activation 'swish' is unknown"):
        TrialSpec(
            backbone="plain-5", placement="paired", recipe=Recipe(epochs=1), activation="swish"
        )
