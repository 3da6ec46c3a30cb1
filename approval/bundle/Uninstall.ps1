<#
.SYNOPSIS
Removes the installed version that it lies in: what install.py wrote, and nothing else.

.DESCRIPTION
A file that was changed since (such as StardustExporter.ini), records and logs are kept and named.
Leave Eclipse first: it holds the plug-in that it has loaded.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File Uninstall.ps1 --what-if
#>
$ErrorActionPreference = 'Stop'
trap {
    Write-Host $_.Exception.Message
    exit 1
}

$own = Join-Path $PSScriptRoot 'python'
$python = if (Test-Path -LiteralPath $own) { Join-Path $own 'python.exe' } else { 'py' }
& $python -I -S -B (Join-Path $PSScriptRoot 'uninstall.py') @args
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }

# Windows removes no program that runs: so Python's own folder goes now that Python has ended.
if (-not (Test-Path -LiteralPath (Join-Path $PSScriptRoot 'installed.txt'))) {
    if (Test-Path -LiteralPath $own) { Remove-Item -LiteralPath $own -Recurse -Force }
    if (-not (Get-ChildItem -LiteralPath $PSScriptRoot -Force)) {
        Remove-Item -LiteralPath $PSScriptRoot -ErrorAction SilentlyContinue
    }
}
