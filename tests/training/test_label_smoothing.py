"""The loss with smoothed labels, against its definition."""

import pytest
import torch

from bnlab.config.compose import compose_run
from bnlab.experiment.assembly import assemble
from bnlab.experiment.checking import check


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_each_label_is_spread_over_all_classes(share: float) -> None:
    """Szegedy et al. 2016, section 7: the label is (1 - share) for its class, and share / K more for each of K."""
    config = compose_run(["data=synthetic", "model.width=2", f"train.label_smoothing={share}"])
    run, _ = assemble(config, check(config))
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 2])
    minus_log_p = logits.logsumexp(1, keepdim=True) - logits
    wanted = (1 - share) * minus_log_p[[0, 1], labels] + share * minus_log_p.mean(1)
    torch.testing.assert_close(run.loss(logits, labels), wanted.mean(), rtol=1e-12, atol=0)
