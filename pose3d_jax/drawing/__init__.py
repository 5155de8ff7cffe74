"""Draws skeletons: on images with Pillow, on axes with Matplotlib."""
