"""`alignedcut plan`: the resources of a study, from its shapes and from rates measured on this machine.

Not here: the needs of one command of a project, which its --dry-run prints.
"""
