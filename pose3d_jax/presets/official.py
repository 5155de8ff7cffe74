"""The paper's own experiment, on which the other presets are based; all values are explained."""

import ml_collections

from pose3d_jax.stages import METHODS


def paper() -> ml_collections.ConfigDict:
    """Human3.6M and MPII as in the paper; numbers that it does not give are the release's.

    For a GPU or a TPU: 480,000 iterations of 6 images, 97 GFLOP an image. This project has not
    trained it to its end; the paper reaches 64.9 mm on Human3.6M. docs/paper-preset.md compares it
    with the release.

        python -m tfds_builders.prepare human36m --manual_dir DIR
        python -m tfds_builders.prepare mpii --manual_dir DIR
        python -m pose3d_jax.train --config configs/stage3.py:paper
    """
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.method = METHODS[-1]
    # Initial weights: a name, a packed file or a stage's directory, as for `--checkpoint`; empty
    # for random ones.
    config.initial_network = ""

    config.model = {
        "input_side": 256,  # px
        "stem": "conv",  # the paper's; or "patch", which is faster on a CPU
        "stem_features": 0,  # of the convolutional stem's first layer; 0: `features` / 4
        "stacks": 2,
        "modules": 2,
        "levels": 4,
        "features": 256,
        "level_features": (),  # at each resolution of the hourglass; empty for `features`
        "level_modules": (),  # the same for `modules`
        "depth_levels": 4,
        "depth_modules": 2,
        "depth_features": (),  # at each level of the depth module; empty for `features`
        "detector_features": 0,  # channels of a detector (`train_heads`); 0 for none
        "lifter_features": (),  # widths of a network from joints to depth; empty for none
        "depth_head": "flat",
        "init": "torch7",  # the release's; or "lecun"
        "zero_init_outputs": False,
        "output_scale": 1.0,
        "decoding": "quarter_pixel",  # heat-maps to positions; or "log_parabola"
    }
    config.precision = {
        # Or "bfloat16", or "auto": bfloat16 on CPUs that multiply it fast (`models.precision`).
        # Parameters, statistics and losses stay float32. On GPUs and TPUs float32 is full
        # precision, without TF32 or bfloat16 products.
        "compute": "float32",
    }

    # `lab` images have 2D and depth labels, `wild` ones only 2D labels.
    config.data = {
        "lab": {"name": "human36m", "train": "train", "test": "test"},
        "wild": {"name": "mpii", "train": "train", "test": "validation"},
        # A folder in the data directory with images without people (`data.backgrounds`).
        "backgrounds": "",
        "batch_size": 6,  # of all devices together
        "bone_length_sum": 0.0,  # AvgSumLen in mm; 0 for the lab data set's own
    }
    # Both measured on the release: its option `hmGauss = 1` is the width of a window.
    config.targets = {
        "sigma": 1.75,  # of the Gaussians, heat-map px
        "lab_joints": "weak_perspective",  # 2D positions of lab images; or "projection"
    }
    # Exponents of 2, degrees, and sides of the crop.
    config.augmentation = {
        "lab": False,  # of lab images too; the paper augments wild ones only
        "scale_mean": 0.0,
        "scale_sigma": 0.25,
        "scale_limit": 0.5,
        "rotation_sigma": 30.0,
        "rotation_limit": 60.0,
        "rotation_probability": 0.4,
        "mirror_probability": 0.5,
        "colour_range": (0.6, 1.4),
        "shift_limit": 0.0,  # uniform; the paper shifts nothing
        "cut_probability": 0.0,  # of people cut off at a side (`data.framing`)
        "empty_probability": 0.0,  # of squares without a person
        # Other people beside and in front, half the resolution, no colours (`data.clutter`).
        "clutter_probability": 0.0,
        "blur_probability": 0.0,
        "grey_probability": 0.0,
    }

    config.loss = {
        # Unlabelled joints: "empty" is an empty target map, as in the release; "ignored" leaves
        # their maps out of the loss.
        "unlabelled_joints": "empty",
    }
    config.optimizer = {
        "name": "rmsprop",  # or "adam"
        "momentum": 0.0,  # decay of Adam's mean gradient
        "decay": 0.99,  # of the mean square
        "epsilon": 1e-8,
        "flatten": True,  # one vector of all parameters: compiles faster
        "sync_batch_norm": True,  # batch statistics over all devices
    }
    config.stages = {
        "stage1": stage(steps=240_000, domains=("wild",)),
        "stage2": stage(steps=200_000, drop_at=160_000, lambda_reg=0.1),
        "stage3": stage(steps=40_000, learning_rate=2.5e-5, lambda_reg=0.1, lambda_geo=0.01),
    }

    config.run = {
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
    return config


def stage(**values: object) -> ml_collections.ConfigDict:
    """One stage of the curriculum: the given values, and defaults for the others."""
    config = ml_collections.ConfigDict(
        {
            "steps": 0,  # iterations; 0 skips the stage
            "domains": ("lab", "wild"),  # that batches take records from in turn (`stages.Stage`)
            "learning_rate": 2.5e-4,
            "warmup_steps": 0,  # over which the learning rate rises linearly from 0
            "drop_at": 0,  # iteration from which the learning rate is a tenth; 0 for never
            "cosine": False,  # the learning rate falls to 0 over the stage, along half a cosine
            # Last iterations over which the learning rate falls linearly to 0; 0 for none. Training
            # can be extended from a checkpoint before them.
            "decay_steps": 0,
            "lambda_reg": 0.0,  # of Eq. 2; the depth module is trained if it or λ_geo is above 0
            "lambda_geo": 0.0,
            # Only the depth module is trained, by the depth loss; stem and hourglasses stay as they
            # are, statistics included.
            "depth_only": False,
        }
    ).lock()
    config.update(values)
    return config.unlock()
