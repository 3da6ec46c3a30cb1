namespace System.Windows.Media
{
    /// <summary>Alpha, red, green, blue. Stands in for WPF's, which Mono does not have.</summary>
    public struct Color
    {
        public byte A { get; set; }

        public byte R { get; set; }

        public byte G { get; set; }

        public byte B { get; set; }

        public static Color FromArgb(byte a, byte r, byte g, byte b) =>
            new Color { A = a, R = r, G = g, B = b };

        public static Color FromRgb(byte r, byte g, byte b) => FromArgb(255, r, g, b);
    }
}
