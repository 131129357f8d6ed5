"""Readers of images and masks, and the samples that are shipped.

Not here: responses to images (brain).
"""
