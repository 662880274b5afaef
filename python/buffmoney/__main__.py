"""`python -m buffmoney`: the command line."""

from buffmoney.cli import main

if __name__ == "__main__":
    main()
