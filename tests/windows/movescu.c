/* A stand-in of DCMTK's movescu: adds its arguments to a file, one a line, in UTF-8. */
#include <stdio.h>
#include <windows.h>

int wmain(int count, wchar_t **arguments)
{
    FILE *file = _wfopen(_wgetenv(L"MOVESCU_CALLS"), L"ab");
    char text[4096];
    for (int i = 1; i < count; i++) {
        WideCharToMultiByte(CP_UTF8, 0, arguments[i], -1, text, sizeof text, NULL, NULL);
        fprintf(file, "%s\n", text);
    }
    fprintf(file, "\n");
    return fclose(file);
}
