using System;

namespace EsapiStub
{
    /// <summary>That ESAPI runs once in a process, on the database that ESAPI_STUB_DB names.</summary>
    internal static class Session
    {
        internal const string Variable = "ESAPI_STUB_DB";

        private static readonly object Gate = new object();
        private static Desk _alive;

        internal static Desk Open(Script script)
        {
            lock (Gate)
            {
                if (_alive != null)
                {
                    throw new ApplicationException(
                        "An Application is alive in this process already: only one can be. "
                        + "Dispose of it.");
                }
                string folder = Environment.GetEnvironmentVariable(Variable);
                if (string.IsNullOrEmpty(folder))
                {
                    throw new DatabaseError(
                        $"The environment variable {Variable} must name the folder of a stub database.");
                }
                _alive = new Desk(Database.Open(folder), script, new Lease());
                return _alive;
            }
        }

        /// <summary>Ends what stands on a desk; does nothing the second time.</summary>
        internal static void Close(Desk desk)
        {
            lock (Gate)
            {
                desk.Lease.End();
                if (_alive == desk)
                {
                    _alive = null;
                }
            }
        }
    }
}
