"""Mappings: the text form, its faults, columns of the wide table, and the ids of each arm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.mapping import (
    Arm,
    ClassMapping,
    DatasetMapping,
    LabelSpace,
    Relation,
    Unresolved,
    format_mapping,
    mapping_of_column,
    parse_mapping,
)
from mseg_curate.core.taxonomy import TaxonomyColumn
from mseg_curate.errors import MappingError

UNIVERSAL = ("cow", "horse", "dog", "car", "sky")
HEAD = "class\trelation\tuniversal\tcandidates\n"
TRAIN = ("animal", "auto", "van", "heaven", "void")
TRAIN_TEXT = (
    HEAD + "animal\tsplit\tcow\t{cow, horse}\n"
    "auto\tmerge\tcar\t\n"
    "van\tmerge\tcar\t\n"
    "heaven\tkeep\tsky\t\n"
    "void\tignore\t\t\n"
)
TEST = ("pet", "vehicle", "lamp")
TEST_TEXT = HEAD + "pet\ttest\t{cow, dog}\t\nvehicle\ttest\t{car}\t\nlamp\ttest\t\t\n"
SPLIT = ClassMapping("animal", Relation.SPLIT, ("cow",), ("cow", "horse"))


def parse(text: str, *, role: str = "train") -> DatasetMapping:
    """Parse with the classes of the small example."""
    return parse_mapping(
        text,
        path="m.tsv",
        dataset="farm",
        role=role,
        class_names=TRAIN if role == "train" else TEST,
        universal_names=UNIVERSAL,
    )


def test_a_training_mapping_is_read() -> None:
    """Each relation is read with its targets, and a split with its candidates."""
    mapping = parse(TRAIN_TEXT)
    assert mapping == DatasetMapping(
        "farm",
        (
            SPLIT,
            ClassMapping("auto", Relation.MERGE, ("car",)),
            ClassMapping("van", Relation.MERGE, ("car",)),
            ClassMapping("heaven", Relation.KEEP, ("sky",)),
            ClassMapping("void", Relation.IGNORE),
        ),
    )
    assert mapping.splits == (SPLIT,)
    assert mapping.reachable() == {"cow", "horse", "car", "sky"}


def test_a_test_mapping_is_read() -> None:
    """A test class has one source, several, or none."""
    entries = parse(TEST_TEXT, role="test").entries
    assert [entry.targets for entry in entries] == [("cow", "dog"), ("car",), ()]
    assert {entry.relation for entry in entries} == {Relation.TEST}


@pytest.mark.parametrize(
    "text",
    [
        TRAIN_TEXT.replace("\n", "\r\n"),
        TRAIN_TEXT.replace("\n", "\n\n"),
        TRAIN_TEXT.replace("\t", "\t "),
        TRAIN_TEXT.replace("{cow, horse}", "{cow,horse}"),
        TRAIN_TEXT.replace("\tsky\t", "\t{sky}"),
        TRAIN_TEXT.replace("\t\t\n", "\n"),
        HEAD + "\n".join(reversed(TRAIN_TEXT.splitlines()[1:])),
    ],
    ids=["crlf", "blank lines", "blanks", "no blank", "one in braces", "short rows", "other order"],
)
def test_how_a_file_is_written_does_not_matter(text: str) -> None:
    """Line ends, blanks, blank lines, missing empty cells and the order of lines change nothing."""
    assert parse(text) == parse(TRAIN_TEXT)


def changed(old: str, new: str) -> str:
    """Return the small example with one line changed."""
    assert TRAIN_TEXT.count(old) == 1
    return TRAIN_TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            changed("heaven\tkeep", "heaven\tkept"),
            "line 5: relation of 'heaven': expected ignore, keep, merge, split, found 'kept'",
        ),
        (
            changed("heaven\tkeep\tsky", "heaven\t?\t"),
            "line 5: relation of 'heaven': expected ignore, keep, merge, split, found '?'",
        ),
        (
            changed("heaven\tkeep", "heaven\ttest"),
            "line 5: relation of 'heaven': expected ignore, keep, merge, split, found 'test'",
        ),
        (
            changed("keep\tsky", "keep\tskye"),
            "line 5: unknown universal class 'skye'; did you mean 'sky'?",
        ),
        (
            changed("keep\tsky", "keep\tzzz"),
            "line 5: unknown universal class 'zzz'; known: car, cow, dog, horse, sky",
        ),
        (
            TRAIN_TEXT + "heave\tignore\t\t\n",
            "line 7: unknown class 'heave' of farm; did you mean 'heaven'?",
        ),
        (TRAIN_TEXT + "void\tignore\t\t\n", "line 7: class 'void' stands on line 6 already"),
        (
            changed("void\tignore\t\t\n", ""),
            "class 'void' is missing: every class needs a line",
        ),
        (
            changed("keep\tsky\t", "keep\t\t"),
            "line 5: keep of 'heaven': expected one universal class, found 0",
        ),
        (
            changed("keep\tsky\t", "keep\t{sky, dog}\t"),
            "line 5: keep of 'heaven': expected one universal class, found 2",
        ),
        (
            changed("ignore\t\t", "ignore\tdog\t"),
            "line 6: ignore of 'void': expected no universal class",
        ),
        (
            changed("keep\tsky\t", "keep\tsky\t{sky, dog}"),
            "line 5: keep of 'heaven': only split has candidates",
        ),
        (
            changed("{cow, horse}", "{cow}"),
            "line 2: split of 'animal': expected two or more candidates, each once, as {a, b}",
        ),
        (
            changed("{cow, horse}", ""),
            "line 2: split of 'animal': expected two or more candidates, each once, as {a, b}",
        ),
        (
            changed("{cow, horse}", "{cow, horse, cow}"),
            "line 2: split of 'animal': expected two or more candidates, each once, as {a, b}",
        ),
        (
            changed("{cow, horse}", "{dog, horse}"),
            "line 2: split of 'animal': the default 'cow' is not among the candidates",
        ),
        (
            changed("split\tcow", "split\t"),
            "line 2: split of 'animal': expected one universal class, found 0",
        ),
        (
            changed("heaven\tkeep", "heaven\tmerge"),
            "line 5: merge of 'heaven': no other class becomes 'sky'; use keep",
        ),
        (
            changed("van\tmerge", "van\tkeep"),
            "line 4: 'van' and 'auto' become 'car': use merge for each of them",
        ),
        (changed("sky\t\n", "sky\t\tmore\n"), "line 5: expected 4 cells, found 5"),
    ],
)
def test_each_fault_is_named_with_its_line(text: str, message: str) -> None:
    """One fault of a training mapping gives one message: file, line, expected and found."""
    with pytest.raises(MappingError) as caught:
        parse(text)
    assert str(caught.value) == f"m.tsv: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TEST_TEXT.replace("vehicle\ttest", "vehicle\tkeep"),
            "line 3: relation of 'vehicle': expected test, found 'keep'",
        ),
        (
            TEST_TEXT.replace("{car}", "{car, dog}"),
            "line 3: universal class 'dog' feeds 'vehicle' and 'pet': expected at most one test class",
        ),
        (
            TEST_TEXT.replace("{car}\t", "{car}\t{car, dog}"),
            "line 3: test of 'vehicle': only split has candidates",
        ),
    ],
)
def test_each_fault_of_a_test_mapping_is_named(text: str, message: str) -> None:
    """A universal class feeds at most one test class, and a test dataset has no other relation."""
    with pytest.raises(MappingError) as caught:
        parse(text, role="test")
    assert str(caught.value) == f"m.tsv: {message}"


def test_several_faults_are_listed_together() -> None:
    """All faults of a file come at once, in `problems` and in the message."""
    text = changed("keep\tsky", "keep\tskye").replace("void\tignore", "void\tdrop")
    with pytest.raises(MappingError, match="mapping of farm has 2 faults") as caught:
        parse(text)
    assert caught.value.problems[0].startswith("line 5: unknown universal class 'skye'")
    assert caught.value.problems[1].startswith("line 6: relation of 'void'")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "an empty file"), ("class,relation\n", "class,relation"), ("\n" + HEAD, "")],
)
def test_another_file_is_no_mapping(text: str, found: str) -> None:
    """A file without the header is refused with the columns it should have and the way to a draft."""
    with pytest.raises(MappingError, match=r"m\.tsv:1: not a mapping file") as caught:
        parse(text)
    assert caught.value.found == found
    assert caught.value.hint == "write a draft with `mseg-curate mapping draft farm`"


@pytest.mark.parametrize("line", ['"void\tignore\t\t\n', '"void"x\tignore\t\t\n'])
def test_an_open_quote_does_not_swallow_the_file(line: str) -> None:
    """Quotes that do not close are an error on their line."""
    with pytest.raises(MappingError, match=r"m.tsv:6: unreadable quoting.*close the quotes"):
        parse(changed("void\tignore\t\t\n", line))


def test_line_numbers_count_lines_of_the_file() -> None:
    """Below a cell that spans two lines, a fault still names its own line."""
    text = HEAD + '"a\nb"\tignore\t\t\nc\tlost\t\t\n'
    with pytest.raises(MappingError, match="line 4: relation of 'c'"):
        parse_mapping(
            text,
            path="m.tsv",
            dataset="farm",
            role="train",
            class_names=["a\nb", "c"],
            universal_names=UNIVERSAL,
        )


names = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="{},"),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip())
name_lists = st.lists(names, min_size=4, max_size=9, unique=True)


@st.composite
def mappings(draw: st.DrawFn) -> tuple[str, tuple[str, ...], DatasetMapping]:
    """Draw a valid mapping of a training or a test dataset, with the universal names it speaks of."""
    universal = tuple(draw(name_lists))
    classes = draw(name_lists)
    if draw(st.booleans()):
        free = list(universal)
        entries = []
        for name in classes:
            count = draw(st.integers(0, min(3, len(free))))
            entries.append(ClassMapping(name, Relation.TEST, tuple(free[:count])))
            free = free[count:]
        return "test", universal, DatasetMapping("set", tuple(entries))
    targets = {name: draw(st.sampled_from(universal)) for name in classes}
    kinds = {name: draw(st.sampled_from(["one", "split", "ignore"])) for name in classes}
    shared = [targets[name] for name in classes if kinds[name] == "one"]
    entries = []
    for name in classes:
        target = targets[name]
        if kinds[name] == "ignore":
            entries.append(ClassMapping(name, Relation.IGNORE))
        elif kinds[name] == "split":
            chosen = draw(st.sets(st.sampled_from(universal), min_size=2)) | {target}
            candidates = tuple(sorted(chosen))
            entries.append(ClassMapping(name, Relation.SPLIT, (target,), candidates))
        else:
            relation = Relation.MERGE if shared.count(target) > 1 else Relation.KEEP
            entries.append(ClassMapping(name, relation, (target,)))
    return "train", universal, DatasetMapping("set", tuple(entries))


@settings(deadline=None, max_examples=100)
@given(mappings())
def test_the_text_form_gives_back_the_mapping(
    drawn: tuple[str, tuple[str, ...], DatasetMapping],
) -> None:
    """Parsing what was formatted gives the same mapping, whatever the names look like."""
    role, universal, mapping = drawn
    back = parse_mapping(
        format_mapping(mapping),
        path="m.tsv",
        dataset="set",
        role=role,
        class_names=[entry.source for entry in mapping.entries],
        universal_names=universal,
    )
    assert back == mapping


def test_the_entry_of_a_class_is_found() -> None:
    """An entry is found by its class; another name is refused with the nearest ones."""
    mapping = parse(TRAIN_TEXT)
    assert mapping.entry("animal") == SPLIT
    with pytest.raises(MappingError, match="farm has no class 'animals'; did you mean 'animal'"):
        mapping.entry("animals")


SPACE = LabelSpace(UNIVERSAL, ((0, 1), (0, 2)))
OTHER = [
    (ClassMapping("heaven", Relation.KEEP, ("sky",)), 4),
    (ClassMapping("auto", Relation.MERGE, ("car",)), 3),
    (ClassMapping("void", Relation.IGNORE), 255),
]


@pytest.mark.parametrize("unresolved", list(Unresolved))
@pytest.mark.parametrize("arm", list(Arm))
@pytest.mark.parametrize(("entry", "expected"), OTHER)
def test_only_splits_differ_between_arms(
    entry: ClassMapping, expected: int, arm: Arm, unresolved: Unresolved
) -> None:
    """Classes that keep, merge or are ignored have one id in all arms and policies."""
    assert SPACE.id_in_arm(entry, arm, unresolved) == expected


@pytest.mark.parametrize(
    ("arm", "unresolved", "expected"),
    [
        (Arm.UNRELABELED, Unresolved.IGNORE, 0),
        (Arm.UNRELABELED, Unresolved.DEFAULT, 0),
        (Arm.UNRELABELED, Unresolved.SET, 0),
        (Arm.IGNORED, Unresolved.IGNORE, 255),
        (Arm.IGNORED, Unresolved.DEFAULT, 255),
        (Arm.IGNORED, Unresolved.SET, 255),
        (Arm.PARTIAL, Unresolved.IGNORE, 5),
        (Arm.PARTIAL, Unresolved.DEFAULT, 5),
        (Arm.PARTIAL, Unresolved.SET, 5),
        (Arm.RELABELED, Unresolved.IGNORE, 255),
        (Arm.RELABELED, Unresolved.DEFAULT, 0),
        (Arm.RELABELED, Unresolved.SET, 5),
    ],
)
def test_a_split_in_each_arm(arm: Arm, unresolved: Unresolved, expected: int) -> None:
    """A split becomes its default, the ignore label or its set; the policy speaks in `relabeled` alone."""
    assert SPACE.id_in_arm(SPLIT, arm, unresolved) == expected


@pytest.mark.parametrize("targets", [(), ("cow",)])
def test_a_test_class_has_no_id_in_an_arm(targets: tuple[str, ...]) -> None:
    """The pixels of a test class never become universal ids."""
    with pytest.raises(MappingError, match="test class 'pet'"):
        SPACE.id_in_arm(
            ClassMapping("pet", Relation.TEST, targets), Arm.RELABELED, Unresolved.IGNORE
        )


def test_equal_sets_share_an_id() -> None:
    """The space has each set of candidates once, in order, whatever order the mappings name it in."""
    turned = ClassMapping("beast", Relation.SPLIT, ("horse",), ("horse", "cow"))
    later = ClassMapping("any", Relation.SPLIT, ("dog",), ("sky", "dog"))
    spaces = [
        LabelSpace.of(UNIVERSAL, [DatasetMapping("a", first), DatasetMapping("b", second)])
        for first, second in [((SPLIT, later), (turned,)), ((turned,), (later,))]
    ]
    assert spaces[0] == spaces[1]
    assert spaces[0].sets == ((0, 1), (2, 4))
    assert spaces[0].set_id_of(("horse", "cow")) == 5
    assert spaces[0].set_id_of(("dog", "sky")) == 6
    assert spaces[0].id_of("dog") == 2


@pytest.mark.parametrize(
    ("classes", "sets", "ignore_label"),
    [(254, 0, 255), (254, 1, 255), (255, 0, 255), (255, 1, 65_535), (194, 62, 65_535)],
)
def test_ids_go_to_16_bits_where_8_do_not_hold_them(
    classes: int, sets: int, ignore_label: int
) -> None:
    """255 ids and the ignore label fit one byte; one more id needs two, and another ignore label."""
    space = LabelSpace(
        tuple(f"class {i}" for i in range(classes)), tuple((0, i + 1) for i in range(sets))
    )
    assert space.ignore_label == ignore_label
    assert space.is_wide == (ignore_label > 255)
    ignored = ClassMapping("void", Relation.IGNORE)
    assert space.id_in_arm(ignored, Arm.PARTIAL, Unresolved.IGNORE) == ignore_label


def test_a_training_column_becomes_a_mapping() -> None:
    """A class alone in its row keeps, several merge, the row `unlabeled` ignores."""
    cells = (("car", ("auto", "van")), ("sky", ("heaven",)), ("unlabeled", ("void",)))
    mapping = mapping_of_column(
        TaxonomyColumn("farm", "train", cells), ["void", "heaven", "auto", "van"]
    )
    assert mapping.dataset == "farm"
    assert mapping.entries == (
        ClassMapping("void", Relation.IGNORE),
        ClassMapping("heaven", Relation.KEEP, ("sky",)),
        ClassMapping("auto", Relation.MERGE, ("car",)),
        ClassMapping("van", Relation.MERGE, ("car",)),
    )


def test_a_test_column_becomes_a_mapping() -> None:
    """A test class collects its rows in their order; one that stands nowhere has no source."""
    cells = (("cow", ("pet",)), ("dog", ("pet",)), ("unlabeled", ("lamp",)))
    mapping = mapping_of_column(TaxonomyColumn("eval", "test", cells), ["lamp", "pet", "tree"])
    assert [(entry.source, entry.targets) for entry in mapping.entries] == [
        ("lamp", ()),
        ("pet", ("cow", "dog")),
        ("tree", ()),
    ]
    assert {entry.relation for entry in mapping.entries} == {Relation.TEST}


def test_a_homeless_class_is_refused() -> None:
    """A training class that lands nowhere is an error that lists it, never ignored in silence."""
    column = TaxonomyColumn("farm", "train", (("car", ("auto",)),))
    with pytest.raises(MappingError, match="gives no place to 2 classes") as caught:
        mapping_of_column(column, ["auto", "van", "void"])
    assert caught.value.problems == ("van", "void")


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_column_of_another_dataset_is_refused(role: str) -> None:
    """A column that names classes which the dataset does not have is an error that lists them."""
    column = TaxonomyColumn("farm", role, (("car", ("auto", "van")),))  # type: ignore[arg-type]
    with pytest.raises(MappingError, match="names 1 classes that its dataset") as caught:
        mapping_of_column(column, ["auto"])
    assert caught.value.problems == ("van",)
