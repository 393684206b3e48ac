"""Private parts of torch that trials uses, all in this file.

`tests/trials/test_compat.py` checks each of them and says what a new version of torch has changed.
(The private parts of Ray are in `trials.on_ray.compat`, as only that package may import Ray.)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

TF32_ADVICE = "TensorFloat32 tensor cores for float32 matrix multiplication available"
"""Start of a warning of torch's compiler about float32 without rounding, as precision fp32 is."""


def compiled_once(function: Callable[P, T]) -> Callable[P, T]:
    """`torch.compile` of a function, for calls that must all use one graph.

    Graphs that were compiled before in this process are forgotten, as torch would count a new one
    as a recompilation. Imports torch's compiler, which takes seconds.

    Returns:
        The compiled function. It raises `torch._dynamo.exc.RecompileError` where torch would
        compile a second graph. (By default torch compiles eight and then runs eager without
        a word.)
    """
    import torch
    import torch._dynamo

    torch._dynamo.reset()
    compiled = torch.compile(function, dynamic=False, fullgraph=True)

    def call(*arguments: P.args, **options: P.kwargs) -> T:
        with warnings.catch_warnings(), torch._dynamo.config.patch(error_on_recompile=True):
            warnings.filterwarnings("ignore", message=TF32_ADVICE, category=UserWarning)
            return compiled(*arguments, **options)

    return call
