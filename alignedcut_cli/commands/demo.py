NAME="demo"
EXAMPLES=()
def command() -> None:
    "x"
