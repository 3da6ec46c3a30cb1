from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger
from pydicom import Dataset, dcmread

from conftest_types import Archive
from dicom_peers import OUR_AET, Node, Rogue, wait_for_port
from stardust_esapi.errors import TransferError, UsageError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.settings import Network, Retrieve
from stardust_esapi.transfer.network import dcmtk
from stardust_esapi.transfer.network.dcmtk import DcmtkEngine, write_commands
from stardust_esapi.verify.manifest import inspect_folder
