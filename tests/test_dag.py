"""The picture of the rules: what it leaves out, where it puts things, and that it is current."""

import runpy

import pytest
from small_runs import ROOT

from cseg.errors import DataError
from cseg.paper.figure_dag import dag as dag_figure
from cseg.paper.figure_dag import places, read_graph
from cseg.paper.style import figure_style, plt, save

dag = runpy.run_path(str(ROOT / "docs" / "draw_dag.py"))
DOT = """digraph snakemake_dag {
	0[label = "end", color = "0.04 0.6 0.85", style="rounded"];
	1[label = "late", color = "0.0 0.6 0.85", style="rounded"];
	2[label = "mid", color = "0.0 0.6 0.85", style="rounded"];
	3[label = "first", color = "0.0 0.6 0.85", style="rounded"];
	4[label = "side", color = "0.0 0.6 0.85", style="rounded"];
	1 -> 0
	2 -> 1
	3 -> 2
	3 -> 1
	3 -> 4
	4 -> 0
	3 -> 0
}"""


def test_edges_that_follow_from_others_are_left_out():
    graph = dag["reduced"](dag["parsed"](DOT))
    assert graph == {
        "first": set(),
        "mid": {"first"},
        "late": {"mid"},
        "side": {"first"},
        "end": {"late", "side"},
    }


def test_rules_stand_after_what_they_wait_for_and_apart():
    where = places(dag["reduced"](dag["parsed"](DOT)))
    assert [where[name][0] for name in ("first", "mid", "late", "side", "end")] == [0, 1, 2, 2, 3]
    assert abs(where["late"][1] - where["side"][1]) == 1
    assert len(set(where.values())) == len(where)


def test_the_picture_in_the_docs_is_that_of_the_workflow(tmp_path):
    graph = dag["rule_graph"](["all", "--directory", str(tmp_path)])
    dag["draw"](graph, tmp_path / "dag.svg")
    drawn = (tmp_path / "dag.svg").read_text()
    told = dag["described"](graph)
    assert "finetune after pretrain" in told and told in drawn and ">pretrain</text>" in drawn
    assert told in dag["OUT"].read_text(), "run `make dag`"
    assert read_graph(dag["CSV"]) == graph, "run `make dag`"


def test_a_list_of_rules_that_is_none_is_named(tmp_path):
    (tmp_path / "dag.csv").write_text("name,before\na,b\n")
    for name in ("dag.csv", "absent.csv"):
        with pytest.raises(DataError, match=rf"{name} cannot be read; make them anew"):
            read_graph(tmp_path / name)


def test_the_figure_of_a_run_names_every_rule(tmp_path):
    with figure_style():
        paths = save(dag_figure(read_graph(dag["CSV"])), tmp_path / "dag")
        figure = dag_figure(read_graph(dag["CSV"]))
    assert {text.get_text() for text in figure.axes[0].texts} - {""} == set(read_graph(dag["CSV"]))
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    plt.close(figure)
