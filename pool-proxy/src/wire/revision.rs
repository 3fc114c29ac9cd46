//! The revisions of the protocol: those with sessions, and the one without.

/// A revision whose clients initialize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Revision {
    March2025,
    June2025,
    November2025,
}

impl Revision {
    pub(crate) const ALL: [Self; 3] = [Self::March2025, Self::June2025, Self::November2025];

    pub(crate) const NEWEST: Self = Self::November2025;

    /// What a request without a version header speaks.
    pub(crate) const UNSAID: Self = Self::March2025;

    /// As it is written in messages and headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.name() == name)
    }

    /// What a client that asks for this revision is offered: the same, or the latest one.
    pub(crate) fn offered(name: &str) -> Self {
        Self::of(name).unwrap_or(Self::NEWEST)
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Spoken {
    Sessions(Revision),
    /// Revision 2026-07-28.
    Modern,
}

impl Spoken {
    pub(crate) const ALL: [Self; 4] = [
        Self::Sessions(Revision::March2025),
        Self::Sessions(Revision::June2025),
        Self::Sessions(Revision::November2025),
        Self::Modern,
    ];

    /// As it is written in messages and headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sessions(revision) => revision.name(),
            Self::Modern => MODERN_VERSION,
        }
    }
}

pub(crate) const MODERN_VERSION: &str = "2026-07-28";
