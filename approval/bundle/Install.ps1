<#
.SYNOPSIS
Looks whether the unpacked bundle is whole, and starts install.py with the Python that it brings.

.DESCRIPTION
The options are those of install.py; README.md explains them.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File Install.ps1 --what-if
#>
$ErrorActionPreference = 'Stop'
trap {
    Write-Host $_.Exception.Message
    exit 1
}

# Windows marks what was downloaded, and then asks about it or refuses to run it.
Get-ChildItem -LiteralPath $PSScriptRoot -Recurse -File | Unblock-File

# Before anything of the bundle runs. Commands only, no .NET: a policy of the house may forbid that.
foreach ($line in Get-Content -LiteralPath (Join-Path $PSScriptRoot 'SHA256SUMS')) {
    $digest, $name = $line -split '  ', 2
    $found = Get-FileHash -LiteralPath (Join-Path $PSScriptRoot $name) -ErrorAction SilentlyContinue
    if (-not $found -or $found.Hash -ne $digest) {
        throw "$name is missing or not as it was packed. Unpack the zip file again."
    }
}

$python = Join-Path $PSScriptRoot 'python\python.exe'
$choice = @()
if (-not (Test-Path -LiteralPath $python)) {
    $about = Get-Content -Raw -LiteralPath (Join-Path $PSScriptRoot 'bundle.json') | ConvertFrom-Json
    $python = 'py'
    $choice = @("-$($about.python)")
    if (-not (Get-Command $python -ErrorAction SilentlyContinue)) {
        throw "This bundle brings no Python. Install CPython $($about.python) (64 bit) for your user first."
    }
}
& $python @choice -I -S -B (Join-Path $PSScriptRoot 'install.py') @args
exit $LASTEXITCODE
