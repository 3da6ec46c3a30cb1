using System;
using System.IO;

namespace EsapiStub
{
    internal static class Pixels
    {
        /// <summary>Stored values of an image file, row by row.</summary>
        internal static int[] ReadPlane(string path, int rows, int columns)
        {
            Dataset image = DicomFile.Read(path).Dataset;
            bool fits = image.Unsigned(Tags.Rows, 0) == rows
                && image.Unsigned(Tags.Columns, 0) == columns
                && image.Unsigned(Tags.SamplesPerPixel, 1) == 1;
            int bits = image.Unsigned(Tags.BitsAllocated, 0);
            bool signed = image.Unsigned(Tags.PixelRepresentation, 0) == 1;
            Element pixels;
            bool found = image.Elements.TryGetValue(Tags.PixelData, out pixels);
            if (found && pixels.Undefined)
            {
                throw new InvalidDataException(
                    $"{path} is compressed, which the C# stub cannot read. "
                    + "Decompress it before the database is built.");
            }
            if (!found || !fits || (bits != 8 && bits != 16 && bits != 32)
                || pixels.Value.Length < (long)rows * columns * (bits / 8))
            {
                throw new InvalidDataException($"{path} has no {columns} x {rows} whole grey values");
            }
            var stored = new int[rows * columns];
            for (int i = 0; i < stored.Length; i++)
            {
                switch (bits)
                {
                    case 8:
                        stored[i] = signed ? (int)(sbyte)pixels.Value[i] : pixels.Value[i];
                        break;
                    case 16:
                        short value = BitConverter.ToInt16(pixels.Value, 2 * i);
                        stored[i] = signed ? (int)value : (ushort)value;
                        break;
                    default:
                        stored[i] = BitConverter.ToInt32(pixels.Value, 4 * i);
                        break;
                }
            }
            return stored;
        }
    }
}
