using System;
using System.Collections.Generic;
using EsapiStub;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>Base of all API objects: every access to a public member asks first whether it is alive.</summary>
    public class SerializableObject
    {
        internal SerializableObject(Desk desk)
        {
            Desk = desk;
        }

        internal Desk Desk { get; }

        /// <summary>Whether what the object shows was taken out of the patient.</summary>
        internal virtual bool Removed => false;

        public override string ToString() => Alive(this).Text;

        internal virtual string Text => GetType().FullName;

        /// <summary>Throws what a dead object throws, or one that is used on a foreign thread.</summary>
        internal void Check()
        {
            Desk.Lease.Check();
            if (Removed)
            {
                throw new AccessViolationException(Lease.Dead);
            }
        }

        /// <summary>Gives back its argument, if this object is alive.</summary>
        internal T Alive<T>(T own)
        {
            Check();
            return own;
        }

        internal IEnumerable<T> Enumerate<T>(Func<IEnumerable<T>> items)
        {
            Check();
            return Desk.Lease.Enumerate(items);
        }

        /// <summary>Refuses what ESAPI lets one set and the stub does not.</summary>
        internal void RefuseToSet()
        {
            Check();
            throw new NotImplementedException(
                $"The stub cannot set this property of {GetType().Name}.");
        }
    }
}
