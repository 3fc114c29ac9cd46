//! What earlier runs measured: a file with one JSON object per line and run.
//!
//! A run is compared with the last one of the same effort on the same kind of machine. Lines that
//! cannot be parsed are skipped, so that a damaged history never costs a report.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::setting::Setting;
use crate::effort::Effort;
use crate::figure::Figure;
use pool_reuse::measure::Measured;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PastRun {
    /// Seconds since 1970.
    at_s: u64,
    /// What two runs must have in common to be compared.
    kind: BTreeMap<String, String>,
    /// For readers; never compared.
    versions: BTreeMap<String, String>,
    figures: BTreeMap<String, f64>,
}

impl PastRun {
    pub(super) fn new(effort: Effort, setting: &Setting, figures: &[Figure]) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let pairs = |pairs: &[(&str, String)]| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()));
            owned.collect::<BTreeMap<_, _>>()
        };
        let mut versions = pairs(&[("rustc", setting.rustc.clone())]);
        versions.extend(setting.crates.iter().cloned());
        let figures = figures
            .iter()
            .filter_map(|one| Some((one.name(), one.value?)));
        Self {
            at_s: now.map_or(0, |since| since.as_secs()),
            kind: pairs(&[
                ("effort", format!("{effort:?}").to_lowercase()),
                ("processor", setting.processor.clone()),
                ("cores", setting.cores.to_string()),
                ("build", setting.build.to_owned()),
            ]),
            versions,
            figures: figures.collect(),
        }
    }

    /// Its value of this figure.
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    fn to_json(&self) -> Value {
        json!({
            "at_s": self.at_s,
            "kind": self.kind,
            "versions": self.versions,
            "figures": self.figures,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let texts = |map: &Map<String, Value>| {
            let pairs = map
                .iter()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.into())));
            pairs.collect::<Option<BTreeMap<String, String>>>()
        };
        let figures = value.get("figures")?.as_object()?.iter();
        let figures = figures.map(|(what, figure)| Some((what.clone(), figure.as_f64()?)));
        Some(Self {
            at_s: value.get("at_s")?.as_u64()?,
            kind: texts(value.get("kind")?.as_object()?)?,
            versions: texts(value.get("versions")?.as_object()?)?,
            figures: figures.collect::<Option<_>>()?,
        })
    }
}

/// The last run of the same kind.
pub(super) fn last_like(history: &Path, run: &PastRun) -> Option<PastRun> {
    let text = fs::read_to_string(history).ok()?;
    last_in(&text, run)
}

fn last_in(text: &str, run: &PastRun) -> Option<PastRun> {
    let lines = text.lines().rev();
    let mut runs = lines.filter_map(|line| PastRun::from_json(&serde_json::from_str(line).ok()?));
    runs.find(|one| one.kind == run.kind)
}

/// Adds a line.
pub(super) fn append(history: &Path, run: &PastRun) -> Measured<()> {
    if let Some(folder) = history.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(history)?;
    // One write: lines of runs side by side must not mix.
    file.write_all(format!("{}\n", run.to_json()).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{PastRun, last_in};

    fn past_run(at_s: u64, effort: &str, figure: f64) -> PastRun {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        PastRun {
            at_s,
            kind: one("effort", effort),
            versions: one("rustc", "1"),
            figures: BTreeMap::from([("a / b".to_owned(), figure)]),
        }
    }

    #[test]
    fn the_last_run_of_the_same_kind_is_found_among_others_and_rubbish() {
        let lines = [
            past_run(1, "quick", 0.3).to_json().to_string(),
            past_run(2, "quick", 0.25).to_json().to_string(),
            past_run(3, "full", 0.5).to_json().to_string(),
            "half a li".to_owned(),
        ];
        let found = last_in(&lines.join("\n"), &past_run(4, "quick", 0.2));
        assert_eq!(found, Some(past_run(2, "quick", 0.25)));
        assert_eq!(last_in("", &past_run(4, "quick", 0.2)), None);
    }

    #[test]
    fn a_figure_is_found_by_its_name() {
        assert_eq!(past_run(1, "full", 0.5).figure("a / b"), Some(0.5));
        assert_eq!(past_run(1, "full", 0.5).figure("b / a"), None);
    }
}
