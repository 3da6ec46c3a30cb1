using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;

namespace EsapiStub
{
    /// <summary>An object that lives in the Python stub, by its number there.</summary>
    internal sealed class Reference
    {
        internal Reference(int number)
        {
            Number = number;
        }

        internal int Number { get; }
    }

    /// <summary>What the members of the generated classes call: everything is asked of the Python stub.</summary>
    internal static class Remote
    {
        private static readonly object Gate = new object();
        // Which object stands for which number; one that nobody holds any more is made again.
        private static readonly ConditionalWeakTable<object, Reference> References =
            new ConditionalWeakTable<object, Reference>();
        private static readonly Dictionary<int, WeakReference> Objects =
            new Dictionary<int, WeakReference>();

        private static Pipe _pipe;

        internal static T Get<T>(object target, string member) => As<T>(Ask("get", target, member));

        internal static void Set(object target, string member, object value)
        {
            Ask("set", target, member, value);
        }

        /// <param name="target">The object; null for what the stub does by itself.</param>
        internal static T Call<T>(object target, string member, params object[] arguments) =>
            As<T>(Ask("call", target, member, arguments));

        internal static string Text(object target) => Call<string>(target, "ToString");

        internal static bool Same(object target, object other) =>
            other != null && References.TryGetValue(other, out _) && (bool)Ask("same", target, "", other);

        internal static int Hash(object target) => (int)Ask("hash", target, "");

        internal static object Ask(string verb, object target, string member, params object[] arguments)
        {
            lock (Gate)
            {
                // The stub checks which thread uses an object, and can tell it by this only.
                int thread = Thread.CurrentThread.ManagedThreadId;
                var question = new WireWriter();
                object[] callers = Scripts.Callers(verb, member);
                question.Write(new[] { thread, verb, target, member, arguments, callers });
                _pipe = _pipe ?? new Pipe();
                var answer = (object[])new WireReader(_pipe.Ask(question.Bytes)).Read();
                if (!(bool)answer[0])
                {
                    throw Refusal((string)answer[1], (string)answer[2]);
                }
                int at = 2;
                foreach (Array buffer in arguments.Where(IsBuffer))
                {
                    var filled = (Array)answer[at++];
                    Buffer.BlockCopy(filled, 0, buffer, 0, Buffer.ByteLength(filled));
                }
                return answer[1];
            }
        }

        /// <summary>Makes of what was read what a member promises.</summary>
        internal static T As<T>(object value) => value == null ? default(T) : (T)As(value, typeof(T));

        /// <summary>The number of an object on the other side.</summary>
        internal static int Number(object value)
        {
            if (value is Reference reference || References.TryGetValue(value, out reference))
            {
                return reference.Number;
            }
            throw new ArgumentException($"The stub cannot take a {value.GetType()}.");
        }

        /// <summary>The object that stands for a number; the same while somebody holds it.</summary>
        internal static object Object(int number, string kind)
        {
            object made = Objects.TryGetValue(number, out WeakReference known) ? known.Target : null;
            if (made != null)
            {
                return made;
            }
            var reference = new Reference(number);
            Type type = typeof(Remote).Assembly.GetType($"VMS.TPS.Common.Model.API.{kind}");
            made = type == null ? reference : Activator.CreateInstance(type, true);
            Objects[number] = new WeakReference(made);
            References.Add(made, reference);
            return made;
        }

        private static object As(object value, Type wanted)
        {
            Type type = Nullable.GetUnderlyingType(wanted) ?? wanted;
            if (type.IsInstanceOfType(value))
            {
                return value;
            }
            if (type.IsEnum)
            {
                return Enum.ToObject(type, value);
            }
            if (value is Reference)
            {
                Type sequence = typeof(Sequence<>).MakeGenericType(type.GetGenericArguments());
                return Activator.CreateInstance(sequence, value);
            }
            if (value is object[] items)
            {
                Array made = Array.CreateInstance(type.GetElementType(), items.Length);
                for (int at = 0; at < items.Length; at++)
                {
                    made.SetValue(As(items[at], type.GetElementType()), at);
                }
                return made;
            }
            return Convert.ChangeType(value, type, CultureInfo.InvariantCulture);
        }

        private static bool IsBuffer(object value) =>
            value is Array array && array.GetType().GetElementType().IsPrimitive;

        /// <summary>The .NET exception of a name, with exactly this message.</summary>
        private static Exception Refusal(string name, string message)
        {
            Type type = typeof(Exception).Assembly.GetType(name) ?? typeof(Remote).Assembly.GetType(name);
            // Some take the name of a parameter first, and would write it into the message.
            bool named = typeof(ArgumentNullException) == type || typeof(ArgumentOutOfRangeException) == type
                || typeof(ObjectDisposedException) == type;
            object[] arguments = named ? new object[] { null, message } : new object[] { message };
            return (Exception)Activator.CreateInstance(type, arguments);
        }
    }

    /// <summary>A collection that can be iterated as often as one likes, and nothing else.</summary>
    internal sealed class Sequence<T> : IEnumerable<T>
    {
        private readonly Reference _items;

        public Sequence(Reference items)
        {
            _items = items;
        }

        public IEnumerator<T> GetEnumerator()
        {
            object cursor = Remote.Ask("enumerate", _items, "");
            for (object[] next; (next = (object[])Remote.Ask("next", cursor, "")).Length > 0;)
            {
                yield return Remote.As<T>(next[0]);
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }

    /// <summary>The stub database cannot be used.</summary>
    internal sealed class DatabaseError : Exception
    {
        public DatabaseError(string message)
            : base(message)
        {
        }
    }
}
