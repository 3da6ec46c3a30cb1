using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using EsapiStub;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>One in a process, used on the thread that made it.</summary>
    public class Application : SerializableObject, IDisposable
    {
        private Chart _chart;

        private Application(Desk desk)
            : base(desk)
        {
        }

        /// <summary>Starts ESAPI for an EXE, which is the script.</summary>
        public static Application CreateApplication()
        {
            Assembly entry = Assembly.GetEntryAssembly();
            if (entry == null)
            {
                throw new ApplicationException(
                    "The process was not started from a .NET program: "
                    + "call CustomScriptExecutable.CreateApplication instead.");
            }
            return Start(Script.Of(entry));
        }

        internal static Application Start(Script script) => new Application(Session.Open(script));

        public User CurrentUser => new User(Alive(Desk));

        public IEnumerable<PatientSummary> PatientSummaries =>
            Enumerate(() => Desk.Database.Patients.Select(p => new PatientSummary(Desk, p)));

        public ScriptEnvironment ScriptEnvironment => new ScriptEnvironment(Alive(Desk));

        /// <summary>Opens a patient; null for an id that is not there, letter by letter.</summary>
        public Patient OpenPatientById(string id)
        {
            Check();
            if (_chart != null)
            {
                throw new ApplicationException(
                    "A patient is open already: close it before another is opened.");
            }
            _chart = Desk.Open(id);
            return _chart == null ? null : new Patient(_chart);
        }

        public Patient OpenPatient(PatientSummary patientSummary)
        {
            Check();
            return OpenPatientById(patientSummary.Id);
        }

        /// <summary>Closes the patient: its objects die, changes that were not saved are lost.</summary>
        public void ClosePatient()
        {
            Check();
            EndPatient();
        }

        /// <summary>Makes all changes of the open patient durable, all or none.</summary>
        public void SaveModifications()
        {
            Check();
            if (_chart == null)
            {
                throw new ApplicationException("No patient is open.");
            }
            _chart.Save();
        }

        /// <summary>Ends ESAPI; every object is dead from then on. A second call does nothing.</summary>
        public void Dispose()
        {
            EndPatient();
            Session.Close(Desk);
        }

        private void EndPatient()
        {
            _chart?.Lease.End();
            _chart = null;
        }
    }

    /// <summary>Starts ESAPI for interpreters and native hosts.</summary>
    public class CustomScriptExecutable
    {
        private CustomScriptExecutable()
        {
        }

        public static Application CreateApplication(string scriptName)
        {
            if (scriptName == null)
            {
                throw new ArgumentNullException(
                    null, "Value cannot be null. Parameter name: scriptName");
            }
            return Application.Start(Script.Hosted());
        }
    }

    /// <summary>Who a patient is, without opening it.</summary>
    public class PatientSummary : SerializableObject
    {
        private readonly SummaryRecord _record;

        internal PatientSummary(Desk desk, SummaryRecord record)
            : base(desk)
        {
            _record = record;
        }

        public string Id => Alive(_record).Id;

        public string Id2 => Alive("");

        public string SSN => Alive("");

        public string FirstName => Alive(_record).FirstName;

        public string MiddleName => Alive(_record).MiddleName;

        public string LastName => Alive(_record).LastName;

        public string Sex => Alive(_record).Sex;

        public DateTime? DateOfBirth => Clock.Date(Alive(_record).BirthDate);

        public DateTime? CreationDateTime => Clock.Date(Alive(_record).Created);
    }

    /// <summary>Who is logged in.</summary>
    public class User : SerializableObject
    {
        internal User(Desk desk)
            : base(desk)
        {
        }

        public string Id => Alive(Desk.UserId);

        public string Name => Alive(Desk.UserId);

        public string Language => Alive("en-US");

        internal override string Text => Desk.UserId;

        public override bool Equals(object obj) => obj is User;

        public override int GetHashCode() => Desk.UserId.GetHashCode();

        public override string ToString() => base.ToString();

        public static bool operator ==(User a, User b) => Equals(a, b);

        public static bool operator !=(User a, User b) => !Equals(a, b);
    }

    /// <summary>What runs the script.</summary>
    public class ScriptEnvironment
    {
        private readonly Desk _desk;

        internal ScriptEnvironment(Desk desk)
        {
            _desk = desk;
        }

        public string ApplicationName => Alive(Desk.ApplicationName);

        public string VersionInfo => Alive(Desk.Version);

        public string ApiVersionInfo => Alive(Desk.Version);

        public IEnumerable<ApplicationScript> Scripts
        {
            get
            {
                _desk.Lease.Check();
                return _desk.Lease.Enumerate(Enumerable.Empty<ApplicationScript>);
            }
        }

        public override string ToString() => Alive(base.ToString());

        private string Alive(string text)
        {
            _desk.Lease.Check();
            return text;
        }
    }

    /// <summary>A script that is approved in Eclipse: the stub has none.</summary>
    public class ApplicationScript : ApiDataObject
    {
        private ApplicationScript()
            : base(null, null)
        {
        }
    }
}
