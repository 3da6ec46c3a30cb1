using System.Collections.Generic;

namespace EsapiStub
{
    internal static class Components
    {
        /// <summary>How many parts of the voxels [z, y, x] touch one another not even at a corner.</summary>
        internal static int Count(bool[,,] voxels)
        {
            int depth = voxels.GetLength(0), height = voxels.GetLength(1), width = voxels.GetLength(2);
            var left = (bool[,,])voxels.Clone();
            var open = new Stack<int>();
            int parts = 0;
            for (int start = 0; start < left.Length; start++)
            {
                if (!left[start / width / height, start / width % height, start % width])
                {
                    continue;
                }
                parts++;
                open.Push(start);
                while (open.Count > 0)
                {
                    int voxel = open.Pop();
                    int z = voxel / width / height, y = voxel / width % height, x = voxel % width;
                    for (int near = 0; near < 27; near++)
                    {
                        int k = z + near / 9 - 1, j = y + near / 3 % 3 - 1, i = x + near % 3 - 1;
                        if (k >= 0 && k < depth && j >= 0 && j < height && i >= 0 && i < width && left[k, j, i])
                        {
                            left[k, j, i] = false;
                            open.Push((k * height + j) * width + i);
                        }
                    }
                }
            }
            return parts;
        }
    }
}
