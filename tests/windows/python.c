/* python.exe, as python.org's: Python itself is the DLL. */
#include <stdio.h>
#include <windows.h>

int wmain(int count, wchar_t **arguments)
{
    HMODULE python = LoadLibraryW(L"python311.dll");
    int (*run)(int, wchar_t **) = (void *)GetProcAddress(python, "Py_Main");
    if (!run) {
        fprintf(stderr, "python311.dll cannot be loaded: error %lu.\n", GetLastError());
        return 127;
    }
    return run(count, arguments);
}
