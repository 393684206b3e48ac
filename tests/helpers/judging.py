"""A made-up finished search on the digits, and a runner that saves real, untrained networks."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from helpers.replay import RUN_RECORD
from PIL import Image

from relu_search import RunFolder, SearchConfig
from relu_search.settings.machines import Machines
from search_spaces import build
from trials.data.held_out import load_test_split
from trials.data.reading import sources
from trials.data.splits import load_data
from trials.training.checkpoint import save_weights
from trials.training.evaluation import score_on_test
from trials.training.metrics import EpochMetrics

HERE = Machines(in_process=True)
OPTIONS = {
    "backbone": "plain-8",
    "width": 2,
    "data": "digits",
    "train_limit": 100,
    "epochs": 2,
    "trials": 7,
    "granularity": "site",
    "metric": "val_accuracy",
}
# (state, module, placement, validation accuracy), in the order of the trials
TRIALS = [
    ("COMPLETE", "paired", "1*6", 0.50),
    ("COMPLETE", "2:1", "01*3", 0.60),
    ("COMPLETE", "linear", "0*6", 0.40),
    ("COMPLETE", "", "1*5+0", 0.55),
    ("PRUNED", "", "1*4+00", 0.99),
    ("COMPLETE", "", "0+1*5", 0.70),
    ("FAIL", "", "001*2", None),
]
BEST_FOUND = ("0+1*5", "1*5+0")  # best first
DEFAULT_ARMS = ["paired", "2:1", "linear", "trial 5", "trial 3"]
PLACEMENTS = dict(zip(DEFAULT_ARMS, ("1*6", "01*3", "0*6", *BEST_FOUND), strict=True))


def make_search(path, *, digest=None, trials=TRIALS, budget=None, **changes):
    """A run folder as a search on the digits leaves it, without its weights.

    `budget` are options of the budget; `trials` are those that have ended.
    """
    config = SearchConfig(**{**OPTIONS, **changes, **(budget or {})}, out=str(path)).resolve()
    path.mkdir(parents=True)
    run = RunFolder(path)
    data = config.load_data()
    facts = {**RUN_RECORD["data"], "split_digest": digest or data.split_digest}
    facts |= {"name": config.data, "classes": list(data.classes)}
    run.write_config(config, {**RUN_RECORD, "data": facts})
    rows = []
    for number, (state, module, placement, accuracy) in enumerate(trials):
        relus = len(placement)  # only its limits matter, and there are none
        row = {"trial": number, "state": state, "module": module, "placement": placement}
        row |= {"ratio": "", "relus": relus, "relu_elements": 1, "params": 1, "macs": 1, "seed": 0}
        row |= {"epochs": 2, "val_accuracy": accuracy, "val_loss": 1.0, "train_loss": 1.0}
        rows.append({**row, "seconds": 1.0, "reason": ""})
    run.start_tables(rows)
    return path


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files_under(path):
    return {p: p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def drawn(placement, seed):
    """A validation accuracy: a seeded draw."""
    return random.Random(f"{placement} {seed}").uniform(0.3, 0.7)


@dataclass
class Runner:
    """Stands for `run_trial`: reports made-up epochs, saves a real network, and remembers both.

    `failing` gives (placement, seed) the reason of its failure; `fitted` placements get a
    classifier fitted to the training images; `stop_after` so many runs Ctrl-C is pressed.
    """

    accuracy: object = drawn
    failing: dict = field(default_factory=dict)
    fitted: tuple = ()
    stop_after: int | None = None
    calls: list = field(default_factory=list)
    digests: dict = field(default_factory=dict)
    specs: list = field(default_factory=list)
    models: dict = field(default_factory=dict)

    def __call__(self, spec, data, *, device, save_to, checkpoint, on_epoch, weights=None):
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        key = spec.placement.text, spec.seed
        self.calls.append(key)
        self.specs.append(spec)
        self.digests[key] = data.split_digest
        failure = self.failing.get(key)
        model = build(
            spec.backbone,
            spec.placement.text,
            width=spec.width,
            num_classes=data.num_classes,
            in_channels=data.in_channels,
            generator=torch.Generator().manual_seed(spec.seed),
        ).eval()
        if spec.placement.text in self.fitted:
            fit_classifier(model, data)
        epochs = []
        for epoch in range(1, spec.recipe.epochs + 1):
            if failure and epoch == spec.recipe.epochs:
                break
            value = self.accuracy(spec.placement.text, spec.seed)
            metrics = EpochMetrics(
                epoch=epoch,
                train_loss=1.5,
                train_accuracy=0.25,
                val_loss=2 - value,
                val_accuracy=value,
                seconds=0.5,
            )
            if epoch == spec.recipe.epochs and save_to is not None:
                save_weights(model, save_to)
                self.models[key] = model, data
            on_epoch(metrics)
            epochs.append(metrics)
        return SimpleNamespace(spec=spec, epochs=tuple(epochs), failure=failure, model=model)


def pixels_of(images, data):
    """uint8 images -> normalised float tensor, written out by hand."""
    mean, std = (np.array(v, dtype=np.float32) for v in (data.mean, data.std))
    return torch.from_numpy((images.astype(np.float32) - mean) / std).permute(0, 3, 1, 2)


def fit_classifier(model, data):
    """Least squares on the features of the untrained network: better than chance."""
    inputs = {}
    hook = model.classifier.register_forward_hook(lambda m, x, y: inputs.update(x=x[0]))
    height, width = data.image_size
    images = data.train.images[:, data.pad : data.pad + height, data.pad : data.pad + width]
    with torch.no_grad():
        model(pixels_of(images, data))
        hook.remove()
        features = torch.cat([inputs["x"], torch.ones(len(images), 1)], 1).double()
        wanted = torch.eye(data.num_classes, dtype=torch.float64)[torch.tensor(data.train.labels)]
        gram = features.T @ features + 1e-6 * torch.eye(features.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(gram, features.T @ wanted).T.float()
        model.classifier.weight.copy_(weights[:, :-1])
        model.classifier.bias.copy_(weights[:, -1])


def accuracy_on(model, data, images, labels):
    """Accuracy on test images by a plain forward pass."""
    with torch.no_grad():
        chosen = model(pixels_of(images, data)).argmax(1).numpy()
    return float((chosen == labels).mean())


def small_digits(seed=0):
    return load_data("digits", train_limit=100, seed=seed)


def write_digits(path, splits=("train", "test")):
    """The digits as parquet files in the hub's layout; the data name."""
    data = small_digits()
    sets = {"train": load_data("digits", seed=0).train, "test": load_test_split(data)}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path.mkdir(parents=True, exist_ok=True)
    for split in splits:
        encoded = []
        for image in sets[split].images[:300]:
            buffer = io.BytesIO()
            Image.fromarray(image[..., 0]).save(buffer, "PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        table = {"img": pa.array(encoded, kind), "label": sets[split].labels[:300]}
        pq.write_table(pa.table(table), path / f"{split}.parquet")
    return f"parquet:{path}"


@dataclass
class Witness:
    """Writes down every split that is opened or read, every training, every score."""

    events: list = field(default_factory=list)

    def watch(self, monkeypatch):
        for module in ("trials.data.splits", "trials.data.held_out"):
            monkeypatch.setattr(f"{module}.open_source", self._open)
        monkeypatch.setattr("relu_search.confirmation.scoring.score_on_test", self._score)
        return self

    def _open(self, name, split, data_dir, **options):
        self.events.append(("open", split))
        source = sources.open_source(name, split, data_dir, **options)

        def read(indices, **how):
            self.events.append(("read", split))
            return source.read(indices, **how)

        return replace(source, read=read)

    def _score(self, model, *arguments):
        self.events.append(("score", model.placement.text))
        return score_on_test(model, *arguments)

    def training(self, runner):
        def run(spec, data, **options):
            self.events.append(("train", spec.placement.text))
            return runner(spec, data, **options)

        return run

    def kinds(self):
        return [
            " ".join(event) if event[0] in ("open", "read") else event[0] for event in self.events
        ]
