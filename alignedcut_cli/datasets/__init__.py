"""Readers of images and masks."""
