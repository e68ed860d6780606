import csv
import datetime
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notmiwae.tables import MISSING, Table, TableError, survey

MIXED = (
    'name,day,code,age,"height, cm",score\n'
    '"Lovelace, Ada",1815-12-10,007,36.50,1e3,\n'
    'Turing,1912-06-23,042,NA," 1.50",2\n'
    '"""Amazing"" Grace",,100,-4,?,"7"\n'
)


def written(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, name="table.csv"):
    return Table.read(written(tmp_path, content, name))


def rewritten(table, tmp_path, name="rewritten.csv"):
    table.write(tmp_path / name)
    return (tmp_path / name).read_bytes().decode()


def refusal(tmp_path, content, name="table.csv"):
    path = written(tmp_path, content, name)
    with pytest.raises(TableError) as caught:
        Table.read(path)
    return str(caught.value)


class TestCsv:
    def test_untouched_table_is_written_byte_for_byte(self, tmp_path):
        assert rewritten(read(tmp_path, MIXED), tmp_path) == MIXED

    def test_numeric_columns(self, tmp_path):
        table = read(tmp_path, MIXED)
        assert table.numeric == ["age", "height, cm", "score"]
        expected = pd.DataFrame(
            {"age": [36.5, np.nan, -4], "height, cm": [1000, 1.5, np.nan], "score": [np.nan, 2, 7]}
        )
        pd.testing.assert_frame_equal(table.numbers(table.numeric), expected)

    def test_only_filled_cells_change(self, tmp_path):
        table = read(tmp_path, MIXED)
        values = table.numbers(["age", "score"]).fillna(41.25)
        filled = rewritten(table.updated(values), tmp_path)
        assert filled == MIXED.replace("NA", "41.250").replace("1e3,\n", "1e3,41.2500\n")

    def test_deleted_cells_are_empty(self, tmp_path):
        table = read(tmp_path, MIXED)
        deleted = table.updated(table.numbers(["age"]) * np.nan)
        assert rewritten(deleted, tmp_path) == MIXED.replace("36.50", "").replace("-4", "")

    @pytest.mark.parametrize("marker", sorted(MISSING))
    def test_markers_of_missing_values(self, tmp_path, marker):
        table = read(tmp_path, f"a,b\n1,x\n{marker},y\n {marker} ,z\n")
        assert table.numeric == ["a"]
        assert table.columns["a"].missing.tolist() == [False, True, True]

    @pytest.mark.parametrize("text", ["1_000", "1,000", "0x1F", "12 kg", "5%", "007", "1e", "--1"])
    def test_what_is_no_number(self, tmp_path, text):
        table = read(tmp_path, f'a,b\n1,2\n"{text}",3\n')
        assert table.numeric == ["b"]
        assert text in table.columns["a"].obstacle

    @pytest.mark.parametrize("text", ["0", "-0.5", "+.5", "5.", "1E-3", " 12 ", "00"[:1], "0e1"])
    def test_what_is_a_number(self, tmp_path, text):
        table = read(tmp_path, f"a,b\n{text},1\n")
        assert table.numbers(["a"]).loc[0, "a"] == float(text)

    def test_columns_without_name_or_values_are_not_numeric(self, tmp_path):
        table = read(tmp_path, ",a,b\n0,1,\n1,2,NA\n")
        assert table.numeric == ["a"]
        assert table.columns[""].obstacle == "it has no name"
        assert table.columns["b"].obstacle == "it is empty"

    @pytest.mark.parametrize(
        ("name", "delimiter"), [("t.csv", ";"), ("t.csv", "\t"), ("t.tsv", "\t")]
    )
    def test_delimiters_are_kept(self, tmp_path, name, delimiter):
        content = MIXED.replace('"height, cm"', "height").replace(",", delimiter)
        table = read(tmp_path, content, name)
        assert table.numeric == ["age", "height", "score"]
        assert rewritten(table, tmp_path, f"rewritten{name}") == content

    def test_tabs_become_commas_in_csv(self, tmp_path):
        table = read(tmp_path, "a\tb\n1,5\t2\n", "t.tsv")
        assert rewritten(table, tmp_path) == 'a,b\n"1,5",2\n'

    def test_decimal_commas_beside_semicolons(self, tmp_path):
        table = read(tmp_path, "a;b\n1,5;2\n;3\n2,5;4\n")
        assert table.numbers(["a"])["a"].tolist()[::2] == [1.5, 2.5]
        filled = table.updated(table.numbers(["a"]).fillna(2.25))
        assert rewritten(filled, tmp_path) == "a;b\n1,5;2\n2,25000;3\n2,5;4\n"

    def test_byte_order_mark_and_line_ends_are_kept(self, tmp_path):
        content = b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe,b\r\n1,\r\n"
        table = read(tmp_path, content)
        assert list(table.columns) == ["größe", "b"]
        assert rewritten(table, tmp_path).encode() == content

    def test_line_breaks_within_cells(self, tmp_path):
        content = 'a,b\n"two\r\nlines",1\nlast,2'
        assert rewritten(read(tmp_path, content), tmp_path) == content + "\n"

    def test_blank_line_is_a_missing_value_in_a_single_column_only(self, tmp_path):
        single = read(tmp_path, "a\n1\n\n3\n")
        assert single.columns["a"].missing.tolist() == [False, True, False]
        assert rewritten(single, tmp_path) == 'a\n1\n""\n3\n'
        assert len(read(tmp_path, "a,b\n1,2\n\n3,4\n\n")) == 2

    @pytest.mark.parametrize(
        ("observed", "value", "text"),
        [
            (["20000", "40000", "90000"], 52341.678, "52342"),
            (["0.1", "0.5", "0.9"], 1 / 3, "0.33333"),
            (["31", "37", "64"], 40.0, "40"),
            (["31", "37", "64"], 40.5, "40.500"),
            (["1", "2", "3"], -1e-9, "0.00000"),
            (["1234567890", "1234567890"], 1234567890.0, "1234567890"),
            (["1e-30", "3e-30"], 2.5e-30, "2.5e-30"),
        ],
    )
    def test_digits_of_filled_values(self, tmp_path, observed, value, text):
        table = read(tmp_path, "a,b\n" + "".join(f"{cell},x\n" for cell in [*observed, ""]))
        filled = table.updated(table.numbers(["a"]).fillna(value))
        assert rewritten(filled, tmp_path).splitlines()[-1] == f"{text},x"

    @given(
        st.lists(
            st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=5)] * 3),
            min_size=1,
            max_size=5,
        )
    )
    def test_any_text_survives(self, tmp_path_factory, rows):
        path = tmp_path_factory.mktemp("any") / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b", "c"), *rows])
        table = Table.read(path)
        table.write(path.with_name("again.csv"))
        assert path.with_name("again.csv").read_bytes() == path.read_bytes()


class TestRefusals:
    def test_what_is_no_table(self, tmp_path):
        assert "first line" in refusal(tmp_path, "")
        assert "no rows" in refusal(tmp_path, "a,b\n")
        assert "2 columns called 'a'" in refusal(tmp_path, "a,b,a\n1,2,3\n")
        assert "3 cells in line 3 and 2 in the first" in refusal(tmp_path, "a,b\n1,2\n1,2,3\n")
        assert "line 3" in refusal(tmp_path, 'a,b\n"1,2\n3,4\n')
        assert "numbers for column names (1.5, 2)" in refusal(tmp_path, "1.5,2\n3,4\n")
        assert "not UTF-8" in refusal(tmp_path, "größe\n1\n".encode("latin-1"))
        assert "no intact Parquet file" in refusal(tmp_path, "a,b\n1,2\n", "table.parquet")

    def test_years_are_names(self, tmp_path):
        assert read(tmp_path, "2001,2002\n3,4\n").numeric == ["2001", "2002"]

    def test_files_that_are_not_there(self, tmp_path):
        with pytest.raises(TableError, match=r"nowhere\.csv does not exist"):
            Table.read(tmp_path / "nowhere.csv")
        with pytest.raises(
            TableError, match=r"must be a \.csv, \.tsv or \.parquet file; got 't.xls'"
        ):
            Table.read("t.xls")
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(TableError, match="cannot be read"):
            Table.read(tmp_path / "folder.csv")
        with pytest.raises(TableError, match=r"none does not exist: make it"):
            read(tmp_path, MIXED).write(tmp_path / "none" / "t.csv")

    def test_columns(self, tmp_path):
        table = read(tmp_path, "a,b,c\n1,x,2\n3,y,-inf\n")
        with pytest.raises(TableError, match="no column 'd': the table has 'a', 'b', 'c'"):
            table.numbers(["d"])
        with pytest.raises(TableError, match="'b' is not numeric"):
            table.numbers(["b"])
        with pytest.raises(TableError, match="'c' holds an infinite value in row 2"):
            table.numbers(["c"])

    def test_unfinished_file_leaves_the_former_one(self, tmp_path, monkeypatch):
        table = read(tmp_path, MIXED)
        former = written(tmp_path, "former", "out.csv")
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
        with pytest.raises(TableError, match=r"cannot be written \(no space\)"):
            table.write(former)
        assert former.read_text() == "former"
        assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv", "table.csv"]


class TestParquet:
    @pytest.fixture
    def frame(self):
        pytest.importorskip("pyarrow")
        days = [datetime.date(2020, 1, day) for day in (1, 2, 3)]
        return pd.DataFrame(
            {
                "whole": pd.array([1, 2, 3], dtype="int32"),
                "nullable": pd.array([1, None, 3], dtype="Int64"),
                "single": np.array([0.1, np.nan, 0.3], dtype="float32"),
                "extension": pd.array([1.5, 2.5, 3.5], dtype="Float64"),
                "decimal": [Decimal("1.50"), None, Decimal("2.25")],
                "day": days,
                "flag": [True, False, True],
                "kind": pd.Categorical(["a", "b", "a"]),
                "text": ["x, y", None, 'z"'],
            },
            index=pd.Index([10, 20, 30], name="key"),
        )

    def table(self, frame, tmp_path):
        frame.to_parquet(tmp_path / "table.parquet")
        return Table.read(tmp_path / "table.parquet")

    def again(self, table, tmp_path):
        table.write(tmp_path / "again.parquet")
        return pd.read_parquet(tmp_path / "again.parquet")

    def test_untouched_table_keeps_types_and_index(self, frame, tmp_path):
        table = self.table(frame, tmp_path)
        assert table.numeric == ["whole", "nullable", "single", "extension", "decimal"]
        assert table.columns["key"].obstacle == "it holds row labels"
        assert table.columns["text"].obstacle == "it holds text"
        stored = pd.read_parquet(tmp_path / "table.parquet")
        pd.testing.assert_frame_equal(self.again(table, tmp_path), stored)

    def test_filled_columns_become_floats_and_others_stay(self, frame, tmp_path):
        table = self.table(frame, tmp_path)
        filled = self.again(
            table.updated(table.numbers(["whole", "nullable", "single"]).fillna(2.5)), tmp_path
        )
        stored = pd.read_parquet(tmp_path / "table.parquet")
        assert filled["nullable"].tolist() == [1.0, 2.5, 3.0]
        assert filled["nullable"].dtype == "float64"
        assert filled["single"].tolist() == np.array([0.1, 2.5, 0.3], dtype="float32").tolist()
        rest = stored.columns.drop(["nullable", "single"])
        pd.testing.assert_frame_equal(filled[rest], stored[rest])

    def test_deleting_keeps_the_type(self, frame, tmp_path):
        table = self.table(frame, tmp_path)
        values = table.numbers(["nullable", "decimal"])
        values.iloc[0] = np.nan
        deleted = self.again(table.updated(values), tmp_path)
        assert deleted["nullable"].dtype == "Int64"
        assert deleted["nullable"].isna().tolist() == [True, True, False]
        assert deleted["decimal"].tolist()[2] == Decimal("2.25")

    def test_empty_column_of_any_type_can_be_filled(self, tmp_path, frame):
        frame["day"] = pd.array([pd.NaT] * 3, dtype="datetime64[us]")
        table = self.table(frame, tmp_path)
        filled = table.updated(table.numbers(["day"]).fillna(1.5))
        assert self.again(filled, tmp_path)["day"].tolist() == [1.5] * 3

    def test_large_whole_numbers_are_not_rounded(self, tmp_path, frame):
        frame["nullable"] = pd.array([2**53 + 1, None, 3], dtype="Int64")
        table = self.table(frame, tmp_path)
        with pytest.raises(TableError, match="'nullable' holds whole numbers beyond"):
            table.updated(table.numbers(["nullable"]).fillna(0))

    def test_to_csv_and_back(self, tmp_path, frame):
        rewritten(self.table(frame, tmp_path), tmp_path)
        table = Table.read(tmp_path / "rewritten.csv")
        table.write(tmp_path / "back.parquet")
        back = pd.read_parquet(tmp_path / "back.parquet")
        assert back["whole"].dtype == "int64"
        assert back["nullable"].dtype == "float64"
        assert back["text"].tolist()[::2] == ["x, y", 'z"']
        assert back["text"].isna().tolist() == [False, True, False]

    def test_what_csv_cannot_hold(self, tmp_path, frame):
        table = self.table(frame.assign(parts=[[1], [2], [3]]), tmp_path)
        with pytest.raises(TableError, match="column 'parts' holds list"):
            table.check_writable("t.csv")
        table.check_writable("t.parquet")

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(TableError, match=r"pip install 'notmiwae\[parquet\]'"):
            Table.read(tmp_path / "table.parquet")


def test_traits_of_batches_are_those_of_the_table(tmp_path):
    values = np.random.default_rng(0).normal(50, 3, 23).round(3).tolist()
    content = "a,b,c\n" + "".join(
        f"{v},{i},{'x' if i > 20 else ''}\n" for i, v in enumerate(values)
    )
    path = written(tmp_path, content)
    (one, two) = (survey(Table.batches(path, n)) for n in (5, None))
    for name in "abc":
        assert one[name].obstacle == two[name].obstacle
        assert one[name].n_missing == two[name].n_missing
        assert one[name].decimals == two[name].decimals
        np.testing.assert_allclose(one[name].squares, two[name].squares)
    assert (one["b"].whole, one["a"].whole) == (True, False)


def test_batches_have_the_rows_in_their_order(tmp_path):
    path = written(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(7)))
    batches = list(Table.batches(path, 3))
    assert [batch.first_row for batch in batches] == [0, 3, 6]
    assert [batch.columns["a"].texts for batch in batches] == [list("012"), list("345"), list("6")]


def test_a_parquet_file_whose_names_are_no_text_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    pd.DataFrame({"some_name": [1.0, 2.0]}).to_parquet(path)
    table = pyarrow.read_table(path).replace_schema_metadata(None)
    pyarrow.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"some_name", b"\x80ome_name"))
    with pytest.raises(TableError, match="no intact Parquet file"):
        Table.read(path)
