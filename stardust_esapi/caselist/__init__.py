"""The list of cases to export, as the Case-Selector or the mining wrote it."""

from stardust_esapi.caselist.problems import RowProblem
from stardust_esapi.caselist.read import CaseList, DuplicateRows, read_case_list

__all__ = ["CaseList", "DuplicateRows", "RowProblem", "read_case_list"]
