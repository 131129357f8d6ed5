"""One file per subcommand: parse, plan, run, result."""
