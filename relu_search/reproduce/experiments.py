"""The paper's experiments as data: what was trained, and what was published.

Protocol of the paper (Section IV and arXiv:1611.07718): train on all training images, no early
stopping, the figure is the last epoch's test accuracy. So what a run calls validation is here the
test split. Source of every published figure: G. Zhao et al., *Rethinking ReLU to Train Better
CNNs*, as mean and std of 5 runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from search_spaces import Backbone, InputError, Placement, resolve_placement
from trials.training.recipe import Precision, Recipe

PAPER_EPOCHS, PAPER_SEEDS, OTHER_DATA_EPOCHS = 400, 5, 60


@dataclass(frozen=True, kw_only=True)
class Study:
    """One table or figure of the paper.

    Attributes:
        title: what it shows.
        family: of the backbones.
        modules: the first one is what the others are held against.
        cells: (data, depth, module) -> published test accuracy in %, mean and std of 5 runs; None
            where only a curve or nothing was published.
        order: (data, depth) -> modules from best to worst as the text and the curves say, where
            no figures were published.
        single_sites: besides `modules`, drop single ReLUs in so many blocks spread over the depth.
    """

    title: str
    family: str
    modules: tuple[str, ...]
    cells: dict[tuple[str, int, str], tuple[float, float] | None]
    order: dict[tuple[str, int], tuple[str, ...]]
    single_sites: int = 0


_TYPES = ("paired", "3:2/type1", "3:2/type2", "3:2/type3")

STUDIES: dict[str, Study] = {
    "table1": Study(
        title="Table I: plain networks on CIFAR-100",
        family="plain",
        modules=("paired", "2:1"),
        cells={
            ("cifar100", 38, "paired"): (64.04, 0.14),
            ("cifar100", 38, "2:1"): (64.25, 1.44),
            ("cifar100", 62, "paired"): (56.88, 1.16),
            ("cifar100", 62, "2:1"): (60.86, 1.18),
            ("cifar100", 84, "paired"): (44.16, 0.57),
            ("cifar100", 84, "2:1"): (55.98, 2.59),
        },
        order={},
    ),
    "table2": Study(
        title="Table II: pre-activation ResNets, the first ReLU of every block dropped",
        family="preresnet",
        modules=("paired", "2:1/first"),
        cells={
            ("cifar10", 62, "paired"): (93.59, 0.20),
            ("cifar10", 62, "2:1/first"): (93.97, 0.23),
            ("cifar100", 62, "paired"): (71.43, 0.32),
            ("cifar100", 62, "2:1/first"): (72.19, 0.18),
            ("cifar100", 110, "paired"): (72.46, 0.10),
            ("cifar100", 110, "2:1/first"): (73.41, 0.10),
            ("cifar100", 164, "paired"): (73.00, 0.31),
            ("cifar100", 164, "2:1/first"): (74.12, 0.22),
        },
        order={},
    ),
    "table3": Study(
        title="Table III: merge-and-run networks (DFN-MR1)",
        family="dfn",
        modules=("paired", "4:3/type1", "4:3/type2"),
        cells={
            ("cifar100", 110, "paired"): (75.59, 0.19),
            ("cifar100", 110, "4:3/type1"): (75.61, 0.38),
            ("cifar100", 110, "4:3/type2"): (74.53, 0.80),
            ("cifar10", 110, "paired"): (95.04, 0.06),
            ("cifar10", 110, "4:3/type1"): (95.26, 0.14),
        },
        order={},
    ),
    "figure6": Study(
        title="Figure 6: pre-ResNet-110 on CIFAR-10, accuracy against epoch",
        family="preresnet",
        modules=("paired", "2:1/first"),
        cells={("cifar10", 110, module): None for module in ("paired", "2:1/first")},
        order={("cifar10", 110): ("2:1/first", "paired")},
    ),
    "figure7": Study(
        title="Figure 7: bottleneck pre-ResNet-110 on CIFAR-100, types 1 to 3",
        family="preresnet-bottleneck",
        modules=_TYPES,
        cells={("cifar100", 110, module): None for module in _TYPES},
        order={("cifar100", 110): ("3:2/type1", "3:2/type2", "paired", "3:2/type3")},
    ),
    "figure8": Study(
        title="Figure 8: bottleneck pre-ResNet-164 on CIFAR-100, types 1 to 3",
        family="preresnet-bottleneck",
        modules=_TYPES,
        cells={("cifar100", 164, module): None for module in _TYPES},
        order={("cifar100", 164): ("3:2/type1", "3:2/type2", "3:2/type3", "paired")},
    ),
    "claims": Study(
        title="Section V-C: the influence of a single ReLU, by depth and by position",
        family="preresnet-bottleneck",
        modules=("paired",),
        cells={("cifar100", depth, "paired"): None for depth in (110, 164)},
        order={},
        single_sites=3,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How far from the paper's setting a reproduction is run; None: as the paper.

    Attributes:
        study: a key of `STUDIES`.
        data: data name; None: each experiment's own.
        depths: None: the published ones.
        epochs: None: 400, or 60 on other data than the paper's.
        seeds: runs of each network, numbered from `first_seed`.
        width: channels of the first stage.
        train_limit: training images; None: all.
        data_dir, download: where torchvision's sets lie, and whether to fetch them.

    Raises:
        InputError: a value out of range.
    """

    study: str
    data: str | None = None
    depths: tuple[int, ...] | None = None
    epochs: int | None = None
    seeds: int = PAPER_SEEDS
    first_seed: int = 0
    width: int = 16
    train_limit: int | None = None
    data_dir: str | None = None
    download: bool = False
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.study not in STUDIES:
            raise InputError(
                f"experiment {self.study!r:.60} is unknown; use one of {', '.join(STUDIES)}"
            )
        if not 2 <= self.seeds <= 1_000:
            raise InputError(f"seeds is {self.seeds}; a mean with a spread needs 2 to 1000")
        if not 0 <= self.first_seed < 2**31 - self.seeds:
            raise InputError(f"first seed is {self.first_seed}; it must be at least 0")
        _ = self.recipe, self.networks

    @property
    def definition(self) -> Study:
        return STUDIES[self.study]

    @property
    def is_on_own_data(self) -> bool:
        """Whether the data are those of the paper's experiment."""
        return self.data is None or self.data in {data for data, _, _ in self.definition.cells}

    @property
    def recipe(self) -> Recipe:
        """The paper's recipe over these epochs: the learning rate drops at 1/2, 3/4 and 7/8."""
        usual = PAPER_EPOCHS if self.is_on_own_data else OTHER_DATA_EPOCHS
        recipe = Recipe.named("paper", usual if self.epochs is None else self.epochs)
        return replace(recipe, precision=self.precision)

    @property
    def networks(self) -> list[tuple[str, Backbone]]:
        """(data, backbone), in the paper's order."""
        published = dict.fromkeys((data, depth) for data, depth, _ in self.definition.cells)
        if self.depths is not None:
            sets = dict.fromkeys(data for data, _ in published)
            published = dict.fromkeys((data, depth) for data in sets for depth in self.depths)
        if self.data is not None:
            published = dict.fromkeys((self.data, depth) for _, depth in published)
        family = self.definition.family
        return [(data, Backbone(family, depth, self.width)) for data, depth in published]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of a reproduction."""

    data: str
    backbone: Backbone
    module: str
    placement: Placement
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.data, self.backbone.name, self.module, self.seed


def planned_runs(settings: Settings) -> list[Run]:
    """Every training of a reproduction: seed by seed, so that an early end leaves whole seeds.

    Raises:
        InputError: a module does not exist at some depth.
    """
    runs = []
    for data, backbone in settings.networks:
        arms = {m: resolve_placement(backbone, m) for m in settings.definition.modules}
        arms |= single_drops(backbone, settings.definition.single_sites)
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
            for module, placement in arms.items():
                runs.append(
                    Run(
                        data=data,
                        backbone=backbone,
                        module=module,
                        placement=placement,
                        seed=seed,
                    )
                )
    return runs


def single_drops(backbone: Backbone, blocks: int) -> dict[str, Placement]:
    """Placements that drop one ReLU, in so many blocks from the first to the last.

    Their names are the sites' own, such as `blocks.3.relu1`.
    """
    if not blocks:
        return {}
    last = backbone.sites[-1].block
    chosen = {round(i * last / max(1, blocks - 1)) for i in range(blocks)}
    bits = "1" * len(backbone.sites)
    return {
        site.name: Placement(bits[: site.index] + "0" + bits[site.index + 1 :])
        for site in backbone.sites
        if site.block in chosen
    }
