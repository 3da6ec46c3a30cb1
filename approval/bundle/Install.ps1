<#
.SYNOPSIS
Installs stardust-esapi for the user who runs it and makes its launchers. It needs no administrator
rights and no internet.

.DESCRIPTION
Everything lies in a folder of its own below -Folder, named after the version of the launchers: the
Python packages (site), the four launchers, StardustExporter.ini, the approval record, the guide.
Other versions are left as they are. Nothing is written anywhere else, save for temporary files
that are removed again; nothing is entered in the registry, in PATH or in the start menu.

.PARAMETER Folder
Where to install; below the user's own application data if it is not given.

.PARAMETER Python
The python.exe of an installed Python; found by the launcher "py" if it is not given.

.PARAMETER Esapi
The folder of Varian's ESAPI assemblies; that of the newest Eclipse if it is not given.

.PARAMETER Settings
The TOML file whose rules are to be approved; the built-in rules if it is not given.

.PARAMETER Evidence
The report of the automatic tests, for the record; that of the bundle, if there is one.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File Install.ps1 -WhatIf
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [string] $Folder,
    [string] $Python,
    [string] $Esapi,
    [string] $Settings,
    [string] $Evidence
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
trap {
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
}

$Assemblies = 'VMS.TPS.Common.Model.API.dll', 'VMS.TPS.Common.Model.Types.dll'

function Resolve-Given([string] $Path) {
    # As the user meant it, but never with a backslash at the end: it would end the quotes of an
    # argument too late.
    $full = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    if ($full.Length -gt 3) { $full = $full.TrimEnd('\', '/') }
    return $full
}

function Get-Sha256([string] $Path) {
    # Not SHA256Managed, which a workstation with the FIPS policy refuses.
    $algorithm = New-Object System.Security.Cryptography.SHA256CryptoServiceProvider
    $stream = [IO.File]::OpenRead($Path)
    try {
        $digest = $algorithm.ComputeHash($stream)
    }
    finally {
        $stream.Dispose()
        $algorithm.Dispose()
    }
    return [BitConverter]::ToString($digest).Replace('-', '').ToLowerInvariant()
}

function Assert-Bundle {
    foreach ($line in [IO.File]::ReadAllLines((Join-Path $PSScriptRoot 'SHA256SUMS'))) {
        $digest, $name = $line -split '  ', 2
        $path = Join-Path $PSScriptRoot $name
        if (-not (Test-Path -LiteralPath $path -PathType Leaf)) {
            throw "The bundle is not whole: there is no $name. Unpack the zip file again."
        }
        if ((Get-Sha256 $path) -ne $digest) {
            throw "$name is not as it was packed. Unpack the zip file again."
        }
    }
}

function Find-Python([string] $Wanted) {
    # Its answer is plain ASCII whatever the code page; the question has no quotes, which Windows
    # PowerShell would lose.
    $question = 'import json, sys; print(json.dumps([sys.implementation.name, ' +
        'sys.version_info[0], sys.version_info[1], sys.maxsize > 2**32, sys.base_prefix]))'
    if ($Python) {
        $command = Resolve-Given $Python
        $choice = @()
    }
    else {
        $command = 'py'
        $choice = @("-$Wanted")
    }
    $needed = "Install CPython $Wanted (64 bit) for your user, or name one by -Python."
    if (-not (Get-Command $command -CommandType Application -ErrorAction SilentlyContinue)) {
        throw "There is no $command. $needed"
    }
    $said = & $command @choice -I -c $question
    if ($LASTEXITCODE -ne 0) {
        throw "$command $choice does not run. $needed"
    }
    $answer = @($said | ConvertFrom-Json | ForEach-Object { $_ })
    $version = '{0}.{1}' -f $answer[1], $answer[2]
    if ($answer[0] -ne 'cpython' -or $version -ne $Wanted -or -not $answer[3]) {
        throw "$command $choice is $($answer[0]) $version. $needed"
    }
    $base = $answer[4]
    $found = @{
        Home = $base
        Program = Join-Path $base 'python.exe'
    }
    if (-not (Test-Path -LiteralPath $found.Program -PathType Leaf)) {
        throw "Python's folder $base has no python.exe. $needed"
    }
    return $found
}

function Test-Esapi([string] $Path) {
    $missing = $Assemblies | Where-Object { -not (Test-Path -LiteralPath (Join-Path $Path $_)) }
    return -not $missing
}

function Find-Esapi {
    if ($Esapi) {
        $given = Resolve-Given $Esapi
        if (-not (Test-Esapi $given)) {
            throw "$given does not hold $($Assemblies -join ' and '). Check -Esapi."
        }
        return $given
    }
    $drives = [IO.DriveInfo]::GetDrives() | Where-Object { $_.DriveType -eq 'Fixed' -and $_.IsReady }
    $programs = @(${env:ProgramFiles(x86)}, $env:ProgramFiles) | Where-Object { $_ }
    $found = @(foreach ($drive in $drives) {
        foreach ($place in $programs) {
            $below = (Split-Path -NoQualifier $place).TrimStart('\')
            $varian = Join-Path (Join-Path $drive.Name $below) 'Varian\RTM'
            if (Test-Path -LiteralPath $varian) {
                foreach ($one in Get-ChildItem -LiteralPath $varian) {
                    $api = Join-Path $one.FullName 'esapi\API'
                    if ($one.Name -match '^(\d+)\.(\d+)' -and (Test-Esapi $api)) {
                        @{ Version = [version] $Matches[0]; Path = $api }
                    }
                }
            }
        }
    })
    $newest = $found | Sort-Object { $_.Version } | Select-Object -Last 1
    if (-not $newest) {
        throw "No Eclipse with ESAPI was found on this workstation. Name its folder by -Esapi."
    }
    return $newest.Path
}

function Write-Ini([string] $Path, [hashtable] $Values) {
    $text = [IO.File]::ReadAllText((Join-Path $PSScriptRoot 'approval/StardustExporter.ini'))
    foreach ($key in $Values.Keys) {
        $line = New-Object Text.RegularExpressions.Regex "(?m)^;? ?$key = [^\r\n]*"
        if ($line.Matches($text).Count -ne 1) {
            throw "The template StardustExporter.ini has no single line for '$key'."
        }
        $text = $line.Replace($text, "$key = $($Values[$key])".Replace('$', '$$'))
    }
    [IO.File]::WriteAllText($Path, $text)
}

function Write-Installed([string] $Root) {
    # What Uninstall.ps1 may remove: what it finds as it was left here. Records are kept.
    $files = [IO.Directory]::GetFiles($Root, '*', 'AllDirectories') |
        Where-Object { (Split-Path -Leaf $_) -notlike 'record-*.md' }
    $lines = foreach ($file in $files) {
        '{0}  {1}' -f (Get-Sha256 $file), $file.Substring($Root.Length + 1).Replace('\', '/')
    }
    [IO.File]::WriteAllLines((Join-Path $Root 'installed.txt'), [string[]] $lines)
}

function Move-Patiently([string] $From, [string] $To) {
    # A virus scanner holds new files open for a moment, and Windows refuses to rename meanwhile.
    foreach ($pause in 1, 2, 4, 8, 16) {
        try {
            [IO.Directory]::Move($From, $To)
            return
        }
        catch [IO.IOException], [UnauthorizedAccessException] {
            if (Test-Path -LiteralPath $To) { throw }
            Start-Sleep -Seconds $pause
        }
    }
    [IO.Directory]::Move($From, $To)
}

if (-not $Folder) { $Folder = Join-Path $env:LOCALAPPDATA 'stardust-esapi' }
$Folder = Resolve-Given $Folder
Assert-Bundle
$bundle = [IO.File]::ReadAllText((Join-Path $PSScriptRoot 'bundle.json')) | ConvertFrom-Json
$found = Find-Python $bundle.python
$api = Find-Esapi
$build = @()
if ($Settings) { $build += '--settings', (Resolve-Given $Settings) }
$report = Join-Path $PSScriptRoot 'evidence.xml'
if ($Evidence) { $build += '--evidence', (Resolve-Given $Evidence) }
elseif (Test-Path -LiteralPath $report) { $build += '--evidence', $report }

Write-Host "Python: $($found.Home)"
Write-Host "ESAPI:  $api"
if (-not $PSCmdlet.ShouldProcess($Folder, "Install stardust-esapi $($bundle.version)")) { return }

[void] [IO.Directory]::CreateDirectory($Folder)
$new = Join-Path $Folder ('.new-' + [Guid]::NewGuid().ToString('N').Substring(0, 8))
[void] [IO.Directory]::CreateDirectory($new)
$caches = $env:MPLCONFIGDIR
try {
    $site = Join-Path $new 'site'
    Write-Host 'Installing the Python packages; this takes a minute or two ...'
    & $found.Program -I -m pip --isolated --quiet --disable-pip-version-check --no-input `
        --no-cache-dir install --no-index --find-links (Join-Path $PSScriptRoot 'wheels') `
        --require-hashes --no-deps --no-compile --only-binary ':all:' --target $site `
        --requirement (Join-Path $PSScriptRoot 'requirements.txt')
    if ($LASTEXITCODE -ne 0) { throw 'pip could not install the Python packages: see above.' }

    foreach ($name in 'stardust-esapi.py', 'Uninstall.ps1', 'approval/README.md') {
        [IO.File]::Copy((Join-Path $PSScriptRoot $name), (Join-Path $new (Split-Path -Leaf $name)))
    }

    Write-Host 'Making the launchers ...'
    $env:MPLCONFIGDIR = Join-Path $new '.caches'
    & $found.Program -I -S -B (Join-Path $new 'stardust-esapi.py') approval build --site $site `
        --home $found.Home --esapi $api `
        --launchers (Join-Path $PSScriptRoot 'approval/launchers') --out $new @build
    if ($LASTEXITCODE -ne 0) { throw 'The launchers could not be created: see above.' }
    if (Test-Path -LiteralPath $env:MPLCONFIGDIR) {
        Remove-Item -LiteralPath $env:MPLCONFIGDIR -Recurse -Force
    }

    $values = @{ home = $found.Home; esapi = $api }
    if ($Settings) { $values.settings = Resolve-Given $Settings }
    Write-Ini (Join-Path $new 'StardustExporter.ini') $values
    Write-Installed $new

    $launcher = Join-Path $new 'StardustExporter.exe'
    $version = [Diagnostics.FileVersionInfo]::GetVersionInfo($launcher).FileVersion
    $final = Join-Path $Folder $version
    if (Test-Path -LiteralPath $final) {
        Write-Host "Version $version is installed already in $final. Nothing was changed."
        return
    }
    Move-Patiently $new $final
    Write-Host ''
    Write-Host "Installed in $final"
    Write-Host "To be approved: StardustExporter, StardustExporter.esapi; version $version"
    Write-Host "The record to be signed: record-$version.md; how to proceed: README.md"
}
finally {
    $env:MPLCONFIGDIR = $caches
    if (Test-Path -LiteralPath $new) { Remove-Item -LiteralPath $new -Recurse -Force }
}
