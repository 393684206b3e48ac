"""The paper's experiments as data: what was trained and what was published; the planned runs.

Source of every published number: G. Zhao et al., *Rethinking ReLU to Train Better CNNs*, as mean
and standard deviation of 5 runs. `protocol.py` describes how the paper trains and measures.
"""

from __future__ import annotations

from dataclasses import dataclass

from relu_search.settings.option_fields import check_options, option, same_option
from relu_search.settings.option_files import changed_recipe
from relu_search.settings.search_options import MAX_SEED, RECIPE_OPTIONS, SearchOptions
from search_spaces import Backbone, InputError, Placement, resolve_placement
from search_spaces.errors import shown
from trials.data.image_sets import Augment
from trials.files.paths import absolute_data
from trials.training.recipe import OptimizerName, Precision, Recipe, Schedule

PAPER_EPOCHS, PAPER_SEEDS, OTHER_DATA_EPOCHS = 400, 5, 60


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One table or figure of the paper.

    Attributes:
        title: what the table or figure shows.
        family: family of the backbones.
        modules: module names; the first one is the reference of the others.
        cells: (data, depth, module) -> published test accuracy in %, mean and std of 5 runs; None
            where only a curve or nothing was published.
        order: (data, depth) -> modules from best to worst according to the text and the curves,
            where no numbers were published.
        single_sites: number of blocks, spread over the depth, in which each ReLU is dropped alone;
            these runs come in addition to `modules`.
    """

    title: str
    family: str
    modules: tuple[str, ...]
    cells: dict[tuple[str, int, str], tuple[float, float] | None]
    order: dict[tuple[str, int], tuple[str, ...]]
    single_sites: int = 0


_TYPES = ("paired", "3:2/type1", "3:2/type2", "3:2/type3")

EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment(
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
    "table2": Experiment(
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
    "table3": Experiment(
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
    "figure6": Experiment(
        title="Figure 6: pre-ResNet-110 on CIFAR-10, accuracy against epoch",
        family="preresnet",
        modules=("paired", "2:1/first"),
        cells={("cifar10", 110, module): None for module in ("paired", "2:1/first")},
        order={("cifar10", 110): ("2:1/first", "paired")},
    ),
    "figure7": Experiment(
        title="Figure 7: bottleneck pre-ResNet-110 on CIFAR-100, types 1 to 3",
        family="preresnet-bottleneck",
        modules=_TYPES,
        cells={("cifar100", 110, module): None for module in _TYPES},
        order={("cifar100", 110): ("3:2/type1", "3:2/type2", "paired", "3:2/type3")},
    ),
    "figure8": Experiment(
        title="Figure 8: bottleneck pre-ResNet-164 on CIFAR-100, types 1 to 3",
        family="preresnet-bottleneck",
        modules=_TYPES,
        cells={("cifar100", 164, module): None for module in _TYPES},
        order={("cifar100", 164): ("3:2/type1", "3:2/type2", "3:2/type3", "paired")},
    ),
    "claims": Experiment(
        title="Section V-C: the influence of a single ReLU, by depth and by position",
        family="preresnet-bottleneck",
        modules=("paired",),
        cells={("cifar100", depth, "paired"): None for depth in (110, 164)},
        order={},
        single_sites=3,
    ),
}


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """What is run, and where it differs from the paper; None: as in the paper.

    Attributes:
        experiment: a key of `EXPERIMENTS`.
        data: data name, a folder as absolute path; None: the data of the experiment.
        depths: depths of the backbones; None: the published ones.
        epochs: None: 400, or 60 on other data than the paper's.
        seeds: number of runs of each network and module, with seeds from `first_seed` on.
        width: channels of the first stage.
        train_limit: number of training images; None: all.
        image_size, augment: as in `load_data`.
        data_dir: folder of torchvision's data sets.
        download: whether torchvision may download a missing data set.
        recipe: how to train, a `Recipe`, its name or a TOML file. The options after it change one
            value each; None: as in the recipe.
        precision: of the training.
        deterministic: repeat to the last bit on GPUs too.

    Raises:
        InputError: a value out of range.
    """

    experiment: str
    data: str | None = option(
        None, "Data", "Another data set than the paper's.", default_text="the paper's"
    )
    depths: tuple[int, ...] | None = option(
        None,
        "Network",
        "Depths of the networks, separated by commas, such as 38,62.",
        default_text="the paper's",
    )
    epochs: int | None = option(
        None,
        "Training",
        "Epochs of each training.",
        default_text="400, as in the paper; 60 on other data",
    )
    seeds: int = option(
        PAPER_SEEDS,
        "Training",
        "Number of seeds for each network, at least 2: one run has no standard deviation.",
        least=2,
        most=1_000,
    )
    first_seed: int = option(0, "Training", "First of these seeds.", least=0, most=MAX_SEED)
    width: int = option(16, "Network", "Channels of the first stage.")
    train_limit: int | None = same_option(SearchOptions, "train_limit")
    image_size: int | None = same_option(SearchOptions, "image_size")
    augment: Augment | None = same_option(SearchOptions, "augment")
    data_dir: str | None = same_option(SearchOptions, "data_dir")
    download: bool = same_option(SearchOptions, "download")
    recipe: str | Recipe = option(
        "paper",
        "Training",
        "Training recipe: paper, short, or a TOML file with the settings of a recipe.",
        metavar="NAME|FILE.toml",
    )
    batch_size: int | None = same_option(SearchOptions, "batch_size")
    learning_rate: float | None = same_option(SearchOptions, "learning_rate")
    schedule: Schedule | None = same_option(SearchOptions, "schedule")
    milestones: str | None = same_option(SearchOptions, "milestones")
    warm_up: float | None = same_option(SearchOptions, "warm_up")
    optimizer: OptimizerName | None = same_option(SearchOptions, "optimizer")
    momentum: float | None = same_option(SearchOptions, "momentum")
    weight_decay: float | None = same_option(SearchOptions, "weight_decay")
    spare_norms: bool | None = same_option(SearchOptions, "spare_norms")
    label_smoothing: float | None = same_option(SearchOptions, "label_smoothing")
    clip_norm: float | None = same_option(SearchOptions, "clip_norm")
    precision: Precision | None = same_option(SearchOptions, "precision")
    deterministic: bool = same_option(SearchOptions, "deterministic")

    def __post_init__(self) -> None:
        if self.experiment not in list(EXPERIMENTS):
            raise InputError(
                f"experiment {shown(self.experiment)} is unknown; use one of "
                + ", ".join(EXPERIMENTS)
            )
        check_options(self)
        if self.data is not None:
            object.__setattr__(self, "data", absolute_data(self.data))
        _ = self.training_recipe, self.networks

    @property
    def definition(self) -> Experiment:
        """The experiment itself."""
        return EXPERIMENTS[self.experiment]

    @property
    def is_on_own_data(self) -> bool:
        """Whether the data are those of the paper's experiment."""
        return self.data is None or self.data in {data for data, _, _ in self.definition.cells}

    @property
    def training_recipe(self) -> Recipe:
        """The recipe over these epochs; 60 epochs of the paper's on other data than the paper's."""
        values = {name: getattr(self, name) for name in ("precision", *RECIPE_OPTIONS)}
        epochs = self.epochs
        if epochs is None and self.recipe == "paper" and not self.is_on_own_data:
            epochs = OTHER_DATA_EPOCHS
        return changed_recipe(self.recipe, {**values, "epochs": epochs})

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
class PlannedRun:
    """One training of a reproduction: one network with one seed."""

    data: str
    backbone: Backbone
    module: str
    placement: Placement
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What identifies the run in `runs.csv`: (data, backbone, module, seed)."""
        return self.data, self.backbone.name, self.module, self.seed


def planned_runs(settings: ReproduceSettings) -> list[PlannedRun]:
    """Every run of a reproduction, seed by seed: an interrupted one has whole seeds.

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
                    PlannedRun(
                        data=data,
                        backbone=backbone,
                        module=module,
                        placement=placement,
                        seed=seed,
                    )
                )
    return runs


def single_drops(backbone: Backbone, blocks: int) -> dict[str, Placement]:
    """Placements that drop one ReLU each, by the name of its site, such as `blocks.3.relu1`.

    Args:
        blocks: number of blocks whose ReLUs are dropped, spread evenly from the first to the last.
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
