//! A run as a picture: how many connections, and what they served.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use super::trace::{Sample, Trace};

/// Writes an SVG picture of this name into `adaptive`, in cargo's folder for temporary files of tests.
pub(crate) fn draw(name: &str, title: &str, trace: &Trace) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adaptive");
    fs::create_dir_all(&folder)?;
    let file = name.replace(", ", "-").replace(' ', "-") + ".svg";
    fs::write(folder.join(file), picture(title, trace))
}

/// A name, a colour and a value.
type Curve = (&'static str, &'static str, fn(&Sample) -> f64);

fn picture(title: &str, trace: &Trace) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n",
        2.0 * PANEL + 30.0,
    );
    let connections: [Curve; 2] = [
        ("open connections", LIGHT, |sample| real(sample.open)),
        ("with leases", DARK, |sample| real(sample.leased)),
    ];
    let rates: [Curve; 2] = [
        ("leases, times 10", LIGHT, |sample| {
            10.0 * real(sample.leases)
        }),
        ("answers per second", DARK, |sample| {
            10.0 * real(sample.completed)
        }),
    ];
    panel(&mut svg, 30.0, trace, &connections);
    panel(&mut svg, 30.0 + PANEL, trace, &rates);
    svg + "</svg>\n"
}

fn panel(svg: &mut String, top: f64, trace: &Trace, lines: &[Curve]) {
    let end = trace.samples.last().map_or(1.0, |sample| sample.seconds);
    let values = lines
        .iter()
        .flat_map(|(_, _, of)| trace.samples.iter().map(of));
    let most = values.fold(1.0, f64::max);
    let (width, height) = (WIDTH - LEFT - 20.0, PANEL - 50.0);
    let bottom = top + 20.0 + height;
    let y = |value: f64| bottom - value / most * height;
    let x = |seconds: f64| LEFT + seconds / end * width;
    let mut add = |text: String| svg.push_str(&(text + "\n"));
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let (at, right) = (y(value), LEFT + width);
        add(format!(
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            LEFT - 6.0,
            at + 4.0,
        ));
        let seconds = end * f64::from(part) / 4.0;
        add(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{seconds:.0} s</text>",
            x(seconds),
            bottom + 16.0,
        ));
    }
    for (number, (name, colour, of)) in (0_u32..).zip(lines) {
        let mut points = String::new();
        for sample in &trace.samples {
            let (x, y) = (x(sample.seconds), y(of(sample)));
            write!(points, "{x:.1},{y:.1} ").expect("a string takes everything");
        }
        add(format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            LEFT + 160.0 * f64::from(number),
            top + 12.0,
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
const fn real(count: usize) -> f64 {
    count as f64
}

const WIDTH: f64 = 760.0;
/// The height of each half.
const PANEL: f64 = 200.0;
const LEFT: f64 = 60.0;
const DARK: &str = "#3b6ea8";
const LIGHT: &str = "#e08a3c";
