"""The built-in synthetic benchmark, for one GPU and for a laptop's CPU."""

import ml_collections

from pose3d_jax.presets.official import paper, stage


def synthetic() -> ml_collections.ConfigDict:
    """The built-in synthetic benchmark at full size: the paper's network, one GPU.

    The schedule is `tiny`'s, scaled to a larger network. It has not been tuned or run to its end.

        python -m pose3d_jax.train --config configs/stage3.py:synthetic
    """
    config = paper()
    config.model.update(init="lecun", zero_init_outputs=True, output_scale=0.1)
    config.targets.update(sigma=1.0, lab_joints="projection")
    config.precision.compute = "bfloat16"
    config.data.lab = {"name": "synthetic/lab", "train": "train", "test": "test"}
    config.data.wild = {"name": "synthetic/wild", "train": "train", "test": "test"}
    config.data.batch_size = 32
    config.augmentation.lab = True
    shared = {"warmup_steps": 500, "cosine": True}
    config.stages.update(
        stage1=stage(steps=20_000, domains=("wild",), learning_rate=2e-3, **shared),
        stage2=stage(steps=20_000, learning_rate=1e-3, lambda_reg=0.033, **shared),
        stage3=stage(
            steps=4_000, learning_rate=2.5e-4, lambda_reg=0.033, lambda_geo=0.01, **shared
        ),
    )
    config.run.update(save_every=1_000, evaluate_every=5_000)
    return config


def tiny() -> ml_collections.ConfigDict:
    """The built-in synthetic benchmark with a small network: ten minutes on two CPU cores.

    Differences from the paper: the stem has no convolutions at high resolution, which dominate on a
    CPU; lab images are augmented, because the network overfits five subjects in one room; outputs
    start at zero and are scaled down, or so short a training makes no progress; a warm-up, because
    RMSprop's first steps are ten times too long; the learning rate falls to zero in each stage; and
    λ_reg is a third, because narrower heat-maps have a third of the loss (docs/results.md).

    It reaches about 106 mm MPJPE in the lab and 222 mm in the wild (docs/results.md).

        python -m pose3d_jax.train --config configs/stage3.py:tiny
    """
    config = paper()
    config.model.update(
        input_side=128,
        stem="patch",
        stacks=1,
        modules=1,
        levels=3,
        features=64,
        depth_levels=3,
        depth_modules=1,
        init="lecun",
        zero_init_outputs=True,
        output_scale=0.1,
    )
    config.targets.update(sigma=1.0, lab_joints="projection")
    config.data.lab = {"name": "synthetic/lab_tiny", "train": "train", "test": "test"}
    config.data.wild = {"name": "synthetic/wild_tiny", "train": "train", "test": "test"}
    config.data.batch_size = 12
    config.augmentation.lab = True
    config.stages.update(
        stage1=stage(
            steps=3000, domains=("wild",), learning_rate=8e-3, warmup_steps=100, cosine=True
        ),
        stage2=stage(
            steps=2200, learning_rate=3e-3, warmup_steps=100, cosine=True, lambda_reg=0.033
        ),
        stage3=stage(
            steps=1200,
            learning_rate=3e-3,
            warmup_steps=50,
            cosine=True,
            lambda_reg=0.033,
            lambda_geo=0.01,
        ),
    )
    config.run.update(
        log_every=50,
        save_every=250,
        evaluate_every=500,
        evaluate_images=120,
        reading_threads=2,
    )
    return config
