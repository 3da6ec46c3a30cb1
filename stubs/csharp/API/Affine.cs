using System;
using System.Linq;
using VMS.TPS.Common.Model.Types;

namespace EsapiStub
{
    /// <summary>Transforms of space by a 4x4 matrix.</summary>
    internal static class Affine
    {
        internal static VVector Apply(double[,] matrix, VVector point)
        {
            Func<int, double> moved = row =>
                matrix[row, 0] * point.x + matrix[row, 1] * point.y + matrix[row, 2] * point.z + matrix[row, 3];
            return new VVector(moved(0), moved(1), moved(2));
        }

        /// <summary>The inverse, by elimination with partial pivoting (as LAPACK does it).</summary>
        internal static double[,] Inverse(double[,] matrix)
        {
            const int n = 4;
            var left = (double[,])matrix.Clone();
            var right = new double[n, n];
            for (int i = 0; i < n; i++)
            {
                right[i, i] = 1;
            }
            for (int column = 0; column < n; column++)
            {
                int pivot = Enumerable.Range(column, n - column)
                    .OrderByDescending(row => Math.Abs(left[row, column])).First();
                if (left[pivot, column] == 0)
                {
                    throw new InvalidOperationException("The transformation has no inverse.");
                }
                for (int k = 0; k < n; k++)
                {
                    (left[column, k], left[pivot, k]) = (left[pivot, k], left[column, k]);
                    (right[column, k], right[pivot, k]) = (right[pivot, k], right[column, k]);
                }
                for (int row = column + 1; row < n; row++)
                {
                    double factor = left[row, column] / left[column, column];
                    for (int k = 0; k < n; k++)
                    {
                        left[row, k] -= factor * left[column, k];
                        right[row, k] -= factor * right[column, k];
                    }
                }
            }
            for (int row = n - 1; row >= 0; row--)
            {
                for (int k = 0; k < n; k++)
                {
                    for (int below = row + 1; below < n; below++)
                    {
                        right[row, k] -= left[row, below] * right[below, k];
                    }
                    right[row, k] /= left[row, row];
                }
            }
            return right;
        }
    }
}
