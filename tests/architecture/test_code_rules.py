"""Rules of the code that no linter checks for us."""

import ast

import pytest

CATCH_ALL = {
    "core/src/podium/chain/follow.py": "the listeners' edge: the chain is followed all the same",
    "core/src/podium/listener/stream.py": "the application behind a connection",
    "core/src/podium/payments/redeem/redeemer.py": "a loop's edge: a fault must not end redemption",
    "core/src/podium/payments/redeem/work.py": "a task's edge: one ticket's fault is its own",
    "core/src/podium/protocol/keeper.py": "a loop's edge: a fault must not end the rewards",
    "core/src/podium/testing/node.py": "a thread's edge: raised again in the test's thread",
    "core/src/podium/web/grpc.py": "a handler behind a call: the peer gets INTERNAL",
    "core/src/podium/bounded.py": "a thread's edge: raised again where it is waited for",
    "core/src/podium/pluginhost/guarded.py": "what a pipeline offers is plugin code",
    "core/src/podium/workers/member.py": "a worker's life is plugin code",
    "plugins/builtin_ai_runner/src/podium_ai_runner/executors/docker/threads.py": "a thread's edge: "
    "raised again in the event loop",
    "plugins/builtin_ai_runner/src/podium_ai_runner/executors/slot.py": "a loop's edge: a fault must "
    "not end the watch over a runner",
    "plugins/executor_sdk/src/podium_executor/app.py": "a handler behind a request: 500",
    "plugins/builtin_transcode/src/podium_transcode/engine/signature.py": "a thread's edge: the "
    "renditions go on without signatures",
    "plugins/builtin_transcode/src/podium_transcode/engine/transcode.py": "a thread's edge: "
    "raised again where the thread is joined",
}
"""Files that may catch every exception and go on, and why: behind these edges is not our code.

Translating (``raise Mine(...) from error``) and cleaning up (``raise``) are no catching.
"""

MUTABLE = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter"}
MUTATORS = {"append", "add", "update", "setdefault", "extend", "insert", "pop", "clear"}
ASYNC_FREE = ("core/src/podium/model.py", "core/src/podium/wire/")


def _at(source, node):
    return f"{source.name}:{node.lineno}"


def _catches_all(handler):
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    broad = {"Exception", "BaseException"}
    return caught is None or any(isinstance(n, ast.Name) and n.id in broad for n in names)


def _goes_on(handler):
    last = handler.body[-1]
    return not (isinstance(last, ast.Raise) and (last.exc is None or last.cause is not None))


def _is_mutable(value):
    if isinstance(value, ast.Dict | ast.List | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and _name(value.func) in MUTABLE


def _is_empty(value):
    parts = getattr(value, "keys", getattr(value, "elts", getattr(value, "args", None)))
    return parts == []


def _name(node):
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _module_level(source):
    """Yield the name and value of each assignment at the top of a module."""
    for node in source.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(node, "value", None) is not None:
                yield target.id, node.value


def _changed(source):
    """Return the names of which a module changes a part."""
    changed = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed.add(_name(node.value))
        elif isinstance(node, ast.Call) and _name(node.func) in MUTATORS:
            changed.add(_name(getattr(node.func, "value", node)))
    return changed


def test_no_global_statement(sources):
    found = [_at(s, n) for s in sources for n in ast.walk(s.tree) if isinstance(n, ast.Global)]
    assert not found


def _catching(product):
    """Return the places that catch everything and go on."""
    return [
        (source.name, node.lineno)
        for source in product
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and _goes_on(node)
    ]


def test_every_exception_is_caught_only_at_edges(product):
    found = [f"{name}:{line}" for name, line in _catching(product) if name not in CATCH_ALL]
    assert not found


def test_the_list_of_edges_has_no_dead_entry(product):
    assert set(CATCH_ALL) == {name for name, _ in _catching(product)} & set(CATCH_ALL)


def test_no_error_is_told_by_its_text(product):
    """``"..." in str(error)`` is how a changed message becomes a bug."""
    found = [
        _at(source, node)
        for source in product
        for handler in ast.walk(source.tree)
        if isinstance(handler, ast.ExceptHandler)
        for node in ast.walk(handler)
        if isinstance(node, ast.Compare) and _is_text_of(node, handler.name)
    ]
    assert not found


def _is_text_of(compare, name):
    texts = [f"str({name})", f"repr({name})", f"{name}.args"]
    sides = [ast.unparse(side) for side in (compare.left, *compare.comparators)]
    return name is not None and any(side.startswith(tuple(texts)) for side in sides)


def test_no_mutable_module_state(product):
    """Tables of constants are fine; registries and caches are not."""
    found = [
        f"{source.name} {name}"
        for source in product
        for name, value in _module_level(source)
        if _is_mutable(value) and name != "__all__"
        if _is_empty(value) or not name.isupper() or name in _changed(source)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "CACHE = {}",
        "seen = set()",
        "A = {1: 2}\ndef f(): A[3] = 4",
        "A = [1]\ndef f(): A.append(2)",
    ],
)
def test_the_rule_on_module_state_bites(code, parse_text):
    with pytest.raises(AssertionError):
        test_no_mutable_module_state([parse_text(code)])


def _annotated(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node, node.target.id
        elif isinstance(node, ast.arg) and node.annotation is not None:
            yield node, node.arg


def test_money_is_never_a_float(product):
    """Nothing that is named after money is annotated as a float."""
    found = [
        f"{_at(source, node)} {name}"
        for source in product
        for node, name in _annotated(source.tree)
        if "wei" in name.split("_") or "price" in name
        if "float" in ast.unparse(node.annotation)
    ]
    assert not found


def test_wire_and_model_do_no_io(product):
    found = [
        _at(source, node)
        for source in product
        if source.name.startswith(ASYNC_FREE)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert not found


@pytest.mark.parametrize("folder", ["core", "hookspecs", "plugins"])
def test_distribution_folders_are_no_packages(root, folder):
    assert not (root / folder / "__init__.py").exists()


def test_the_composition_root_stays_small(product):
    app = [source for source in product if source.name == "core/src/podium/app.py"]
    assert all(source.lines < 300 for source in app)
