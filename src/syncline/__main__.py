"""`python -m syncline` is the program `syncline`."""

from syncline.cli import main

main()
