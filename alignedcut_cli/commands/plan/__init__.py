"""`alignedcut plan`: what a study of so many images takes, counted from its shapes and from rates measured here.

Nothing of a project is read or made: what one command of a project needs is told by its --dry-run.
"""
