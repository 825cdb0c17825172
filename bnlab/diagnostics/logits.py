"""The size of the logits, by which a run can diverge while it learns."""

from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.passes import Named
from bnlab.norms.moments import widened


class LogitScale(Diagnostic):
    """How far the logits of an image lie apart, and how that has grown since the start.

        scale   root mean square over images and classes of z_k - mean over k of z
        growth  scale / scale at the first measured step

    Softmax does not see the mean of an image's logits, so it is taken off. Cross-entropy has a third outcome besides
    learning and failing, *controlled divergence*: the logits go on growing while activations and gradients stay stable,
    and the network learns.

    Not in ``diagnostics=full``, which would give every run with it another id: ``diagnostics.names=[logit_scale]``
    measures it.

    Unit:
        scale: nats; growth: ratio to the start.

    Reading:
        Once the training images are separated, logits grow with the logarithm of time. If they grow in proportion to
        time or faster, so at least twice as large at the end as at half of the run, while the accuracy stays, ``bnlab
        show`` and ``bnlab judge`` call the run one of controlled divergence. Its status stays ``finished``. Beyond a
        scale of about 17, softmax in float32 is 1 for one class, and images that are right give no gradient.

    Cost:
        One forward pass on the probe batch.

    Blind spots:
        In the source, logits diverge as the network gets wider; here, in one run over time. In training mode, as all
        shared passes: a batch norm uses the probe batch's own statistics.

    Source:
        Haas et al. 2025, arXiv:2505.22491 (controlled divergence); the measure and the factor 2 are Ours.
    """

    name = "logit_scale"
    unit = "nats; ratio to the start"
    cost = "extra"
    vectorizable = True

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return the scale and its growth for the network."""
        if seen.passes is None or seen.probe is None:
            return {}
        scale = _scale(seen)
        return {"network/scale": scale, "network/growth": scale / seen.memory.get("first", scale)}

    def remember(self, seen: Observation) -> Named:
        """Return the scale at the first measured step."""
        if seen.passes is None or seen.probe is None:
            return {}
        return {"first": seen.memory["first"] if seen.memory else _scale(seen)}


def _scale(seen: Observation) -> Tensor:
    def compute(seen: Observation) -> Tensor:
        assert seen.passes is not None
        assert seen.probe is not None
        logits_NK = widened(seen.passes.logits(seen.probe.inputs).detach())
        return (logits_NK - logits_NK.mean(1, keepdim=True)).square().mean().sqrt()

    return seen.derived("logit_scale", compute)
