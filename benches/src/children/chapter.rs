//! What a measurement has to say.

use std::fmt;

use pool_reuse::measure::plot::Chart;
use pool_reuse::measure::stats::Summary;
use pool_reuse::measure::table::Table;

/// One measurement: its tables, and its figures beside their bars.
#[derive(Debug, Clone)]
pub struct Chapter {
    /// What was measured.
    pub title: &'static str,
    /// Tables and remarks, in order.
    pub paragraphs: Vec<String>,
    /// What a report shows of it; if there are none, its figures.
    pub pictures: Vec<Picture>,
    /// Figures that have a bar, and those that should be told all the same.
    pub judgements: Vec<Judgement>,
}

impl Chapter {
    /// An empty one.
    #[must_use]
    pub const fn new(title: &'static str) -> Self {
        Self {
            title,
            paragraphs: Vec::new(),
            pictures: Vec::new(),
            judgements: Vec::new(),
        }
    }
}

impl fmt::Display for Chapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        for paragraph in &self.paragraphs {
            writeln!(f, "{paragraph}\n")?;
        }
        Ok(())
    }
}

/// A chart with a name.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What tells it from the others of its chapter, as a part of the name of a file.
    pub name: String,
    /// What it shows.
    pub chart: Chart,
}

/// A figure beside its bar.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What is compared with what.
    pub what: String,
    /// The ratio, or the count; `None` if it could not be measured.
    pub figure: Option<f64>,
    /// What it must be.
    pub bar: Bar,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Anything: it is told, not judged.
    Open,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::Open => f.write_str("-"),
        }
    }
}

impl Judgement {
    /// `PASS`, `FAIL`, `-` without a bar, or `not measured`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let Some(figure) = self.figure else {
            return "not measured";
        };
        let is_met = match self.bar {
            Bar::AtMost(limit) => figure <= limit,
            Bar::AtLeast(limit) => figure >= limit,
            Bar::Open => return "-",
        };
        if is_met { "PASS" } else { "FAIL" }
    }
}

/// The table of all figures that are compared.
#[must_use]
pub fn verdicts(judgements: &[Judgement]) -> String {
    let mut table = Table::new(&["what", "figure", "bar", "verdict"]);
    for one in judgements {
        let figure = one.figure.map_or("-".to_owned(), |figure| {
            if figure > 0.0 && figure < 0.1 {
                format!("{figure:.4}")
            } else if figure < 10.0 {
                format!("{figure:.2}")
            } else {
                format!("{figure:.0}")
            }
        });
        table.add_row([
            one.what.clone(),
            figure,
            one.bar.to_string(),
            one.word().to_owned(),
        ]);
    }
    table.to_string()
}

/// The median, the least and the greatest, as three cells with so many digits after the point.
pub(crate) fn spread(all: &[f64], digits: usize) -> [String; 3] {
    match Summary::of(all) {
        Some(summary) => [summary.median, summary.least, summary.greatest]
            .map(|value| format!("{value:.digits$}")),
        None => ["-", "-", "-"].map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bar, Judgement, verdicts};

    #[test]
    fn a_figure_at_its_bar_passes_and_one_beyond_it_fails() {
        let word = |figure, bar| {
            let what = String::new();
            Judgement { what, figure, bar }.word()
        };
        assert_eq!(word(Some(1.25), Bar::AtMost(1.25)), "PASS");
        assert_eq!(word(Some(1.26), Bar::AtMost(1.25)), "FAIL");
        assert_eq!(word(Some(15.0), Bar::AtLeast(15.0)), "PASS");
        assert_eq!(word(Some(14.9), Bar::AtLeast(15.0)), "FAIL");
        assert_eq!(word(Some(7.0), Bar::Open), "-");
        assert_eq!(word(None, Bar::AtMost(1.0)), "not measured");
    }

    #[test]
    fn every_figure_has_a_line() {
        let one = |figure| Judgement {
            what: "a/b".to_owned(),
            figure,
            bar: Bar::AtLeast(200.0),
        };
        let table = verdicts(&[one(Some(4.0)), one(Some(312.4)), one(None)]);
        for part in ["4.00", "312", "not measured", ">= 200"] {
            assert!(table.contains(part), "{table}");
        }
    }
}
