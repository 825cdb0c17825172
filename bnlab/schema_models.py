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


class VGGConfig(Settings):
    """The convolutional nets of Simonyan and Zisserman."""

    name: Literal["vgg"]
    depth: Literal[11, 13, 16]
    width: Width
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None


class ResNetConfig(Settings):
    """A residual net for small images."""

    name: Literal["resnet"]
    depth: Annotated[int, Field(ge=8, le=10_000)]
    width: Width
    block: Literal["post", "pre"]
    shortcut: Literal["identity", "projection"]
    residual: Literal["plain", "skipinit", "nf"]
    branch_scale: AboveZero
    zero_gamma: bool
    activation: Activation
    init: InitScheme
    init_std: AboveZero | None

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.depth % 6 != 2:
            near = (self.depth - 2) // 6 * 6 + 2
            raise ValueError(
                f"model.depth must be 6n + 2 for model=resnet, got {self.depth}. Nearest: {max(8, near)}, {near + 6}"
            )
        if self.zero_gamma and (self.block == "pre" or self.residual != "plain"):
            raise ValueError(
                "model.zero_gamma=true needs model.block=post and model.residual=plain: elsewhere a branch that begins "
                "with 0 twice, or before its relu, never learns. Use model.residual=skipinit"
            )
        if self.residual == "nf" and (self.block, self.shortcut) != ("pre", "projection"):
            raise ValueError(
                "model.residual=nf needs the units for which its variances are predicted: set model.block=pre and "
                "model.shortcut=projection"
            )
        return self


class ResidualMLPConfig(Settings):
    """A multi-layer perceptron with shortcuts."""

    name: Literal["residual_mlp"]
    depth: Depth
    width: Width
    order: Literal["pre", "post", "peri"]
    depth_scale: Literal["none", "sqrt"]
    residual: Literal["plain", "skipinit"]
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None

    @model_validator(mode="after")
    def _scale_has_a_norm(self) -> Self:
        if self.depth_scale == "sqrt" and self.order == "post":
            raise ValueError(
                "model.depth_scale=sqrt divides the norm at the start of each branch, which model.order=post has not. "
                "Use model.order=pre"
            )
        return self


class DeepLinearConfig(Settings):
    """Linear maps without activations."""

    name: Literal["deep_linear"]
    depth: Depth
    width: Width
    activation: Literal["none"]
    init: InitScheme
    init_std: AboveZero | None


AnyModelConfig = MLPConfig | CNNConfig | VGGConfig | ResNetConfig | ResidualMLPConfig | DeepLinearConfig
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
