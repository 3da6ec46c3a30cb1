"""One run of the program: the cases of a list, each from locating it to its record."""
