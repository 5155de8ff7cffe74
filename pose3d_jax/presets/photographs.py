"""A network for photographs, from data that anybody may download."""

import ml_collections

from pose3d_jax.presets.official import paper, stage


def open_data() -> ml_collections.ConfigDict:
    """Leeds Sports Pose and rendered people: a network for photographs, from free data.

    Stage 1 learns joints from photographs; stages 2 and 3 learn depth as well, from rendered people
    of all poses (`synthetic/varied`). Differences from the paper: the network is wide at low
    resolution, which costs a CPU little and distinguishes left from right; unlabelled joints are
    ignored in the loss; rotations are smaller, because most people are upright and the extension's
    athletes have all directions already; crops are shifted, because the network also detects
    people; three of four images of stage 3 are photographs, which take longer to learn than the
    depth of rendered people; λ is smaller, because narrower heat-maps have a smaller loss; the
    optimizer is Adam; and the learning rate falls in stage 3 only, with all losses. Training can
    therefore be extended from any checkpoint of stages 1 and 2: copy it to `stageN/checkpoints` of
    a new work directory, and set the new number of steps.

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
            "features": 96,
            "level_features": (96, 192, 384, 384),
            "level_modules": (1, 2, 2, 2),
            "depth_levels": 3,
            "depth_modules": 1,
            "depth_features": (128, 256, 256),
            "detector_features": 96,
            "lifter_features": (512, 512, 512),
            "decoding": "log_parabola",
            "init": "lecun",
            "zero_init_outputs": True,
            "output_scale": 0.1,
        }
    )
    config.targets.update({"sigma": 1.0, "lab_joints": "projection"})
    config.data.lab = {"name": "synthetic/varied", "train": "train", "test": "test"}
    # The last tenth of LSP's own training photographs is held out, to choose between networks.
    config.data.wild = {
        "name": "lsp/corrected",
        "train": ("train[:90%]", "extension"),
        "test": "train[90%:]",
    }
    config.data.batch_size = 32
    config.augmentation.update(
        {
            "lab": True,
            "rotation_sigma": 20.0,
            "rotation_limit": 40.0,
            "shift_limit": 0.12,
            "cut_probability": 0.3,
            "empty_probability": 0.08,
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
