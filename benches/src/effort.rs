//! How much is measured.

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Enough for figures that can be quoted.
    Full,
    /// Enough to see that everything works and that no bar is missed by far.
    Quick,
}

impl Effort {
    /// The full effort, unless less is asked for.
    #[must_use]
    pub const fn quick_if(is_quick: bool) -> Self {
        if is_quick { Self::Quick } else { Self::Full }
    }

    /// So many rounds, or a third of them.
    #[must_use]
    pub const fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(3),
        }
    }
}
