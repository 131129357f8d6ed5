"""`python -m alignedcut_cli` is the command `alignedcut`."""

from alignedcut_cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
