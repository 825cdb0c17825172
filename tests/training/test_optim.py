import math

import pytest
import torch
from folded import folded
from torch import nn
from torch.nn.utils import parametrize

from bnlab.norms.batch import BatchNorm
from bnlab.schema import AdamConfig, ScheduleConfig, SGDConfig
from bnlab.training.optim import build_optimizer, build_schedule, decayed_and_undecayed, without_compiler


def schedule(name: str, **changes: object) -> ScheduleConfig:
    values = {"warmup_share": 0.0, "milestones": [0.5, 0.75], "step_factor": 0.1, "peak_at": 0.3, "start_factor": 0.04}
    return ScheduleConfig.model_validate({"name": name, **values, **changes})


def shares_of_torch(make: object, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    shares = []
    for _ in range(num_steps):
        shares.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return shares


@pytest.mark.parametrize("num_steps", [10, 97, 400])
def test_cosine_is_torchs(num_steps: int) -> None:
    ours = build_schedule(schedule("cosine"), num_steps)
    theirs = shares_of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, num_steps), num_steps)
    assert [ours(step) for step in range(num_steps)] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("num_steps", [10, 97, 400])
@pytest.mark.parametrize("peak_at", [0.2, 0.3])
def test_one_cycle_is_torchs(num_steps: int, peak_at: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> object:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1.0, num_steps, pct_start=peak_at, div_factor=25, final_div_factor=1e12, cycle_momentum=False
        )

    ours = build_schedule(schedule("one_cycle", peak_at=peak_at), num_steps)
    assert [ours(step) for step in range(num_steps)] == pytest.approx(shares_of_torch(make, num_steps), abs=1e-6)


def test_step_is_torchs() -> None:
    ours = build_schedule(schedule("step"), 40)
    theirs = shares_of_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 30], gamma=0.1), 40)
    assert [ours(step) for step in range(40)] == pytest.approx(theirs)


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_warmup_rises_linearly_and_then_leaves_the_schedule_alone(name: str) -> None:
    plain, warm = build_schedule(schedule(name), 100), build_schedule(schedule(name, warmup_share=0.1), 100)
    assert [warm(step) / plain(step) for step in range(12)] == pytest.approx([(i + 1) / 10 for i in range(10)] + [1, 1])


@folded("name", ["constant", "cosine", "step", "one_cycle"])
@folded("num_steps", [1, 2, 3])
def test_very_short_runs_have_a_rate_too(name: str, num_steps: int) -> None:
    share = build_schedule(schedule(name), num_steps)
    assert all(math.isfinite(share(step)) and 0 <= share(step) <= 1 for step in range(num_steps))


@pytest.mark.parametrize("num_steps", [10, 49, 100])
@pytest.mark.parametrize("off", [-1e-15, 0.0, 1e-15])
def test_one_cycle_that_peaks_at_the_first_step_only_falls(num_steps: int, off: float) -> None:
    share = build_schedule(schedule("one_cycle", peak_at=(1 + off) / num_steps), num_steps)
    falling = [(1 + math.cos(math.pi * step / (num_steps - 1))) / 2 for step in range(num_steps)]
    assert [share(step) for step in range(num_steps)] == pytest.approx(falling, abs=1e-9)


@pytest.mark.parametrize("num_steps", [2, 10, 49])
def test_one_cycle_that_peaks_at_the_last_step_only_rises(num_steps: int) -> None:
    share = build_schedule(schedule("one_cycle", peak_at=math.nextafter(1, 0)), num_steps)
    rising = [1 - 0.96 * (1 + math.cos(math.pi * step / (num_steps - 1))) / 2 for step in range(num_steps)]
    assert [share(step) for step in range(num_steps)] == pytest.approx(rising, abs=1e-9)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), BatchNorm(4), nn.Linear(4, 2))


def sgd(**changes: object) -> SGDConfig:
    values = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.1, "decay_norm_and_bias": False}
    return SGDConfig.model_validate({"name": "sgd", **values, "clip_norm": None, **changes})


@pytest.mark.parametrize("decays_all", [False, True])
def test_weight_decay_spares_norms_and_biases_unless_told_otherwise(decays_all: bool) -> None:
    model = network()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    optimizer = build_optimizer(model, {"hidden1": model[1]}, sgd(decay_norm_and_bias=decays_all, momentum=0.0))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {
        name for name, parameter in model.named_parameters() if not torch.equal(parameter, torch.ones_like(parameter))
    }
    everything = {name for name, _ in model.named_parameters()}
    assert moved == (everything if decays_all else {"0.weight", "2.weight"})


def test_weight_decay_spares_a_single_number_such_as_a_branchs_share() -> None:
    model = nn.Linear(2, 2, bias=False)
    model.share = nn.Parameter(torch.tensor(0.5))
    assert decayed_and_undecayed(model, {}, sgd()) == (["weight"], ["share"])
    assert decayed_and_undecayed(model, {}, sgd(decay_norm_and_bias=True)) == (["weight", "share"], [])


class WithTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.positions = nn.Parameter(torch.zeros(5, 4))
        self.words = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.slope = nn.PReLU(4)
        self.recurrent = nn.GRU(4, 3)
        self.filter = nn.Conv2d(1, 2, 3)
        parametrize.register_parametrization(self.filter, "weight", nn.Identity())


def test_weight_decay_is_for_weights_of_linear_maps_only() -> None:
    model = WithTokens()
    decayed, undecayed = decayed_and_undecayed(model, {}, sgd())
    assert decayed == [
        *("attention.in_proj_weight", "attention.out_proj.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0"),
        "filter.parametrizations.weight.original",
    ]
    assert {"class_token", "positions", "words.weight", "slope.weight"} < set(undecayed)
    everything = [name for name, _ in model.named_parameters()]
    assert decayed_and_undecayed(model, {}, sgd(decay_norm_and_bias=True)) == (everything, [])


CLASSES = [
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (torch.optim.Adam, {"betas": (0.8, 0.9), "weight_decay": 0.01}),
    (torch.optim.AdamW, {"betas": (0.8, 0.9), "weight_decay": 0.01}),
]


@pytest.mark.parametrize(("kind", "numbers"), CLASSES, ids=lambda value: getattr(value, "__name__", ""))
def test_without_the_compiler_an_optimizer_gives_torchs_bits(
    kind: type[torch.optim.Optimizer], numbers: dict[str, object]
) -> None:
    def trained(make: type[torch.optim.Optimizer]) -> tuple[list[torch.Tensor], dict[str, object]]:
        torch.manual_seed(0)
        model, x = network(), torch.randn(7, 3)
        optimizer = make(model.parameters(), lr=0.01, fused=True, **numbers)  # type: ignore[call-arg]
        for step in range(6):
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in model.parameters())
            model(x).square().sum().backward()
            optimizer.step()
            if step == 3:  # what a checkpoint does
                state = optimizer.state_dict()
                optimizer = make(model.parameters(), lr=5.0, fused=True)  # type: ignore[call-arg]
                optimizer.load_state_dict(state)
        assert torch.is_grad_enabled()
        return [parameter.detach() for parameter in model.parameters()], optimizer.state_dict()

    (ours, our_state), (theirs, their_state) = trained(without_compiler(kind)), trained(kind)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(our_state, their_state, rtol=0, atol=0)


def test_optimizers_are_torchs_with_the_settings_of_the_config() -> None:
    model = network()
    nesterov = build_optimizer(model, {}, sgd(nesterov=True))
    assert isinstance(nesterov, torch.optim.SGD)
    assert nesterov.defaults["nesterov"]
    values = {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.0, "decay_norm_and_bias": False}
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        config = AdamConfig.model_validate({"name": name, **values, "clip_norm": None})
        optimizer = build_optimizer(model, {}, config)
        assert isinstance(optimizer, kind)
        assert optimizer.defaults["betas"] == (0.8, 0.9)
        assert optimizer.defaults["eps"] == 1e-6
