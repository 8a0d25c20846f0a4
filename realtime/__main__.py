"""``python -m realtime``: the command line, without the console script."""

from realtime.cli import main

if __name__ == "__main__":
    main(prog_name="realtime")
