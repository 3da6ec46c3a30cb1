"""What is approved: launchers that carry a manifest of the Python files they will load.

Eclipse approves an assembly, not the Python behind it. The manifest ties the two together: with
other files the launcher refuses, and launchers for other files are another version.
"""
