"""Nodes in two or three dimensions: t-SNE of eigenvectors, exact or Barnes-Hut, and its colours.

Not here: eigenvectors (core/graph) and pictures (report).
"""
