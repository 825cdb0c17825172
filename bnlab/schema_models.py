"""The settings of networks: one class for each name of `model=`."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from bnlab.schema_types import AboveZero, Activation, Depth, InitScheme, Settings, Width, names_of


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


class FastCNNConfig(Settings):
    """A convolutional net that learns small images in few epochs."""

    name: Literal["fast_cnn"]
    depth: Annotated[int, Field(ge=3, le=300, multiple_of=3)]  # three groups of equal depth
    width: Width
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    init: InitScheme
    init_std: AboveZero | None


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


class OwnModelConfig(Settings):
    """A network that is not bnlab's. Its options are keys of this section, and its constructor checks them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: str

    @model_validator(mode="after")
    def _what_bnlab_gives_is_no_option(self) -> Self:
        for name in GIVEN_TO_MODELS:
            if name in (self.model_extra or {}):
                raise ValueError(f"model.{name} is given by bnlab, and is no option. Leave it out")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's keyword arguments."""
        return dict(self.model_extra or {})


GIVEN_TO_MODELS = ("input_shape", "num_classes", "build_norm")
"""Arguments of a network that are no options: the size of the data, and the arm."""

AnyModelConfig = (
    MLPConfig
    | CNNConfig
    | FastCNNConfig
    | VGGConfig
    | ResNetConfig
    | ResidualMLPConfig
    | DeepLinearConfig
    | ViTConfig
    | RNNConfig
    | LSTMConfig
)
"""The networks of bnlab."""

BNLABS, OWN = "a network of bnlab", "a network of your own"
"""Pydantic inserts these into the place of an error."""


def _whose(model: Any) -> str | None:
    """Return whose network a section is about: any name that is none of bnlab's is taken for the user's."""
    name = model.get("name") if isinstance(model, dict) else getattr(model, "name", None)
    if name is None:
        return None
    return BNLABS if name in names_of(AnyModelConfig) else OWN


ModelConfig = Annotated[
    Annotated[Annotated[AnyModelConfig, Field(discriminator="name")], Tag(BNLABS)]
    | Annotated[OwnModelConfig, Tag(OWN)],
    Discriminator(_whose),
]
