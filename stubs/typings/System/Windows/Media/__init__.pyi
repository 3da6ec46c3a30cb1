class Color:
    # Each component is a byte, 0 to 255.
    A: int
    R: int
    G: int
    B: int
    @staticmethod
    def FromRgb(r: int, g: int, b: int) -> Color: ...
    @staticmethod
    def FromArgb(a: int, r: int, g: int, b: int) -> Color: ...
