"""The check of a form: what passes, and what is refused."""

from __future__ import annotations

import pytest
from helpers.exporting import (
    network_of,
)

from relu_search.export.equivalence import ProofImages, prove, reference_logits
from search_spaces import InputError


def proof_inputs(model):
    images = ProofImages.make(channels=3, size=(16, 16), normalise=None)
    return images.inputs, reference_logits(model, images)


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_form_that_differs_in_one_logit_is_refused(error):
    inputs, wanted = proof_inputs(network_of("plain-8", "2:1"))

    def run(images):
        logits = wanted["random"][: len(images)].clone()
        logits[0, 0] += error
        return logits

    with pytest.raises(InputError, match="not the network"):
        prove("odd", run, inputs, wanted)


def test_the_tolerance_follows_large_logits_only():
    inputs, wanted = proof_inputs(network_of("plain-8", "2:1"))
    for scale, tolerance in ((9.0, 1e-4), (1000.0, 1e-2)):
        logits = {"random": wanted["random"] / wanted["random"].abs().max() * scale}
        proof = prove("same", lambda x, y=logits: y["random"][: len(x)], inputs, logits)
        assert proof.tolerance == pytest.approx(tolerance)
        assert proof.largest_difference == 0
