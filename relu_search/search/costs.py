"""Costs of a placement that are known without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relu_search.settings.metrics import Cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from search_spaces import Activation, Backbone, Placement


@dataclass(frozen=True)
class Costs:
    """The costs of placements of one backbone on images of one shape.

    Attributes:
        names: in the order of `COSTS`.
        image_shape: (channels, height, width).
    """

    names: tuple[Cost, ...]
    backbone: Backbone
    image_shape: tuple[int, int, int]
    num_classes: int
    activation: Activation = "relu"

    def of(self, placement: Placement) -> tuple[float, ...]:
        """The costs of a placement, in the order of `names`."""
        return tuple(float(self._measured(name, placement)) for name in self.names)

    def _measured(self, name: Cost, placement: Placement) -> int:
        if name == "relus":
            return placement.kept
        if name == "relu_elements":
            return int(self._complexity(placement).relu_elements)
        from relu_search.export.folded_pairs import macs_after_fold
        from search_spaces import build

        channels, *_ = self.image_shape
        model = build(
            self.backbone,
            placement,
            num_classes=self.num_classes,
            in_channels=channels,
            activation=self.activation,
        )
        return macs_after_fold(model.eval(), self.image_shape)

    def _complexity(self, placement: Placement) -> Any:
        from search_spaces import measure_complexity

        channels, height, width = self.image_shape
        return measure_complexity(
            self.backbone,
            placement,
            num_classes=self.num_classes,
            in_channels=channels,
            image_size=(height, width),
            activation=self.activation,
        )

    def of_sites(self) -> NDArray[Any]:
        """(costs, sites) what keeping each site adds to each cost.

        It is the cost of the paired network minus the cost without this site. The sum over sites is
        exact for `relus` and `relu_elements`. For `macs-after-fold` it is an estimate, because two
        pairs that share a convolution cannot both be folded.
        """
        import numpy as np

        from search_spaces import Placement

        count = len(self.backbone.sites)
        whole = np.array(self.of(Placement("1" * count)))
        without = [
            self.of(Placement("1" * site + "0" + "1" * (count - site - 1))) for site in range(count)
        ]
        table: NDArray[Any] = (whole - np.array(without).reshape(count, len(whole))).T
        return table
