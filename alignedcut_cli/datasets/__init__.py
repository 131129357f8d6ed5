"""Readers of images and masks, and the bundled sample data.

Not here: responses to images (brain).
"""
