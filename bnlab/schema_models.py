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


class ViTConfig(Settings):
    """A vision transformer."""

    name: Literal["vit"]
    depth: Depth
    width: Width
    num_heads: Annotated[int, Field(ge=1, le=10**4)]
    patch: Annotated[int, Field(ge=1, le=10**4)]
    mlp_ratio: Annotated[int, Field(ge=1, le=1000)]
    order: Literal["pre", "post", "peri"]
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None

    @model_validator(mode="after")
    def _width_is_divisible(self) -> Self:
        for name, divisor in (("model.num_heads", self.num_heads), ("4, for sines and cosines of two axes", 4)):
            if self.width % divisor:
                raise ValueError(f"model.width must be a multiple of {name}: {self.width} features, {divisor}")
        return self


class RecurrentConfig(Settings):
    """What recurrent networks have in common."""

    depth: Depth
    width: Width
    sequence: Literal["rows", "pixels"]
    permute: bool
    permute_seed: int
    skip_padding: bool
    norm_per_step: bool
    norm_scale: AboveZero | None
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None

    @model_validator(mode="after")
    def _padding_is_at_the_end(self) -> Self:
        if self.permute and self.skip_padding:
            raise ValueError(
                "model.skip_padding needs padding at the end of a sequence, where model.permute=true does not leave it"
            )
        return self


class RNNConfig(RecurrentConfig):
    """A plain recurrent network."""

    name: Literal["rnn"]


class LSTMConfig(RecurrentConfig):
    """A network with long short-term memory."""

    name: Literal["lstm"]


AnyModelConfig = MLPConfig | CNNConfig | ViTConfig | RNNConfig | LSTMConfig
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
