"""Figures and pictures of artifacts, drawn from arrays.

Not here: reading artifacts, and deciding when to draw (commands, frame).
"""
