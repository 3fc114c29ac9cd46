//! The calls a pool makes to its connector, as names that scripts and fault plans use.

use std::fmt;

/// An asynchronous method of a connector.
///
/// # Examples
///
/// ```
/// use pool_testkit::Call;
///
/// assert_eq!(Call::ALL[0], Call::Connect);
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
    pub const ALL: [Self; 4] = [Self::Connect, Self::Reset, Self::Check, Self::Close];

    /// The method's name.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_testkit::Call::Connect.as_str(), "connect");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Check => "check",
            Self::Close => "close",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A synchronous method of a connector: a question about a connection.
///
/// # Examples
///
/// ```
/// use pool_testkit::Query;
///
/// assert_eq!(Query::ALL[0], Query::IsAlive);
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
    /// Every question, in the order a pool asks them of a returned connection.
    pub const ALL: [Self; 3] = [Self::IsAlive, Self::IsClean, Self::NeedsReset];

    /// The method's name.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(pool_testkit::Query::IsAlive.as_str(), "is_alive");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IsAlive => "is_alive",
            Self::IsClean => "is_clean",
            Self::NeedsReset => "needs_reset",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
