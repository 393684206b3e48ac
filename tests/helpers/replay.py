"""Recorded curves, and a driver loop that plays scheduler for a proposer: no Ray, no training."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import optuna

from relu_search.search.proposer import StudyProposer
from search_spaces import SearchSpace, reference_modules
from trials.running.proposals import Proposal
from trials.training.metrics import EpochMetrics
from trials.training.recipe import Recipe
from trials.training.spec import TrialSpec

RECIPE = Recipe(epochs=3)
RUN_RECORD = {
    "study": "a-12345678",
    "data": {
        "name": "digits",
        "classes": ["0", "1"],
        "in_channels": 1,
        "image_size": [8, 8],
        "mean": [0.5],
        "std": [1.5],
        "split_digest": "00",
        "train_images": 20,
        "validation_images": 10,
    },
}
REFERENCES = {"paired": "1*6", "2:1": "01*3", "linear": "0*6"}  # of plain-8, in this order


def metrics(placement: str, epoch: int) -> EpochMetrics:
    """The recorded curve of a placement: a seeded draw."""
    rng = random.Random(f"{placement} {epoch}")
    loss, accuracy = rng.uniform(0.1, 3), rng.random()
    return EpochMetrics(
        epoch=epoch,
        train_loss=loss,
        train_accuracy=accuracy,
        val_loss=loss + 1,
        val_accuracy=accuracy,
        seconds=0.5,
    )


def stop_half(proposal: Proposal, epoch: int) -> bool:
    """An arbitrary early stop that spares protected trials, as the scheduler must."""
    accuracy = metrics(proposal.spec.placement.text, epoch).val_accuracy
    return not proposal.protected and accuracy < 0.4


def never(_proposal: Proposal, _epoch: int) -> bool:
    return False


def drive(
    proposer: StudyProposer,
    *,
    stop: Callable[[Proposal, int], bool] = never,
    failing: dict[int, str] | None = None,
    limit: int = 10_000,
) -> list[Proposal]:
    """One trial at a time, until there is no further one; `failing` ones fail in epoch 2."""
    proposals: list[Proposal] = []
    while len(proposals) < limit and (proposal := proposer.propose()) is not None:
        proposals.append(proposal)
        failure = None
        for epoch in range(1, RECIPE.epochs + 1):
            if failing and epoch == 2 and proposal.number in failing:
                failure = failing[proposal.number]
                break
            proposer.observe(proposal.number, metrics(proposal.spec.placement.text, epoch))
            if stop(proposal, epoch):
                break
        proposer.conclude(proposal.number, failure)
    return proposals


@dataclass
class Ears:
    events: list[tuple[object, ...]] = field(default_factory=list)

    def started(self, proposal):
        self.events.append(("started", proposal.number))

    def epoch(self, number, metrics):
        self.events.append(("epoch", number, metrics.epoch))

    def finished(self, trial):
        self.events.append(("finished", trial.number, trial.state.name))


def new_study(metric="val_accuracy"):
    return optuna.create_study(direction="maximize" if metric == "val_accuracy" else "minimize")


def new_proposer(
    study=None,
    space: SearchSpace | None = None,
    *,
    trials: int,
    metric="val_accuracy",
    references=None,
    sampler="tpe",
    **options,
) -> StudyProposer:
    space = space or SearchSpace("plain-8", "stage")
    if references is None:
        references = reference_modules(space.backbone)
    return StudyProposer(
        study if study is not None else new_study(metric),
        space,
        references=references,
        spec_of=lambda placement, repeat: TrialSpec(
            backbone=space.backbone.name, placement=placement.text, recipe=RECIPE, seed=4 + repeat
        ),
        metric=metric,
        trials=trials,
        sampler=sampler,
        **options,
    )


def bits_of(proposal: Proposal) -> str:
    """The bits of a placement text, read by the grammar of the contract."""
    segments = (segment.partition("*") for segment in proposal.spec.placement.text.split("+"))
    return "".join(bits * int(times or 1) for bits, _, times in segments)


def dfn_canonical(bits: str) -> str:
    """Of a merge-and-run placement and the one with exchanged branches, the smaller."""
    blocks = [bits[i : i + 4] for i in range(0, len(bits) - 3, 4)]
    last = bits[4 * len(blocks) :]
    swapped = "".join(b[2:] + b[:2] for b in blocks) + last[1] + last[0] + last[2]
    return min(bits, swapped)
