"""Summaries of whole feature maps with many units: Gram matrices of images, and a sparse random projection.

Not here: models and their modules (backbones), and the order in which images are read (commands/extract).
"""
