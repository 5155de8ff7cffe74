"""A network for photographs, from data that anybody may download."""

import ml_collections

from pose3d_jax.presets.official import paper, stage


def open_data() -> ml_collections.ConfigDict:
    """Leeds Sports Pose and rendered people: a network for photographs, from free data.

    Stage 1 trains the 2D joints on photographs, and on rendered people (`synthetic/varied`), one of
    four images. Stages 2 and 3 train the depth module alone, on features that stay as they are: so
    depth costs the 2D joints nothing. What else differs from the paper, and why:

    - The network is wide where resolution is low. That costs a CPU little, and left and right are
      told apart there.
    - A third of the photographs are Leeds Sports Pose's own, whose labels are careful; the others
      are the extension's, with corrected labels (`lsp/corrected`). Unlabelled joints are ignored.
    - People are rotated less, because most are upright; shifted and smaller, as in detected boxes.
      Four of ten are cut off at a side, and one square of twelve shows no person (`data.framing`).
      Other people are beside and in front of them, and some photographs are blurred or grey
      (`data.clutter`). One record of ten shows a landscape, an animal or a thing instead
      (`data.backgrounds`).
    - Adam, with a learning rate that falls to 0 once, at the end of stage 1. A checkpoint from
      before the fall can be trained longer: copy it to `stage1/checkpoints` of a new work directory
      and set more steps.

    7.3 million parameters, and 0.7 million in the heads that `train_heads` adds: a detector and a
    network from joints to depth. Some 40 images/s on one core in bfloat16 (AMD EPYC 9004; 20 in
    float32, which CPUs without fast bfloat16 use), so that stage 1 takes seven hours. The bundled
    network was trained for half of it, from earlier networks; its model card
    (`pose3d_jax/weights/README.md`) has the commands.

        python -m tfds_builders.prepare lsp/corrected --manual_dir DIR
        python -m tfds_builders.backgrounds FOLDER
        python -m pose3d_jax.train --config configs/stage3.py:open
        python -m pose3d_jax.train_heads STAGE3_DIR open.safetensors
    """
    config = paper()
    config.model.update(
        input_side=128,
        stem="patch",
        stacks=1,
        levels=3,
        features=96,
        level_features=(96, 192, 384, 384),
        level_modules=(1, 2, 2, 2),
        depth_levels=3,
        depth_modules=1,
        depth_features=(128, 256, 256),
        detector_features=96,
        lifter_features=(512, 512, 512),
        decoding="log_parabola",
        init="lecun",
        zero_init_outputs=True,
        output_scale=0.1,
    )
    config.precision.compute = "auto"
    config.targets.update(sigma=1.0, lab_joints="projection")
    config.data.lab = {"name": "synthetic/varied", "train": "train", "test": "test"}
    # The last tenth of LSP's own training photographs is held out, to choose between networks.
    config.data.wild = {
        "name": "lsp/corrected",
        "train": ("train[:90%]", "extension", "extension"),
        "test": "train[90%:]",
    }
    config.data.backgrounds = "backgrounds"
    config.data.batch_size = 32
    config.augmentation.update(
        lab=True,
        scale_mean=0.1,
        scale_sigma=0.3,
        scale_limit=0.6,
        rotation_sigma=20.0,
        rotation_limit=40.0,
        shift_limit=0.12,
        cut_probability=0.4,
        empty_probability=0.08,
        clutter_probability=0.4,
        blur_probability=0.2,
        grey_probability=0.1,
    )
    config.loss.unlabelled_joints = "ignored"
    config.optimizer.update(name="adam", momentum=0.9, decay=0.999)
    config.stages.update(
        stage1=stage(
            steps=32_000,
            domains=("wild", "wild", "wild", "lab"),
            learning_rate=1.5e-3,
            warmup_steps=300,
            decay_steps=12_000,
        ),
        stage2=stage(
            steps=300,
            domains=("lab",),
            learning_rate=1e-3,
            warmup_steps=50,
            lambda_reg=0.04,
            depth_only=True,
        ),
        stage3=stage(
            steps=900,
            domains=("lab", "lab", "lab", "wild"),
            learning_rate=1e-3,
            warmup_steps=50,
            decay_steps=800,
            lambda_reg=0.04,
            lambda_geo=0.002,
            depth_only=True,
        ),
    )
    config.run.update(
        log_every=100,
        save_every=500,
        evaluate_every=1_000,
        evaluate_images=500,
        keep_every=2_000,
        reading_threads=2,
    )
    return config
