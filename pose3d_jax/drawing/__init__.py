"""Pictures of skeletons: on pixels with Pillow, on axes with Matplotlib."""
