"""The taxonomy's text form, its laws, and what it says about every kind of mistake."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.taxonomy import (
    MAX_CLASSES,
    UNLABELED,
    UNLABELED_ID,
    Taxonomy,
    TaxonomyColumn,
    UniversalClass,
    find_uncovered,
    format_taxonomy,
    parse_class_lists,
    parse_taxonomy,
)
from mseg_curate.errors import TaxonomyError

WIDE = (
    "Parent Category\tstreet\tuniversal\tWordNet 3.1 Synset\tDefn (short)\t"
    "Modification of WordNet Node\teval\n"
    "animal\tdog\tdog\tdog.n.01\t barks  a lot \tno\tpet\n"
    "void\t{sky,  out of roi}\tunlabeled\t\t\t\t\n"
    "vehicle\t{car, van}\tcar\tcar.n.01\t\t\tcar\n"
)
LISTS = {"street": ["car", "dog", "van", "sky", "out of roi"], "eval": ["car", "pet", "lamp"]}


def parse(text: str) -> Taxonomy:
    """Parse with the class lists of the small example."""
    return parse_taxonomy(text, path="t.tsv", class_lists=LISTS)


def test_reads_the_wide_layout() -> None:
    """Left of `universal` is train, right is test, metadata is neither, unlabeled has no id."""
    taxonomy = parse(WIDE)
    assert taxonomy.classes == (
        UniversalClass(0, "dog", "animal", "dog.n.01"),
        UniversalClass(1, "car", "vehicle", "car.n.01"),
    )
    assert taxonomy.names == ("dog", "car")
    assert taxonomy.columns == (
        TaxonomyColumn(
            "street",
            "train",
            (("dog", ("dog",)), ("car", ("car", "van")), ("unlabeled", ("sky", "out of roi"))),
        ),
        TaxonomyColumn("eval", "test", (("dog", ("pet",)), ("car", ("car",)))),
    )
    assert taxonomy.column("street").classes_of("car") == ("car", "van")
    assert taxonomy.column("eval").classes_of("unlabeled") == ()


def test_reads_a_plain_hand_written_table() -> None:
    """A header of two columns is enough, and the unlabeled row may be missing."""
    taxonomy = parse_taxonomy("mine\tuniversal\nkitty\tcat\n\tdog\n", path="t.tsv")
    assert taxonomy.names == ("cat", "dog")
    assert taxonomy.columns == (TaxonomyColumn("mine", "train", (("cat", ("kitty",)),)),)


@pytest.mark.parametrize(
    "text",
    [
        WIDE.replace("\n", "\r\n"),
        "\ufeff" + WIDE,
        WIDE.removesuffix("\n"),
        WIDE.replace("{car, van}", '"{car, van}"'),
        WIDE.replace(" barks  a lot ", '"barks\na ""lot"""'),
    ],
    ids=["crlf", "byte-order mark", "no last line end", "quoted cell", "line end in quotes"],
)
def test_reads_what_spreadsheets_write(text: str) -> None:
    """Line ends, a byte-order mark and quotes do not change what a table means."""
    assert parse(text) == parse(WIDE)


def test_id_of_knows_classes_and_unlabeled() -> None:
    """A class has its row as id, `unlabeled` the ignore label, and a slip a suggestion."""
    taxonomy = parse(WIDE)
    assert [taxonomy.id_of(name) for name in ("dog", "car", UNLABELED)] == [0, 1, UNLABELED_ID]
    with pytest.raises(TaxonomyError, match=r"found 'carr'; did you mean 'car'\?"):
        taxonomy.id_of("carr")


def test_column_names_the_nearest() -> None:
    """An unknown dataset taxonomy is an error that suggests a known one."""
    with pytest.raises(TaxonomyError, match=r"found 'streets'; did you mean 'street'\?"):
        parse(WIDE).column("streets")


def test_pairs_follow_the_order_of_the_class_lists() -> None:
    """Ids come from the class list, and unlabeled is 255."""
    taxonomy = parse(WIDE)
    assert taxonomy.train_pairs("street", LISTS["street"]) == [
        (0, 1),
        (1, 0),
        (2, 1),
        (3, 255),
        (4, 255),
    ]
    assert taxonomy.test_pairs("eval", LISTS["eval"]) == [(0, 1), (1, 0)]


def test_train_pairs_refuse_a_class_that_lands_nowhere() -> None:
    """An unmapped class is an error, never class 0."""
    with pytest.raises(TaxonomyError, match=r"land nowhere: .* found none for 'tram', 'bus'"):
        parse(WIDE).train_pairs("street", [*LISTS["street"], "tram", "bus"])


def test_pairs_refuse_a_list_without_the_class() -> None:
    """A cell that names a class outside the list is an error, for train and test."""
    with pytest.raises(TaxonomyError, match="the row dog names an unknown class of street"):
        parse(WIDE).train_pairs("street", ["car"])
    with pytest.raises(TaxonomyError, match="the row car names an unknown class of eval"):
        parse(WIDE).test_pairs("eval", ["pet"])


def test_pairs_refuse_the_other_kind_of_column() -> None:
    """A test column has no training pairs, and a training column no test pairs."""
    with pytest.raises(TaxonomyError, match="expected a train dataset, found a test dataset"):
        parse(WIDE).train_pairs("eval", LISTS["eval"])
    with pytest.raises(TaxonomyError, match="expected a test dataset, found a train dataset"):
        parse(WIDE).test_pairs("street", LISTS["street"])


def test_find_uncovered_lists_by_column() -> None:
    """Training classes without a place and test classes without a source are listed."""
    lists = {"street": [*LISTS["street"], "tram"], "eval": LISTS["eval"], "other": ["x"]}
    assert find_uncovered(parse(WIDE), lists) == {"street": ("tram",), "eval": ("lamp",)}


HEAD = "street\tuniversal\teval\n"
MISTAKES = {
    "empty file": ("", "t.tsv:1: empty file: expected a header line and rows, found nothing"),
    "blanks alone": ("\n \t\n", "t.tsv:1: empty file"),
    "header alone": (HEAD, "t.tsv:2: no universal class: expected a row for each"),
    "no universal": (
        "street\tclass\nx\ty\n",
        "t.tsv:1: missing column: expected a column named universal, found street, class; "
        "separate columns by tabs",
    ),
    "duplicate column": (
        "street\tuniversal\tstreet\ncar\ty\tz\n",
        "t.tsv:1, column street: duplicate column: expected each column once, "
        "found it as column 1 and column 3; take one of them out",
    ),
    "nameless column": ("\tuniversal\nx\ty\n", "t.tsv:1, column 1: column without a name"),
    "blank in header": ("street \tuniversal\nsky\ty\n", "t.tsv:1, column street: stray blanks"),
    "duplicate universal": (
        HEAD + "car\tcar\t\n\tcar\t\n",
        "t.tsv:3, column universal: duplicate universal class: expected each name once, "
        "found 'car' in line 2 too; merge the two rows",
    ),
    "unlabeled twice": (
        HEAD + "car\tcar\t\n\tunlabeled\t\n\tunlabeled\t\n",
        "t.tsv:4, column universal: duplicate universal class: expected each name once, "
        "found 'unlabeled' in line 3 too",
    ),
    "empty universal": (
        HEAD + "car\t\tcar\n",
        "t.tsv:2, column universal: empty universal class: expected a name, found nothing",
    ),
    "twice in a cell": (
        HEAD + "{car, van, car}\tcar\t\n",
        "t.tsv:2, column street: duplicate in a cell: expected each class once, found 'car' twice",
    ),
    "class in two rows": (
        HEAD + "car\tcar\t\n{dog, car}\tdog\t\n",
        "t.tsv:3, column street: class in two rows: expected each class of a training dataset in "
        "one row, found 'car' in line 2 too; leave it in the row of the class that it becomes",
    ),
    "unknown train class": (
        HEAD + "carr\tcar\t\n",
        "t.tsv:2, column street: unknown class: expected one of the 5 classes of street, "
        "found 'carr'; did you mean 'car'?",
    ),
    "unknown test class": (
        HEAD + "car\tcar\tzzz\n",
        "t.tsv:2, column eval: unknown class: expected one of the 3 classes of eval, "
        "found 'zzz'; correct the name",
    ),
    "trailing blank": (
        HEAD + "car\tcar \t\n",
        "t.tsv:2, column universal: stray blanks: expected single plain blanks, inside names only, "
        "found 'car '; take them out",
    ),
    "leading blank": (HEAD + " car\tcar\t\n", "t.tsv:2, column street: stray blanks"),
    "no-break blank": (
        HEAD + "out\u00a0of roi\tx\t\n",
        "t.tsv:2, column street: stray blanks",
    ),
    "no-break blank at the end": (HEAD + "car\tcar\tcar\u00a0\n", "t.tsv:2, column eval: stray"),
    "zero-width blank": (HEAD + "car\tc\u200bar\t\n", "t.tsv:2, column universal: stray blanks"),
    "doubled blank": (HEAD + "car\tbig  car\t\n", "t.tsv:2, column universal: stray blanks"),
    "doubled blank in braces": (
        HEAD + "{car, out of  roi}\tcar\t\n",
        "t.tsv:2, column street: stray blanks: expected single plain blanks, inside names only, "
        "found '{car, out of  roi}'",
    ),
    "blank outside braces": (HEAD + "{car, van} \tcar\t\n", "t.tsv:2, column street: stray blanks"),
    "open brace": (
        HEAD + "{car, van\tcar\t\n",
        "t.tsv:2, column street: unbalanced braces: expected a class name, or {a, b}, "
        "found '{car, van'",
    ),
    "close brace": (HEAD + "car}\tcar\t\n", "t.tsv:2, column street: unbalanced braces"),
    "lone brace": (HEAD + "{\tcar\t\n", "t.tsv:2, column street: unbalanced braces"),
    "nested braces": (HEAD + "{{car}}\tcar\t\n", "t.tsv:2, column street: unbalanced braces"),
    "text after braces": (HEAD + "{car} van\tcar\t\n", "t.tsv:2, column street: unbalanced braces"),
    "empty name in braces": (
        HEAD + "{car, }\tcar\t\n",
        "t.tsv:2, column street: empty name in braces",
    ),
    "empty braces": (HEAD + "{}\tcar\t\n", "t.tsv:2, column street: empty name in braces"),
    "too few cells": (
        HEAD + "car\tcar\n",
        "t.tsv:2: wrong number of cells: expected 3, found 2; separate the cells by one tab each",
    ),
    "too many cells": (
        HEAD + "car\tcar\t\t\n",
        "t.tsv:2: wrong number of cells: expected 3, found 4",
    ),
    "blank line": (
        HEAD + "\ncar\tcar\t\n",
        "t.tsv:2: wrong number of cells: expected 3, found a blank line; take the line out",
    ),
    "open quote": (
        HEAD + 'car\tcar\t\n"van\tvan\t\n',
        't.tsv:3: unreadable quoting: expected a quoted cell that ends with " before the next tab',
    ),
    "unlabeled feeds a test class": (
        HEAD + "car\tcar\t\nsky\tunlabeled\tlamp\n",
        "t.tsv:3, column eval: unlabeled feeds a test class: expected an empty cell, found 'lamp'",
    ),
    "two test classes": (
        HEAD + "car\tcar\t{pet, lamp}\n",
        "t.tsv:2, column eval: universal class feeds several test classes: expected at most one, "
        "found 'pet', 'lamp'",
    ),
    "too many classes": (
        "universal\n" + "".join(f"c{index}\n" for index in range(MAX_CLASSES + 2)),
        "t.tsv:257, column universal: too many universal classes: expected at most 255 besides "
        "unlabeled, found 257; ids must fit one byte",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_names_file_line_column_and_remedy(text: str, message: str) -> None:
    """Each kind of mistake alone is one line that says where it is and what to do."""
    with pytest.raises(TaxonomyError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert "; " in str(caught.value) or caught.value.hint
    assert "\n" not in str(caught.value)
    assert caught.value.problems == ()


def test_collects_all_mistakes() -> None:
    """Several mistakes come in one error, in the order of their reading."""
    with pytest.raises(TaxonomyError) as caught:
        parse(HEAD + "carr\tcar\t\n\tcar\t\n{dog\tdog\tzzz\nx\n")
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["t.tsv:5", "wrong number of cells"],
        ["t.tsv:3, column universal", "duplicate universal class"],
        ["t.tsv:2, column street", "unknown class"],
        ["t.tsv:4, column street", "unbalanced braces"],
        ["t.tsv:4, column eval", "unknown class"],
    ]
    assert str(caught.value).startswith("t.tsv: the taxonomy cannot be used: 5 mistakes\n")


def test_255_classes_and_unlabeled_fit() -> None:
    """The most classes that one byte and the ignore label leave room for are accepted."""
    rows = "".join(f"c{index}\n" for index in range(MAX_CLASSES))
    taxonomy = parse_taxonomy(f"universal\n{rows}unlabeled\n", path="t.tsv")
    assert taxonomy.classes[-1].id == MAX_CLASSES - 1


def test_class_lists_keep_their_order() -> None:
    """A class list is read in the order of its ids, whatever stands between its rows."""
    text = "dataset\tid\tname\na\t0\tsky\nb\t0\troad\na\t1\tout of roi\n"
    assert parse_class_lists(text, path="c.tsv") == {"a": ("sky", "out of roi"), "b": ("road",)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a\t1\tsky\n",
            "c.tsv:2, column id: wrong id in the class list of a: expected 0, found '1'",
        ),
        ("a\t00\tsky\n", "c.tsv:2, column id: wrong id in the class list of a"),
        ("a\t0\tx\na\t1\tx\n", "c.tsv:3, column name: duplicate class in the class list of a"),
        ("a\t0\t\n", "c.tsv:2, column name: empty cell: expected a name"),
        ("a\t0\tsky \n", "c.tsv:2, column name: stray blanks"),
        ("a\t0\n", "c.tsv:2: wrong number of cells: expected 3, found 2"),
    ],
)
def test_class_lists_name_each_mistake(rows: str, message: str) -> None:
    """A class list that would give a class another id is refused with its line."""
    with pytest.raises(TaxonomyError) as caught:
        parse_class_lists("dataset\tid\tname\n" + rows, path="c.tsv")
    assert str(caught.value).startswith(message)


def test_class_lists_refuse_other_columns() -> None:
    """A table with other columns is not taken for class lists."""
    with pytest.raises(TaxonomyError, match=r"c.tsv:1: wrong columns: expected dataset, id, name"):
        parse_class_lists("id\tname\n0\tsky\n", path="c.tsv")


NAMES = st.text("abcxyz-'\"_é", min_size=1, max_size=6).filter(lambda name: name != UNLABELED)


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    """A taxonomy with some training columns, then some test columns."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    classes = tuple(
        UniversalClass(index, name, draw(NAMES | st.just("")), draw(NAMES | st.just("")))
        for index, name in enumerate(names)
    )
    headers = draw(
        st.lists(NAMES.filter(lambda name: name != "universal"), max_size=4, unique=True)
    )
    n_train = draw(st.integers(0, len(headers)))
    columns = []
    for index, header in enumerate(headers):
        if index < n_train:
            pool = draw(st.lists(NAMES, max_size=8, unique=True))
            rows = [draw(st.integers(0, len(names))) for _ in pool]
            cells = [
                (row_name, tuple(name for name, row in zip(pool, rows, strict=True) if row == at))
                for at, row_name in enumerate([*names, UNLABELED])
            ]
            filled = tuple(cell for cell in cells if cell[1])
            columns.append(TaxonomyColumn(header, "train", filled))
        else:
            fed = draw(st.lists(st.sampled_from(names), unique=True))
            filled = tuple((name, (draw(NAMES),)) for name in names if name in fed)
            columns.append(TaxonomyColumn(header, "test", filled))
    return Taxonomy(classes, tuple(columns))


@settings(max_examples=60, deadline=None)
@given(taxonomies())
def test_text_form_round_trips(taxonomy: Taxonomy) -> None:
    """What is written reads as what it was, and writes the same again."""
    text = format_taxonomy(taxonomy)
    parsed = parse_taxonomy(text, path="t.tsv")
    assert parsed == taxonomy
    assert format_taxonomy(parsed) == text


@pytest.mark.parametrize(
    "classes",
    [("a\tb",), ("a, b", "c"), ("a ",), ("{a",)],
    ids=["tab", "comma among merged classes", "blank at the end", "brace"],
)
def test_format_refuses_what_it_cannot_write(classes: tuple[str, ...]) -> None:
    """A name that would read as another is an error and never a changed taxonomy."""
    column = TaxonomyColumn("street", "train", (("car", classes),))
    with pytest.raises(TaxonomyError):
        format_taxonomy(Taxonomy((UniversalClass(0, "car"),), (column,)))


def test_format_refuses_ids_out_of_order() -> None:
    """Ids that are not the row numbers have no text form."""
    with pytest.raises(TaxonomyError, match="no text form"):
        format_taxonomy(Taxonomy((UniversalClass(1, "car"),)))
