using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Mono.Unix;
using Mono.Unix.Native;

namespace EsapiStub
{
    /// <summary>The folder holds no stub database, or a damaged one.</summary>
    internal class DatabaseError : Exception
    {
        internal DatabaseError(string message, Exception inner = null)
            : base(message, inner)
        {
        }
    }

    /// <summary>How the database behaves.</summary>
    internal class Settings
    {
        public string Version = Database.Versions[0];
        public bool Clinical = true;
        public bool ScriptWritable = true;
        public bool ScriptApproved = true;
        public bool UserCanEdit = true;
        public List<string> LockedPatients = new List<string>();
        public List<string> LockedStructureSets = new List<string>();

        /// <summary>Whether Script Approval lets the script change patient data.</summary>
        internal bool ScriptMayWrite => ScriptWritable && (ScriptApproved || !Clinical);
    }

    /// <summary>
    /// The stub's database: a folder that holds everything, and says how the stub refuses. See
    /// esapi_stub/database.py, which builds it.
    /// </summary>
    internal class Database
    {
        internal static readonly string[] Versions = { "15.6", "16.1" };

        private const string DatabaseFile = "database.json";
        private const string IndexFile = "index.json";
        private const int KnownFormat = 1;

        // As database.json has them.
        public int Format;
        public string Generation;
        public Settings Settings;
        public List<SummaryRecord> Patients;

        internal string Root;

        /// <summary>Read a database.</summary>
        /// <exception cref="DatabaseError">There is none, or it is not of this program's making.</exception>
        internal static Database Open(string root)
        {
            Database found;
            try
            {
                found = Json.Read<Database>(File.ReadAllBytes(Path.Combine(root, DatabaseFile)));
                found.Root = root;
            }
            catch (Exception error) when (error is FileNotFoundException || error is DirectoryNotFoundException)
            {
                throw new DatabaseError($"{root}: no stub database is here.");
            }
            catch (Exception error)
            {
                throw new DatabaseError($"{root}: {DatabaseFile} is damaged ({error.Message}).", error);
            }
            if (found.Format != KnownFormat && found.Format != 0)
            {
                throw new DatabaseError($"{root}: stub database of format {found.Format}, not 1.");
            }
            if (found.Format == 0 || found.Generation == null || found.Settings == null || found.Patients == null)
            {
                throw new DatabaseError($"{root}: {DatabaseFile} is damaged (it is not complete).");
            }
            if (!Versions.Contains(found.Settings.Version))
            {
                throw new DatabaseError(
                    $"The stub does not know ESAPI {found.Settings.Version}. "
                    + $"Choose {string.Join(" or ", Versions)}.");
            }
            return found;
        }

        /// <summary>Folder of a patient.</summary>
        internal string Folder(SummaryRecord patient) => Path.Combine(Root, Generation, patient.Folder);

        /// <summary>Read a patient's index.</summary>
        /// <exception cref="DatabaseError">It is missing or damaged.</exception>
        internal PatientRecord Load(SummaryRecord patient)
        {
            string path = Path.Combine(Folder(patient), IndexFile);
            try
            {
                PatientRecord found = Json.Read<PatientRecord>(File.ReadAllBytes(path));
                if (!found.IsComplete)
                {
                    throw new InvalidDataException("it is not complete");
                }
                return found;
            }
            catch (Exception error)
            {
                throw new DatabaseError($"{path}: the index is damaged ({error.Message}).", error);
            }
        }

        /// <summary>Replace a patient's index, one revision on.</summary>
        /// <exception cref="ApplicationException">Another process saved the patient since it was read.</exception>
        internal void Save(PatientRecord patient)
        {
            if (Load(patient.Summary).Revision != patient.Revision)
            {
                throw new ApplicationException(
                    $"Patient {patient.Summary.Id} was modified by another user. Nothing was saved.");
            }
            patient.Revision++;
            try
            {
                WriteDurably(Path.Combine(Folder(patient.Summary), IndexFile), Json.Write(patient));
            }
            catch
            {
                patient.Revision--;
                throw;
            }
        }

        /// <summary>Write a file aside, flush it to the disk and rename it into place.</summary>
        internal static void WriteDurably(string path, byte[] content)
        {
            string aside = path + ".tmp";
            using (var file = new FileStream(aside, FileMode.Create))
            {
                file.Write(content, 0, content.Length);
                file.Flush(true);
            }
            // File.Move does not replace.
            UnixMarshal.ThrowExceptionForLastErrorIf(Stdlib.rename(aside, path));
            int folder = Syscall.open(Path.GetDirectoryName(path), OpenFlags.O_RDONLY);
            UnixMarshal.ThrowExceptionForLastErrorIf(folder);
            try
            {
                UnixMarshal.ThrowExceptionForLastErrorIf(Syscall.fsync(folder));
            }
            finally
            {
                Syscall.close(folder);
            }
        }
    }
}
