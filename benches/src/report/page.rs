//! The page, its tables and pictures.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::history::PastRun;
use super::run::Findings;
use super::setting::{Setting, configurations};
use crate::children::{Chapter, Picture};
use crate::effort::Effort;
use crate::figure::{number, remarks};
use crate::pools::{self, Answers, ComparedAs, WaitFigure};
use pool_reuse::measure::Measured;
use pool_reuse::measure::Table;
use pool_reuse::measure::ratio;
use pool_reuse::measure::{Chart, ChartBar, Side};

/// The content of a page.
pub(super) struct Page<'a> {
    pub(super) setting: &'a Setting,
    pub(super) findings: &'a Findings,
    pub(super) before: Option<&'a PastRun>,
    pub(super) effort: Effort,
    pub(super) took: Duration,
}

impl Page<'_> {
    /// The whole page. Its pictures go into the folder.
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

    /// Each figure beside its bar and beside the last run.
    pub(super) fn bars(&self) -> String {
        let header = [
            "what",
            "figure",
            "bar",
            "result",
            "tolerated",
            "before",
            "change",
        ];
        let mut table = Table::new(&header);
        for one in &self.findings.figures {
            let name = one.name();
            let before = self.before.and_then(|before| before.figure(&name));
            let change = one
                .value
                .zip(before)
                .and_then(|(now, before)| ratio(now, before));
            table.add_row([
                name,
                number(one.value),
                one.bar.map_or("-".to_owned(), |bar| bar.limit.to_string()),
                one.result().to_string(),
                one.bar
                    .map_or("-".to_owned(), |bar| bar.tolerated().to_string()),
                number(before),
                change.map_or("-".to_owned(), |times| {
                    format!("{:+.0} %", (times - 1.0) * 100.0)
                }),
            ]);
        }
        let mut text = format!("{table}\n{}", remarks(&self.findings.figures));
        for repeat in &self.findings.repeats {
            text += &format!("* measured once more, since the first time it failed: {repeat}\n");
        }
        text
    }

    fn machine(&self) -> String {
        let Setting { cores, build, .. } = self.setting;
        let mut text = format!("* {}, {cores} cores", self.setting.processor);
        if let Some(mebibytes) = self.setting.memory_mib {
            text.push_str(&format!(", {mebibytes} MiB of memory"));
        }
        text.push_str(&format!(
            "\n* kernel {}; load at the start {}\n* {}, {build} build\n",
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
            "Medians of {} rounds, in turns; for waits, the median of each round's percentile. In all \
             pools a connect is done at once. Settings:\n\n",
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
                Answers::Waits(_, WaitFigure::P999) => "p99.9 of the waits, ns",
                Answers::Waits(_, WaitFigure::Mean) => "mean wait, ns",
                Answers::Expiry(_) => "CPU ns per waiter",
                Answers::Growth(_) => "growth of the cost, times",
                Answers::Stampede(_) | Answers::Spike(_) => "s until all are served",
            };
            let standings = answers.standings();
            let bars = standings.iter().map(|one| ChartBar {
                name: one.name.to_owned(),
                value: one.figure,
                label: number(Some(one.figure)),
                side: side_of(one.compared_as),
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
                pools::table(answers)
            )?;
        }
        Ok(())
    }

    fn write_children(&self, page: &mut String, folder: &Path) -> Measured<()> {
        writeln!(page, "## Children as connections\n")?;
        for chapter in &self.findings.chapters {
            writeln!(
                page,
                "{}",
                chapter.to_string().replacen("## ", "### ", 1).trim_end()
            )?;
            for one in pictures(chapter) {
                let name = format!("children-{}{}.svg", chapter.topic, one.name);
                one.chart.write_svg(&folder.join(&name))?;
                writeln!(page, "\n![{}: {}]({name})", one.chart.title, one.chart.unit)?;
            }
            writeln!(page)?;
        }
        Ok(())
    }
}

/// The charts of the chapter, or one of its figures if it has none.
fn pictures(chapter: &Chapter) -> Vec<Picture> {
    if !chapter.pictures.is_empty() {
        let named = |one: &Picture| Picture {
            name: format!("-{}", one.name),
            ..one.clone()
        };
        return chapter.pictures.iter().map(named).collect();
    }
    let bars = chapter.figures.iter().filter_map(|one| {
        let value = one.value.filter(|value| *value > 0.0)?;
        // There is little room for names: what they have in common is left out.
        let name = one.what.strip_prefix("spawn per request / pooled, ");
        Some(ChartBar {
            name: name.unwrap_or(&one.what).to_owned(),
            value,
            label: number(Some(value)),
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

const fn side_of(subject: ComparedAs) -> Side {
    match subject {
        ComparedAs::Ours => Side::Ours,
        ComparedAs::Peer(_) | ComparedAs::Blocking | ComparedAs::Baseline => Side::Other,
    }
}

const ABOUT: &str = "\
Every judged figure is a ratio of two things that were measured in turns in this run, or a count. Read the
ratios, not the times: machines differ, and this one may do other work too. A figure within 5 % of its bar
meets it. A figure that is worse than what is tolerated fails the run, unless the miss is known: known
misses are listed under the table with their reason. \"Before\" is the last run of this kind on this kind
of machine.";
