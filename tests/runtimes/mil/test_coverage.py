"""The evaluator knows every operation of coremltools but those that the issue leaves out, and the page says so."""

from pathlib import Path

from edgewright.benchmarks.mil.operations import page, rows

LEFT_OUT = {
    "conv_quantized", "list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list",
    "random_bernoulli", "random_categorical", "random_normal", "random_uniform",
}  # fmt: skip


def test_all_but_lists_and_chance() -> None:
    assert {name for name, _, answer in rows() if answer != "yes"} == LEFT_OUT


def test_the_page_is_fresh() -> None:
    assert (Path(__file__).parents[3] / "docs/mil-evaluator.md").read_text(encoding="utf-8") == page()
