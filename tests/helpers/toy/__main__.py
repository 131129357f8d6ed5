"""`python -m tests.helpers.toy toy …`: the product's command line with the toy command in it."""

from alignedcut_cli.frame.options import ConfiguredCommand
from alignedcut_cli.main import app, main
from tests.helpers.toy.command import NAME, command

app.command(name=NAME, cls=ConfiguredCommand)(command)

if __name__ == "__main__":
    raise SystemExit(main())
