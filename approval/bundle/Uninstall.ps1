<#
.SYNOPSIS
Removes one installed version of stardust-esapi: what Install.ps1 wrote, and nothing else.

.DESCRIPTION
A file that was changed since (such as StardustExporter.ini), records and logs are kept and named.
Leave Eclipse first: it holds the plug-in that it has loaded.

.PARAMETER Folder
The version's folder; the one that this script lies in if it is not given.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File Uninstall.ps1 -WhatIf
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [string] $Folder = $PSScriptRoot
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
trap {
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
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

$Folder = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Folder)
$list = Join-Path $Folder 'installed.txt'
if (-not (Test-Path -LiteralPath $list -PathType Leaf)) {
    throw "$Folder holds no installed.txt: Install.ps1 has installed nothing there."
}
$lines = [IO.File]::ReadAllLines($list)
if (-not $PSCmdlet.ShouldProcess($Folder, "Remove $($lines.Count) files that Install.ps1 wrote")) {
    return
}

$parents = @{ $Folder = $true }
$changed = @()
$held = @()
foreach ($line in $lines) {
    $digest, $name = $line -split '  ', 2
    if ($name -match '(^|/)\.\.(/|$)' -or $name -match '[:\\]' -or $name.StartsWith('/')) {
        throw "installed.txt names '$name', which is no file of this folder. Nothing more is removed."
    }
    $path = Join-Path $Folder $name.Replace('/', '\')
    $parent = Split-Path -Parent $path
    while ($parent.Length -gt $Folder.Length) {
        $parents[$parent] = $true
        $parent = Split-Path -Parent $parent
    }
    if (-not (Test-Path -LiteralPath $path -PathType Leaf)) { continue }
    try {
        if ((Get-Sha256 $path) -eq $digest) { [IO.File]::Delete($path) } else { $changed += $name }
    }
    catch [IO.IOException], [UnauthorizedAccessException] {
        $held += $name
    }
}
if ($held) {
    throw "In use, and not removed: $($held -join ', '). Leave Eclipse and run this again."
}
[IO.File]::Delete($list)
foreach ($parent in $parents.Keys | Sort-Object Length -Descending) {
    try {
        if ([IO.Directory]::Exists($parent)) { [IO.Directory]::Delete($parent) }
    }
    catch [IO.IOException], [UnauthorizedAccessException] {
        continue # it holds what Install.ps1 did not write, or a window stands open in it
    }
}
foreach ($name in $changed) { Write-Host "Kept, for it was changed: $name" }
if ([IO.Directory]::Exists($Folder)) {
    $kept = [IO.Directory]::GetFileSystemEntries($Folder) | Split-Path -Leaf
    Write-Host "Removed. Still in ${Folder}: $($kept -join ', ')"
}
else {
    Write-Host "Removed: $Folder"
}
