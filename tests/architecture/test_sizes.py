"""Nothing grows past what can be read in one sitting."""

from statistics import median, quantiles

FILE_LINES = 600
BODY_LINES = 60


def test_files_are_short(sources, record_property):
    sizes = sorted(source.lines for source in sources)
    record_property("file_lines", f"median {median(sizes)}, p90 {quantiles(sizes, n=10)[-1]:.0f}")
    too_long = [f"{s.name}: {s.lines} lines" for s in sources if s.lines > FILE_LINES]
    assert not too_long, "\n".join(too_long)


def test_functions_are_short(functions, record_property):
    sizes = sorted(function.body_lines for function in functions)
    record_property("body_lines", f"median {median(sizes)}, p90 {quantiles(sizes, n=10)[-1]:.0f}")
    too_long = [f"{f.where}: {f.body_lines} lines" for f in functions if f.body_lines > BODY_LINES]
    assert not too_long, "\n".join(too_long)


def test_the_measure_measures(sources, functions):
    assert len(sources) > 20
    assert len(functions) > 100
    assert max(function.body_lines for function in functions) > 10
