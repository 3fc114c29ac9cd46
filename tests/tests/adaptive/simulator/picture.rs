//! Runs as a picture: how many connections there were, and what they served.

use std::fmt::Write;

use super::trace::{Sample, Trace};

/// A name, a colour and a value.
type Curve = (&'static str, &'static str, fn(&Sample) -> f64);

const CONNECTIONS: [Curve; 2] = [
    ("open connections", LIGHT, |sample| real(sample.open)),
    ("with leases", DARK, |sample| real(sample.leased)),
];
const RATES: [Curve; 2] = [
    ("leases × 10", LIGHT, |sample| 10.0 * real(sample.leases)),
    ("answers per second", DARK, |sample| {
        10.0 * real(sample.completed)
    }),
];

/// An SVG picture of these runs, each with its title.
pub(crate) fn picture(runs: &[(String, Trace)]) -> String {
    let columns = runs.len().min(2);
    let (width, height) = (
        real(columns) * WIDTH,
        real(runs.len().div_ceil(2)) * (2.0 * PANEL + TITLE),
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, (title, trace)) in runs.iter().enumerate() {
        let left = LEFT + WIDTH * real(number % 2);
        let top = (2.0 * PANEL + TITLE) * real(number / 2) + TITLE;
        let baseline = top - 10.0;
        svg += &format!("<text x=\"{left}\" y=\"{baseline}\" font-size=\"13\">{title}</text>\n");
        panel(&mut svg, (left, top), trace, &CONNECTIONS);
        panel(&mut svg, (left, top + PANEL), trace, &RATES);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, (left, top): (f64, f64), trace: &Trace, curves: &[Curve]) {
    let end = trace.samples.last().map_or(1.0, |sample| sample.seconds);
    let values = curves
        .iter()
        .flat_map(|(_, _, of)| trace.samples.iter().map(of));
    let most = values.fold(f64::from(PARTS), f64::max);
    let (width, height) = (WIDTH - LEFT - 20.0, PANEL - 50.0);
    let bottom = top + 20.0 + height;
    let y = |value: f64| bottom - value / most * height;
    let x = |seconds: f64| left + seconds / end * width;
    for part in 0..=PARTS {
        let share = f64::from(part) / f64::from(PARTS);
        let (value, seconds) = (most * share, end * share);
        let (at, right, label) = (y(value), left + width, left - 6.0);
        *svg += &format!(
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{label:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{seconds:.0} s</text>\n",
            at + 4.0,
            x(seconds),
            bottom + 15.0,
        );
    }
    for (number, (name, colour, of)) in (0_u32..).zip(curves) {
        let points = points(trace, *of, x, y);
        let (label_x, label_y) = (left + 130.0 * f64::from(number), top + 12.0);
        *svg += &format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{label_x}\" y=\"{label_y:.1}\" fill=\"{colour}\">{name}</text>\n",
        );
    }
}

/// The curve, without the points between equal ones.
fn points(
    trace: &Trace,
    of: fn(&Sample) -> f64,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) -> String {
    let heights = trace.samples.iter().map(|sample| y(of(sample)));
    let heights: Vec<_> = heights.map(|height| format!("{height:.1}")).collect();
    let mut points = String::new();
    for (place, sample) in trace.samples.iter().enumerate() {
        let height = &heights[place];
        let is_between = place > 0 && heights[place - 1] == *height;
        if is_between && heights.get(place + 1) == Some(height) {
            continue;
        }
        let at = x(sample.seconds);
        write!(points, "{at:.1},{height} ").expect("a string takes everything");
    }
    points
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn real(count: usize) -> f64 {
    count as f64
}

/// Of one run.
const WIDTH: f64 = 480.0;
/// The height of its title.
const TITLE: f64 = 34.0;
/// The height of each of its halves.
const PANEL: f64 = 130.0;
const LEFT: f64 = 50.0;
/// Into so many parts an axis is divided.
const PARTS: u32 = 4;
const DARK: &str = "#3b6ea8";
const LIGHT: &str = "#e08a3c";
