"""Networks that are not bnlab's, trained together where torch.func.vmap can: as if each were trained alone."""

import pytest
from test_stacked_runs import THREE, largest_difference


def of(name: str, *words: str) -> list[str]:
    return [f"model=own_networks:{name}", "optim.momentum=0.5", *words]


def test_two_runs_of_a_network_with_a_builder_equal_runs_trained_alone() -> None:
    assert largest_difference(of("Rows", "diagnostics=none"), THREE[:2], num_steps=3) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_runs_of_a_network_whose_norms_were_replaced_equal_runs_trained_alone(norm: str) -> None:
    assert largest_difference(of("Residual", f"norm={norm}", "diagnostics=full"), THREE[:2]) < 1e-8
