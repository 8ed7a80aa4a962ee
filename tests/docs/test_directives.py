"""Each directive and role on a made-up checkout: what it shows, and the sentence where a name does not exist."""

import pytest
from docs_project import built, checkout

PAGE = """# Title

```{claims} dln_parsimony
```

```{claims} dln_parsimony T1.value
:status: fails
```

```{claims} dln_parsimony
:status: refuted, stands
```

```{summary} dln_parsimony
:columns: final *
:compared:
```

A link: {claim}`dln_parsimony T1.value[case1]`. Numbers: {measured}`dln_parsimony T1.value[case1]`,
{measured}`dln_parsimony T1.value[case1] bound`, {measured}`dln_parsimony T1.count members`,
{measured}`dln_parsimony T1.value[case1] spread`, {measured}`benchmarks/tracker "loss after training"`,
{measured}`summary/dln_parsimony case1 "final loss"`,
{measured}`summary/dln_parsimony "final loss, case1 over case2"`.

Files: {source}`benchmarks/results/tracker.json` and {config}`dln_parsimony`,
[a table](../benchmarks/results/tracker.json).

```{exhibit} dln_parsimony layers_case1_L3
```

```{configs} parsimony
```

## Second

```{benchmark} tracker
```

$$
\\|W\\|_F^2 \\le \\rho
$$

Within a line $a < b$.
"""
WRONG = {
    "```{claims} dln_parsimoni\n```": "dln_parsimony",
    "```{claims} dln_parsimony T1.valeu\n```": "T1.value",
    "```{claims} dln_parsimony\n:status: fial\n```": "fails",
    "{claim}`dln_parsimony T1.cuont`": "T1.count",
    "{measured}`dln_parsimony T1.count mebers`": "members",
    '{measured}`benchmarks/tracker "loss after trainig"`': "loss after training",
    '{measured}`benchmarks/trackr "by"`': "tracker",
    "{source}`configs/dln_parsimon.py`": "configs/dln_parsimony.py",
    "{config}`dln_parsimon`": "dln_parsimony",
    "```{exhibit} dln_parsimony layers_case1_L4\n```": "layers_case1_L3",
    "```{configs} parsimoni\n```": "parsimony",
    "```{summary} dln_parsimony\n:columns: finla *; steps\n```": "final loss",
    "{measured}`summary/dln_parsimony case1 'final los'`": "final loss",
    "```{benchmark} trackers\n```": "tracker",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return built(checkout(tmp_path_factory.mktemp("project")), {"index.md": PAGE})


@pytest.fixture(scope="module")
def page(project):
    return project.page()


def rows(page, label):
    """The cells of each table of this name, without its head."""
    regions = page.all("div", role="region", aria_label=label)
    return [
        [[cell.said for cell in page.within(row, "td")] for row in page.within(region, "tr")][1:] for region in regions
    ]


def test_the_pages_are_built_without_a_warning(project):
    assert project.warnings == ""


def test_claims_are_shown_in_their_own_words_with_bound_and_verdict(page):
    every, failing = rows(page, "Claims of dln_parsimony")
    assert [row[0] for row in every] == ["T1.value[case1]", "T1.value[case 2, f32]", "T1.count", "T1.late"]
    assert every[0] == ["T1.value[case1]", "||W|| equals |rho|_*", "8.1e-15 < 1e-12", "holds"]
    assert every[3][2:] == ["-", "not run"]
    assert [row[0] for row in failing] == ["T1.value[case 2, f32]"]


def test_a_summary_has_the_columns_that_are_asked_for_and_what_is_compared(page):
    runs, compared = rows(page, "Summary of dln_parsimony")
    assert runs == [["case1", "0.25 (0.125 to 0.5)"], ["case2", "1e-09 [2 of 3]"]]
    assert compared == [["final loss, case1 over case2", "2 (1 to 4)"]]


def test_why_a_claim_has_no_verdict_is_said(page):
    (reason,) = [item.said for item in page.all("li") if "T1.late" in item.said]
    assert reason == "T1.late (not run): this profile is too short for it"


def test_a_verdict_that_another_seed_changes_is_marked(page):
    marked = [item.said for item in page.all("li") if "root seed" in item.said]
    assert marked == ["T1.value[case1] fails with root seed 1, which chose no bound: 3.21e-09 < 1e-12"]


def test_a_choice_without_rows_says_so(page):
    assert any("no claim with the verdict refuted or stands" in part.said for part in page.all("p"))


def test_a_link_to_a_claim_leads_to_its_row(page):
    targets = [cell.attributes["id"] for cell in page.all("td", id=None)]
    assert targets[0] == "claim-dln-parsimony-t1-value-case1"
    assert len(set(targets)) == len(targets) == 4
    (link,) = [link for link in page.all("a", href=f"#{targets[0]}") if link.said]
    assert link.said == "T1.value[case1]"


def test_numbers_are_written_for_prose(page):
    (line,) = [part.said for part in page.all("p") if part.said.startswith("A link")]
    assert line.endswith("Numbers: 8.1e-15, 1e-12, 1,200, 1e-15, 4.55e-15, 8.1e-15, 0.01545, 0.25, 2.")


@pytest.mark.parametrize("name", ["configs/dln_parsimony.py", "benchmarks/results/tracker.json"])
def test_a_file_has_a_page_that_shows_it(project, page, name):
    links = page.all("a", href=f"source/{name}.html")
    assert len(links) >= 2
    text = name.rpartition("/")[2].partition(".")[0]
    assert all(link.said in (name, "a table", text) for link in links)
    shown = project.page(f"source/{name}")
    assert (project.folder.parent / name).read_text().split()[0] in "".join(pre.said for pre in shown.all("pre"))


def test_a_picture_has_alternative_text_and_says_where_it_is_from(project, page):
    (figure,) = page.all("figure")
    (image,) = page.within(figure, "img")
    assert image.attributes["alt"].strip()
    assert (project.folder / image.attributes["src"]).exists()
    assert "dln_parsimony" in figure.said
    assert "cpu" in figure.said


def test_a_config_has_a_card_with_what_it_shows(page):
    (card,) = page.all("div", class_="sd-card sd-sphinx-override sd-w-100 sd-shadow-sm sd-card-hover docutils")
    assert "Theorem 1" in card.said
    assert "2 holds, 1 fails, 1 not run" in card.said
    (link,) = page.within(card, "a")
    assert link.said == "dln_parsimony"


def test_a_benchmark_has_its_words_its_machine_and_its_numbers(page):
    (table,) = rows(page, "What it costs.")
    assert table == [["loss after training", "0.01545"], ["by", "hand"]]
    assert any(part.said == "Measured on 1 x cpu." for part in page.all("p"))
    assert any(part.said == "Each run alone." for part in page.all("p"))
    assert [item.said for item in page.all("li") if item.said in ("one: 1", "two: 2")] == ["one: 1", "two: 2"]
    assert any(code.said == "scan" for code in page.all("code"))


def test_formulas_need_no_script(page):
    assert [formula.attributes["display"] for formula in page.all("math")] == ["block", "inline"]
    assert page.all("div", role="region", aria_label="Formula: Second", tabindex="0")
    addresses = [element.attributes.get("src", "") for element in page.all("script")]
    assert not any("//" in address for address in addresses)


def test_every_name_that_does_not_exist_is_an_error_that_says_the_nearest(tmp_path):
    text = "\n\n".join(["# Title", *WRONG])
    lines = [line for line in built(checkout(tmp_path), {"index.md": text}).warnings.splitlines() if "ERROR" in line]
    assert len(lines) == len(WRONG)
    for line, (wrong, nearest) in zip(lines, WRONG.items(), strict=True):
        assert f"did you mean {nearest}?" in line, wrong


def test_a_formula_that_cannot_be_drawn_is_a_warning(tmp_path):
    assert "cannot be drawn" in built(checkout(tmp_path), {"index.md": "# Title\n\n$\\nosuchthing{a}$\n"}).warnings


@pytest.mark.parametrize("asked", ["summary/dln_parsimony 'case1", "benchmarks/tracker", "dln_parsimony"])
def test_a_number_that_cannot_be_read_is_an_error_that_says_how(tmp_path, asked):
    warnings = built(checkout(tmp_path), {"index.md": f"# Title\n\n{{measured}}`{asked}`"}).warnings
    assert "measured: cannot read" in warnings
    assert 'give NAME ID [bound, members or spread], benchmarks/NAME "ROW" ["COLUMN"] or summary/NAME' in warnings
