"""The config of a run: types, ranges and cross-checks. Values and defaults stand in conf/, not here.

No torch and no Hydra: a config can be read and checked without waiting for either.
"""

import functools
import json
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from bnlab.errors import nearest_divisors
from bnlab.later_settings import with_later_settings
from bnlab.renamed import current_names
from bnlab.schema_models import ModelConfig
from bnlab.schema_types import AboveZero, Count, NotNegative, NumMeasured, Settings, Share
from bnlab.trap_names import TrapName

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's takes 1 ms, Python's 4
MAX_NAME = 100
"""Letters of a name: file systems allow 255 for a folder, and Windows 260 for a whole path."""

LoggerName = Literal["tensorboard", "csv", "mlflow", "wandb", "trackio"]
"""What shows or keeps a run's curves besides its folder; `bnlab.loggers.guarded` opens them."""

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Names that Windows reserves for devices, with any text after their first dot."""


class DataConfig(Settings):
    """The data set, its place, its splits and its augmentation."""

    name: str
    root: str | None
    path: str | None
    size: Annotated[int, Field(ge=1, le=10_000)] | None
    limit: Count | None
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]
    validation_share: Annotated[float, Field(gt=0, lt=1)] | None
    test_share: Annotated[float, Field(gt=0, lt=1)] | None
    flip: bool
    crop_padding: Annotated[int, Field(ge=0)]
    padding_value: Annotated[float, Field(allow_inf_nan=False)] | None


GIVEN_BY_BNLAB = ("name", "num_channels")
"""Arguments of a norm that are no options: its class, and the size of the layer it stands in."""


class NormConfig(Settings):
    """The norm. Its options are the keys of its YAML file, and its constructor checks them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: str

    @model_validator(mode="after")
    def _size_is_no_option(self) -> Self:
        for name in GIVEN_BY_BNLAB:
            if name in (self.model_extra or {}):
                raise ValueError(f"norm.{name} is given by bnlab, and is no option. Leave it out")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's keyword arguments."""
        return dict(self.model_extra or {})


class SGDConfig(Settings):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: AboveZero
    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool
    weight_decay: NotNegative
    decay_norm_and_bias: bool | None
    clip_norm: AboveZero | None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("optim.nesterov needs optim.momentum above 0, got 0. Try optim.momentum=0.9")
        return self


class AdamConfig(Settings):
    """Adam or AdamW."""

    name: Literal["adam", "adamw"]
    lr: AboveZero
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    eps: AboveZero
    weight_decay: NotNegative
    decay_norm_and_bias: bool | None
    clip_norm: AboveZero | None


class MuonConfig(Settings):
    """Muon for the matrices of hidden layers, AdamW for the rest."""

    name: Literal["muon"]
    lr: AboveZero
    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool
    ns_steps: Annotated[int, Field(ge=1, lt=100)]  # torch's own limit
    adjust_lr: Literal["original", "match_rms_adamw"]
    first_layer: bool
    adamw_lr_share: AboveZero
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    eps: AboveZero
    weight_decay: NotNegative
    decay_norm_and_bias: bool | None
    clip_norm: AboveZero | None


AnyOptimConfig = SGDConfig | AdamConfig | MuonConfig
OptimConfig = Annotated[AnyOptimConfig, Field(discriminator="name")]


class ScheduleConfig(Settings):
    """The learning rate over time, as a share of the configured one."""

    name: Literal["constant", "cosine", "step", "one_cycle"]
    warmup_share: Share
    milestones: list[Share]
    step_factor: AboveZero
    peak_at: Annotated[float, Field(gt=0, lt=1)]
    start_factor: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.name == "one_cycle" and self.warmup_share > 0:
            raise ValueError(
                "schedule.warmup_share must be 0 with schedule.name=one_cycle, which warms up by itself: "
                f"got {self.warmup_share}. Set schedule.peak_at instead"
            )
        return self


class TrainConfig(Settings):
    """Number of steps, batch size, processes, what is trained, precision, and when a run counts as diverged."""

    epochs: Count | None
    steps: Count | None
    batch_size: Count
    accumulation: Count
    processes: Count
    parameters: Literal["all", "norms", "output", "norms_and_output"]
    precision: Literal["float32", "bfloat16"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    mirrored_evaluation: bool
    log_every: Count
    eval_every: Count | None
    checkpoint_every: Count | None
    keep_weights: bool
    divergence_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    divergence_patience: Count

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.epochs is None and self.steps is None:
            raise ValueError("train.epochs and train.steps are both null: set one of them")
        return self

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"train.accumulation must divide train.batch_size: {self.batch_size} images, {self.accumulation} "
                f"parts. Nearest divisors: {nearest_divisors(self.accumulation, self.batch_size)}"
            )
        return self

    @model_validator(mode="after")
    def _processes_have_equal_parts(self) -> Self:
        size = self.batch_size // self.accumulation
        if size % self.processes:
            parts = f"{size} images" if self.accumulation == 1 else f"{size} images in each part"
            raise ValueError(
                f"train.processes must divide train.batch_size: {parts}, {self.processes} processes. "
                f"Try train.batch_size={self.accumulation * self.processes * max(1, round(size / self.processes))}"
            )
        return self

    @property
    def part_size(self) -> int:
        """The number of images in one forward pass."""
        return self.batch_size // self.accumulation // self.processes


class MeasureScheduleConfig(Settings):
    """The steps at which diagnostics measure."""

    log_spaced: NumMeasured
    evenly: NumMeasured
    every: Count | None
    at: list[Annotated[int, Field(ge=0)]]


class DiagnosticsConfig(Settings):
    """The diagnostics, the number of images that they use, and their steps."""

    name: str
    names: list[str]
    probe_size: Count
    population_size: Count
    step_size: AboveZero
    tensorboard: list[str]
    schedule: MeasureScheduleConfig
    heavy_schedule: MeasureScheduleConfig

    @field_validator("names", "tensorboard")
    @classmethod
    def _take_old_names_too(cls, names: list[str]) -> list[str]:
        return current_names(names)


class SweepConfig(Settings):
    """How the runs of a sweep are trained."""

    engine: Literal["auto", "vectorized", "sequential"]


class RunConfig(Settings):
    """All settings of a run. Two equal configs give two equal runs."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=MAX_NAME)] | None
    placement: Literal["before", "after", "input"]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # where there are too many, the system ends the process
    loggers: list[LoggerName]
    accept: list[TrapName]
    data: DataConfig
    model: ModelConfig
    norm: NormConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    train: TrainConfig
    diagnostics: DiagnosticsConfig
    sweep: SweepConfig

    @model_validator(mode="before")
    @classmethod
    def _take_configs_of_earlier_versions_too(cls, config: Any) -> Any:
        return with_later_settings(config) if isinstance(config, dict) else config

    @field_validator("name")
    @classmethod
    def _is_no_device(cls, name: str | None) -> str | None:
        if name is not None and name.partition(".")[0].lower() in RESERVED:
            raise ValueError(
                f"name={name} cannot be a folder's name on Windows, which reserves it for a device. Try my_{name}"
            )
        return name

    @model_validator(mode="after")
    def _padding_is_known(self) -> Self:
        if getattr(self.model, "skip_padding", False) and self.data.padding_value is None:
            raise ValueError(
                "model.skip_padding=true needs data.padding_value, the value that padding has in the file. Try "
                "data.padding_value=0"
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return the config as plain values, as config.yaml holds them."""
        return self.model_dump()

    def as_yaml(self) -> str:
        """Return the config as config.yaml holds it."""
        return "".join(_section_as_yaml(key, json.dumps(value)) for key, value in self.as_dict().items())


@functools.lru_cache(maxsize=256)
def _section_as_yaml(key: str, value: str) -> str:
    """Return one section as YAML. Most are the same in all runs of a sweep, and libyaml takes 1 ms for all of them.

    Args:
        key: The section's name, such as ``optim``.
        value: Its value, as JSON.
    """
    return yaml.dump({key: json.loads(value)}, Dumper=_DUMPER, sort_keys=False)
