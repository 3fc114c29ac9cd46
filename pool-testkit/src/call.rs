//! The methods of a connector, as names that scripts and fault plans use.

use std::fmt;

/// An asynchronous method of a connector. `Display` is its name.
///
/// # Examples
///
/// ```
/// use pool_testkit::Call;
///
/// assert_eq!(Call::Close.to_string(), "close");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `Connector::connect`
    Connect,
    /// `Connector::reset`
    Reset,
    /// `Connector::check`
    Check,
    /// `Connector::close`
    Close,
}

impl Call {
    /// Every call, in the order of a connection's life.
    pub(crate) const ALL: [Self; 4] = [Self::Connect, Self::Reset, Self::Check, Self::Close];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Check => "check",
            Self::Close => "close",
        })
    }
}

/// A synchronous method of a connector: a query about a connection. `Display` is its name.
///
/// # Examples
///
/// ```
/// use pool_testkit::Query;
///
/// assert_eq!(Query::NeedsReset.to_string(), "needs_reset");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    /// `Connector::is_alive`
    IsAlive,
    /// `Connector::is_clean`
    IsClean,
    /// `Connector::needs_reset`
    NeedsReset,
}

impl Query {
    /// Every query, in the order in which a pool makes them about a returned connection.
    pub(crate) const ALL: [Self; 3] = [Self::IsAlive, Self::IsClean, Self::NeedsReset];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IsAlive => "is_alive",
            Self::IsClean => "is_clean",
            Self::NeedsReset => "needs_reset",
        })
    }
}
