using System;
using System.Collections.Generic;
using EsapiStub;

namespace VMS.TPS.Common.Model.API
{
    /// <summary>On a script's assembly: what the script wants to be allowed.</summary>
    [AttributeUsage(AttributeTargets.Assembly)]
    public class ESAPIScriptAttribute : Attribute
    {
        public bool IsWriteable { get; set; }
    }

    /// <summary>What Eclipse shows to a plug-in: the open patient, and what is chosen on the screen.</summary>
    public class ScriptContext
    {
        private readonly Scope _scope;
        private readonly User _user;
        private readonly string _appName;

#if ESAPI_16_1
        public ScriptContext(object context, object user, object dvhEstimation, string appName)
#else
        public ScriptContext(object context, object user, string appName)
#endif
        {
            _scope = context as Scope
                ?? throw new ArgumentException("context is not one that the stub has made.");
            _user = user as User
                ?? throw new ArgumentException("user is not one that the stub has made.");
            _appName = appName;
        }

        public User CurrentUser => _user;

        public Course Course => _scope.Plan?.Course;

        public Image Image => _scope.StructureSet?.Image;

        public StructureSet StructureSet => _scope.StructureSet;

        public Patient Patient => _scope.Patient;

        public PlanSetup PlanSetup => _scope.Plan;

        public ExternalPlanSetup ExternalPlanSetup => _scope.Plan;

        public IEnumerable<PlanSetup> PlansInScope => _scope.PlansInScope();

        public string ApplicationName => _appName;

        public string VersionInfo => Desk.Version;
    }
}
