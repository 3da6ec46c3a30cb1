using System;

namespace EsapiStub
{
    /// <summary>Refuses as ESAPI does where its database fails: with an ApplicationException.</summary>
    internal static class Storage
    {
        internal static T Guard<T>(string what, Func<T> action)
        {
            try
            {
                return action();
            }
            catch (Exception error) when (!(error is ApplicationException))
            {
                throw new ApplicationException(
                    $"The database failed on {what}: {error.Message}", error);
            }
        }

        internal static void Guard(string what, Action action) =>
            Guard(
                what,
                () =>
                {
                    action();
                    return true;
                });
    }
}
