"""`python -m durasql` is the command `durasql`."""

from durasql.cli import main

if __name__ == "__main__":
    main()
