//! A megabyte forwarded to the child and back, beside the least that must be done: the pipes, and
//! a copy on either side of them.

use bytes::Bytes;

use super::bare::Bare;
use super::client::connect;
use super::place::Place;
use crate::children::chapter::{Chapter, spread};
use crate::children::cores::Cores;
use crate::effort::Effort;
use pool_reuse::builtin::large_request;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::median;

/// Adds its table and figure to the chapter.
pub(super) async fn measure(place: &Place, effort: Effort, chapter: &mut Chapter) -> Measured<()> {
    let samples = samples(&place.cores, effort.rounds(FORWARDS)).await?;
    let ratios: Vec<f64> = samples.iter().map(Sample::ratio).collect();
    let mut table = Table::new(&["1 MiB there and back", "median", "least", "greatest"]);
    let rows: [(&str, Of, usize); 4] = [
        ("forwarded, us", |it| it.forwarded, 0),
        ("bare pipes, us", |it| it.piped, 0),
        ("one copy of it, us", |it| it.copied, 0),
        ("forwarded / (pipes + 2 copies)", Sample::ratio, 2),
    ];
    for (name, of, digits) in rows {
        let all: Vec<f64> = samples.iter().map(of).collect();
        let mut row = vec![name.to_owned()];
        row.extend(spread(&all, digits));
        table.add_row(row);
    }
    let name = place.name;
    chapter.say(format!("Forwarding, {name}:\n\n{table}"));
    chapter.figure(
        format!("1 MiB forwarded / (bare pipes + 2 copies), {name}"),
        median(&ratios),
        place.forward,
    );
    Ok(())
}

/// One round, in microseconds.
struct Sample {
    forwarded: f64,
    piped: f64,
    copied: f64,
}

type Of = fn(&Sample) -> f64;

impl Sample {
    fn ratio(&self) -> f64 {
        self.forwarded / (self.piped + 2.0 * self.copied)
    }
}

async fn samples(cores: &Cores, count: usize) -> Measured<Vec<Sample>> {
    let child = connect(cores).await?;
    let mut bare = Bare::start()?;
    let request = Bytes::from(large_request(BODY_BYTES));
    let mut samples = Vec::new();
    // The first round warms everything up.
    for number in 0..=count {
        let watch = Stopwatch::start();
        let reply = child.forward(request.clone()).await?;
        let forwarded = micros(&watch);
        if reply.is_none_or(|reply| reply.len() < BODY_BYTES) {
            return Err("the echo is too short".into());
        }
        let watch = Stopwatch::start();
        bare.exchange(&request).await?;
        let piped = micros(&watch);
        let watch = Stopwatch::start();
        std::hint::black_box(request.to_vec());
        let copied = micros(&watch);
        if number > 0 {
            samples.push(Sample {
                forwarded,
                piped,
                copied,
            });
        }
    }
    Ok(samples)
}

fn micros(watch: &Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1e6
}

const BODY_BYTES: usize = 1 << 20;
const FORWARDS: usize = 60;
