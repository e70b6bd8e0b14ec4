"""`python -m headgate_console`: the same as `headgate`."""

from headgate_console.cli import main

if __name__ == "__main__":
    main()
