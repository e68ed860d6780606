"""Tables in files, such that a cell which is not changed keeps its exact text.

A CSV file is UTF-8 (a byte order mark is kept), its first line names the columns, and cells are
separated by commas, semicolons or tabs, whichever the first line has most of; ``.tsv`` means tabs.
Cells are quoted with ``"`` where they need it. Lines end as the first one does, and blank lines
are dropped unless there is one column only. A cell is *missing* if it is empty or one of `MISSING`.

A column is *numeric* if every cell that is not missing is a number, such as ``-1.50`` or ``1e3``,
or ``3,5`` where semicolons separate. All others are only carried through; so are a column with
nothing in it, one without a name (row labels), and one with leading zeros: ``007`` is a code, a
postcode or an identifier, and its zeros mean something.

A Parquet file's numeric columns are its integers, floats and decimals. Null and NaN are missing.
Types stay as they are, except that an integer or decimal column becomes double once it is filled.
"""

from notmiwae.tables.column import Column, TableError
from notmiwae.tables.style import Style
from notmiwae.tables.table import Table, check_extension, survey, writing
from notmiwae.tables.text import MISSING
from notmiwae.tables.traits import Traits

__all__ = [
    "MISSING",
    "Column",
    "Style",
    "Table",
    "TableError",
    "Traits",
    "check_extension",
    "survey",
    "writing",
]
