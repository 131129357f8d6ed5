"""`alignedcut plan`: what a study of so many images takes, counted from its shapes and from rates measured here.

Not here: what one command of a project needs, which its --dry-run tells.
"""
