"""Costs of a placement that are known before it is trained: counted, or measured (`latency`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.run_folder.study import LATENCY_ATTRIBUTE
from relu_search.settings.metrics import Cost, LatencyForm
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import Placement, build
from trials.running.devices import Say

if TYPE_CHECKING:
    import optuna
    from numpy.typing import NDArray

    from relu_search.export.timing import Timing
    from search_spaces.networks.build import AnyNetwork

ROUNDS = 30
"""Samples of each call in a measurement of latency."""


@dataclass(frozen=True)
class Costs:
    """The costs of placements of one backbone on images of one shape.

    Attributes:
        names: in the order of `COSTS`.
        facts: of these placements, without training.
        latency: measures latencies, if they are a cost.
    """

    names: tuple[Cost, ...]
    facts: PlacementFacts
    latency: LatencyMeter | None = None

    @classmethod
    def of_config(cls, config: ResolvedConfig, facts: PlacementFacts, say: Say) -> Costs:
        """The costs that the options name. Latency is measured here first, before any training.

        Raises:
            InputError: the network cannot be traced, a package is missing, or the images do not
                fit into memory.
        """
        form, batch = config.latency_form, config.latency_batch
        if form is None or batch is None:
            return cls(config.costs, facts)
        meter = LatencyMeter(facts, form, batch).begun()
        say(
            f"latency of the folded paired network: {meter.paired_ms:.3f} ms ({form}, batch "
            f"{batch}, one thread, median of {ROUNDS})"
        )
        return cls(config.costs, facts, meter)

    def in_study(self, study: optuna.Study) -> Costs:
        """The same, with what a study has measured before."""
        if self.latency is None:
            return self
        return replace(self, latency=self.latency.in_study(study))

    def of(self, placement: Placement) -> tuple[float, ...]:
        """The costs of a placement, in the order of `names`."""
        return tuple(float(self._of_one(name, placement)) for name in self.names)

    def timing_of(self, placement: Placement) -> Mapping[str, float] | None:
        """Median and quartiles of the latency, and their n; None if it is no cost."""
        return None if self.latency is None else self.latency.of(placement)

    def _of_one(self, name: Cost, placement: Placement) -> float:
        if name == "relus":
            return placement.kept
        if name == "relu_elements":
            return self.facts.complexity(placement).relu_elements
        if name == "latency":
            assert self.latency is not None
            return self.latency.of(placement)["median_ms"]
        from relu_search.export.folded_pairs import macs_after_fold

        return macs_after_fold(_network(self.facts, placement), _shape(self.facts))

    def of_sites(self) -> NDArray[Any]:
        """(costs, sites) what keeping each site adds to each cost.

        It is the cost of the paired network minus the cost without this site. The sum over sites is
        exact for `relus` and `relu_elements`. For `macs-after-fold` it is an estimate, because two
        pairs that share a convolution cannot both be folded. For `latency` it is one too: what the
        paired network takes longer than the one without any ReLU, in proportion to their elements.
        """
        import numpy as np

        count = len(self.facts.backbone.sites)
        whole, linear = self.facts.backbone.paired, Placement("0" * count)
        rows = []
        for name in self.names:
            if name == "latency":
                elements = np.array(self.facts.complexity(whole).site_elements, dtype=float)
                longer = self._of_one(name, whole) - self._of_one(name, linear)
                rows.append(longer * elements / elements.sum())
                continue
            paired = self._of_one(name, whole)
            without = [
                self._of_one(name, Placement("1" * site + "0" + "1" * (count - site - 1)))
                for site in range(count)
            ]
            rows.append(paired - np.array(without, dtype=float))
        return np.array(rows).reshape(len(rows), count)


@dataclass(frozen=True)
class LatencyMeter:
    """Measures the latency of folded networks in this process, on one thread of the CPU.

    BatchNorms are folded, and pairs of convolutions where that saves operations; the faster of the
    networks with and without folded pairs counts. This process trains nothing. Trials may run on
    other cores meanwhile, so a placement and the paired network are timed in turn, and only their
    ratio counts: it is multiplied by the latency of the paired network before the first trial.

    Attributes:
        facts: of the placements.
        form: `eager` or `onnx`.
        batch: images at once.
        paired_ms: latency of the paired network before the first trial.
        known: placement text -> timing, of those that were measured.
    """

    facts: PlacementFacts
    form: LatencyForm
    batch: int
    paired_ms: float = 0.0
    known: dict[str, dict[str, float]] = field(default_factory=dict, compare=False)

    def begun(self) -> LatencyMeter:
        """The same, with the latency of the paired network.

        Raises:
            InputError: as `Costs.of_config`.
        """
        from relu_search.export.exported_model import require_room
        from relu_search.export.formats import require_onnx

        if self.form == "onnx":
            require_onnx()
        paired = self.facts.backbone.paired
        require_room(_network(self.facts, paired), self.facts.image_size, self.batch)
        return replace(
            self, paired_ms=_fastest(self._timed({"paired": paired}), "paired").median_ms
        )

    def in_study(self, study: optuna.Study) -> LatencyMeter:
        """The same, with the timings of a study, and with the paired latency of its beginning."""
        if LATENCY_ATTRIBUTE not in study.user_attrs:
            study.set_user_attr(LATENCY_ATTRIBUTE, self.paired_ms)
        known = {
            trial.user_attrs["placement"]: trial.user_attrs[LATENCY_ATTRIBUTE]
            for trial in study.get_trials(deepcopy=False)
            if LATENCY_ATTRIBUTE in trial.user_attrs
        }
        return replace(self, paired_ms=float(study.user_attrs[LATENCY_ATTRIBUTE]), known=known)

    def of(self, placement: Placement) -> dict[str, float]:
        """Milliseconds of a call: `median_ms`, `q25_ms`, `q75_ms`, and `n`, the samples."""
        if placement.text not in self.known:
            timed = self._timed({"paired": self.facts.backbone.paired, "this": placement})
            factor = self.paired_ms / _fastest(timed, "paired").median_ms
            this = _fastest(timed, "this")
            self.known[placement.text] = {
                "median_ms": factor * this.median_ms,
                "q25_ms": factor * this.q25_ms,
                "q75_ms": factor * this.q75_ms,
                "n": this.n,
            }
        return self.known[placement.text]

    def _timed(self, placements: Mapping[str, Placement]) -> dict[str, Timing]:
        """(name, number of a form) as text -> timing, all timed in turn."""
        import torch

        from relu_search.export.folded_pairs import fold_saving_pairs
        from relu_search.export.formats import export_graph, run_module, run_onnx, write_onnx
        from relu_search.export.timing import time_side_by_side
        from search_spaces.networks.folding import FoldedPair, fold_norms
        from trials.files.scratch import scratch_folder
        from trials.training.process import one_thread

        shape = _shape(self.facts)
        images = torch.randn(self.batch, *shape, generator=torch.Generator().manual_seed(0))
        calls: dict[str, Callable[[], object]] = {}
        with one_thread(), scratch_folder() as folder:
            for name, placement in placements.items():
                network = _network(self.facts, placement)
                forms = [fold_norms(network)]
                pairs_folded = fold_saving_pairs(network, shape)
                if any(isinstance(module, FoldedPair) for module in pairs_folded.modules()):
                    forms.append(pairs_folded)
                for number, form in enumerate(forms):
                    run = run_module(form)
                    if self.form == "onnx":
                        file = Path(folder, f"{name}-{number}.onnx")
                        write_onnx(export_graph(form, torch.zeros(2, *shape)), file)
                        run = run_onnx(file)
                    calls[f"{name} {number}"] = lambda run=run: run(images)  # type: ignore[misc]
            return time_side_by_side(calls, rounds=ROUNDS)


def _fastest(timed: Mapping[str, Timing], name: str) -> Timing:
    """The fastest form of a network, by the median."""
    own = [timing for key, timing in timed.items() if key.split()[0] == name]
    return min(own, key=lambda timing: timing.median_ms)


def _network(facts: PlacementFacts, placement: Placement) -> AnyNetwork:
    network = build(
        facts.backbone,
        placement,
        num_classes=facts.num_classes,
        in_channels=facts.in_channels,
        activation=facts.activation,
    )
    return network.eval()


def _shape(facts: PlacementFacts) -> tuple[int, int, int]:
    return (facts.in_channels, *facts.image_size)
