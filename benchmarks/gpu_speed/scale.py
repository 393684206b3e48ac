"""How much is measured: for a page, or as a quick check that everything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from benchmarks.gpu_speed.ways import Way
from benchmarks.speed.usual_loop import UsualWay
from trials.training.recipe import Precision


def _usual(workers: int, channels_last: bool) -> UsualWay:
    """With version 1 of the transforms, the faster one on PIL images."""
    return UsualWay(transforms="v1", workers=workers, channels_last=channels_last)


_FP32 = Way(captured=True)
_TF32 = Way(captured=True, precision="tf32")
_BF16 = Way(captured=True, precision="bf16")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of the measurement.

    Attributes:
        images: backbone -> images of a timed epoch.
        steps: (precision, members of the pack) of each timed step, of the first backbone.
        step_images: of the epochs from which a step is timed.
        ways: backbone -> ways of training one candidate.
        packs: backbone -> (precision, members) of each pack.
        processes: (processes, members of the pack of each), of the first backbone.
        long_images, long_pack: of the epoch that shows candidates per hour.
        fast_precision: of compiled steps, of the long epoch, of the account and of processes.
        usual_ways: backbone -> the usual ways from which the fastest is the peer.
        rounds: timed epochs.
    """

    images: Mapping[str, int]
    steps: tuple[tuple[Precision, int], ...]
    step_images: int
    ways: Mapping[str, tuple[Way, ...]]
    packs: Mapping[str, tuple[tuple[Precision, int], ...]]
    processes: tuple[tuple[int, int], ...]
    long_images: int
    long_pack: int
    fast_precision: Precision
    usual_ways: Mapping[str, tuple[UsualWay, ...]]
    rounds: int


FULL = Scale(
    images={"plain-20": 3200, "preresnet-110": 1600},
    steps=tuple((p, members) for members in (1, 8, 32) for p in get_args(Precision)),
    step_images=12_800,
    ways={
        "plain-20": (Way(), _FP32, _TF32, _BF16),
        "preresnet-110": (_FP32, _TF32, _BF16),
    },
    packs={
        "plain-20": (
            ("bf16", 4),
            ("bf16", 8),
            ("bf16", 16),
            ("bf16", 32),
            ("tf32", 32),
            ("fp32", 8),
        ),
        "preresnet-110": (("bf16", 4), ("bf16", 8), ("bf16", 16)),
    },
    processes=((2, 1), (4, 1), (2, 16)),
    long_images=45_000,
    long_pack=32,
    fast_precision="bf16",
    usual_ways={
        "plain-20": tuple(_usual(workers, last) for workers in (2, 8) for last in (False, True)),
        "preresnet-110": (_usual(8, False), _usual(8, True)),
    },
    rounds=3,
)
QUICK = Scale(
    images={"plain-5": 128, "preresnet-8": 128},
    steps=(("fp32", 1), ("fp32", 2)),
    step_images=128,
    ways={"plain-5": (Way(), _FP32), "preresnet-8": (_FP32,)},
    packs={"plain-5": (("fp32", 2),), "preresnet-8": (("fp32", 2),)},
    processes=((2, 2),),
    long_images=256,
    long_pack=2,
    fast_precision="fp32",
    usual_ways={"plain-5": (_usual(0, False), _usual(0, True)), "preresnet-8": (_usual(0, True),)},
    rounds=1,
)
"""For any machine, without a GPU too."""
