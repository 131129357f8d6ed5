"""Pictures of artifacts, from arrays: derived, and drawn again at will.

Not here: reading artifacts, and when to draw (commands, frame).
"""
