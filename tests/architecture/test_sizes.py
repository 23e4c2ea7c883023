"""Nothing grows past what can be read in one sitting."""

FILE_LINES = 600
BODY_LINES = 60


def test_files_are_short(sources, report_sizes):
    report_sizes("lines of a file", [source.lines for source in sources])
    too_long = [f"{s.name}: {s.lines} lines" for s in sources if s.lines > FILE_LINES]
    assert not too_long, "\n".join(too_long)


def test_functions_are_short(functions, report_sizes):
    report_sizes("lines of a function's body", [function.body_lines for function in functions])
    too_long = [f"{f.where}: {f.body_lines} lines" for f in functions if f.body_lines > BODY_LINES]
    assert not too_long, "\n".join(too_long)


def test_the_measure_measures(sources, functions):
    assert len(sources) > 20
    assert len(functions) > 100
    assert max(function.body_lines for function in functions) > 10
