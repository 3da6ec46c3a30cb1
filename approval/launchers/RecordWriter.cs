#if WRITABLE
using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Windows.Media;
using VMS.TPS.Common.Model.API;

namespace StardustEsapi
{
    /// <summary>All that this file can ever do to a patient's record.</summary>
    /// <remarks>
    /// Python decides what shall be written and compares it afterwards; it has no other way to write.
    /// Every call of ESAPI that changes something stands here: what the Python files ask for, this class
    /// does, or it refuses. It changes only structure sets and structures that it made itself in this run,
    /// known by the very objects that Eclipse returned; ids and names prove nothing.
    ///
    /// Eclipse may look at the assemblies on the stack to find out who writes. So no method here may be
    /// inlined into its caller, or give way to the one it calls last: .NET then leaves each on the stack.
    /// </remarks>
    public sealed class RecordWriter
    {
        // From ESAPI 16.1 on; before, Eclipse chooses the colour itself. Called as any other member is:
        // not by reflection, which would stand between this assembly and ESAPI.
        private static readonly Action<Structure, Color> SetColor = ColorSetter();

        private readonly List<StructureSet> _sets = new List<StructureSet>();
        private readonly List<KeyValuePair<Structure, StructureSet>> _structures =
            new List<KeyValuePair<Structure, StructureSet>>();

        // The patient whose modifications have begun and are not saved. One that was closed without saving
        // stays here until another is begun: its objects are dead, and so is every call on them.
        private Patient _patient;

        /// <summary>Whether Eclipse lets this assembly and this user write; changes nothing.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public bool CanModify(Patient patient)
        {
            return patient.CanModifyData();
        }

        /// <summary>Whether the record of a patient is open for writing here, and not saved since.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public bool HasBegun(Patient patient)
        {
            return ReferenceEquals(patient, _patient);
        }

        /// <summary>Opens the record of the open patient for writing.</summary>
        /// <exception cref="InvalidOperationException">It is open already.</exception>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Begin(Patient patient)
        {
            if (HasBegun(patient))
            {
                throw new InvalidOperationException(
                    "Modifications of this patient have begun already, and are not saved.");
            }
            patient.BeginModifications();
            _patient = patient;
        }

        /// <summary>Makes an empty structure set; Eclipse chooses its id, and may copy the image for it.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public StructureSet CreateStructureSet(Image image)
        {
            RequireBegun();
            StructureSet created = image.CreateNewStructureSet();
            _sets.Add(created);
            return created;
        }

        /// <summary>Gives a structure set that was made here its id.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void NameStructureSet(StructureSet structureSet, string id)
        {
            RequireOwn(structureSet);
            structureSet.Id = id;
        }

        /// <summary>Adds an empty structure to a set that was made here.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Structure AddStructure(StructureSet structureSet, string dicomType, string id)
        {
            RequireOwn(structureSet);
            Structure added = structureSet.AddStructure(dicomType, id);
            _structures.Add(new KeyValuePair<Structure, StructureSet>(added, structureSet));
            return added;
        }

        /// <summary>Gives a structure that was added here the shape and colour of another.</summary>
        /// <param name="structure">The structure that was added.</param>
        /// <param name="source">Any structure of the patient; it is read.</param>
        /// <param name="highResolution">Whether it shall be converted first, as a source of high resolution
        /// needs.</param>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void CopyShape(Structure structure, Structure source, bool highResolution)
        {
            RequireOwn(structure);
            if (highResolution)
            {
                structure.ConvertToHighResolution();
            }
            structure.SegmentVolume = source.SegmentVolume;
            if (SetColor != null)
            {
                SetColor(structure, source.Color);
            }
        }

        /// <summary>Removes a structure that was added here.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void RemoveStructure(Structure structure)
        {
            RequireOwn(structure);
            int at = _structures.FindIndex(own => ReferenceEquals(own.Key, structure));
            _structures[at].Value.RemoveStructure(structure);
            _structures.RemoveAt(at);
        }

        /// <summary>Removes a structure set that was made here, with all that is in it.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void RemoveStructureSet(StructureSet structureSet)
        {
            RequireOwn(structureSet);
            structureSet.Delete();
            _structures.RemoveAll(own => ReferenceEquals(own.Value, structureSet));
            _sets.RemoveAll(own => ReferenceEquals(own, structureSet));
        }

#if CONSOLE
        /// <summary>Saves what was written. In a plug-in Eclipse's user does, and nobody else can.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Save(Application application)
        {
            RequireBegun();
            application.SaveModifications();
            _patient = null;
        }
#endif

        [MethodImpl(MethodImplOptions.NoInlining)]
        private void RequireBegun()
        {
            if (_patient == null)
            {
                throw new InvalidOperationException(
                    "Modifications have not begun: nothing can be changed or saved.");
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private void RequireOwn(StructureSet structureSet)
        {
            RequireBegun();
            if (!_sets.Any(own => ReferenceEquals(own, structureSet)))
            {
                // Not even its id is asked for: what closed or was removed may not be touched.
                throw new InvalidOperationException(
                    "This structure set was not made in this run, and is not changed.");
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private void RequireOwn(Structure structure)
        {
            RequireBegun();
            if (!_structures.Any(own => ReferenceEquals(own.Key, structure)))
            {
                throw new InvalidOperationException(
                    "This structure was not made in this run, and is not changed.");
            }
        }

        /// <summary>The setter of Structure.Color; null in a version that has none.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Action<Structure, Color> ColorSetter()
        {
            MethodInfo setter = typeof(Structure).GetProperty("Color").GetSetMethod();
            return setter == null
                ? null
                : (Action<Structure, Color>)Delegate.CreateDelegate(
                    typeof(Action<Structure, Color>), setter);
        }
    }
}
#endif
