//! Bars: in the terminal, and as a picture.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, DrawingArea, IntoDrawingArea, IntoFont, IntoLogRange, RGBColor, Rectangle,
    SVGBackend, Text, WHITE,
};
use plotters::style::Color;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// What it stands for.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// The value as it is to be read.
    pub label: String,
}

/// Bars of hash signs, the longest 50 wide. A value that is not nothing is seen.
#[must_use]
pub fn terminal(columns: &[Column]) -> String {
    let greatest = columns.iter().map(|one| one.value).fold(0.0, f64::max);
    let widest = |of: fn(&Column) -> &str| {
        let widths = columns.iter().map(|one| of(one).chars().count());
        widths.max().unwrap_or(0)
    };
    let (name_width, label_width) = (widest(|one| &one.name), widest(|one| &one.label));
    columns
        .iter()
        .map(|one| {
            let bar = "#".repeat(width_of(one.value, greatest));
            let line = format!(
                "{:name_width$}  {:>label_width$}  {bar}",
                one.name, one.label
            );
            format!("{}\n", line.trim_end())
        })
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between nothing and the greatest width"
)]
fn width_of(value: f64, greatest: f64) -> usize {
    if value.is_nan() || value <= 0.0 || greatest <= 0.0 {
        return 0;
    }
    let width = (value / greatest * WIDTH_CHARS as f64).round() as usize;
    width.clamp(1, WIDTH_CHARS)
}

/// How long a bar is in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As long as its value.
    Linear,
    /// One step for each power of ten: for values that differ by more than that.
    Logarithmic,
}

/// Writes the bars as an SVG picture, lying, the first at the top. The folder is made.
///
/// # Errors
///
/// If the file cannot be written.
pub fn svg(
    path: &Path,
    title: &str,
    scale: Scale,
    columns: &[Column],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut picture = String::new();
    let height = 90 + 40 * u32::try_from(columns.len())?;
    {
        let area =
            SVGBackend::with_string(&mut picture, (WIDTH_PIXELS, height)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area, title, scale, columns)?;
        area.present()?;
    }
    fs::write(path, picture)?;
    Ok(())
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    scale: Scale,
    columns: &[Column],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let values = || columns.iter().map(|one| one.value).filter(|one| *one > 0.0);
    let greatest = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().fold(greatest, f64::min);
    let count = columns.len() as f64;
    let longest = columns.iter().map(|one| one.name.chars().count()).max();
    let names_pixels = (CHAR_PIXELS * longest.unwrap_or(0)).clamp(80, 400) + 12;
    let mut chart = ChartBuilder::on(area);
    chart
        .caption(title, ("sans-serif", 20).into_font())
        .margin(12)
        .margin_right(110)
        .x_label_area_size(28)
        .y_label_area_size(u32::try_from(names_pixels)?);
    // The two scales are two types of coordinates.
    macro_rules! bars_from {
        ($from:expr, $range:expr) => {{
            let mut chart = chart.build_cartesian_2d($range, 0.0..count)?;
            chart
                .configure_mesh()
                .disable_y_mesh()
                .disable_y_axis()
                .x_labels(6)
                .x_label_formatter(&|value| short(*value))
                .draw()?;
            for (place, one) in columns.iter().enumerate() {
                let middle = count - place as f64 - 0.5;
                let value = one.value.max($from);
                let corners = [($from, middle - 0.32), (value, middle + 0.32)];
                chart.draw_series([Rectangle::new(corners, COLOURS[place % 2].filled())])?;
                let (x, y) = chart.backend_coord(&(value, middle));
                let style = ("sans-serif", 15).into_font().color(&BLACK);
                area.draw(&Text::new(one.label.clone(), (x + 6, y - 7), style.clone()))?;
                let (_, y) = chart.backend_coord(&($from, middle));
                area.draw(&Text::new(one.name.clone(), (12, y - 7), style))?;
            }
        }};
    }
    match scale {
        Scale::Linear => bars_from!(0.0, 0.0..greatest),
        Scale::Logarithmic => bars_from!(least / 2.0, (least / 2.0..greatest * 1.1).log_scale()),
    }
    Ok(())
}

/// A number at an axis, in as few characters as say it.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}

const WIDTH_CHARS: usize = 50;
/// About as much as a letter of a name takes.
const CHAR_PIXELS: usize = 7;
const WIDTH_PIXELS: u32 = 820;
const COLOURS: [RGBColor; 2] = [RGBColor(0x3b, 0x6e, 0xa8), RGBColor(0x7f, 0xa8, 0xd1)];

#[cfg(test)]
mod tests {
    use super::{Column, terminal};

    fn column(name: &str, value: f64) -> Column {
        Column {
            name: name.to_owned(),
            value,
            label: format!("{value}"),
        }
    }

    #[test]
    fn the_longest_bar_is_the_greatest_value_and_the_least_is_seen() {
        let text = terminal(&[
            column("spawn", 1.0),
            column("pool", 1000.0),
            column("-", 0.0),
        ]);
        let hashes = |line: &str| line.matches('#').count();
        let widths: Vec<usize> = text.lines().map(hashes).collect();
        assert_eq!(widths, [1, super::WIDTH_CHARS, 0]);
    }

    #[test]
    fn bars_begin_in_one_column() {
        let text = terminal(&[column("a", 5.0), column("longer", 50.0)]);
        let begins: Vec<_> = text.lines().map(|line| line.find('#')).collect();
        assert_eq!(begins[0], begins[1], "{text}");
    }

    #[test]
    fn nothing_has_no_bars() {
        assert_eq!(terminal(&[]), "");
    }
}
