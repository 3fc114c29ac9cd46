//! What a measurement of children has to say.

use std::fmt;

use pool_reuse::measure::Chart;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Summary;

use crate::bars::Bar;
use crate::effort::Effort;
use crate::figure::Figure;

/// One thing that can be measured.
#[derive(Debug, Clone, Copy)]
pub struct Topic {
    /// Its name, to choose it by.
    pub name: &'static str,
    /// Measures it.
    pub measure: fn(Effort) -> Measured<Chapter>,
}

/// One measurement: its tables, and its figures beside their bars.
#[derive(Debug, Clone)]
pub struct Chapter {
    /// The name of its topic.
    pub topic: &'static str,
    /// What was measured.
    pub title: &'static str,
    /// Tables and remarks, in order.
    pub paragraphs: Vec<String>,
    /// The charts of a report; if there are none, a report draws the figures.
    pub pictures: Vec<Picture>,
    /// What was measured, with and without a bar.
    pub figures: Vec<Figure>,
}

impl Chapter {
    /// An empty one.
    #[must_use]
    pub const fn new(topic: &'static str, title: &'static str) -> Self {
        Self {
            topic,
            title,
            paragraphs: Vec::new(),
            pictures: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Adds a figure: with its bar, or with `None` if it is only told.
    pub fn figure(
        &mut self,
        what: impl Into<String>,
        value: Option<f64>,
        bar: impl Into<Option<Bar>>,
    ) {
        self.figures.push(Figure {
            topic: self.topic,
            what: what.into(),
            value,
            bar: bar.into(),
        });
    }

    /// Adds a table or a remark.
    pub fn say(&mut self, paragraph: impl fmt::Display) {
        self.paragraphs.push(paragraph.to_string());
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
    /// What tells it from the others of its chapter, as a part of a file name.
    pub name: String,
    /// What it shows.
    pub chart: Chart,
}

/// The median, the least and the greatest, as three cells with so many digits after the point.
pub(crate) fn spread(all: &[f64], digits: usize) -> [String; 3] {
    match Summary::of(all) {
        Some(summary) => [summary.median, summary.least, summary.greatest]
            .map(|value| format!("{value:.digits$}")),
        None => ["-", "-", "-"].map(str::to_owned),
    }
}
