"""The benchmarks of speed: their arithmetic, and that each peer does the work it is timed for."""

from __future__ import annotations

import multiprocessing
from contextlib import nullcontext
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.speed import usual_loop
from benchmarks.speed.colour_images import PAD, colour_images, without_padding
from benchmarks.speed.rows import Row, machine, ratio_of_runs, table, with_sections
from benchmarks.speed.scheduling import _proposal_seconds
from benchmarks.speed.usual_loop import (
    USUAL_WAYS,
    PilImages,
    UsualWay,
    accuracy,
    fastest_way,
    pil_loader,
    train_epoch,
    usual_sgd,
    usual_training,
)
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
    torch.manual_seed(0)  # also of the order of the images
    data, way = colour_images(64), UsualWay(workers=1)
    images = without_padding(data)
    loader = pil_loader(images, data.train.labels, pad=PAD, batch_size=16, way=way)
    images, labels = next(iter(loader))
    assert images.shape == (16, 3, 32, 32)
    assert images.min() >= -2
    assert images.max() <= 2
    model = build("plain-8", "linear", width=4)
    optimizer = usual_sgd(model)
    batches = [(images, labels)] * 20
    first = train_epoch(model, batches[:1], optimizer)
    train_epoch(model, batches, optimizer)
    assert train_epoch(model, batches[:1], optimizer) < first / 2
    right = model.eval()(images).argmax(1) == labels
    assert accuracy(model, batches) == pytest.approx(right.float().mean().item())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_transforms_give_a_crop_of_the_padded_image_or_of_its_mirror(version):
    data = colour_images(3)
    images = without_padding(data)
    peer = PilImages(images, data.train.labels, PAD, UsualWay(transforms=version))
    for number, image in enumerate(images):
        padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
        crops = [
            padded[top : top + 32, left : left + 32][:, ::step]
            for top in range(2 * PAD + 1)
            for left in range(2 * PAD + 1)
            for step in (1, -1)
        ]
        found, label = peer[number]
        pixels = ((found * 0.25 + 0.5) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert sum(np.array_equal(pixels, crop) for crop in crops) == 1
        assert label == data.train.labels[number]


def test_the_fastest_way_has_the_least_median_and_first_epochs_do_not_count(monkeypatch):
    _, quick, _ = ways = USUAL_WAYS[:3]
    seconds = {way: iter([1, 20, 20, 20]) for way in ways}
    seconds[quick] = iter([1000, 10, 1000, 10])
    now, done = 0, []

    class Peer:
        def __init__(self, way):
            self.way = way

        def do(self, work):
            self.begin(work)
            self.wait()

        def begin(self, work):
            done.append((self.way, work))

        def wait(self):
            nonlocal now
            now += next(seconds[self.way])

    monkeypatch.setattr(usual_loop, "time", SimpleNamespace(perf_counter=lambda: now))
    start = lambda way: nullcontext(Peer(way))  # noqa: E731
    assert fastest_way(start, work="load", ways=ways, rounds=3) == quick
    assert done == [(way, "load") for way in ways] * 4


@pytest.mark.slow
def test_a_usual_way_trains_in_a_process_that_ends_and_leaves_this_network_alone():
    data = colour_images(32)
    model = build("plain-5", "paired", width=4)
    before = deepcopy(model.state_dict())
    way = UsualWay(workers=0, channels_last=True)
    arguments = (model, without_padding(data), data.train.labels)
    with usual_training(*arguments, pad=PAD, batch_size=16, way=way) as peer:
        peer.do("load")
        peer.epoch()
    assert not multiprocessing.active_children()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "evolution"])
def test_proposals_behind_made_up_trials_are_those_of_a_search(sampler):
    assert len(_proposal_seconds(sampler, trials=12, proposals=3)) == 3
