using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
using System.Windows.Media;
using VMS.TPS.Common.Model.Types;

namespace EsapiStub
{
    /// <summary>Values as bytes: a tag and what follows; esapi_stub/skin.py is the other end.</summary>
    internal sealed class WireWriter
    {
        private readonly MemoryStream _bytes = new MemoryStream();
        private readonly BinaryWriter _to;

        internal WireWriter()
        {
            _to = new BinaryWriter(_bytes);
        }

        internal byte[] Bytes => _bytes.ToArray();

        internal void Write(object value)
        {
            if (value == null || value is bool)
            {
                Tag(value == null ? 'N' : (bool)value ? 'T' : 'F');
            }
            else if (value is int || value is Enum)
            {
                Tag('I');
                _to.Write(Convert.ToInt64(value));
            }
            else if (value is double)
            {
                Tag('D');
                _to.Write((double)value);
            }
            else if (value is string text)
            {
                Tag('S');
                Text(text);
            }
            else if (value is VVector v)
            {
                Struct("VVector", v.x, v.y, v.z);
            }
            else if (value is Color c)
            {
                Struct("Color", (int)c.A, (int)c.R, (int)c.G, (int)c.B);
            }
            else if (value is Array array)
            {
                Many(array);
            }
            else
            {
                Tag('R');
                _to.Write(Remote.Number(value));
            }
        }

        private void Many(Array array)
        {
            if (array is VVector[] points)
            {
                Tag('V');
                Points(points);
            }
            else if (array is object[] items)
            {
                Tag('L');
                Items(items);
            }
            else
            {
                Tag('B');
                Buffer(array);
            }
        }

        private void Tag(char tag)
        {
            _to.Write((byte)tag);
        }

        private void Text(string text)
        {
            byte[] encoded = Encoding.UTF8.GetBytes(text);
            _to.Write(encoded.Length);
            _to.Write(encoded);
        }

        private void Struct(string name, params object[] fields)
        {
            Tag('O');
            Text(name);
            Items(fields);
        }

        private void Items(object[] values)
        {
            _to.Write(values.Length);
            foreach (object value in values)
            {
                Write(value);
            }
        }

        private void Points(VVector[] points)
        {
            _to.Write(points.Length);
            foreach (VVector point in points)
            {
                _to.Write(point.x);
                _to.Write(point.y);
                _to.Write(point.z);
            }
        }

        /// <summary>An array to be filled on the other side: only its size goes there.</summary>
        private void Buffer(Array buffer)
        {
            Tag(buffer.GetType().GetElementType() == typeof(int) ? 'i' : 'd');
            _to.Write((byte)buffer.Rank);
            for (int dimension = 0; dimension < buffer.Rank; dimension++)
            {
                _to.Write(buffer.GetLength(dimension));
            }
        }
    }

    /// <summary>Reads what <see cref="WireWriter"/>'s counterpart has written.</summary>
    internal sealed class WireReader
    {
        private readonly byte[] _frame;
        private readonly BinaryReader _from;

        internal WireReader(byte[] frame)
        {
            _frame = frame;
            _from = new BinaryReader(new MemoryStream(frame));
        }

        internal object Read()
        {
            char tag = (char)_from.ReadByte();
            switch (tag)
            {
                case 'N': return null;
                case 'T': return true;
                case 'F': return false;
                case 'I': return checked((int)_from.ReadInt64());
                case 'D': return _from.ReadDouble();
                case 'S': return Text();
                case 'R': return Remote.Object(_from.ReadInt32(), Text());
                case 'V': return Enumerable.Range(0, _from.ReadInt32()).Select(_ => Point()).ToArray();
                case 'A': return Block();
                case 'O': return Struct(Text(), Items());
                case 'L': return Items();
                default: throw new InvalidDataException($"There is no tag {tag}.");
            }
        }

        private string Text() => Encoding.UTF8.GetString(_from.ReadBytes(_from.ReadInt32()));

        private object[] Items()
        {
            var items = new object[_from.ReadInt32()];
            for (int at = 0; at < items.Length; at++)
            {
                items[at] = Read();
            }
            return items;
        }

        private VVector Point() => new VVector(_from.ReadDouble(), _from.ReadDouble(), _from.ReadDouble());

        private Array Block()
        {
            Type element = _from.ReadByte() == 'i' ? typeof(int) : typeof(double);
            var size = new int[_from.ReadByte()];
            for (int dimension = 0; dimension < size.Length; dimension++)
            {
                size[dimension] = _from.ReadInt32();
            }
            Array block = Array.CreateInstance(element, size);
            int at = (int)_from.BaseStream.Position, length = block.Length * Marshal.SizeOf(element);
            System.Buffer.BlockCopy(_frame, at, block, 0, length);
            _from.BaseStream.Position += length;
            return block;
        }

        private static object Struct(string name, object[] f)
        {
            switch (name)
            {
                case "VVector": return new VVector((double)f[0], (double)f[1], (double)f[2]);
                case "Color":
                    return Color.FromArgb((byte)(int)f[0], (byte)(int)f[1], (byte)(int)f[2], (byte)(int)f[3]);
                case "DateTime":
                    return new DateTime((int)f[0], (int)f[1], (int)f[2], (int)f[3], (int)f[4], (int)f[5]);
                case "DoseValue": return new DoseValue((double)f[0], (DoseValue.DoseUnit)(int)f[1]);
                case "ImageProfile":
                    return new ImageProfile((VVector)f[0], (VVector)f[1], (double[])f[2], (string)f[3]);
                case "StructureApprovalHistoryEntry":
                    return new StructureApprovalHistoryEntry
                    {
                        ApprovalStatus = (StructureApprovalStatus)(int)f[0],
                        StatusComment = (string)f[1],
                        UserId = (string)f[2],
                        UserDisplayName = (string)f[3],
                        ApprovalDateTime = (DateTime)f[4],
                    };
                default: throw new InvalidDataException($"There is no struct {name}.");
            }
        }
    }
}
