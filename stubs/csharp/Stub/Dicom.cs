using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.IO.Compression;
using System.Linq;
using System.Text;

namespace EsapiStub
{
    /// <summary>One data element: its value as bytes, or as the items of a sequence.</summary>
    internal class Element
    {
        internal byte[] Value;
        internal List<Dataset> Items;
        internal bool Undefined; // whether its length was, and shall be, undefined
    }

    /// <summary>
    /// A DICOM dataset (PS3.5), as far as the stub needs it. What nobody asks for stays bytes, and is
    /// written as it was read.
    /// </summary>
    internal class Dataset
    {
        internal readonly SortedDictionary<uint, Element> Elements = new SortedDictionary<uint, Element>();
        internal Dataset Parent;
        internal bool Undefined; // whether it was an item of undefined length

        internal bool Has(uint tag) => Elements.ContainsKey(tag);

        /// <summary>Text of an element; null where it is absent.</summary>
        internal string Text(uint tag)
        {
            Element element;
            return Elements.TryGetValue(tag, out element) && element.Value != null
                ? CharacterSet().GetString(element.Value).TrimEnd(' ', '\0')
                : null;
        }

        /// <summary>An Integer String.</summary>
        internal int Integer(uint tag)
        {
            string text = Text(tag);
            if (text == null)
            {
                throw new InvalidDataException($"({tag >> 16:X4},{tag & 0xFFFF:X4}) is missing");
            }
            return int.Parse(text, NumberStyles.Integer, CultureInfo.InvariantCulture);
        }

        /// <summary>An element of VR US.</summary>
        internal int Unsigned(uint tag, int missing)
        {
            Element element;
            return Elements.TryGetValue(tag, out element) && element.Value.Length >= 2
                ? BitConverter.ToUInt16(element.Value, 0)
                : missing;
        }

        /// <summary>Items of a sequence; none where it is absent.</summary>
        internal List<Dataset> Items(uint tag)
        {
            Element element;
            if (!Elements.TryGetValue(tag, out element))
            {
                return new List<Dataset>();
            }
            if (element.Items == null) // implicit VR: nobody knew yet that it is a sequence
            {
                element.Items = new DicomReader(element.Value, 0, false).Sequence(
                    element.Value.Length, this);
                element.Value = null;
            }
            return element.Items;
        }

        internal void SetText(uint tag, string value, char padding = ' ') =>
            SetBytes(tag, CharacterSet().GetBytes(value), padding);

        internal void SetUid(uint tag, string value) => SetText(tag, value, '\0');

        internal void SetBytes(uint tag, byte[] value, char padding = ' ')
        {
            if (value.Length % 2 == 1)
            {
                value = value.Concat(new[] { (byte)padding }).ToArray();
            }
            Elements[tag] = new Element { Value = value };
        }

        /// <summary>Set a sequence, which keeps whether its length was undefined.</summary>
        internal void SetItems(uint tag, IEnumerable<Dataset> items)
        {
            Element old;
            Elements.TryGetValue(tag, out old);
            Elements[tag] = new Element { Items = items.ToList(), Undefined = old != null && old.Undefined };
            foreach (Dataset item in Elements[tag].Items)
            {
                item.Parent = this;
            }
        }

        /// <summary>Specific Character Set (0008,0005) of this dataset, or of that around it.</summary>
        private Encoding CharacterSet()
        {
            Element element;
            if (!Elements.TryGetValue(Tags.SpecificCharacterSet, out element) || element.Value.Length == 0)
            {
                return Parent == null ? Latin1 : Parent.CharacterSet();
            }
            string name = Encoding.ASCII.GetString(element.Value).TrimEnd(' ', '\0');
            switch (name)
            {
                case "ISO_IR 192":
                    return new UTF8Encoding(false);
                case "ISO_IR 100":
                case "ISO_IR 6":
                case "ISO 2022 IR 100":
                case "ISO 2022 IR 6":
                case @"\ISO 2022 IR 100":
                    return Latin1;
                default:
                    throw new InvalidDataException($"the stub cannot read the character set {name}");
            }
        }

        private static readonly Encoding Latin1 = Encoding.GetEncoding(
            "iso-8859-1", new EncoderReplacementFallback("?"), new DecoderReplacementFallback("?"));
    }

    /// <summary>A DICOM file (PS3.10): the dataset, and what stands before it.</summary>
    internal class DicomFile
    {
        internal const string ImplicitLittleEndian = "1.2.840.10008.1.2";
        internal const string ExplicitLittleEndian = "1.2.840.10008.1.2.1";
        internal const string DeflatedLittleEndian = "1.2.840.10008.1.2.1.99";
        internal const string ExplicitBigEndian = "1.2.840.10008.1.2.2";

        internal byte[] Preamble = new byte[128];
        internal string TransferSyntax = ImplicitLittleEndian;
        internal Dataset Dataset;

        /// <summary>Read a file, up to a tag where that is given.</summary>
        internal static DicomFile Read(string path, uint before = uint.MaxValue)
        {
            byte[] content = File.ReadAllBytes(path);
            if (content.Length < 132 || Encoding.ASCII.GetString(content, 128, 4) != "DICM")
            {
                throw new InvalidDataException($"{path} is no DICOM file");
            }
            var file = new DicomFile { Preamble = content.Take(128).ToArray() };
            var reader = new DicomReader(content, 132, true);
            Dataset meta = reader.Dataset(content.Length, null, 0x00030000);
            file.TransferSyntax = meta.Text(Tags.TransferSyntaxUid) ?? ImplicitLittleEndian;
            if (file.TransferSyntax == ExplicitBigEndian)
            {
                throw new InvalidDataException($"{path} is of unsupported transfer syntax: big endian");
            }
            int start = reader.At;
            if (file.TransferSyntax == DeflatedLittleEndian)
            {
                content = Inflated(content, start);
                start = 0;
            }
            reader = new DicomReader(content, start, file.TransferSyntax != ImplicitLittleEndian);
            file.Dataset = reader.Dataset(content.Length, null, before);
            return file;
        }

        /// <summary>Write a file in Implicit VR Little Endian.</summary>
        internal byte[] Write()
        {
            var meta = new Dataset();
            meta.SetBytes(Tags.FileMetaInformationVersion, new byte[] { 0, 1 });
            meta.SetUid(Tags.MediaStorageSopClassUid, Dataset.Text(Tags.SopClassUid) ?? "");
            meta.SetUid(Tags.MediaStorageSopInstanceUid, Dataset.Text(Tags.SopInstanceUid) ?? "");
            meta.SetUid(Tags.TransferSyntaxUid, ImplicitLittleEndian);
            meta.SetUid(Tags.ImplementationClassUid, Records.DerivedUid("esapi_stub", "csharp"));
            meta.SetText(Tags.ImplementationVersionName, "ESAPI_STUB");
            byte[] header = WriteMeta(meta);
            var stream = new MemoryStream();
            using (var writer = new BinaryWriter(stream))
            {
                writer.Write(Preamble);
                writer.Write(Encoding.ASCII.GetBytes("DICM\u0002\0\0\0UL\u0004\0"));
                writer.Write(header.Length);
                writer.Write(header);
                writer.Write(WriteDataset(Dataset));
            }
            return stream.ToArray();
        }

        /// <summary>File Meta Information is always of Explicit VR (PS3.10 7.1).</summary>
        private static byte[] WriteMeta(Dataset meta)
        {
            var stream = new MemoryStream();
            var writer = new BinaryWriter(stream);
            foreach (KeyValuePair<uint, Element> pair in meta.Elements)
            {
                WriteTag(writer, pair.Key);
                byte[] value = pair.Value.Value;
                if (pair.Key == Tags.FileMetaInformationVersion)
                {
                    writer.Write(Encoding.ASCII.GetBytes("OB\0\0"));
                    writer.Write(value.Length);
                }
                else
                {
                    bool text = pair.Key == Tags.ImplementationVersionName;
                    writer.Write(Encoding.ASCII.GetBytes(text ? "SH" : "UI"));
                    writer.Write((ushort)value.Length);
                }
                writer.Write(value);
            }
            return stream.ToArray();
        }

        private static byte[] WriteDataset(Dataset dataset)
        {
            var stream = new MemoryStream();
            var writer = new BinaryWriter(stream);
            foreach (KeyValuePair<uint, Element> pair in dataset.Elements)
            {
                if ((pair.Key & 0xFFFF) == 0) // Group Length, retired, would be wrong
                {
                    continue;
                }
                Element element = pair.Value;
                byte[] value = element.Items == null ? element.Value : WriteItems(element.Items);
                WriteTag(writer, pair.Key);
                writer.Write(element.Undefined ? DicomReader.UndefinedLength : (uint)value.Length);
                writer.Write(value);
                if (element.Undefined)
                {
                    WriteTag(writer, Tags.SequenceDelimitation);
                    writer.Write(0);
                }
            }
            return stream.ToArray();
        }

        private static byte[] WriteItems(IEnumerable<Dataset> items)
        {
            var stream = new MemoryStream();
            var writer = new BinaryWriter(stream);
            foreach (Dataset item in items)
            {
                byte[] value = WriteDataset(item);
                WriteTag(writer, Tags.Item);
                writer.Write(item.Undefined ? DicomReader.UndefinedLength : (uint)value.Length);
                writer.Write(value);
                if (item.Undefined)
                {
                    WriteTag(writer, Tags.ItemDelimitation);
                    writer.Write(0);
                }
            }
            return stream.ToArray();
        }

        private static void WriteTag(BinaryWriter writer, uint tag)
        {
            writer.Write((ushort)(tag >> 16));
            writer.Write((ushort)tag);
        }

        private static byte[] Inflated(byte[] content, int start)
        {
            using (var source = new MemoryStream(content, start, content.Length - start))
            using (var inflating = new DeflateStream(source, CompressionMode.Decompress))
            using (var inflated = new MemoryStream())
            {
                inflating.CopyTo(inflated);
                return inflated.ToArray();
            }
        }
    }

    /// <summary>Reads datasets of Implicit or Explicit VR Little Endian (PS3.5 7).</summary>
    internal class DicomReader
    {
        internal const uint UndefinedLength = 0xFFFFFFFF;

        private const string LongLength = "OB OD OF OL OV OW SQ SV UC UN UR UT UV";

        private readonly byte[] _content;
        private readonly bool _explicitVr;

        internal DicomReader(byte[] content, int at, bool explicitVr)
        {
            _content = content;
            At = at;
            _explicitVr = explicitVr;
        }

        internal int At { get; private set; }

        /// <summary>Read a dataset up to an end, a delimiter, or the first tag not before a given one.</summary>
        internal Dataset Dataset(int end, Dataset parent, uint before = uint.MaxValue)
        {
            var dataset = new Dataset { Parent = parent };
            while (At < end)
            {
                int start = At;
                uint tag = Tag();
                if (tag >= before)
                {
                    At = start;
                    break;
                }
                string vr = _explicitVr ? Encoding.ASCII.GetString(_content, At, 2) : "";
                // Some writers fall back to implicit VR within an explicit one.
                bool named = vr.Length == 2 && vr.All(letter => letter >= 'A' && letter <= 'Z');
                uint length;
                if (named && !LongLength.Contains(vr))
                {
                    At += 2;
                    length = BitConverter.ToUInt16(Take(2), 0);
                }
                else
                {
                    At += named ? 4 : 0;
                    length = BitConverter.ToUInt32(Take(4), 0);
                }
                if (tag == Tags.ItemDelimitation)
                {
                    break;
                }
                dataset.Elements[tag] = Value(vr, length, dataset);
            }
            return dataset;
        }

        /// <summary>Read the items of a sequence, up to its end or its delimiter.</summary>
        internal List<Dataset> Sequence(long length, Dataset parent)
        {
            int end = length == UndefinedLength ? _content.Length : End(length);
            var items = new List<Dataset>();
            while (At < end)
            {
                uint tag = Tag();
                uint size = BitConverter.ToUInt32(Take(4), 0);
                if (tag == Tags.SequenceDelimitation)
                {
                    break;
                }
                if (tag != Tags.Item)
                {
                    throw new InvalidDataException("a sequence of the DICOM file is damaged");
                }
                bool undefined = size == UndefinedLength;
                Dataset item = Dataset(undefined ? _content.Length : End(size), parent);
                item.Undefined = undefined;
                items.Add(item);
            }
            return items;
        }

        private Element Value(string vr, uint length, Dataset dataset)
        {
            bool undefined = length == UndefinedLength;
            if (undefined && (vr == "OB" || vr == "OW"))
            {
                return new Element { Value = Fragments(), Undefined = true };
            }
            if (vr == "SQ" || undefined)
            {
                // What is unknown and of undefined length is a sequence of implicit VR (PS3.5 6.2.2).
                var reader = vr == "UN" ? new DicomReader(_content, At, false) : this;
                List<Dataset> items = reader.Sequence(length, dataset);
                At = reader.At;
                return new Element { Items = items, Undefined = undefined };
            }
            return new Element { Value = Take(length) };
        }

        /// <summary>Read compressed pixel data (PS3.5 A.4) as it is, up to its delimiter.</summary>
        private byte[] Fragments()
        {
            int start = At;
            while (Tag() == Tags.Item)
            {
                At = End(BitConverter.ToUInt32(Take(4), 0));
            }
            byte[] fragments = _content.Skip(start).Take(At - 4 - start).ToArray();
            Take(4);
            return fragments;
        }

        private uint Tag()
        {
            byte[] tag = Take(4);
            return (uint)BitConverter.ToUInt16(tag, 0) << 16 | BitConverter.ToUInt16(tag, 2);
        }

        private byte[] Take(long count)
        {
            var taken = new byte[End(count) - At];
            Buffer.BlockCopy(_content, At, taken, 0, taken.Length);
            At += taken.Length;
            return taken;
        }

        private int End(long length)
        {
            if (length > _content.Length - At)
            {
                throw new InvalidDataException("the DICOM file ends too early");
            }
            return At + (int)length;
        }
    }

    /// <summary>The tags that the stub knows (PS3.6).</summary>
    internal static class Tags
    {
        internal const uint FileMetaInformationVersion = 0x00020001;
        internal const uint MediaStorageSopClassUid = 0x00020002;
        internal const uint MediaStorageSopInstanceUid = 0x00020003;
        internal const uint TransferSyntaxUid = 0x00020010;
        internal const uint ImplementationClassUid = 0x00020012;
        internal const uint ImplementationVersionName = 0x00020013;
        internal const uint SpecificCharacterSet = 0x00080005;
        internal const uint SopClassUid = 0x00080016;
        internal const uint SopInstanceUid = 0x00080018;
        internal const uint StudyDate = 0x00080020;
        internal const uint StudyTime = 0x00080030;
        internal const uint AccessionNumber = 0x00080050;
        internal const uint Modality = 0x00080060;
        internal const uint Manufacturer = 0x00080070;
        internal const uint ReferringPhysicianName = 0x00080090;
        internal const uint OperatorsName = 0x00081070;
        internal const uint ReferencedSopClassUid = 0x00081150;
        internal const uint ReferencedSopInstanceUid = 0x00081155;
        internal const uint PatientName = 0x00100010;
        internal const uint PatientId = 0x00100020;
        internal const uint PatientBirthDate = 0x00100030;
        internal const uint PatientSex = 0x00100040;
        internal const uint StudyInstanceUid = 0x0020000D;
        internal const uint SeriesInstanceUid = 0x0020000E;
        internal const uint StudyId = 0x00200010;
        internal const uint SeriesNumber = 0x00200011;
        internal const uint InstanceNumber = 0x00200013;
        internal const uint FrameOfReferenceUid = 0x00200052;
        internal const uint PositionReferenceIndicator = 0x00201040;
        internal const uint SamplesPerPixel = 0x00280002;
        internal const uint Rows = 0x00280010;
        internal const uint Columns = 0x00280011;
        internal const uint BitsAllocated = 0x00280100;
        internal const uint PixelRepresentation = 0x00280103;
        internal const uint StructureSetLabel = 0x30060002;
        internal const uint StructureSetDate = 0x30060008;
        internal const uint StructureSetTime = 0x30060009;
        internal const uint ReferencedFrameOfReferenceSequence = 0x30060010;
        internal const uint RtReferencedStudySequence = 0x30060012;
        internal const uint RtReferencedSeriesSequence = 0x30060014;
        internal const uint ContourImageSequence = 0x30060016;
        internal const uint StructureSetRoiSequence = 0x30060020;
        internal const uint RoiNumber = 0x30060022;
        internal const uint ReferencedFrameOfReferenceUid = 0x30060024;
        internal const uint RoiName = 0x30060026;
        internal const uint RoiDescription = 0x30060028;
        internal const uint RoiDisplayColor = 0x3006002A;
        internal const uint RoiGenerationAlgorithm = 0x30060036;
        internal const uint RoiContourSequence = 0x30060039;
        internal const uint ContourSequence = 0x30060040;
        internal const uint ContourGeometricType = 0x30060042;
        internal const uint NumberOfContourPoints = 0x30060046;
        internal const uint ContourData = 0x30060050;
        internal const uint RtRoiObservationsSequence = 0x30060080;
        internal const uint ObservationNumber = 0x30060082;
        internal const uint ReferencedRoiNumber = 0x30060084;
        internal const uint RtRoiInterpretedType = 0x300600A4;
        internal const uint RoiInterpreter = 0x300600A6;
        internal const uint ApprovalStatus = 0x300E0002;
        internal const uint PixelData = 0x7FE00010;
        internal const uint Item = 0xFFFEE000;
        internal const uint ItemDelimitation = 0xFFFEE00D;
        internal const uint SequenceDelimitation = 0xFFFEE0DD;
    }
}
