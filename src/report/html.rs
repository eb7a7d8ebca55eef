//! The report as one page: it loads nothing and runs nothing, so that it can be mailed.

mod chart;
mod charts;
mod parts;

use askama::Template;

use super::blocks::Page;
use super::curves::{Curves, RowCurves};
use super::page;
use super::page_row;
use super::shape::{Report, Route};
use super::shape_row::{Matrix, Row};
use super::verdict::Verdict;
use parts::{Figure, Item, Table, items, shown};

/// The page.
#[derive(Template)]
#[template(path = "report.html", config = "src/report/html/askama.toml")]
struct Html {
    version: &'static str,
    title: String,
    span: String,
    verdicts: Vec<VerdictBox>,
    warnings: Vec<String>,
    /// Links to the rows.
    links: Vec<Link>,
    sections: Vec<Section>,
}

/// Verdict of a route.
struct VerdictBox {
    /// Word for `data-verdict`.
    slug: &'static str,
    /// Name for `data-route`, as it is.
    route: String,
    /// Name for `data-candidate`, as it is.
    candidate: String,
    /// Sign beside the word, so that nothing is said by colour alone.
    sign: &'static str,
    word: &'static str,
    about: String,
    says: String,
}

/// A link to a row, with its verdict.
struct Link {
    id: String,
    text: String,
    sign: &'static str,
    word: &'static str,
}

/// A section of the page.
struct Section {
    id: String,
    title: String,
    /// Words under the heading.
    under: String,
    items: Vec<Item>,
}

/// Returns the report as a page. Names that applications write are in it: everything is escaped. Its size is bounded by
/// the 256 rows and their curves: a row takes about 40 KiB, and 400 days of six kinds another 130 KiB.
pub fn html(report: &Report, curves: &Curves) -> String {
    let mut order: Vec<(usize, &Row)> = report.rows.iter().enumerate().collect();
    order.sort_by_key(|(_, row)| !row.current);
    let mut sections = vec![rests_on(report)];
    sections.extend(order.iter().map(|(position, row)| self::row(*position, row, curves.rows.get(*position))));
    sections.extend([totals(report), bill(report), worst(&order)].into_iter().flatten());
    let link = |(position, row): &(usize, &Row)| {
        let (_, sign, word) = words(row.verdict);
        let text = format!("{position}: {}, {}, {} pairs", shown(&row.route), shown(&row.model), row.pairs);
        Link { id: format!("row-{position}"), text, sign, word }
    };
    let warnings = report.totals.iter().filter_map(|total| total.says.as_deref());
    let mut ends = Page(Vec::new());
    page::ends(report, &mut ends);
    let ends = ends.0.iter().filter_map(|block| match block {
        super::blocks::Block::Words(words) => Some(words.as_str()),
        super::blocks::Block::Heading(..) | super::blocks::Block::Table(..) => None,
    });
    let page = Html {
        version: report.version,
        title: title(report),
        span: span(report),
        verdicts: report.routes.iter().map(verdict).collect(),
        warnings: warnings.chain(ends).map(shown).collect(),
        links: if order.len() > 1 { order.iter().map(link).collect() } else { Vec::new() },
        sections,
    };
    // The template fails only where a text cannot grow.
    page.render().unwrap_or_default()
}

const fn words(verdict: Verdict) -> (&'static str, &'static str, &'static str) {
    match verdict {
        Verdict::Ready => ("ready", "✓", "Ready"),
        Verdict::NotReady => ("not_ready", "✕", "Not ready"),
        Verdict::NotEnoughData => ("not_enough_data", "…", "Not enough data"),
    }
}

fn verdict(route: &Route) -> VerdictBox {
    let (slug, sign, word) = words(route.verdict);
    VerdictBox {
        slug,
        route: route.route.clone(),
        candidate: route.candidate.clone(),
        sign,
        word,
        about: format!("Route {}: {} beside {}", shown(&route.route), shown(&route.candidate), shown(&route.baseline)),
        says: shown(&route.says),
    }
}

fn title(report: &Report) -> String {
    let mut names: Vec<String> = report
        .routes
        .iter()
        .map(|of| format!("{} take more from {}", shown(&of.candidate), shown(&of.baseline)))
        .collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => "shiftgate report".to_owned(),
        [one] => format!("May {one}?"),
        _ => "May the candidates take more?".to_owned(),
    }
}

fn span(report: &Report) -> String {
    let minute = |at: &str| at.get(..16).unwrap_or(at).replace('T', " ");
    match (&report.from, &report.to) {
        (Some(from), Some(to)) => format!("{} to {} UTC", minute(from), minute(to)),
        _ => "no lines".to_owned(),
    }
}

fn section(id: &str, title: impl Into<String>, page: Page) -> Option<Section> {
    let items = items(page.0);
    let title = title.into();
    (!items.is_empty()).then(|| Section { id: id.to_owned(), title, under: String::new(), items })
}

fn rests_on(report: &Report) -> Section {
    let mut page = Page(Vec::new());
    page::lines(report, &mut page);
    for route in &report.routes {
        page::traffic(route, &mut page);
    }
    Section {
        id: "rests-on".to_owned(),
        title: "What it rests on".to_owned(),
        under: String::new(),
        items: items(page.0),
    }
}

fn row(position: usize, row: &Row, curves: Option<&RowCurves>) -> Section {
    let nothing = RowCurves::default();
    let curves = curves.unwrap_or(&nothing);
    let blocks = |add: fn(&Row, &mut Page)| {
        let mut page = Page(Vec::new());
        add(row, &mut page);
        items(page.0)
    };
    let figure = |figure: Option<Figure>| figure.map(|figure| Item::Figure(Box::new(figure)));
    let mut items = blocks(page_row::verdict);
    let outcomes = matrix(position, "outcomes", "Outcomes", page_row::OUTCOMES, &row.outcomes);
    let modes = matrix(position, "modes", "Modes", page_row::MODES, &row.modes);
    items.extend(figure(outcomes));
    items.extend(figure(modes));
    items.extend(blocks(page_row::finishes));
    items.push(Item::Heading("Faults".to_owned()));
    items.extend(blocks(page_row::checks));
    items.extend(figure(charts::agreement(position, row, curves)));
    items.extend(figure(charts::latency(position, row, curves)));
    items.extend(blocks(page_row::times));
    items.extend(blocks(page_row::tokens));
    items.extend(figure(cost(position, row)));
    items.extend(blocks(page_row::notes));
    let under = format!(
        "route {}, {} beside {}, served by the {}, {}, epoch {}",
        row.route, row.candidate, row.baseline, row.served_by, row.sampling, row.epoch
    );
    Section {
        id: format!("row-{position}"),
        title: format!("Row {position}: {}", shown(&row.model)),
        under: shown(&under),
        items,
    }
}

fn matrix(row: usize, chart: &'static str, title: &'static str, about: &str, matrix: &Matrix) -> Option<Figure> {
    let pairs: u64 = matrix.values().flat_map(|to| to.values()).sum();
    let about = format!("{about} {pairs} pairs; on the shaded diagonal both sides did the same.");
    let tables = vec![Table::matrix(matrix)?];
    Some(Figure { chart, row, title, about, legend: Vec::new(), panels: Vec::new(), tables })
}

fn cost(position: usize, row: &Row) -> Option<Figure> {
    let mut page = Page(Vec::new());
    page_row::costs(row, &mut page);
    let Some(Item::Table(mut table)) = items(page.0).pop() else { return None };
    let about = std::mem::take(&mut table.about);
    Some(Figure {
        chart: "cost",
        row: position,
        title: "Cost",
        about,
        legend: Vec::new(),
        panels: Vec::new(),
        tables: vec![table],
    })
}

fn totals(report: &Report) -> Option<Section> {
    let mut page = Page(Vec::new());
    page::totals(report, &mut page);
    page.0.retain(|block| !matches!(block, super::blocks::Block::Heading(..)));
    section("totals", "Totals", page)
}

fn bill(report: &Report) -> Option<Section> {
    let mut page = Page(Vec::new());
    page::money(report, &mut page);
    page.0.retain(|block| !matches!(block, super::blocks::Block::Heading(..)));
    let mut section = section("bill", "Bill", page)?;
    for money in &report.money {
        let is_of = |row: &Row| row.current && row.candidate == money.candidate;
        let position = report.rows.iter().position(is_of);
        let figure = position.and_then(|position| charts::break_even(position, money));
        section.items.extend(figure.map(|figure| Item::Figure(Box::new(figure))));
    }
    Some(section)
}

fn worst(rows: &[(usize, &Row)]) -> Option<Section> {
    let mut page = Page(Vec::new());
    for (position, row) in rows {
        page_row::worst(*position, row, &mut page);
    }
    let mut section = section("worst", "Worst pairs", page)?;
    section.under =
        "At most ten of each row, to be looked up by id: first those that only the candidate failed.".to_owned();
    Some(section)
}
