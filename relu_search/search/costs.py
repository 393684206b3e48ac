"""Costs of a placement that are known without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relu_search.analysis.placement_facts import PlacementFacts
from relu_search.settings.metrics import Cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from search_spaces import Placement


@dataclass(frozen=True)
class Costs:
    """The costs of placements of one backbone on images of one shape.

    Attributes:
        names: in the order of `COSTS`.
        facts: of these placements, without training.
    """

    names: tuple[Cost, ...]
    facts: PlacementFacts

    def of(self, placement: Placement) -> tuple[float, ...]:
        """The costs of a placement, in the order of `names`."""
        return tuple(float(self._measured(name, placement)) for name in self.names)

    def _measured(self, name: Cost, placement: Placement) -> int:
        if name == "relus":
            return placement.kept
        if name == "relu_elements":
            return int(self.facts.complexity(placement).relu_elements)
        from relu_search.export.folded_pairs import macs_after_fold
        from search_spaces import build

        facts = self.facts
        model = build(
            facts.backbone,
            placement,
            num_classes=facts.num_classes,
            in_channels=facts.in_channels,
            activation=facts.activation,
        )
        return macs_after_fold(model.eval(), (facts.in_channels, *facts.image_size))

    def of_sites(self) -> NDArray[Any]:
        """(costs, sites) what keeping each site adds to each cost.

        It is the cost of the paired network minus the cost without this site. The sum over sites is
        exact for `relus` and `relu_elements`. For `macs-after-fold` it is an estimate, because two
        pairs that share a convolution cannot both be folded.
        """
        import numpy as np

        from search_spaces import Placement

        count = len(self.facts.backbone.sites)
        whole = np.array(self.of(Placement("1" * count)))
        without = [
            self.of(Placement("1" * site + "0" + "1" * (count - site - 1))) for site in range(count)
        ]
        table: NDArray[Any] = (whole - np.array(without).reshape(count, len(whole))).T
        return table
