"""What a person runs: one file for each command of the program, and the terminal it speaks to."""
