"""Every classification model of torchvision, and one of each family of timm, on tiny images."""

from __future__ import annotations

import importlib.util

import pytest
import torchvision.models

from search_spaces import FunctionBackbone, InputError

pytestmark = pytest.mark.slow

EVERY_KIND = "relu,relu6,silu,gelu,hardswish"
SIZES = (32, 64, 96, 128, 224, 256, 384, 448)
SMALL = (
    *("atto", "femto", "pico", "xxs", "nano", "tiny", "micro", "_xs", "_t0", "_t8", "_ti_", "_s0"),
    *("small", "050", "b0", "_s_", "_s1", "_s2", "_s", "18", "26", "m0", "121", "_m_", "_m"),
)
"""Parts of the names of small models, the smallest first."""
REFUSED = {
    "timm:efficientformerv2_s0": "has weights that no forward pass in training mode uses",
    "timm:coatnet_pico_rw_224": "has weights that no forward pass in training mode uses",
    "timm:naflexvit_base_patch16_siglip": "in code that torch.fx cannot trace",
}
"""Name -> part of the reason."""


def of_timm() -> list[str]:
    """A small model of each family; none if timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        return []
    import timm

    families = [timm.list_models(module=module) for module in timm.list_modules()]
    return [min(names, key=_size) for names in families if names]


def _size(name: str) -> int:
    """The place of a name in the order of `SMALL`."""
    return next((place for place, word in enumerate(SMALL) if word in name), len(SMALL))


def proved(name: str) -> FunctionBackbone:
    """The backbone, proved on the smallest images that it takes."""
    try:
        made = FunctionBackbone(name)
    except InputError as error:
        if "has no site" not in str(error):
            raise
        made = FunctionBackbone(name, sites=EVERY_KIND)
    for size in SIZES:
        try:
            made.prove(10, 3, (size, size))
        except InputError as error:
            if "fails on" not in str(error) or size == SIZES[-1]:
                raise
        else:
            break
    return made


def check(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name]):
            proved(name)
        return
    made = proved(name)
    assert made.sites
    assert sum(made.blocks_per_stage) == 1 + max(site.block for site in made.sites)


@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_a_model_of_torchvision_is_proved(name):
    check(f"torchvision:{name}")


@pytest.mark.parametrize("name", of_timm())
def test_a_model_of_timm_is_proved(name):
    check(f"timm:{name}")
