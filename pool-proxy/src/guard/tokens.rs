//! Which principal a bearer token belongs to.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::TokenSettings;

/// A client or a group of clients that is told from others. Two principals never share a child, unless its server is declared stateless.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Principal(Arc<str>);

/// The tokens that are known.
#[derive(Debug)]
pub(crate) struct Tokens {
    known: Vec<Known>,
    anonymous: Principal,
}

#[derive(Debug)]
struct Known {
    hash: [u8; 32],
    principal: Principal,
    /// `None`: all.
    servers: Option<HashSet<String>>,
    is_admin: bool,
}

/// The principal of a request, and what it may ask for.
#[derive(Debug, Clone)]
pub(crate) struct Access<'t> {
    pub(crate) principal: Principal,
    pub(crate) is_admin: bool,
    servers: Option<&'t HashSet<String>>,
}

impl Tokens {
    pub(crate) fn new(settings: &BTreeMap<String, TokenSettings>) -> Self {
        let known = settings.iter().map(|(name, token)| Known {
            hash: digits(&token.sha256),
            principal: Principal(name.as_str().into()),
            servers: token
                .servers
                .as_ref()
                .map(|names| names.iter().cloned().collect()),
            is_admin: token.admin,
        });
        Self {
            known: known.collect(),
            anonymous: Principal(ANONYMOUS.into()),
        }
    }

    /// The principal that asks; `None` without a known token.
    pub(crate) fn access(&self, headers: &HeaderMap) -> Option<Access<'_>> {
        if self.known.is_empty() {
            return Some(Access {
                principal: self.anonymous.clone(),
                is_admin: false,
                servers: None,
            });
        }
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (all.next(), all.next()) else {
            return None;
        };
        let given = given.to_str().ok()?;
        let (scheme, token) = given.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let hash = Sha256::digest(token.trim().as_bytes());
        // All are compared, each in constant time: how long it takes says nothing of any.
        let found = self.known.iter().fold(None, |found, known| {
            match bool::from(known.hash.as_slice().ct_eq(hash.as_slice())) {
                true => Some(known),
                false => found,
            }
        });
        found.map(|known| Access {
            principal: known.principal.clone(),
            is_admin: known.is_admin,
            servers: known.servers.as_ref(),
        })
    }
}

impl Access<'_> {
    pub(crate) fn may_use(&self, server: &str) -> bool {
        self.servers.is_none_or(|servers| servers.contains(server))
    }
}

impl Principal {
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(name: &str) -> Self {
        Self(name.into())
    }

    /// All principals together, where they share children.
    pub(crate) fn everybody() -> Self {
        Self(EVERYBODY.into())
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of 64 hexadecimal digits, which were checked.
fn digits(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    bytes
}

const ANONYMOUS: &str = "anonymous";
/// Only a part of the keys of `stateless` servers, and all of those have it: a token of this name shares nothing by it.
const EVERYBODY: &str = "all principals";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_one_principal_and_its_servers() {
        let hash = |token: &str| {
            let hash = Sha256::digest(token.as_bytes());
            hash.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let token = |token: &str, servers: Option<&str>| TokenSettings {
            sha256: hash(token).to_uppercase(),
            servers: servers.map(|name| vec![name.to_owned()]),
            admin: servers.is_none(),
        };
        let settings = BTreeMap::from([
            ("alice".to_owned(), token("a-token", Some("git"))),
            ("bob".to_owned(), token("b-token", None)),
        ]);
        let tokens = Tokens::new(&settings);
        let access = |value: &'static str| {
            let value = hyper::header::HeaderValue::from_static(value);
            tokens.access(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
        };
        let alice = access("Bearer a-token").unwrap();
        assert_eq!(alice.principal.name(), "alice");
        assert!(alice.may_use("git") && !alice.may_use("time"));
        let bob = access("bearer b-token").unwrap();
        assert!(bob.may_use("time") && bob.is_admin && !alice.is_admin);
        for wrong in ["Bearer c", "Bearer", "Basic a-token", "a-token", "Bearer "] {
            assert!(access(wrong).is_none(), "{wrong}");
        }
        assert!(tokens.access(&HeaderMap::new()).is_none());
        let mut both = HeaderMap::new();
        for value in ["Bearer a-token", "Bearer b-token"] {
            both.append(
                AUTHORIZATION,
                hyper::header::HeaderValue::from_static(value),
            );
        }
        assert!(tokens.access(&both).is_none());
    }
}
