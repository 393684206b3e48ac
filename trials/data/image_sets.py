"""Sets of images as plain data: what a training gets. Loads no library, so that settings may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from trials.data.reading.image_arrays import Images
    from trials.data.reading.sources import Labels

PYTHON = "python"
"""Kind of the name of data that were given in Python, `python:NAME`."""
Augment = Literal["none", "crop-flip", "random-resized-crop"]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, in 0-255."""


class SentByFile:
    """Is pickled with the name of a cache file in the place of images that are mapped from it."""

    images: Images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": _image_arrays().as_sent(self.images)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, images=_image_arrays().as_received(state["images"]))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet(SentByFile):
    """Images and their classes. Two sets are equal if their arrays are the same memory.

    So copies of equal images differ, but all objects that Ray makes from one object of a node's
    store are equal, as Ray does not copy arrays.

    Attributes:
        images: uint8 (N, H, W, C).
        labels: int64 (N,).
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> ImageSet:
        """The first images, at most `count`."""
        return ImageSet(images=self.images[:count], labels=self.labels[:count])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageSet) and self._memory == other._memory

    def __hash__(self) -> int:
        return hash(self._memory)

    @property
    def _memory(self) -> tuple[Any, ...]:
        """Where both arrays are, and how they are laid out."""
        return tuple(
            (array.ctypes.data, array.shape, array.strides, array.dtype.str)
            for array in (self.images, self.labels)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenImages:
    """All images that were given in Python. Do not write into the arrays.

    Attributes:
        name: `python:NAME`.
        images: uint8 (N, H, W, C), not padded.
        labels: int64 (N,).
        classes: class names, in label order.
        flip: whether a mirrored image keeps its label.
        validation: so many of the last images are the validation split of every seed; None: each
            seed draws its own.
        resized: whether they were brought to one size as they were read.
    """

    name: str
    images: Images
    labels: Labels
    classes: tuple[str, ...]
    flip: bool
    validation: int | None
    resized: bool


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """All data that a search may use. The arrays are shared: do not write into them.

    Attributes:
        name: such as `cifar10` or `parquet:DIR`.
        train: training images, padded by `pad` pixels of the mean colour on every side.
        validation: validation images, not padded; taken from the training set, stratified.
        pad: pixels of padding around each training image, the largest shift of a crop.
        flip: whether random horizontal flips keep the labels.
        mean, std: per channel, in 0-255.
        classes: class names, in label order.
        split_seed: seed of the validation split.
        split_digest: SHA-256 over rows, labels and validation pixels; identifies data and split.
        augment: how training images are varied, where the user has said it; None: as usual for
            this data set.
        own_statistics: whether mean and std are those that the user has said.
        resized: whether the images were brought to one size as they were read.
        given: all images from which the splits are drawn, where they were given in Python; None:
            the data are read by their name.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    pad: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    split_seed: int
    split_digest: str
    augment: Augment | None = None
    own_statistics: bool = False
    resized: bool = False
    given: GivenImages | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_tensors(
        cls,
        images: Any,
        labels: Any,
        *,
        validation: tuple[Any, Any] | None = None,
        classes: Sequence[str] | None = None,
        name: str = "tensors",
        flip: bool = True,
        **options: Any,
    ) -> TrainingData:
        """Data from arrays or tensors.

        ```python
        data = TrainingData.from_tensors(images, labels, classes=("cat", "dog"))
        outcome = run_search(SearchConfig(data=data))
        ```

        Args:
            images: uint8, or floating-point in 0 to 1; (N, H, W), (N, H, W, C) or (N, C, H, W)
                with C of 1 or 3.
            labels: integers (N,), 0-based.
            validation: images and labels of a validation split of one's own, which all seeds use;
                None: a stratified part of the images.
            classes: names of the classes; None: their numbers.
            name: of the data, in tables and cards.
            flip: whether a mirrored image keeps its label.
            options: `seed`, `train_limit`, `validation_images`, `image_size`, `augment`,
                `normalise`, as in `load_data`.

        Raises:
            InputError: arrays of other shapes, types or values.
        """
        data: TrainingData = _given_images().of_tensors(
            images, labels, validation=validation, classes=classes, name=name, flip=flip, **options
        )
        return data

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        validation: Any = None,
        classes: Sequence[str] | None = None,
        name: str | None = None,
        flip: bool = True,
        **options: Any,
    ) -> TrainingData:
        """Data from any `torch.utils.data.Dataset` of images and labels, read once.

        Its images are Pillow images, arrays or tensors. It should not vary them at random.

        Args:
            dataset: has a length; `dataset[i]` is an image and its label.
            validation: a data set for validation, which all seeds use; None: a stratified part.
            classes: names of the classes; None: `dataset.classes`, or their numbers.
            name: of the data; None: the name of the data set's class.
            flip: as in `from_tensors`.
            options: as in `from_tensors`.

        Raises:
            InputError: an item that is no image and label, or images of several sizes.
        """
        data: TrainingData = _given_images().of_dataset(
            dataset, validation=validation, classes=classes, name=name, flip=flip, **options
        )
        return data

    @property
    def in_channels(self) -> int:
        return int(self.validation.images.shape[3])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.validation.images.shape[1]), int(self.validation.images.shape[2])

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What it takes to run a trained model on new images: no images, only facts about them.

    Attributes:
        name, classes: as in `TrainingData`.
        image_size: (height, width) in pixels.
        mean, std: per channel of the training images, in 0-255.
        resized: as in `TrainingData`.
    """

    name: str
    image_size: tuple[int, int]
    in_channels: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resized: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def _image_arrays() -> Any:
    return import_module("trials.data.reading.image_arrays")


def _given_images() -> Any:
    return import_module("trials.data.given_images")  # it imports this module
