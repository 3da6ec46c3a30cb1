using System;
using EsapiStub;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>An object of the open patient. Two are equal that show the same.</summary>
    public class ApiDataObject : SerializableObject
    {
        private readonly Record _record;

        /// <param name="record">What it shows; null for a class that overrides all that is read from it.</param>
        internal ApiDataObject(Chart chart, Record record)
            : base(chart)
        {
            Chart = chart;
            _record = record;
        }

        internal Chart Chart { get; }

        /// <summary>What equal objects share.</summary>
        internal virtual object Identity => _record;

        internal override string Text => IdText;

        internal virtual string IdText => _record.Id;

        internal virtual string NameText => _record.Name;

        internal virtual string CommentText => _record.Comment;

        internal virtual DateTime? Changed => Clock.Date(_record.Modified) ?? Clock.Date(_record.Created);

        public string Id => Alive(this).IdText;

        public string Name => Alive(this).NameText;

        public string Comment => Alive(this).CommentText;

        public string HistoryUserName => Alive(Desk.UserId);

        public string HistoryUserDisplayName => Alive(Desk.UserId);

        /// <summary>When it was changed last; the first day of all where that is not known.</summary>
        public DateTime HistoryDateTime => Alive(this).Changed ?? new DateTime();

        // Comparing is not an access: a set or a dictionary of dead objects stays usable.
        public override bool Equals(object obj) =>
            obj is ApiDataObject other && Identity.Equals(other.Identity);

        public override int GetHashCode() => Identity.GetHashCode();

        public override string ToString() => base.ToString();

        public static bool operator ==(ApiDataObject a, ApiDataObject b) => Equals(a, b);

        public static bool operator !=(ApiDataObject a, ApiDataObject b) => !Equals(a, b);
    }
}
