//! Calls of 1 to 256 callers on one child, beside rmcp's client.

use super::bare::Bare;
use super::client::Client;
use super::lap::{self, Lap, bare_p50, bare_rate};
use super::place::Place;
use crate::children::chapter::{Chapter, Picture, spread};
use crate::children::cores::Cores;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Table;
use pool_reuse::measure::{Chart, ChartBar, Side};
use pool_reuse::measure::{median, paired};

/// A number of callers, and how many calls they make in a round: as many with either client, since the
/// start of the callers is a part of the time.
struct Crowd {
    callers: u32,
    calls: u32,
}

const CROWDS: [Crowd; 4] = [
    Crowd {
        callers: 1,
        calls: 1_000,
    },
    Crowd {
        callers: 16,
        calls: 8_000,
    },
    Crowd {
        callers: 64,
        calls: 8_000,
    },
    Crowd {
        callers: 256,
        calls: 8_192,
    },
];

/// Adds its tables, pictures and figures to the chapter.
pub(super) async fn measure(place: &Place, effort: Effort, chapter: &mut Chapter) -> Measured<()> {
    let (all, bare) = rounds(&place.cores, effort.rounds(ROUNDS)).await?;
    let name = place.name;
    chapter.say(format!("Requests per second, {name}:\n\n{}", rates(&all)));
    chapter.say(format!("Time of a call in us, {name}:\n\n{}", times(&all)));
    chapter.say(format!(
        "A call over bare pipes by one caller, {name}: {:.1} us (median).",
        median(&bare).unwrap_or(f64::NAN)
    ));
    let pictures: [(&str, &str, Of); 2] = [
        ("requests per second (more is better)", "rate", |it| it.rate),
        ("median time of a call, us (less is better)", "p50", |it| {
            it.p50
        }),
    ];
    for (unit, kind, of) in pictures {
        chapter.pictures.push(Picture {
            name: format!("{kind}-{}", name.replace(' ', "-")),
            chart: Chart {
                title: format!("JSON-RPC through pool-stdio and through rmcp, {name}"),
                unit: unit.to_owned(),
                bars: chart_bars(&all, of),
            },
        });
    }
    let [alone, ..] = &all;
    for (whose, p50) in [
        ("p50 of 1 caller", alone.ours(|it| it.p50)),
        ("p50 of rmcp's 1 caller", alone.rmcp(|it| it.p50)),
    ] {
        chapter.figure(
            format!("{whose} / bare pipes', {name}"),
            paired(&p50, &bare),
            None,
        );
    }
    for (crowd, samples) in CROWDS.iter().zip(&all) {
        let callers = crowd.name();
        chapter.figure(
            format!("requests/s of {callers} / rmcp's, {name}"),
            paired(&samples.ours(|it| it.rate), &samples.rmcp(|it| it.rate)),
            (crowd.callers == 64).then_some(place.crowd),
        );
        chapter.figure(
            format!("requests/s of {callers} / bare pipes' in batches, {name}"),
            paired(&samples.ours(|it| it.rate), &samples.bare),
            None,
        );
        chapter.figure(
            format!("p50 of {callers} / rmcp's, {name}"),
            paired(&samples.ours(|it| it.p50), &samples.rmcp(|it| it.p50)),
            place.one_caller.filter(|_| crowd.callers == 1),
        );
    }
    Ok(())
}

/// What both clients showed, one lap for each round.
#[derive(Default)]
struct Samples {
    ours: Vec<Lap>,
    rmcp: Vec<Lap>,
    /// Requests per second over bare pipes, in batches of as many.
    bare: Vec<f64>,
}

type Of = fn(&Lap) -> f64;

impl Samples {
    fn ours(&self, of: Of) -> Vec<f64> {
        self.ours.iter().map(of).collect()
    }

    fn rmcp(&self, of: Of) -> Vec<f64> {
        self.rmcp.iter().map(of).collect()
    }
}

async fn rounds(cores: &Cores, count: usize) -> Measured<([Samples; CROWDS.len()], Vec<f64>)> {
    let mut floor = Bare::start()?;
    let mut bare = Vec::new();
    let clients = [Client::ours(cores).await?, Client::rmcp().await?];
    let mut all: [Samples; CROWDS.len()] = Default::default();
    // The first round warms everything up.
    for number in 0..=count {
        let p50;
        (floor, p50) = bare_p50(floor, CROWDS[0].calls).await?;
        if number > 0 {
            bare.push(p50);
        }
        for (crowd, samples) in CROWDS.iter().zip(&mut all) {
            let rate;
            (floor, rate) = bare_rate(floor, crowd.callers, crowd.calls).await?;
            if number > 0 {
                samples.bare.push(rate);
            }
            // Each round starts with the other client, so that none always goes first.
            for turn in 0..clients.len() {
                let which = (number + turn) % clients.len();
                let all = match which {
                    0 => &mut samples.ours,
                    _ => &mut samples.rmcp,
                };
                let sample = lap::run(&clients[which], crowd.callers, crowd.calls).await?;
                if number > 0 {
                    all.push(sample);
                }
            }
        }
    }
    Ok((all, bare))
}

impl Crowd {
    fn name(&self) -> String {
        let plural = if self.callers == 1 { "" } else { "s" };
        format!("{} caller{plural}", self.callers)
    }
}

fn rates(all: &[Samples]) -> String {
    let header = [
        "callers",
        "ours",
        "least",
        "greatest",
        "rmcp",
        "least",
        "greatest",
        "ours / rmcp",
        "least",
        "greatest",
        "bare pipes, in batches",
    ];
    let mut table = Table::new(&header);
    for (crowd, samples) in CROWDS.iter().zip(all) {
        let (ours, rmcp) = (samples.ours(|it| it.rate), samples.rmcp(|it| it.rate));
        let mut row = vec![crowd.callers.to_string()];
        row.extend(spread(&ours, 0));
        row.extend(spread(&rmcp, 0));
        row.extend(spread(&quotients(&ours, &rmcp), 2));
        row.push(format!("{:.0}", median(&samples.bare).unwrap_or(f64::NAN)));
        table.add_row(row);
    }
    table.to_string()
}

fn times(all: &[Samples]) -> String {
    let header = [
        "callers",
        "ours p50",
        "rmcp p50",
        "ours / rmcp",
        "least",
        "greatest",
        "ours p99",
        "rmcp p99",
    ];
    let mut table = Table::new(&header);
    for (crowd, samples) in CROWDS.iter().zip(all) {
        let (ours, rmcp) = (samples.ours(|it| it.p50), samples.rmcp(|it| it.p50));
        let middle = |all: &[f64]| format!("{:.1}", median(all).unwrap_or(f64::NAN));
        let mut row = vec![crowd.callers.to_string(), middle(&ours), middle(&rmcp)];
        row.extend(spread(&quotients(&ours, &rmcp), 2));
        row.push(middle(&samples.ours(|it| it.p99)));
        row.push(middle(&samples.rmcp(|it| it.p99)));
        table.add_row(row);
    }
    table.to_string()
}

fn quotients(ours: &[f64], rmcp: &[f64]) -> Vec<f64> {
    let pairs = ours.iter().zip(rmcp);
    pairs.map(|(ours, rmcp)| ours / rmcp).collect()
}

fn chart_bars(all: &[Samples], of: Of) -> Vec<ChartBar> {
    let bar = |crowd: &Crowd, side: Side, samples: &[f64]| {
        let value = median(samples)?;
        let whose = match side {
            Side::Ours => "pool-stdio",
            Side::Other => "rmcp",
        };
        Some(ChartBar {
            name: format!("{}, {whose}", crowd.name()),
            value,
            label: format!("{value:.0}"),
            side,
        })
    };
    let pairs = CROWDS.iter().zip(all);
    let bars = pairs.flat_map(|(crowd, samples)| {
        [
            bar(crowd, Side::Ours, &samples.ours(of)),
            bar(crowd, Side::Other, &samples.rmcp(of)),
        ]
    });
    bars.flatten().collect()
}

/// Many short rounds: a round must not be longer than a disturbance of the machine.
const ROUNDS: usize = 21;
