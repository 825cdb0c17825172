"""How far the distributions of layers' inputs move: internal covariate shift in the sense of Ioffe & Szegedy.

Pre-activations are the inputs of the activation; if a norm stands before it, they are its outputs. The probe batch
stays the same: only the training of this layer and of earlier ones moves them.

Shape letters: U units (channels, for a convolution), M values per unit, Q quantiles.
"""

import torch
from torch import Tensor

from bnlab.diagnostics.diagnostic import Diagnostic, Observation
from bnlab.diagnostics.distributions import quantiles_of_sorted, sorted_preactivations
from bnlab.diagnostics.passes import Named

PERCENTS = (15, 50, 85)
"""The quantiles of Ioffe & Szegedy's figure 1, in percent."""


TWO_STEPS = "two measured steps, and activations that are modules of the network's own (norm=frn replaces them)"
"""Why a diagnostic is undefined in some runs: it needs this."""


def _quantiles(seen: Observation) -> Named:
    """Return the quantiles of each unit's pre-activations, (Q, U) by layer; NaN where a value is not finite."""
    return seen.derived("quantiles of units", _compute_quantiles)


def _compute_quantiles(seen: Observation) -> Named:
    quantiles = {}
    for role, z_UM in sorted_preactivations(seen).items():
        ends = z_UM[:, 0] + z_UM[:, -1]  # not finite as soon as one value of the unit is not
        quantiles[role] = torch.where(ends.isfinite(), quantiles_of_sorted(z_UM, PERCENTS), torch.nan)
    return quantiles


def _has_spread(seen: Observation, role: str) -> bool:
    return sorted_preactivations(seen)[role].shape[1] > 1


def _spread(q_QU: Tensor) -> Tensor:
    return (q_QU[-1] - q_QU[0]).mean()


def _moved(now: Tensor, then: Tensor, has_spread: bool) -> dict[str, Tensor]:
    raw = (now - then).abs().mean()
    if not has_spread:
        return {"raw": raw}
    normalized = raw / ((_spread(now) + _spread(then)) / 2)
    return {"normalized": torch.where(raw == 0, raw, normalized), "raw": raw}


class PreactivationDrift(Diagnostic):
    """How far the quantiles of each unit's pre-activations have moved since the last measured step.

        raw = mean over p, j of |q_pj(t) - q_pj(s)|,    p in {15, 50, 85}, j all units, s the last measured step
        normalized = raw / (mean over s, t and j of q_85,j - q_15,j)

    Unit:
        ``raw``: units of the pre-activation. ``normalized``: shares of the spread between the outer quantiles.

    Reading:
        It shows how unstable the layer's inputs are while it learns. Compare arms at the same steps only: it grows with
        the number of steps between two measurements (``diagnostics.schedule.every``).

    Cost:
        Sorts the values of each unit, once for all diagnostics that need it.

    Blind spots:
        If the spread is tiny, as in a deep network at its start, the normalized value is very large, and infinite for a
        spread of zero: read the raw one too. Dropout and a norm's noise make new draws at each step, and count as
        drift. Drift need not slow down training: Santurkar et al. 2018 found drift without any harm.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, figure 1 (b, c), over all units instead of one; the normalization is
        Ours.
    """

    name = "preactivation_drift"
    unit = "shares of the spread; units of the pre-activation"
    vectorizable = True
    undefined = TWO_STEPS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return both per layer; nothing at the first measured step."""
        now = _quantiles(seen)
        return {
            f"{role}/{facet}": value
            for role, then in seen.memory.items()
            for facet, value in _moved(now[role], then, _has_spread(seen, role)).items()
        }

    def remember(self, seen: Observation) -> Named:
        """Return the quantiles of this step."""
        return _quantiles(seen)


class DriftFromStart(Diagnostic):
    """How far the quantiles of each unit's pre-activations have moved since the start of training.

        raw, normalized    as in `preactivation_drift`, with s the first measured step
        spread_growth = (mean over j of q_85,j - q_15,j, now) / (the same, at the start)

    Unit:
        ``raw``: units of the pre-activation. The others: dimensionless.

    Reading:
        Read it with `preactivation_drift`: a layer can move far in many small steps, or move much at each step and stay
        near its start. spread_growth 1: the scale is unchanged.

    Cost:
        Shared with `preactivation_drift`.

    Blind spots:
        A tiny spread at the start makes spread_growth very large; it does not show a shift of the middle. normalized
        has a limit: for a layer that grows without end, or shrinks to a point, it tends to about 2/3.

    Source:
        Ioffe & Szegedy 2015, arXiv:1502.03167, figure 1; the figures are Ours.
    """

    name = "drift_from_start"
    unit = "shares of the spread; units of the pre-activation; growth factor"
    vectorizable = True
    undefined = TWO_STEPS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return all three per layer; nothing at the first measured step."""
        now = _quantiles(seen)
        found: dict[str, Tensor] = {}
        for role, start in seen.memory.items():
            has_spread = _has_spread(seen, role)
            found |= {f"{role}/{facet}": value for facet, value in _moved(now[role], start, has_spread).items()}
            if has_spread:
                growth = _spread(now[role]) / _spread(start)
                found[f"{role}/spread_growth"] = torch.where(_spread(now[role]) == _spread(start), 1.0, growth)
        return found

    def remember(self, seen: Observation) -> Named:
        """Return the quantiles of the first step."""
        return dict(seen.memory) or _quantiles(seen)


class WassersteinDrift(Diagnostic):
    """How far the distribution of each unit's pre-activations has moved, by the Wasserstein distance.

        W1 = mean over units j of the integral of |F_j^-1(u; t) - F_j^-1(u; s)| du

    of each unit's empirical distribution over images and positions, at most 4,096 values. For as many values now as
    then it is the mean distance of the sorted values, exactly.

    Unit:
        Units of the pre-activation.

    Reading:
        Like `preactivation_drift`, but of the whole distribution instead of three quantiles. ``since_last``: since the
        last measured step; ``since_start``: since the first.

    Cost:
        Sorts the values of each unit, once for all diagnostics that need it. It keeps them twice, which takes a few MB
        in a checkpoint.

    Blind spots:
        It takes units one by one: it does not see whether they change together or swap roles.

    Source:
        The usual definition (Kantorovich, Vasershtein) in one dimension.
    """

    name = "wasserstein_drift"
    unit = "units of the pre-activation"
    vectorizable = True
    undefined = TWO_STEPS

    def measure(self, seen: Observation) -> dict[str, Tensor]:
        """Return both distances per layer; nothing at the first measured step."""
        now = sorted_preactivations(seen)
        distances = {
            f"{role}/since_{when}": (now[role] - seen.memory[f"{when}/{role}"]).abs().mean()
            for role in now
            for when in ("last", "start")
            if f"{when}/{role}" in seen.memory
        }
        return {key: torch.where(value.isfinite(), value, torch.nan) for key, value in distances.items()}

    def remember(self, seen: Observation) -> Named:
        """Return the sorted values of this step and of the first."""
        now = sorted_preactivations(seen)
        start = {key: value for key, value in seen.memory.items() if key.startswith("start/")}
        return {
            **{f"last/{role}": z_UM for role, z_UM in now.items()},
            **(start or {f"start/{role}": z_UM for role, z_UM in now.items()}),
        }
