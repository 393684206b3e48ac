"""Recorded steps do the work of every call."""

from __future__ import annotations

import pytest
import torch

from trials.fast.cuda_graphs import WARM_UP, Replay, ReplayedEpoch


def test_without_a_record_each_call_is_a_call():
    calls = []
    replay = Replay(lambda: calls.append(len(calls)), captured=False)
    for _ in range(WARM_UP + 2):
        replay()
    assert calls == list(range(WARM_UP + 2))


@pytest.mark.cuda
def test_a_replay_does_the_work_of_every_call():
    total, one = torch.zeros((), device="cuda"), torch.ones((), device="cuda")
    replay = Replay(lambda: total.add_(one), captured=True)
    for call in range(1, WARM_UP + 5):
        replay()
        assert total.item() == call


@pytest.mark.parametrize("captured", [False, pytest.param(True, marks=pytest.mark.cuda)])
def test_an_epoch_takes_every_image_once_at_the_rate_of_its_step(captured):
    device = torch.device("cuda" if captured else "cpu")
    seen = torch.zeros(10, device=device)

    def step(places, rate):
        seen.index_add_(0, places, rate.expand(len(places)))

    epoch = ReplayedEpoch(step, images=10, batch_size=4, rates=1, device=device, captured=captured)
    assert epoch.steps == 3
    for scale in range(1, 8):  # on CUDA: warm-up, record, replays
        seen.zero_()
        epoch.run([[scale * 0.5], [scale * 2.0], [scale * 1.0]])
        assert seen.tolist() == [scale * 0.5] * 4 + [scale * 2.0] * 4 + [scale * 1.0] * 2


@pytest.mark.parametrize(
    ("images", "epochs"),
    [
        (
            10,
            ["eager 4 eager 4 eager 2", "eager 4 record 4 record 2", "replay 4 replay 4 replay 2"],
        ),
        (6, ["eager 4 eager 2", "eager 4 record 2", "eager 4 replay 2", "record 4 replay 2"]),
        (8, ["eager 4 eager 4", "eager 4 record 4", "replay 4 replay 4"]),
        (3, ["eager 3", "eager 3", "eager 3", "record 3"]),
    ],
)
def test_a_short_last_batch_is_recorded_in_the_second_epoch(records, images, epochs):
    """With the sizes of the batches. A record alone runs nothing; its first replay follows."""
    epoch = ReplayedEpoch(
        lambda places, _rate: records.append(len(places)),
        images=images,
        batch_size=4,
        rates=1,
        device=torch.device("cpu"),
        captured=True,
    )
    for expected in epochs:
        records.clear()
        epoch.run([[0.1]] * epoch.steps)
        assert " ".join(map(str, records)).replace("record replay", "record") == expected
