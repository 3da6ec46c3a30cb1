using System.Globalization;

namespace VMS.TPS.Common.Model.Types
{
    /// <summary>A dose with its unit; NaN and Unknown where undefined.</summary>
    public struct DoseValue
    {
        public enum DoseUnit
        {
            Unknown = 0,
            Gy = 1,
            cGy = 2,
            Percent = 3,
        }

        public DoseValue(double value, DoseUnit unit)
        {
            Dose = value;
            Unit = unit;
        }

        public double Dose { get; }

        public DoseUnit Unit { get; }

        public string UnitAsString => Unit == DoseUnit.Percent ? "%" : Unit.ToString();

        public string ValueAsString =>
            IsUndefined() ? "N/A" : Dose.ToString("F3", CultureInfo.InvariantCulture);

        public bool IsUndefined() => double.IsNaN(Dose);

        public static DoseValue UndefinedDose() => new DoseValue(double.NaN, DoseUnit.Unknown);

        public override string ToString() => $"{ValueAsString} {UnitAsString}";
    }
}
