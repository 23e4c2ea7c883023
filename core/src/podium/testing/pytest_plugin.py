"""The pytest plugin: fixtures only, none of them autouse, everything imported lazily."""
