"""The settings of networks: one class for each name of `model=`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bnlab.schema_types import AboveZero, Activation, Depth, InitScheme, Settings, Width


class MLPConfig(Settings):
    """A multi-layer perceptron."""

    name: Literal["mlp"]
    depth: Depth
    width: Width
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None


class CNNConfig(Settings):
    """A plain convolutional net."""

    name: Literal["cnn"]
    depth: Depth
    width: Width
    num_stages: Annotated[int, Field(ge=1, le=20)]  # each doubles the channels
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None

    @model_validator(mode="after")
    def _stages_are_equal(self) -> Self:
        if self.depth % self.num_stages:
            raise ValueError(
                f"model.depth must be a multiple of model.num_stages: {self.depth} convolutions, "
                f"{self.num_stages} stages"
            )
        return self


AnyModelConfig = MLPConfig | CNNConfig
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
