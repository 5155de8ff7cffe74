"""The curriculum: everything that a run depends on, in one tree (Secs. 3.4 and 4.1 of the paper).

Four presets:

- `paper`: Human3.6M and MPII, the full network, the paper's schedule.
- `synthetic`: the built-in synthetic benchmark at full size, for one GPU.
- `tiny`: the built-in synthetic benchmark with a small network; minutes on a laptop's CPU.
- `open`: photographs of Leeds Sports Pose and rendered people; hours on a CPU.

Every value can be changed on the command line (`--config.model.features=128`). The section `run`
holds what does not change the result; a work directory may be continued with another `run`.
"""

import ml_collections

from pose3d_jax.data.catalog import is_prepared
from pose3d_jax.errors import UserError
from pose3d_jax.stages import METHODS

PRESETS = ("paper", "synthetic", "tiny", "open")


def experiment(last_stage: int, preset: str | None = None) -> ml_collections.ConfigDict:
    """The config of a run that trains up to and including `last_stage`.

    Args:
        last_stage: 1, 2 or 3.
        preset: one of `PRESETS`; without one, `paper` where both data sets are prepared, `tiny`
            where neither is.

    Raises:
        UserError: unknown preset, or only one of the paper's data sets is prepared.
    """
    preset = preset or _preset_of_prepared_data()
    makers = {"paper": paper, "synthetic": synthetic, "tiny": tiny, "open": open_data}
    if preset not in makers:
        raise UserError(f"Unknown preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    config = makers[preset]()
    config.preset = preset
    config.last_stage = last_stage
    return config


def _preset_of_prepared_data() -> str:
    missing = [name for name in ("human36m", "mpii") if not is_prepared(name)]
    if len(missing) == 1:
        raise UserError(
            f"The preset `paper` needs Human3.6M and MPII, and {missing[0]} is not prepared. "
            f"Prepare it with `python -m tfds_builders.prepare {missing[0]} --manual_dir DIR`, "
            "or name another preset: `--config configs/stage3.py:tiny`."
        )
    return "tiny" if missing else "paper"


def paper() -> ml_collections.ConfigDict:
    """Human3.6M and MPII as in the paper; the numbers that it leaves out are the release's.

    For a GPU or a TPU: 480,000 iterations of 6 images, 97 GFLOP an image. This project has not
    trained it to its end; the paper reaches 64.9 mm on Human3.6M. docs/paper-preset.md puts it
    beside the release.

        python -m tfds_builders.prepare human36m --manual_dir DIR
        python -m tfds_builders.prepare mpii --manual_dir DIR
        python -m pose3d_jax.train --config configs/stage3.py:paper
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.method = METHODS[-1]

    config.model = ml_collections.ConfigDict(
        {
            "input_side": 256,  # px
            "stem": "conv",
            "stacks": 2,
            "modules": 2,
            "levels": 4,
            "features": 256,
            "level_features": (),  # at each resolution of the hourglass; empty for `features`
            "level_modules": (),  # the same for `modules`
            "depth_levels": 4,
            "depth_modules": 2,
            "depth_features": (),  # at each level of the depth module; empty for `features`
            "init": "torch7",  # the release's; or "lecun"
            "zero_init_outputs": False,
            "output_scale": 1.0,
        }
    )
    config.precision = ml_collections.ConfigDict(
        {
            "compute": "float32",  # or "bfloat16"; parameters, statistics and losses stay float32
        }
    )

    # `lab` images have 2D and depth labels, `wild` ones only 2D labels.
    config.data = ml_collections.ConfigDict(
        {
            "lab": {"name": "human36m", "train": "train", "test": "test"},
            "wild": {"name": "mpii", "train": "train", "test": "validation"},
            "batch_size": 6,  # of all devices together
            "bone_length_sum": 0.0,  # AvgSumLen in mm; 0 for the lab data set's own
        }
    )
    # Both measured on the release: its option `hmGauss = 1` is the width of a window.
    config.targets = ml_collections.ConfigDict(
        {
            "sigma": 1.75,  # of the Gaussians, heat-map px
            "lab_joints": "weak_perspective",  # 2D positions of lab images; or "projection"
        }
    )
    # Exponents of 2, degrees, and sides of the crop.
    config.augmentation = ml_collections.ConfigDict(
        {
            "lab": False,  # of lab images too; the paper augments wild ones only
            "scale_sigma": 0.25,
            "scale_limit": 0.5,
            "rotation_sigma": 30.0,
            "rotation_limit": 60.0,
            "rotation_probability": 0.4,
            "mirror_probability": 0.5,
            "colour_range": (0.6, 1.4),
            "shift_limit": 0.0,  # uniform; the paper shifts nothing
        }
    )

    config.loss = ml_collections.ConfigDict(
        {
            # Heat-maps of joints without annotation: "empty" teaches that they are nowhere, as in
            # the release; "ignored" leaves them out.
            "unlabelled_joints": "empty",
        }
    )
    config.optimizer = ml_collections.ConfigDict(
        {
            "name": "rmsprop",  # or "adam"
            "momentum": 0.0,  # decay of Adam's mean gradient
            "decay": 0.99,  # of the mean square
            "epsilon": 1e-8,
            "sync_batch_norm": True,  # batch statistics over all devices
        }
    )
    config.stages = ml_collections.ConfigDict(
        {
            "stage1": stage(steps=240_000, domains=("wild",)),
            "stage2": stage(steps=200_000, drop_at=160_000, lambda_reg=0.1),
            "stage3": stage(steps=40_000, learning_rate=2.5e-5, lambda_reg=0.1, lambda_geo=0.01),
        }
    )

    config.run = ml_collections.ConfigDict(
        {
            "data_dir": "",  # empty: TFDS's own, ~/tensorflow_datasets or $TFDS_DATA_DIR
            "log_every": 100,
            "save_every": 4_000,
            "evaluate_every": 20_000,
            "evaluate_images": 1_000,  # per domain while training; the final table uses all
            "keep_checkpoints": 2,
            "keep_every": 0,  # also keep those of iterations divisible by this; 0 for none
            "reading_threads": 16,
            "compilation_cache": "~/.cache/pose3d_jax",
        }
    )
    return config


def stage(
    *,
    steps: int,
    domains: tuple[str, ...] = ("lab", "wild"),
    learning_rate: float = 2.5e-4,
    warmup_steps: int = 0,
    drop_at: int = 0,
    cosine: bool = False,
    decay_steps: int = 0,
    lambda_reg: float = 0.0,
    lambda_geo: float = 0.0,
) -> ml_collections.ConfigDict:
    """One stage of the curriculum.

    Args:
        steps: iterations.
        domains: what its batches take records from, in turn; see `stages.Stage`.
        learning_rate: the optimizer's.
        warmup_steps: over which the learning rate rises linearly from 0.
        drop_at: iteration from which the learning rate is a tenth; 0 for never.
        cosine: the learning rate falls to 0 over the stage, along half a cosine.
        decay_steps: the learning rate falls linearly to 0 over so many last iterations; 0 for
            none. A checkpoint from before them can be trained longer.
        lambda_reg: λ_reg of Eq. 2; 0 in every term of Eq. 2 leaves out the depth module.
        lambda_geo: λ_geo of Eq. 2.
    """
    return ml_collections.ConfigDict(dict(locals()))


def synthetic() -> ml_collections.ConfigDict:
    """The built-in synthetic benchmark at full size: the paper's network, one GPU.

    The numbers of its training are those that `tiny` needed, scaled to a larger network; they have
    not been tuned on a GPU, and what they reach is not known.

        python -m pose3d_jax.train --config configs/stage3.py:synthetic
    """
    config = paper()
    config.model.update({"init": "lecun", "zero_init_outputs": True, "output_scale": 0.1})
    config.targets.update({"sigma": 1.0, "lab_joints": "projection"})
    config.precision.compute = "bfloat16"
    config.data.lab = {"name": "synthetic/lab", "train": "train", "test": "test"}
    config.data.wild = {"name": "synthetic/wild", "train": "train", "test": "test"}
    config.data.batch_size = 32
    config.augmentation.lab = True
    shared = {"warmup_steps": 500, "cosine": True}
    config.stages.update(
        {
            "stage1": stage(steps=20_000, domains=("wild",), learning_rate=2e-3, **shared),
            "stage2": stage(steps=20_000, learning_rate=1e-3, lambda_reg=0.033, **shared),
            "stage3": stage(
                steps=4_000, learning_rate=2.5e-4, lambda_reg=0.033, lambda_geo=0.01, **shared
            ),
        }
    )
    config.run.update({"save_every": 1_000, "evaluate_every": 5_000})
    return config


def tiny() -> ml_collections.ConfigDict:
    """The built-in synthetic benchmark with a small network: ten minutes on two CPU cores.

    What differs from the paper, and why: a stem without convolutions at high resolution, because
    those dominate on a CPU; lab images augmented too, because five subjects in one room are soon
    known by heart; outputs that start at zero and are scaled down, without which so short a
    training ends where it started; a warm-up, because RMSprop's first steps are ten times too
    long; a learning rate that falls to zero within each stage; and a third of λ_reg, because
    narrower heat-maps have a third of the loss (docs/results.md compares both, and other widths).

    It reaches about 118 mm MPJPE in the lab and 247 mm in the wild (docs/results.md).

        python -m pose3d_jax.train --config configs/stage3.py:tiny
    """
    config = paper()
    config.model.update(
        {
            "input_side": 128,
            "stem": "patch",
            "stacks": 1,
            "modules": 1,
            "levels": 3,
            "features": 64,
            "depth_levels": 3,
            "depth_modules": 1,
            "init": "lecun",
            "zero_init_outputs": True,
            "output_scale": 0.1,
        }
    )
    config.targets.update({"sigma": 1.0, "lab_joints": "projection"})
    config.data.lab = {"name": "synthetic/lab_tiny", "train": "train", "test": "test"}
    config.data.wild = {"name": "synthetic/wild_tiny", "train": "train", "test": "test"}
    config.data.batch_size = 12
    config.augmentation.lab = True
    config.stages.update(
        {
            "stage1": stage(
                steps=1500, domains=("wild",), learning_rate=8e-3, warmup_steps=100, cosine=True
            ),
            "stage2": stage(
                steps=1100, learning_rate=3e-3, warmup_steps=100, cosine=True, lambda_reg=0.033
            ),
            "stage3": stage(
                steps=600,
                learning_rate=3e-3,
                warmup_steps=50,
                cosine=True,
                lambda_reg=0.033,
                lambda_geo=0.01,
            ),
        }
    )
    config.run.update(
        {
            "log_every": 50,
            "save_every": 250,
            "evaluate_every": 500,
            "evaluate_images": 120,
            "reading_threads": 2,
        }
    )
    return config


def open_data() -> ml_collections.ConfigDict:
    """Leeds Sports Pose and rendered people: a network for photographs, from free data.

    Stage 1 learns joints from photographs; stages 2 and 3 learn depth as well, from rendered people
    of all poses (`synthetic/varied`). What differs from the paper, and why: the network is wide
    where resolution is low, which costs a CPU little and is where left and right are told apart;
    joints that nobody has labelled are left out of the loss; people are turned less, because most
    are upright, and the extension's athletes are in all directions as they are; they are not always
    in the middle of the square, because they are looked for with this network; three of four images
    of stage 3 are photographs, which take longer to learn than the depth of rendered people; λ is
    smaller, because narrower heat-maps have a smaller loss; Adam; and a learning rate that falls in
    stage 3 alone, so that all losses take part in its fall, and that any checkpoint of stages 1 and
    2 can be trained longer: copy it to `stageN/checkpoints` of a new work directory, and give the
    new number of steps.

    3.6 million parameters; on two CPU cores about 68 images/s in stage 1 and 40 in stages 2 and 3,
    two hours in all at that rate. It reaches 66.7 % PCK@0.2 on the test photographs of Leeds Sports
    Pose, and 195 mm MPJPE on the rendered people of `synthetic/wild_tiny`.

        python -m tfds_builders.prepare lsp --manual_dir DIR
        nice -n 19 python -m pose3d_jax.train --config configs/stage3.py:open
    """
    config = paper()
    config.model.update(
        {
            "input_side": 128,
            "stem": "patch",
            "stacks": 1,
            "levels": 3,
            "features": 64,
            "level_features": (64, 128, 256, 256),
            "level_modules": (1, 2, 2, 2),
            "depth_levels": 3,
            "depth_modules": 1,
            "depth_features": (128, 256, 256),
            "init": "lecun",
            "zero_init_outputs": True,
            "output_scale": 0.1,
        }
    )
    config.targets.update({"sigma": 1.0, "lab_joints": "projection"})
    config.data.lab = {"name": "synthetic/varied", "train": "train", "test": "test"}
    config.data.wild = {"name": "lsp", "train": "train", "test": "test"}
    config.data.batch_size = 16
    config.augmentation.update(
        {
            "lab": True,
            "rotation_sigma": 20.0,
            "rotation_limit": 40.0,
            "shift_limit": 0.12,
        }
    )
    config.loss.unlabelled_joints = "ignored"
    config.optimizer.update({"name": "adam", "momentum": 0.9, "decay": 0.999})
    config.stages.update(
        {
            "stage1": stage(steps=16_000, domains=("wild",), learning_rate=2e-3, warmup_steps=200),
            "stage2": stage(steps=2_000, learning_rate=1e-3, warmup_steps=200, lambda_reg=0.01),
            "stage3": stage(
                steps=6_000,
                domains=("lab", "wild", "wild", "wild"),
                learning_rate=1e-3,
                warmup_steps=200,
                decay_steps=5_800,
                lambda_reg=0.04,
                lambda_geo=0.002,
            ),
        }
    )
    config.run.update(
        {
            "log_every": 100,
            "save_every": 500,
            "evaluate_every": 1_000,
            "evaluate_images": 500,
            "keep_every": 2_000,
            "reading_threads": 2,
        }
    )
    return config
