"""One package (command.py: signature and help; then plan, run, result, pictures) or one small file per subcommand.

Not here: what several commands share (nodes, frame, report, core).
"""
