namespace EsapiStub
{
    internal static class Interpolation
    {
        /// <summary>
        /// Value between the voxels [z, y, x], linearly, and what it is outside of the first and
        /// last of them: <c>scipy.ndimage.map_coordinates(order=1)</c>.
        /// </summary>
        internal static double Linear(double[,,] volume, double z, double y, double x, double outside)
        {
            if (!Within(z, volume.GetLength(0)) || !Within(y, volume.GetLength(1))
                || !Within(x, volume.GetLength(2)))
            {
                return outside;
            }
            int plane = (int)z, row = (int)y, column = (int)x;
            double nearZ = 1.0 - (z - plane), nearY = 1.0 - (y - row), nearX = 1.0 - (x - column);
            double sum = 0.0;
            for (int corner = 0; corner < 8; corner++)
            {
                int k = corner / 4, j = corner / 2 % 2, i = corner % 2;
                double weightZ = k == 0 ? nearZ : 1.0 - nearZ;
                double weightY = j == 0 ? nearY : 1.0 - nearY;
                double weightX = i == 0 ? nearX : 1.0 - nearX;
                if (weightZ != 0.0 && weightY != 0.0 && weightX != 0.0) // else it may not be there
                {
                    sum += volume[plane + k, row + j, column + i] * weightZ * weightY * weightX;
                }
            }
            return sum;
        }

        private static bool Within(double at, int count) => at >= 0.0 && at <= count - 1;
    }
}
