//! Horizontal bars that show one comparison: in the terminal, and as an SVG picture.
//!
//! Ours is drawn in colour and everything else in grey, so that a reader sees at once which bar the
//! picture is about. The axis names its unit; there is no other decoration.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What is compared.
    pub title: String,
    /// What the axis measures, for example `requests per second`.
    pub unit: String,
    /// The bars, the first one at the top.
    pub bars: Vec<ChartBar>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartBar {
    /// What it stands for.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The value as text.
    pub label: String,
    /// Whether it is ours.
    pub side: Side,
}

/// Whose figure a bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That of this workspace: drawn in colour.
    Ours,
    /// What it is compared with: drawn in grey.
    Other,
}

impl Chart {
    /// Bars of hash signs, the longest 50 wide. Every value above zero gets at least one.
    #[must_use]
    pub fn terminal(&self) -> String {
        let greatest = self.greatest();
        let (name_width, label_width) = (
            self.longest(|bar| &bar.name),
            self.longest(|bar| &bar.label),
        );
        let line = |bar: &ChartBar| {
            let hashes = "#".repeat(hashes(bar.value, greatest));
            let text = format!(
                "{:name_width$}  {:>label_width$}  {hashes}",
                bar.name, bar.label
            );
            format!("{}\n", text.trim_end())
        };
        self.bars.iter().map(line).collect()
    }

    /// Writes the picture, and creates its folder if need be.
    ///
    /// # Errors
    ///
    /// If the file or its folder cannot be written.
    pub fn write_svg(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, self.svg())
    }

    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let axis = Axis::of(self.greatest());
        let left = MARGIN + CHAR_WIDTH * self.longest(|bar| &bar.name) as f64 + GAP;
        let right = WIDTH - MARGIN - CHAR_WIDTH * self.longest(|bar| &bar.label) as f64 - GAP;
        let at = |value: f64| left + (right - left) * axis.share(value);
        let bottom = TOP + ROW * self.bars.len() as f64;
        let height = bottom + 58.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(
            &mut svg,
            MARGIN,
            30.0,
            "font-size=\"17\" fill=\"#111111\"",
            &self.title,
        );
        for tick in &axis.ticks {
            let x = at(*tick);
            line(&mut svg, (x, TOP), (x, bottom), "#dddddd");
            let style = "text-anchor=\"middle\" fill=\"#555555\"";
            text(&mut svg, x, bottom + 18.0, style, &short(*tick));
        }
        for (place, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * place as f64;
            let (colour, weight) = match bar.side {
                Side::Ours => (OURS, "bold"),
                Side::Other => (OTHER, "normal"),
            };
            let width = (at(bar.value) - left).max(1.0);
            let thick = ROW - 10.0;
            put(
                &mut svg,
                format_args!(
                    "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{thick}\" fill=\"{colour}\"/>",
                    y + 5.0
                ),
            );
            let (middle, style) = (
                y + ROW / 2.0 + 5.0,
                format!("fill=\"#111111\" font-weight=\"{weight}\""),
            );
            let name_style = format!("text-anchor=\"end\" {style}");
            text(&mut svg, left - GAP, middle, &name_style, &bar.name);
            text(&mut svg, left + width + GAP, middle, &style, &bar.label);
        }
        line(&mut svg, (left, TOP), (left, bottom), "#555555");
        let style = "text-anchor=\"middle\" fill=\"#555555\"";
        text(
            &mut svg,
            f64::midpoint(left, right),
            bottom + 40.0,
            style,
            &self.unit,
        );
        svg.push_str("</svg>\n");
        svg
    }

    fn greatest(&self) -> f64 {
        self.bars.iter().map(|bar| bar.value).fold(0.0, f64::max)
    }

    fn longest(&self, of: fn(&ChartBar) -> &str) -> usize {
        let lengths = self.bars.iter().map(|bar| of(bar).chars().count());
        lengths.max().unwrap_or(0)
    }
}

/// The axis: from zero to a round number at or above the greatest value.
struct Axis {
    greatest: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(greatest: f64) -> Self {
        if greatest <= 0.0 {
            return Self {
                greatest: 1.0,
                ticks: vec![0.0],
            };
        }
        let step = step_for(greatest / TICKS);
        let count = (greatest / step).ceil();
        let ticks = std::iter::successors(Some(0.0), |tick| Some(tick + 1.0));
        let ticks = ticks.take_while(|tick| *tick <= count);
        Self {
            greatest: count * step,
            ticks: ticks.map(|tick| tick * step).collect(),
        }
    }

    /// From 0 at the left end to 1 at the right one.
    fn share(&self, value: f64) -> f64 {
        (value / self.greatest).clamp(0.0, 1.0)
    }
}

/// The least of 1, 2, 5, 10, 20, 50 and so on that is not below this.
fn step_for(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    steps
        .into_iter()
        .find(|step| *step >= least * 0.999)
        .unwrap_or(steps[3])
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between zero and the greatest width"
)]
fn hashes(value: f64, greatest: f64) -> usize {
    if value.is_nan() || value <= 0.0 || greatest <= 0.0 {
        return 0;
    }
    let width = (value / greatest * HASHES_MAX as f64).round() as usize;
    width.clamp(1, HASHES_MAX)
}

/// A number at the axis, in as few characters as say it.
fn short(value: f64) -> String {
    let (value, suffix) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    put(
        svg,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{content}</text>"),
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    put(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        ),
    );
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a string takes all that is written to it");
}

const OURS: &str = "#2f6fb3";
const OTHER: &str = "#b5b5b5";
const HASHES_MAX: usize = 50;
/// About as much as a letter of a name takes, in pixels as everything below.
const CHAR_WIDTH: f64 = 7.6;
const WIDTH: f64 = 820.0;
const MARGIN: f64 = 16.0;
const GAP: f64 = 8.0;
const TOP: f64 = 50.0;
const ROW: f64 = 36.0;
/// About how many steps the axis has.
const TICKS: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, ChartBar, Side, short};

    fn chart(values: &[(&str, f64)]) -> Chart {
        let bar = |&(name, value): &(&str, f64)| ChartBar {
            name: name.to_owned(),
            value,
            label: format!("{value}"),
            side: if name == "pool" {
                Side::Ours
            } else {
                Side::Other
            },
        };
        Chart {
            title: "a < b & c".to_owned(),
            unit: "requests per second".to_owned(),
            bars: values.iter().map(bar).collect(),
        }
    }

    #[test]
    fn the_longest_bar_is_the_greatest_value_and_the_least_is_seen() {
        let text = chart(&[("spawn", 1.0), ("pool", 1000.0), ("-", 0.0)]).terminal();
        let hashes = |line: &str| line.matches('#').count();
        let widths: Vec<usize> = text.lines().map(hashes).collect();
        assert_eq!(widths, [1, super::HASHES_MAX, 0]);
    }

    #[test]
    fn bars_begin_in_one_column() {
        let text = chart(&[("a", 5.0), ("longer", 50.0)]).terminal();
        let begins: Vec<_> = text.lines().map(|line| line.find('#')).collect();
        assert_eq!(begins[0], begins[1], "{text}");
    }

    #[test]
    fn no_bars_are_an_empty_chart() {
        assert_eq!(chart(&[]).terminal(), "");
        assert!(chart(&[]).svg().ends_with("</svg>\n"));
    }

    #[test]
    fn ours_alone_is_in_colour_and_the_axis_names_its_unit() {
        let svg = chart(&[("spawn", 400.0), ("pool", 9000.0)]).svg();
        assert_eq!(svg.matches(super::OURS).count(), 1);
        assert_eq!(svg.matches(super::OTHER).count(), 1);
        assert!(svg.contains(">requests per second</text>"), "{svg}");
        assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
    }

    #[test]
    fn the_axis_goes_from_zero_to_a_round_number() {
        let axis = Axis::of(97.0);
        assert_eq!(axis.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(axis.share(50.0), 0.5);
        assert_eq!(Axis::of(0.7).ticks.len(), 5);
        assert_eq!(Axis::of(0.0).share(0.0), 0.0);
    }

    #[test]
    fn numbers_at_the_axis_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (20.0, "20"),
            (1_500.0, "1.5k"),
            (2e6, "2M"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
