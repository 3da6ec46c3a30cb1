using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;

namespace EsapiStub
{
    /// <summary>
    /// Records as JSON, byte for byte as Python writes its dataclasses: FrameOfReferenceUid stands
    /// there as frame_of_reference_uid. Numbers pass through <see cref="Floats"/>, since the
    /// serializers that Mono ships do not keep every double.
    /// </summary>
    internal static class Json
    {
        /// <summary>
        /// Read a record; a member that JSON lacks keeps its default. As in Python, the outermost
        /// record may have members that nobody knows, those within may not.
        /// </summary>
        internal static T Read<T>(byte[] content)
        {
            using (XmlReader reader = JsonReaderWriterFactory.CreateJsonReader(
                content, XmlDictionaryReaderQuotas.Max))
            {
                return (T)Value(XElement.Load(reader), typeof(T), true);
            }
        }

        internal static byte[] Write(object value)
        {
            var text = new StringBuilder();
            Append(text, value);
            return Encoding.UTF8.GetBytes(text.ToString());
        }

        private static object Value(XElement element, Type type, bool outermost = false)
        {
            string given = (string)element.Attribute("type");
            if (given == "null")
            {
                return null;
            }
            Type plain = Nullable.GetUnderlyingType(type) ?? type;
            if (plain == typeof(string))
            {
                return element.Value;
            }
            if (plain == typeof(bool))
            {
                return XmlConvert.ToBoolean(element.Value);
            }
            if (plain == typeof(int))
            {
                return int.Parse(element.Value, CultureInfo.InvariantCulture);
            }
            if (plain == typeof(double))
            {
                return Floats.Parse(element.Value);
            }
            bool list = plain.IsArray || typeof(IList).IsAssignableFrom(plain);
            if (given != (list ? "array" : "object"))
            {
                throw new InvalidDataException($"{element.Name} is no {(list ? "list" : plain.Name)}");
            }
            if (list)
            {
                Type kind = plain.IsArray ? plain.GetElementType() : plain.GetGenericArguments()[0];
                object[] items = element.Elements().Select(item => Value(item, kind)).ToArray();
                Array array = Array.CreateInstance(kind, items.Length);
                Array.Copy(items, array, items.Length);
                return plain.IsArray ? array : Activator.CreateInstance(plain, array);
            }
            object record = Activator.CreateInstance(plain, true);
            Dictionary<string, FieldInfo> fields = Fields(plain).ToDictionary(Name);
            foreach (XElement member in element.Elements())
            {
                if (fields.TryGetValue(member.Name.LocalName, out FieldInfo field))
                {
                    field.SetValue(record, Value(member, field.FieldType));
                }
                else if (!outermost)
                {
                    throw new InvalidDataException($"{plain.Name} has no member {member.Name}");
                }
            }
            return record;
        }

        private static void Append(StringBuilder text, object value)
        {
            if (value == null)
            {
                text.Append("null");
            }
            else if (value is string)
            {
                Quote(text, (string)value);
            }
            else if (value is bool)
            {
                text.Append((bool)value ? "true" : "false");
            }
            else if (value is int)
            {
                text.Append(((int)value).ToString(CultureInfo.InvariantCulture));
            }
            else if (value is double)
            {
                text.Append(Floats.Repr((double)value));
            }
            else if (value is IList)
            {
                Join(text, '[', ((IList)value).Cast<object>(), item => Append(text, item), ']');
            }
            else
            {
                Action<FieldInfo> member = field =>
                {
                    Quote(text, Name(field));
                    text.Append(": ");
                    Append(text, field.GetValue(value));
                };
                Join(text, '{', Fields(value.GetType()), member, '}');
            }
        }

        private static void Join<T>(
            StringBuilder text, char open, IEnumerable<T> items, Action<T> append, char close)
        {
            string comma = "";
            text.Append(open);
            foreach (T item in items)
            {
                text.Append(comma);
                append(item);
                comma = ", ";
            }
            text.Append(close);
        }

        private static void Quote(StringBuilder text, string value)
        {
            text.Append('"');
            foreach (char letter in value)
            {
                int special = "\"\\\n\r\t\b\f".IndexOf(letter);
                if (special >= 0)
                {
                    text.Append('\\').Append("\"\\nrtbf"[special]);
                }
                else if (letter < ' ')
                {
                    text.AppendFormat(CultureInfo.InvariantCulture, "\\u{0:x4}", (int)letter);
                }
                else
                {
                    text.Append(letter);
                }
            }
            text.Append('"');
        }

        /// <summary>Public fields in the order they are declared, those of the base class first.</summary>
        private static IEnumerable<FieldInfo> Fields(Type type)
        {
            const BindingFlags Own = BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly;
            IEnumerable<FieldInfo> own = type.GetFields(Own).OrderBy(field => field.MetadataToken);
            return type.BaseType == null ? own : Fields(type.BaseType).Concat(own);
        }

        private static string Name(FieldInfo field) =>
            Regex.Replace(field.Name, "(?<=.)[A-Z]", "_$0").ToLowerInvariant();
    }
}
