//! The page, its tables and pictures.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::history::Record;
use super::run::Findings;
use super::setting::{Setting, configurations};
use crate::children::{Chapter, Effort, Measured, Picture};
use crate::pools::scenario::Answers;
use crate::pools::subjects::Role;
use crate::pools::tables;
use pool_reuse::measure::plot::{Chart, ChartBar, Side};
use pool_reuse::measure::stats::ratio;
use pool_reuse::measure::table::Table;

/// What a page is made of.
pub(super) struct Page<'a> {
    pub(super) setting: &'a Setting,
    pub(super) findings: &'a Findings,
    pub(super) before: Option<&'a Record>,
    pub(super) effort: Effort,
    pub(super) took: Duration,
}

impl Page<'_> {
    /// The whole page. Its pictures are written into the folder.
    pub(super) fn write(&self, folder: &Path) -> Measured<String> {
        let mut page = String::new();
        let kind = match self.effort {
            Effort::Full => "full",
            Effort::Quick => "quick",
        };
        writeln!(
            page,
            "# Report ({kind} run, {:.0} s)\n",
            self.took.as_secs_f64()
        )?;
        writeln!(page, "{ABOUT}\n\n## Bars\n\n{}", self.bars())?;
        for gap in &self.findings.gaps {
            writeln!(page, "* {gap}")?;
        }
        writeln!(page, "## Machine and versions\n\n{}", self.machine())?;
        writeln!(page, "## Pools side by side\n\n{}", self.configurations())?;
        self.write_pools(&mut page, folder)?;
        self.write_children(&mut page, folder)?;
        Ok(page)
    }

    /// Each figure beside its bar, and beside what it was before.
    pub(super) fn bars(&self) -> String {
        let header = [
            "what",
            "figure",
            "bar",
            "verdict",
            "tolerated",
            "before",
            "change",
        ];
        let mut table = Table::new(&header);
        for one in &self.findings.judged {
            let before = self.before.and_then(|before| before.figure(&one.what));
            let change = one
                .figure
                .zip(before)
                .and_then(|(now, before)| ratio(now, before));
            table.add_row([
                one.what.clone(),
                figure(one.figure),
                one.bar.to_string(),
                one.word().to_owned(),
                one.tolerated(),
                figure(before),
                change.map_or("-".to_owned(), |times| {
                    format!("{:+.0} %", (times - 1.0) * 100.0)
                }),
            ]);
        }
        format!("{table}\n")
    }

    fn machine(&self) -> String {
        let Setting { cores, build, .. } = self.setting;
        let mut text = format!("* {}, {cores} cores", self.setting.processor);
        if let Some(mebibytes) = self.setting.memory_mib {
            text.push_str(&format!(", {mebibytes} MiB of memory"));
        }
        text.push_str(&format!(
            "\n* kernel {}; load at the begin {}\n* {}, {build} build\n",
            self.setting.kernel, self.setting.load, self.setting.rustc
        ));
        let crates = self.setting.crates.iter();
        let crates: Vec<String> = crates
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        text.push_str(&format!("* {}\n", crates.join(", ")));
        text
    }

    fn configurations(&self) -> String {
        let mut text = format!(
            "Medians of {} rounds, in turns; of waits, the median of each round's percentile. In all \
             pools connects are ready at once, and:\n\n",
            self.findings.rounds
        );
        for one in configurations() {
            text.push_str(&format!("* {one}\n"));
        }
        text
    }

    fn write_pools(&self, page: &mut String, folder: &Path) -> Measured<()> {
        for (scenario, answers) in &self.findings.pools {
            let unit = match answers {
                Answers::Throughput(_) => "ns per operation",
                Answers::Waits(_) => "p99.9 of the waits, ns",
                Answers::Growth(_) => "growth of the cost, times",
                Answers::Stampede(_) | Answers::Spike(_) => "s until all are served",
            };
            let standings = answers.standings();
            let bars = standings.iter().map(|one| ChartBar {
                name: one.name.to_owned(),
                value: one.figure,
                label: figure(Some(one.figure)),
                side: side_of(one.role),
            });
            let chart = Chart {
                title: scenario.about.to_owned(),
                unit: format!("{unit} (less is better)"),
                bars: bars.collect(),
            };
            let name = format!("pools-{}.svg", scenario.name);
            chart.write_svg(&folder.join(&name))?;
            let Chart { title, unit, .. } = chart;
            writeln!(page, "### {}\n\n{}\n", scenario.name, scenario.about)?;
            writeln!(
                page,
                "{}\n\n![{title}: {unit}]({name})\n",
                tables::answers(answers)
            )?;
        }
        Ok(())
    }

    fn write_children(&self, page: &mut String, folder: &Path) -> Measured<()> {
        writeln!(page, "## Children as connections\n")?;
        for (topic, chapter) in &self.findings.chapters {
            writeln!(
                page,
                "{}",
                chapter.to_string().replacen("## ", "### ", 1).trim_end()
            )?;
            for one in pictures(chapter) {
                let name = format!("children-{topic}{}.svg", one.name);
                one.chart.write_svg(&folder.join(&name))?;
                writeln!(page, "\n![{}: {}]({name})", one.chart.title, one.chart.unit)?;
            }
            writeln!(page)?;
        }
        Ok(())
    }
}

/// Those of the chapter; if it has none, its figures.
fn pictures(chapter: &Chapter) -> Vec<Picture> {
    if !chapter.pictures.is_empty() {
        let named = |one: &Picture| Picture {
            name: format!("-{}", one.name),
            ..one.clone()
        };
        return chapter.pictures.iter().map(named).collect();
    }
    let bars = chapter.judgements.iter().filter_map(|one| {
        let value = one.figure.filter(|value| *value > 0.0)?;
        // The place for names is narrow; where all compare the same, the rest tells them apart.
        let name = one.what.strip_prefix("spawn per request / pooled, ");
        Some(ChartBar {
            name: name.unwrap_or(&one.what).to_owned(),
            value,
            label: figure(Some(value)),
            side: Side::Ours,
        })
    });
    let bars: Vec<ChartBar> = bars.collect();
    if bars.len() < 2 {
        return Vec::new();
    }
    vec![Picture {
        name: String::new(),
        chart: Chart {
            title: chapter.title.to_owned(),
            unit: "ratio".to_owned(),
            bars,
        },
    }]
}

const fn side_of(role: Role) -> Side {
    match role {
        Role::Ours => Side::Ours,
        Role::Peer(_) | Role::Blocking | Role::Baseline => Side::Other,
    }
}

/// Three digits, more or less.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value != 0.0 && value < 0.1 => format!("{value:.4}"),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

const ABOUT: &str = "\
Every figure that is judged is a ratio of two things that were measured in turns, in this run. Read the
ratios, not the times: machines differ, and others may use this one too. A figure that misses its bar is
a FAIL; it fails the run only if it is beyond what is tolerated, which is the bar with a margin for
noise. \"Before\" is the last run of this kind on this kind of machine.";
