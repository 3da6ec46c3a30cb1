using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;

namespace EsapiStub
{
    /// <summary>How long objects live: until their patient closes, or the application is disposed of.</summary>
    internal sealed class Lease
    {
        internal const string Dead =
            "Attempted to read or write protected memory. "
            + "This is often an indication that other memory is corrupt.";

        private readonly Lease _above;
        private readonly Thread _thread = Thread.CurrentThread;
        private bool _ended;

        /// <param name="above">The lease that this one cannot outlive.</param>
        internal Lease(Lease above = null)
        {
            _above = above;
        }

        internal void End()
        {
            _ended = true;
        }

        /// <summary>Throws what a dead object throws, or one that is used on a foreign thread.</summary>
        internal void Check()
        {
            _above?.Check();
            if (_ended && _above == null)
            {
                throw new ObjectDisposedException(null, "Cannot access a disposed object.");
            }
            if (_ended)
            {
                throw new AccessViolationException(Dead);
            }
            if (Thread.CurrentThread != _thread)
            {
                throw new InvalidOperationException(
                    "The calling thread cannot access this object because a different thread owns it.");
            }
        }

        /// <summary>A collection that can be iterated as often as one likes, and nothing else.</summary>
        /// <param name="items">What makes the objects, asked anew by every iteration.</param>
        internal IEnumerable<T> Enumerate<T>(Func<IEnumerable<T>> items)
        {
            Check();
            foreach (T item in items().ToList())
            {
                Check();
                yield return item;
            }
        }
    }
}
