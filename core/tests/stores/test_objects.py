import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import StoreError
from podium.stores.objects import ObjectStore


def make(limit_bytes=1000, **kwargs):
    now = [0.0]
    return now, ObjectStore(limit_bytes, ttl_s=60, monotonic=lambda: now[0], **kwargs)


def test_put_and_get():
    _, store = make()
    store.put("s", "a", "0.ts", b"abc", "video/mp2t")
    assert store.get("s", "a", "0.ts").data == b"abc"
    assert store.get("s", "b", "0.ts") is None
    assert store.get("t", "a", "0.ts") is None


def test_a_folder_is_a_ring_of_twelve_and_the_same_name_overwrites():
    _, store = make()
    for seq in range(13):
        store.put("s", "a", f"{seq}.ts", b"x", "")
    assert store.get("s", "a", "0.ts") is None
    assert store.get("s", "a", "1.ts") is not None
    store.put("s", "a", "12.ts", b"yy", "")
    assert store.get("s", "a", "12.ts").data == b"yy"
    assert store.size_bytes == 13


def test_objects_expire():
    now, store = make()
    store.put("s", "a", "0.ts", b"x", "")
    now[0] = 60.0
    assert store.get("s", "a", "0.ts") is None
    store.sweep()
    assert store.size_bytes == 0


def test_memory_bound_drops_the_oldest_objects_first():
    _, store = make(limit_bytes=10)
    store.put("old", "a", "0.ts", b"x" * 6, "")
    store.put("new", "a", "0.ts", b"y" * 6, "")
    assert store.get("old", "a", "0.ts") is None
    assert store.get("new", "a", "0.ts") is not None
    with pytest.raises(StoreError):
        store.put("new", "a", "1.ts", b"z" * 11, "")


def test_ending_a_session_frees_all_of_it():
    _, store = make()
    store.put("s", "a", "0.ts", b"x", "")
    store.put("t", "a", "0.ts", b"x", "")
    store.end_session("s")
    store.end_session("s")
    assert store.get("s", "a", "0.ts") is None
    assert store.size_bytes == 1


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.sampled_from("st"),
            st.sampled_from("ab"),
            st.integers(0, 20),
            st.integers(0, 40),
        ),
        st.tuples(st.just("end"), st.sampled_from("st")),
        st.tuples(st.just("tick"), st.integers(0, 40)),
    )
)


@given(OPERATIONS)
def test_the_count_of_bytes_is_right_and_bounded(operations):
    now, store = make(limit_bytes=100, objects_per_folder=3)
    for operation in operations:
        if operation[0] == "put":
            _, session, folder, seq, size = operation
            store.put(session, folder, str(seq), b"x" * size, "")
        elif operation[0] == "end":
            store.end_session(operation[1])
        else:
            now[0] += operation[1]
            store.sweep()
        kept = sum(len(stored.data) for stored in store._objects.values())
        assert sum(map(len, store._rings.values())) == len(store._objects)
        assert store.size_bytes == kept <= 100
