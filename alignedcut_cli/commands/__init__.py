"""One package a subcommand (command.py: signature and help; then plan, run, result, pictures); small ones are one file.

Not here: what two commands need, which lives in nodes, frame, report or core.
"""
