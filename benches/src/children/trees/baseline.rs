//! The published results of the baseline: milliseconds, and processes that live 150 ms later.

/// What the baseline made of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline {
    /// Of a root that leads its group.
    pub(super) leader: &'static str,
    /// Of a root in the group of its parent.
    pub(super) plain: &'static str,
    /// Whether a process lived on, or the call did not return.
    pub(super) fails: bool,
}

/// What was published for this row.
pub(super) fn baseline(id: &str) -> Baseline {
    let (leader, plain, fails) = match id {
        "M1" => ("31 / 0", "19 / 0", false),
        "M2" => ("24 / 0", "26 / 0", false),
        "M3" => ("10 / 1", "10 / 1", true),
        "M4" => ("73 / 1", "72 / 1", true),
        "M5" => ("29 / 0", "25 / 0", false),
        "M6" => ("9 / 1", "8 / 1", true),
        "M7" => ("0 / 1", "0 / 1", true),
        "M8" => ("11 / 1", "9 / 1", true),
        "M9" => ("355 / 0", "378 / 0", false),
        "M10" => ("pending at 2 s", "-", true),
        "M11" => ("pending at 2.5 s", "-", true),
        _ => ("-", "-", false),
    };
    Baseline {
        leader,
        plain,
        fails,
    }
}
