"""Every option of a search, each defined once: keys of TOML files, flags, fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from relu_search.settings.metrics import MetricName
from relu_search.settings.network_options import SMALL_DATA
from relu_search.settings.option_fields import option, options_of
from relu_search.settings.option_groups.budget_options import BudgetOptions
from search_spaces import Activation, DroppedNorm, Granularity
from trials.data.image_sets import Augment, TrainingData
from trials.early_stopping.rule import EarlyStopping, Signal
from trials.running.resources import GpusPerTrial
from trials.training.recipe import OptimizerName, Precision, Recipe, Schedule

Sampler = Literal[
    "gp", "tpe", "nsga2", "local", "greedy", "evolution", "reinforce", "random", "grid"
]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
COARSE_TO_FINE: Literal["coarse-to-fine"] = "coarse-to-fine"
"""Granularity that begins with one pattern for the whole net and ends with one per block."""
MOST_PACKED = 256
RECIPE_OPTIONS = (
    *("batch_size", "learning_rate", "schedule", "milestones", "warm_up", "optimizer", "momentum"),
    *("weight_decay", "spare_norms", "label_smoothing", "clip_norm"),
)
"""Options that change one value of the recipe. The number of epochs is an option of its own."""
MAX_SEED = 2**31 - 1
"""Largest seed that a user may give. Seeds that follow from it, of repeats and confirmations, may
be larger, up to the limit of the libraries (2**32 - 1)."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(BudgetOptions):
    """The options of a search.

    `SearchConfig` holds them as the user typed them, `ResolvedConfig` as the search runs them.
    The order of the fields is the order of the keys in `config.toml`. The default values are a
    small demonstration on the digits.
    """

    data: str | TrainingData = option(
        SMALL_DATA,
        "Data",
        "digits, cifar10, cifar100, svhn, fashion-mnist, parquet:DIR or folder:DIR.",
        metavar="NAME",
        may_change=True,  # the place, not the images
    )
    data_dir: str | None = option(
        None,
        "Data",
        "Folder of torchvision's data sets.",
        default_text="$RELU_SEARCH_DATA or ./data",
        may_change=True,
    )
    download: bool = option(False, "Data", "Download missing data.")
    train_limit: int | None = option(
        None,
        "Data",
        "Train on so many images only, a stratified draw.",
        default_text="all",
        least=1,
    )
    validation_images: int | None = option(
        None,
        "Data",
        "Size of the validation split.",
        default_text="a fifth of the training set, at most 5000",
        least=1,
    )
    image_size: int | None = option(
        None,
        "Data",
        "Resize the shorter side of every image to this many pixels and take the centre.",
        default_text="as they are; all must have one size",
        least=1,
        most=4096,
    )
    augment: Augment | None = option(
        None,
        "Data",
        "How training images are varied: none, crop-flip (shifted and mirrored) or "
        "random-resized-crop.",
        default_text="shifted, and mirrored where that keeps the label; digits are not varied",
    )
    normalise: str | None = option(
        None,
        "Data",
        "Mean and std per channel to normalise by, such as 0.485,0.456,0.406/0.229,0.224,0.225; "
        "data; or pretrained, those of the network's library.",
        default_text="data; pretrained with --weights pretrained",
    )
    recipe: str | Recipe | None = option(
        None,
        "Training",
        "Training recipe: short, paper, finetune, or a TOML file with the settings of a recipe.",
        default_text="short; finetune with --weights",
        metavar="NAME|FILE.toml",
    )
    epochs: int | None = option(
        None, "Training", "Epochs of a full training.", default_text="5; 400 with recipe paper"
    )
    batch_size: int | None = option(
        None, "Training", "Images per step.", default_text="32; 64 with recipe paper"
    )
    learning_rate: float | None = option(
        None, "Training", "Highest learning rate.", default_text="0.1; 0.01 with recipe finetune"
    )
    schedule: Schedule | None = option(
        None,
        "Training",
        "Course of the learning rate: step (a tenth after each milestone), one-cycle, cosine or "
        "constant.",
        default_text="one-cycle; step with recipe paper, cosine with finetune",
    )
    milestones: str | None = option(
        None,
        "Training",
        "Milestones of --schedule step, as shares of the training, such as 0.5,0.75.",
        default_text="0.5,0.75,0.875",
    )
    warm_up: float | None = option(
        None,
        "Training",
        "Share of the training in which the learning rate rises from zero.",
        default_text="0.3 with one-cycle, else 0",
    )
    optimizer: OptimizerName | None = option(
        None, "Training", "sgd (with Nesterov momentum) or adamw.", default_text="sgd"
    )
    momentum: float | None = option(
        None,
        "Training",
        "Momentum of sgd; with adamw the decay of the mean gradient (beta 1).",
        default_text="0.9",
    )
    weight_decay: float | None = option(None, "Training", "Weight decay.", default_text="0.0001")
    spare_norms: bool | None = option(
        None, "Training", "No weight decay on the weights of norms and on biases."
    )
    label_smoothing: float | None = option(
        None,
        "Training",
        "Share of each label that is spread evenly over all classes.",
        default_text="0",
    )
    clip_norm: float | None = option(
        None,
        "Training",
        "Scale gradients down to this norm over all parameters.",
        default_text="never",
    )
    weights: str | None = option(
        None,
        "Training",
        "Start each training from these weights of the network with all its ReLUs, and fine-tune: "
        "a .safetensors or .pt file, or pretrained for torchvision: and timm:.",
        default_text="from scratch",
        metavar="FILE|pretrained",
        may_change=True,  # the place, not the weights
    )
    new_head: bool = option(
        False, "Training", "Leave the classifier of the weights out; it starts untrained."
    )
    distill: float | None = option(
        None,
        "Training",
        "Weight, up to 1, of what the network with all its ReLUs and these weights answers, in the "
        "loss.",
        default_text="no distillation",
        above=0,
        most=1,
    )
    distill_temperature: float | None = option(
        None, "Training", "Temperature of the distillation.", default_text="4", least=0.01, most=100
    )
    precision: Precision | None = option(
        None,
        "Training",
        "fp32, or on a CUDA GPU the faster tf32 or bf16: tf32 rounds the factors of convolutions "
        "and matrix products, bf16 computes in bfloat16.",
        default_text="fp32",
    )
    seed: int = option(
        0,
        "Training",
        "Seed of the split, initial weights, order of images, augmentation and sampler.",
        least=0,
        most=MAX_SEED,
    )
    own: str | dict[str, str] | None = option(
        None,
        "Search",
        "Placements of your own, which are trained after the hand-designed modules: a file with a "
        "placement or module in each line, with an optional name behind it, or a trials.csv.",
        metavar="FILE",
        flag="try",
    )
    protect: bool = option(False, "Search", "Never stop the placements of --try early.")
    granularity: Granularity | Literal["coarse-to-fine"] = option(
        "stage",
        "Search",
        "What one decision covers: network, stage, block or site. coarse-to-fine uses the first "
        "three in turn.",
    )
    min_relus: int | str = option(
        1,
        "Search",
        "Fewest ReLUs kept in the blocks: a number, or a share of the sites (20%), rounded up. 0 "
        "allows the network without any.",
        metavar="N|SHARE",
    )
    max_relus: int | str | None = option(
        None,
        "Search",
        "Most ReLUs kept in the blocks: a number, or a share of the sites (60%), rounded down.",
        default_text="no limit",
        metavar="N|SHARE",
    )
    ratio: str | None = option(
        None,
        "Search",
        "Search only placements of exactly this ratio of convolutions to ReLUs, such as 2:1. If "
        "the depth does not allow it exactly, with as many ReLUs as the module of this name.",
        metavar="N:M",
    )
    norm: DroppedNorm = option(
        "keep",
        "Network",
        "Keep or drop the BatchNorm directly before a dropped ReLU. With drop, two convolutions "
        "in a row are one linear map.",
    )
    search_norm: bool = option(
        False, "Search", "Let the search decide between keep and drop for --norm."
    )
    activation: Activation = option(
        "relu",
        "Network",
        "Activation at the kept sites: relu, leaky_relu, prelu, rrelu, elu or crelu. crelu "
        "doubles the channels.",
    )
    sampler: Sampler = option(
        "gp",
        "Search",
        "How the next placement is chosen: gp, tpe, local, greedy, evolution, reinforce, nsga2, "
        "random or grid. grid tries every placement.",
    )
    metric: MetricName = option(
        "val_loss",
        "Search",
        "Metric to optimise on the validation split: val_loss or val_accuracy. val_loss varies "
        "less between seeds.",
    )
    objective: str | None = option(
        None,
        "Search",
        "Several objectives at once: loss or accuracy, with any of relus, relu_elements, "
        "macs-after-fold and latency, such as loss,relus.",
        metavar="NAMES",
    )
    stop_on: Signal = option(
        "train-loss-sum",
        "Early stopping",
        "What is compared at a rung of ASHA: the sum of the train losses so far, or the last train "
        "loss, validation loss or validation accuracy. A rung stops trials only once it is known "
        "to predict the end.",
    )
    grace_epochs: int | None = option(
        None,
        "Early stopping",
        "No trial is stopped before this epoch.",
        default_text="an eighth of the epochs, at most 20",
        least=1,
    )
    reduction_factor: float = option(
        EarlyStopping.reduction_factor,
        "Early stopping",
        "At each rung of ASHA, about one trial in this many goes on.",
        least=1.01,
        most=100,
    )
    concurrent: int | None = option(
        None,
        "Machines",
        "Trials at once. With 1, a search can be repeated bit for bit.",
        default_text="as many as the machines allow",
        may_change=True,
    )
    cpus_per_trial: float = option(
        1, "Machines", "CPU cores of each trial, fractions allowed.", may_change=True
    )
    gpus_per_trial: GpusPerTrial = option(
        None,
        "Machines",
        "GPUs of each trial or pack, fractions allowed; 0 trains on CPUs. auto measures the memory "
        "that one needs, and lets at most 8 share a GPU.",
        metavar="N|auto",
        default_text="0.25 if there is a GPU, else 0",
        may_change=True,
    )
    max_failures: int = option(
        2,
        "Machines",
        "How often a trial is started again, from its last finished epoch, after its worker or "
        "node died.",
        may_change=True,
    )
    niceness: int = option(
        0,
        "Machines",
        "How much lower the priority of the trials is than that of the command (nice), 0 to 19.",
        least=0,
        most=19,
        may_change=True,
    )
    address: str | None = option(
        None,
        "Machines",
        "Ray cluster to use: host:port, or auto.",
        default_text="this machine alone",
        may_change=True,
    )
    exchange: str | None = option(
        None,
        "Machines",
        "Folder or fsspec URL (s3://...) through which weights and checkpoints travel, for nodes "
        "that do not see the run folder.",
        default_text="the nodes see it",
        may_change=True,
    )
    storage: str | None = option(
        None,
        "Run",
        "URL of the Optuna database.",
        default_text="a journal file in the run folder",
        secret=True,  # it may hold a password
        metavar="URL",
        may_change=True,
    )
    pack: int | Literal["auto"] = option(
        1,
        "Training",
        "Train this many trials together in each worker, as one network of grouped convolutions. "
        "auto measures which number is fastest.",
        metavar="N|auto",
        least=1,
        most=MOST_PACKED,
    )
    compiled: bool = option(False, "Training", "Train with one compiled graph for all placements.")
    captured: bool = option(
        False, "Training", "Train with recorded CUDA graphs. Needs a GPU for each trial or pack."
    )
    deterministic: bool = option(
        False,
        "Training",
        "Repeat results to the bit on the same kind of GPU, by slower algorithms. On a CPU they "
        "repeat without it.",
    )
    warm_start: Literal["supernet"] | None = option(
        None,
        "Search",
        "supernet: first try the placements that a network trained with random placements ranks "
        "best.",
    )
    out: str | None = option(None, "Run", "Run folder.", default_text="runs/DATE-TIME")
    log: str | None = option(
        None,
        "Run",
        "Trackers that show the search: tensorboard, mlflow, wandb, or several of them.",
        default_text="none",
        metavar="NAMES",
        may_change=True,
    )
    report: bool = option(
        True,
        "Run",
        "At the end of the search, write report.html and its figures into the run folder.",
        default_text="yes",
        may_change=True,
    )


PLACES = tuple(name for name, about in options_of(SearchOptions).items() if about.may_change)
"""Options that do not change what is searched; they may change when it is resumed."""
