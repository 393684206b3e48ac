"""Recipes of users: each part against torch's own loop, step by step."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from search_spaces import InputError, build
from trials import Recipe, TrialSpec, load_data, run_trial
from trials.fast.packing import PackedTraining
from trials.fast.stand_in import stand_in_epochs
from trials.training.checkpoint import Checkpoint
from trials.training.loop import EpochSums, loss_function, train, training_step
from trials.training.metrics import EpochMetrics
from trials.training.optimizer import optimizer_of

EPOCHS, STEPS, BATCH = 3, 5, 12
PAPER = replace(Recipe.named("paper", EPOCHS), batch_size=BATCH)
OWN = {
    "paper": PAPER,
    "adamw": replace(PAPER, optimizer="adamw", learning_rate=0.003, weight_decay=0.05),
    "cosine": replace(PAPER, schedule="cosine"),
    "cosine with warm-up": replace(PAPER, schedule="cosine", warm_up=0.2),
    "constant": replace(PAPER, schedule="constant", learning_rate=0.03),
    "other milestones": replace(PAPER, milestones=(0.25, 0.7)),
    "one-cycle with another rise": replace(PAPER, schedule="one-cycle", warm_up=0.4),
    "clipping": replace(PAPER, clip_norm=0.3),
    "smoothing": replace(PAPER, label_smoothing=0.1),
    "spared norms": replace(PAPER, spare_norms=True, weight_decay=0.05),
    "all at once": replace(
        PAPER,
        optimizer="adamw",
        learning_rate=0.002,
        weight_decay=0.1,
        schedule="cosine",
        clip_norm=0.5,
        label_smoothing=0.1,
        spare_norms=True,
        momentum=0.8,
    ),
}


def torchs_own(model: nn.Module, recipe: Recipe) -> tuple[torch.optim.Optimizer, object]:
    """Optimizer and scheduler as a user of torch writes them."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for _, p in named if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {
            "params": [p for _, p in named if p.dim() < 2],
            "weight_decay": 0.0 if recipe.spare_norms else recipe.weight_decay,
        },
    ]
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999), foreach=False
        )
    else:
        optimizer = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True, foreach=False
        )
    total = EPOCHS * STEPS
    if recipe.schedule == "cosine" and recipe.warm_up is None:
        return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, total)
    if recipe.schedule == "constant":
        return optimizer, lr_scheduler.ConstantLR(optimizer, factor=1)
    if recipe.schedule == "step":
        marks = [math.ceil(mark * total) for mark in recipe.milestones]
        return optimizer, lr_scheduler.MultiStepLR(optimizer, marks)
    rise = round(recipe.warm_up * total)  # whole steps in these recipes

    def factor(step: int) -> float:
        if step < rise:
            return step / rise
        left = (total - step) / (total - rise)
        return left if recipe.schedule == "one-cycle" else (1 - math.cos(math.pi * left)) / 2

    return optimizer, lr_scheduler.LambdaLR(optimizer, factor)


@pytest.mark.parametrize("name", OWN)
def test_every_step_equals_that_of_torchs_own_loop(name):
    recipe = OWN[name]
    ours = build("resnet-8", "2:1", width=4, generator=torch.Generator().manual_seed(0))
    theirs = copy.deepcopy(ours)
    optimizer, loss_of = optimizer_of(ours, recipe), loss_function(recipe)
    reference, scheduler = torchs_own(theirs, recipe)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    generator = torch.Generator().manual_seed(1)
    for epoch in range(1, EPOCHS + 1):
        for rate in recipe.learning_rates(epoch, STEPS):
            x = torch.randn(BATCH, 3, 8, 8, generator=generator)
            y = torch.randint(10, (BATCH,), generator=generator)
            assert reference.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-9, abs=1e-12)
            sums = EpochSums(x.device)
            training_step(ours, optimizer, (x, y), rate=rate, sums=sums, loss_of=loss_of)
            reference.zero_grad()
            loss = criterion(theirs(x), y)
            loss.backward()
            if recipe.clip_norm is not None:
                norm = nn.utils.clip_grad_norm_(theirs.parameters(), recipe.clip_norm)
                assert norm > recipe.clip_norm  # else the clipping is not tested
            reference.step()
            scheduler.step()
            assert sums.means(BATCH)[0] == pytest.approx(loss.item(), abs=1e-6)
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_adamw_equals_torchs_fused_one_to_the_bit(as_tensor):
    recipe = OWN["adamw"]
    ours = build("resnet-8", "2:1", width=4)
    theirs = copy.deepcopy(ours)
    optimizer = optimizer_of(ours, recipe)
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=recipe.weight_decay, fused=True)
    for rate in (0.125, 0.25, 0.0625):  # exact in float32
        x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        optimizer.learning_rate = torch.tensor(rate) if as_tensor else rate
        reference.param_groups[0]["lr"] = rate
        optimizer.forget_gradients()
        reference.zero_grad()
        for model in (ours, theirs):
            model(x).square().mean().backward()
        optimizer.step()
        reference.step()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", train_limit=60)


def spec_of(recipe: Recipe) -> TrialSpec:
    return TrialSpec(backbone="plain-5", width=2, placement="2:1", recipe=recipe, seed=1)


@pytest.mark.parametrize("name", ["adamw", "all at once", "paper"])
def test_a_training_goes_on_from_its_checkpoint_to_the_bit(name, digits, tmp_path):
    spec = spec_of(OWN[name])
    whole = run_trial(spec, digits)
    checkpoint = Checkpoint(tmp_path / "x.safetensors", "key")

    class CutOffError(Exception):
        pass

    def cut(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise CutOffError

    with pytest.raises(CutOffError):
        run_trial(spec, digits, checkpoint=checkpoint, on_epoch=cut)
    resumed = run_trial(spec, digits, checkpoint=checkpoint)
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", OWN)
def test_a_stand_in_trains_by_the_same_recipe(name, digits):
    """As `--captured` and `--compiled` do; the steps are the same without a record."""
    spec = spec_of(OWN[name])
    plain, gated = (build("plain-5", "2:1", width=2, in_channels=1) for _ in range(2))
    gated.load_state_dict(plain.state_dict())
    (ours,) = _first(train(plain, digits, spec.recipe, seed=1))
    by_stand_in = stand_in_epochs(spec, compiled=False, captured=True)
    (theirs,) = _first(train(gated, digits, spec.recipe, seed=1, epoch_by=by_stand_in))
    assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-4)
    assert ours.val_loss == pytest.approx(theirs.val_loss, abs=1e-3)


def _first(epochs):
    return [next(iter(epochs))]


@pytest.mark.parametrize("name", OWN)
def test_a_pack_trains_by_the_same_recipe_or_says_why_not(name, digits):
    spec = spec_of(replace(OWN[name], epochs=1))
    pack = PackedTraining(digits)
    if name in ("adamw", "clipping", "all at once"):
        with pytest.raises(InputError, match="packs cannot train with"):
            pack.join(0, spec)
        return
    pack.join(0, spec)
    pack.join(1, replace(spec, seed=2))
    packed = pack.epoch()
    for number, seed in ((0, 1), (1, 2)):
        (alone,) = run_trial(replace(spec, seed=seed), digits).epochs
        assert packed[number].train_loss == pytest.approx(alone.train_loss, abs=1e-4)
        assert packed[number].val_loss == pytest.approx(alone.val_loss, abs=2e-3)
