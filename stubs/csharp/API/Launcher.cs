using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using VMS.TPS.Common.Model.API;

namespace EsapiStub
{
    /// <summary>What is open on Eclipse's screen while a plug-in runs; parts of it may be null.</summary>
    internal sealed class Scope
    {
        private readonly Chart _chart;

        internal Scope(Chart chart, string planUid, string structureSetUid)
        {
            _chart = chart;
            if (chart == null)
            {
                return;
            }
            PatientRecord record = chart.Record;
            Patient = new Patient(chart);
            if (planUid != null)
            {
                Plan = new ExternalPlanSetup(chart, record.Plans.First(p => p.Uid == planUid));
                StructureSet = Plan.StructureSet;
            }
            if (structureSetUid != null)
            {
                StructureSet = new StructureSet(
                    chart, record.StructureSets.First(s => s.Uid == structureSetUid));
            }
        }

        internal Patient Patient { get; }

        internal ExternalPlanSetup Plan { get; }

        internal StructureSet StructureSet { get; }

        internal IEnumerable<PlanSetup> PlansInScope() =>
            Plan == null
                ? Enumerable.Empty<PlanSetup>()
                : _chart.Lease.Enumerate<PlanSetup>(() => new[] { Plan });
    }

    /// <summary>What Eclipse does around a plug-in; for EclipseStub, its stand-in of the script launcher.</summary>
    /// <remarks>
    /// <code>
    /// using (var launcher = new Launcher(plugIn, patientId))   // the database is that of ESAPI_STUB_DB
    /// {
    ///     ScriptContext context = launcher.Context(planUid, structureSetUid);   // each may be null
    ///     …run VMS.TPS.Script.Execute(context) on this thread…
    ///     if (launcher.Modified) { launcher.Save(); }          // or nothing: the changes are dropped
    /// }                                                        // here the patient closes
    /// </code>
    /// The plug-in's own ESAPIScriptAttribute says whether it may write, and on a clinical system
    /// the setting script_approved. While a launcher lives, no Application can be made.
    /// </remarks>
    internal sealed class Launcher : IDisposable
    {
        private readonly Desk _desk;
        private readonly Chart _chart;

        /// <param name="plugIn">The assembly that holds the script.</param>
        /// <param name="patientId">The patient to open; null for none.</param>
        internal Launcher(Assembly plugIn, string patientId)
        {
            _desk = Session.Open(Script.Of(plugIn));
            try
            {
                _chart = patientId == null ? null : _desk.Open(patientId) ?? throw NoPatient(patientId);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>What there is to choose from on the screen; null where no patient is open.</summary>
        internal PatientRecord Record => _chart?.Record;

        /// <summary>Whether the plug-in has left changes that are not saved.</summary>
        internal bool Modified => _chart != null && _chart.Modified;

        /// <summary>What the plug-in gets to see.</summary>
        /// <param name="planUid">The plan on the screen; its structure set is then there too.</param>
        /// <param name="structureSetUid">The structure set on the screen, if not the plan's.</param>
        internal ScriptContext Context(string planUid, string structureSetUid)
        {
            var scope = new Scope(_chart, planUid, structureSetUid);
            var user = new User(_desk);
#if ESAPI_16_1
            return new ScriptContext(scope, user, null, Desk.ApplicationName);
#else
            return new ScriptContext(scope, user, Desk.ApplicationName);
#endif
        }

        /// <summary>Saves what the plug-in has changed, as the user does in Eclipse.</summary>
        internal void Save()
        {
            _chart?.Save();
        }

        /// <summary>Closes the patient; what is not saved is dropped.</summary>
        public void Dispose()
        {
            _chart?.Lease.End();
            Session.Close(_desk);
        }

        private static Exception NoPatient(string patientId) =>
            new DatabaseError($"The stub database holds no patient {patientId}.");
    }
}
