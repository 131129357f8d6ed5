"""What is kept of a map of many units: products between images, and a sparse random projection.

Not here: models and their modules (backbones), when which images are read (commands/extract).
"""
