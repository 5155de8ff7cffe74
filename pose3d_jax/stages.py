"""The three stages of training and the four methods (Secs. 3.4 and 4.1.3)."""

from typing import NamedTuple

import ml_collections

from pose3d_jax.errors import UserError


class Method(NamedTuple):
    """What distinguishes a method of Sec. 4.1.3 from stage 2 on."""

    lab_only: bool  # batches hold 3D-labelled images only
    #: The geometric loss (Eq. 3) is used: on 2D-labelled images, or on the 3D-labelled ones where
    #: there are no others.
    geometric: bool


_METHODS = {
    "3D/wo geo": Method(lab_only=True, geometric=False),
    "3D/w geo": Method(lab_only=True, geometric=True),
    "3D+2D/wo geo": Method(lab_only=False, geometric=False),
    "3D+2D/w geo": Method(lab_only=False, geometric=True),
}
#: The baselines by their names in Sec. 4.1.3, and the method, which is last.
METHODS = tuple(_METHODS)


class Schedule(NamedTuple):
    """Learning rate of a stage; the parts multiply, and 0 or False switches a part off."""

    learning_rate: float  # the highest
    warmup_steps: int  # iterations of a linear rise
    drop_at: int  # iteration from which the rate is a tenth
    cosine: bool  # half a cosine, to 0 at the end of the stage
    decay_steps: int  # last iterations, over which the rate falls linearly to 0


class Stage(NamedTuple):
    """One stage of one method."""

    number: int  # 1, 2 or 3
    steps: int  # number of iterations; a stage with 0 steps is skipped
    #: Data sets from which batches take records in turn: ("wild",), ("lab", "wild") for equal
    #: parts, ("lab", "wild", "wild") for one third from the lab.
    domains: tuple[str, ...]
    lambda_reg: float  # λ_reg of Eq. 2
    lambda_geo: float  # λ_geo of Eq. 2
    geometric_on_3d: bool  # whether the geometric loss applies to 3D-labelled images too
    schedule: Schedule  # of the learning rate
    depth_only: bool  # whether only the depth module is trained, on features that stay as they are

    @property
    def name(self) -> str:
        """The stage's name in configs and work directories."""
        return f"stage{self.number}"

    @property
    def with_depth(self) -> bool:
        """Whether the depth module is trained."""
        return self.lambda_reg > 0 or self.lambda_geo > 0


def get_stage(config: ml_collections.ConfigDict, number: int) -> Stage:
    """Stage `number` of the config's method.

    The baselines 3D/wo geo and 3D/w geo use lab images only from stage 2 on; all methods share
    stage 1 (Sec. 4.1.3).

    Raises:
        UserError: the config names an unknown method.
    """
    if config.method not in METHODS:
        raise UserError(
            f"Unknown method {config.method!r}; choose one of {', '.join(map(repr, METHODS))}."
        )
    method = _METHODS[config.method]
    section = config.stages[f"stage{number}"]
    lab_only = number > 1 and method.lab_only
    return Stage(
        number=number,
        steps=section.steps,
        domains=("lab",) if lab_only else tuple(section.domains),
        lambda_reg=section.lambda_reg,
        lambda_geo=section.lambda_geo if method.geometric else 0.0,
        geometric_on_3d=lab_only and method.geometric and section.lambda_geo > 0,
        schedule=Schedule(**{name: section[name] for name in Schedule._fields}),
        depth_only=number > 1 and section.depth_only,
    )


def planned_stages(config: ml_collections.ConfigDict) -> tuple[Stage, ...]:
    """The stages of a run, without those with 0 steps.

    Raises:
        UserError: the last stage has 0 steps, or the method is unknown.
    """
    stages = [get_stage(config, number) for number in range(1, config.last_stage + 1)]
    if not stages[-1].steps:
        raise UserError(
            f"The last stage, {stages[-1].name}, has 0 steps. Set "
            f"--config.stages.{stages[-1].name}.steps=N, or use the config of an earlier stage."
        )
    return tuple(stage for stage in stages if stage.steps)


def same_stages(
    one: ml_collections.ConfigDict, other: ml_collections.ConfigDict, last: int
) -> bool:
    """Whether stages 1 to `last` of two configs are equal, apart from other sections.

    Methods that differ in a later stage share the earlier ones.
    """
    return all(get_stage(one, i) == get_stage(other, i) for i in range(1, last + 1))


def method_directory(method: str) -> str:
    """The directory name of a method: `3D+2D/w geo` becomes `3D+2D-w-geo`."""
    return method.replace("/", "-").replace(" ", "-")
