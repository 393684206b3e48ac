"""The network, and the loss, of a training that starts from trained weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces import InputError, build
from search_spaces.networks.build import AnyNetwork
from trials.compat import training_format
from trials.data.image_sets import TrainingData
from trials.fine_tuning.weights import StartingWeights
from trials.training.evaluation import autocast, recalibrate
from trials.training.loop import (
    DeviceData,
    LossOf,
    TrainsEpoch,
    loss_function,
    recalibration_draws,
    train_epoch,
)
from trials.training.process import in_precision
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec, untrained_network


def network_at_start(
    spec: TrialSpec, data: TrainingData, weights: StartingWeights | None, device: torch.device
) -> AnyNetwork:
    """The network of a trial before its first step.

    From scratch it is `untrained_network`. Otherwise its tensors are those of the weights, and its
    BatchNorm statistics are computed anew under its placement. What the weights lack is untrained:
    a new head, and norms that the placement adds. What the placement removes is left out.

    Raises:
        InputError: the weights are not those that the spec names, or have other shapes.
    """
    _require_same(spec, weights)
    model = untrained_network(spec, data)
    if weights is None:
        return model
    load(model, weights)
    model = model.to(device)
    form = training_format(model, data.image_size, device)
    model = model.to(memory_format=form)
    images = DeviceData.of(data, device)
    draws = recalibration_draws(
        data, seed=spec.seed, batch_size=spec.recipe.batch_size, device=device
    )
    with in_precision(spec.recipe), autocast(spec.recipe, device):
        recalibrate(model, (images.batch(of_batch, form)[0] for of_batch in draws))
    return model


def distilling_epochs(
    spec: TrialSpec, data: TrainingData, weights: StartingWeights | None, device: torch.device
) -> TrainsEpoch | None:
    """How the epochs of a trial with distillation are trained; None: it has none."""
    tuning = spec.fine_tuning
    if tuning is None or weights is None or not tuning.distill:
        return None
    weights.require_all_activations()
    teacher = build(
        spec.backbone,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        activation=spec.activation,
        generator=torch.Generator(),  # a trial's own draws must not change
    )
    load(teacher, weights)
    teacher = teacher.to(device).eval().requires_grad_(False)
    teacher = teacher.to(memory_format=training_format(teacher, data.image_size, device))
    loss_of = distilled_loss(
        spec.recipe, teacher, share=tuning.distill, temperature=tuning.temperature
    )
    return partial(train_epoch, loss_of=loss_of)


def distilled_loss(
    recipe: Recipe, teacher: nn.Module, *, share: float, temperature: float
) -> LossOf:
    """The loss of a training with distillation (Hinton et al., arXiv:1503.02531, Section 2).

    (1 - share) * L + share * T^2 * KL(p || q), where L is the loss of the recipe, and p and q are
    the softmax of the teacher's and of the network's logits divided by the temperature T. The mean
    is taken over the images. The factor T^2 keeps the size of the gradients.

    Args:
        teacher: in eval mode, on the device of the images.
        share: 0 to 1.
        temperature: above 0.
    """
    own_loss = loss_function(recipe)

    def loss_and_logits(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits = own_loss(model, x, y)
        with torch.no_grad():
            target = functional.log_softmax(teacher(x).float() / temperature, dim=1)
        output = functional.log_softmax(logits.float() / temperature, dim=1)
        apart = functional.kl_div(output, target, reduction="batchmean", log_target=True)
        return (1 - share) * loss + share * temperature**2 * apart, logits

    return loss_and_logits


@torch.no_grad()
def load(model: AnyNetwork, weights: StartingWeights) -> None:
    """Copy the weights into a network, by name.

    Raises:
        InputError: a tensor of the network has another shape.
    """
    for name, value in model.state_dict().items():
        given = weights.tensors.get(name)
        if given is None:
            continue
        if given.shape != value.shape:
            raise InputError(
                f"weights {weights.name}: {name:.80} has the shape {tuple(given.shape)}, and the "
                f"network of this placement {tuple(value.shape)}; use another activation or "
                "placement"
            )
        value.copy_(given)


def _require_same(spec: TrialSpec, weights: StartingWeights | None) -> None:
    wanted = None if spec.fine_tuning is None else spec.fine_tuning.weights
    given = None if weights is None else weights.digest
    if wanted != given:
        raise InputError(
            f"the trial starts from {_named(wanted)}, and the weights given are {_named(given)}; "
            "give both or neither, as FineTuning(weights=weights.digest)"
        )


def _named(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:16]}..."
