"""The three stages and the four methods: what a config's numbers mean at a given step."""

import math
from typing import NamedTuple

import ml_collections

from pose3d_jax.errors import UserError

#: The method and its baselines, by the names of Sec. 4.1.3.
METHODS = ("3D/wo geo", "3D/w geo", "3D+2D/wo geo", "3D+2D/w geo")


class Stage(NamedTuple):
    """One stage of one method.

    Attributes:
        number: 1, 2 or 3.
        steps: iterations; a stage of none is left out.
        domains: what batches take records from, in turn: ("wild",), ("lab", "wild") for equal
            parts, ("lab", "wild", "wild") for one of three from the lab.
        lambda_reg: λ_reg of Eq. 2.
        lambda_geo: λ_geo of Eq. 2.
        geometric_on_3d: whether the geometric loss applies to depth-labelled images too.
        schedule: the stage's learning rates, in its section of the config.
    """

    number: int
    steps: int
    domains: tuple[str, ...]
    lambda_reg: float
    lambda_geo: float
    geometric_on_3d: bool
    schedule: ml_collections.ConfigDict

    @property
    def name(self) -> str:
        """The stage's name in configs and work directories."""
        return f"stage{self.number}"

    @property
    def with_depth(self) -> bool:
        """Whether the depth module is trained."""
        return self.lambda_reg > 0 or self.lambda_geo > 0

    def learning_rate(self, step: int) -> float:
        """The learning rate of iteration `step`, counted from 0."""
        rate = self.schedule.learning_rate
        if step < self.schedule.warmup_steps:
            rate *= (step + 1) / self.schedule.warmup_steps
        if self.schedule.drop_at and step >= self.schedule.drop_at:
            rate /= 10
        if self.schedule.decay_steps:
            rate *= min(1.0, (self.steps - step) / self.schedule.decay_steps)
        if self.schedule.cosine:
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate


def get_stage(config: ml_collections.ConfigDict, number: int) -> Stage:
    """Reads stage `number` of a config, as its method has it.

    The baselines 3D/wo geo and 3D/w geo see lab images alone from stage 2 on; all methods share
    stage 1 (Sec. 4.1.3).

    Raises:
        UserError: the config names an unknown method.
    """
    if config.method not in METHODS:
        raise UserError(
            f"Unknown method {config.method!r}; choose one of "
            + ", ".join(repr(method) for method in METHODS)
            + "."
        )
    section = config.stages[f"stage{number}"]
    lab_only = number > 1 and config.method.startswith("3D/")
    geometric = config.method.endswith("/w geo")
    return Stage(
        number=number,
        steps=section.steps,
        domains=("lab",) if lab_only else tuple(section.domains),
        lambda_reg=section.lambda_reg,
        lambda_geo=section.lambda_geo if geometric else 0.0,
        geometric_on_3d=lab_only and geometric and section.lambda_geo > 0,
        schedule=section,
    )


def same_stages(
    one: ml_collections.ConfigDict, other: ml_collections.ConfigDict, last: int
) -> bool:
    """Whether stages 1 … `last` of two configs compute the same, up to the rest of the configs.

    Methods that differ in a later stage have the earlier ones in common.
    """
    return all(get_stage(one, i) == get_stage(other, i) for i in range(1, last + 1))


def method_directory(method: str) -> str:
    """The method's name as a directory: `3D+2D/w geo` becomes `3D+2D-w-geo`."""
    return method.replace("/", "-").replace(" ", "-")
