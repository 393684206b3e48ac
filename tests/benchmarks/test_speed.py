"""The benchmarks of speed: their arithmetic, and that each peer does the work it is timed for."""

from __future__ import annotations

import pytest
import torch

from benchmarks.speed.colour_images import PAD, colour_images, without_padding
from benchmarks.speed.rows import Row, machine, ratio_of_runs, table, with_sections
from benchmarks.speed.scheduling import _proposal_seconds
from benchmarks.speed.usual_loop import accuracy, pil_loader, train_epoch, usual_sgd
from relu_search.export.timing import Timing
from search_spaces import build


def test_a_ratio_over_one_means_ours_is_faster():
    ours, theirs = Timing(100.0, 80.0, 125.0, 9), Timing(200.0, 150.0, 250.0, 9)
    row = Row.of_timings("S", "what", "peer", ours, theirs, 2.5)
    assert (row.ratio, row.low, row.high) == (2.0, 150 / 125, 250 / 80)
    assert row.reached is False
    assert ratio_of_runs([1.0, 2.0, 3.0], [4.0, 6.0, 8.0]) == (3.0, 4 / 3, 8.0)
    text = table([row])
    assert "| what | peer | 100 ms | 200 ms | 2.00 | 1.20 to 3.12 | 9 | ≥ 2.5x | **no** |" in text
    assert {"date", "cpu", "torch"} <= machine().keys()


def test_a_section_is_written_anew_and_the_others_stay():
    order = ["input", "epoch", "proposer"]
    page = with_sections("Prose.\n\n", order, {"epoch": "| old |", "proposer": "| third |"})
    page = with_sections(page, order, {"epoch": "| new |\n\n"})
    page = with_sections(page, order, {"input": "| first |"})
    assert page.startswith("Prose.\n\n<!-- generated below -->\n")
    assert "old" not in page
    assert page.count("<!-- section") == 3
    assert page.index("first") < page.index("new") < page.index("third")
    assert with_sections(page, order, {}) == page


def test_the_usual_loop_crops_pads_and_learns():
    data = colour_images(64)
    loader = pil_loader(without_padding(data), data.train.labels, pad=PAD, batch_size=16)
    images, labels = next(iter(loader))
    assert images.shape == (16, 3, 32, 32)
    assert images.min() >= -2
    assert images.max() <= 2
    torch.manual_seed(0)
    model = build("plain-8", "linear", width=4)
    optimizer = usual_sgd(model)
    batches = [(images, labels)] * 20
    first = train_epoch(model, batches[:1], optimizer)
    train_epoch(model, batches, optimizer)
    assert train_epoch(model, batches[:1], optimizer) < first / 2
    assert accuracy(model, batches) > 0.5


@pytest.mark.parametrize("sampler", ["gp", "tpe", "evolution"])
def test_proposals_behind_made_up_trials_are_those_of_a_search(sampler):
    assert len(_proposal_seconds(sampler, trials=12, proposals=3)) == 3
