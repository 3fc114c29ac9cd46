//! Which Host and which Origin are accepted.
//!
//! A page of a stranger reaches a local port in two ways: it asks directly, and then the browser names its
//! origin; or its own name is rebound to this address, and then the browser sends that name as the host.
//! An address as a host is safe: no name was resolved.

use std::collections::HashSet;
use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderValue, ORIGIN};

use crate::config::HttpSettings;

/// The names that are accepted.
#[derive(Debug)]
pub(crate) struct AllowedNames {
    hosts: HashSet<String>,
    origins: HashSet<String>,
}

/// Where a request says that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No page.
    None,
    /// A page that may ask.
    Allowed(HeaderValue),
    Refused,
}

impl AllowedNames {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&settings.allowed_hosts),
            origins: lower(&settings.allowed_origins),
        }
    }

    /// Whether exactly one host is named, and is accepted.
    pub(crate) fn accepts_host(&self, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return false;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let name = without_port(host).to_ascii_lowercase();
        name == "localhost" || address(&name).is_some() || self.hosts.contains(&name)
    }

    pub(crate) fn origin(&self, headers: &HeaderMap) -> Origin {
        let mut named = headers.get_all(ORIGIN).iter();
        let (Some(value), None) = (named.next(), named.next()) else {
            return match headers.contains_key(ORIGIN) {
                true => Origin::Refused,
                false => Origin::None,
            };
        };
        let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_local = text.split_once("://").is_some_and(|(scheme, host)| {
            let name = without_port(host);
            let is_loopback = address(name).is_some_and(|address| address.is_loopback());
            matches!(scheme, "http" | "https") && (name == "localhost" || is_loopback)
        });
        match is_local || self.origins.contains(&text) {
            true => Origin::Allowed(value.clone()),
            false => Origin::Refused,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// An address, as it stands in an URL.
fn address(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bare {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> AllowedNames {
        AllowedNames::new(&HttpSettings {
            allowed_hosts: vec!["Proxy.example".to_owned()],
            allowed_origins: vec!["https://app.example".to_owned()],
            ..HttpSettings::default()
        })
    }

    fn headers(name: hyper::header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (name.clone(), value)).fold(
            HeaderMap::new(),
            |mut all, (name, value)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn a_host_is_an_address_or_a_known_name() {
        let accepts = |values: &[&'static str]| names().accepts_host(&headers(HOST, values));
        for known in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:5",
            "proxy.example:9",
        ] {
            assert!(accepts(&[known]), "{known}");
        }
        for strange in [
            "evil.example",
            "localhost.evil",
            "127.0.0.1.evil.example",
            "",
            "::1",
            "a:b:c",
        ] {
            assert!(!accepts(&[strange]), "{strange}");
        }
        assert!(!accepts(&[]));
        assert!(!accepts(&["localhost", "evil.example"]));
    }

    #[test]
    fn an_origin_is_none_or_local_or_known() {
        let origin = |values: &[&'static str]| names().origin(&headers(ORIGIN, values));
        assert_eq!(origin(&[]), Origin::None);
        for known in [
            "http://localhost:6274",
            "https://127.0.0.1",
            "http://[::1]:3",
            "https://app.example",
        ] {
            assert_eq!(
                origin(&[known]),
                Origin::Allowed(HeaderValue::from_static(known))
            );
        }
        for strange in [
            "null",
            "http://evil.example",
            "http://app.example",
            "file://localhost",
            "",
        ] {
            assert_eq!(origin(&[strange]), Origin::Refused, "{strange}");
        }
        assert_eq!(
            origin(&["http://localhost", "http://localhost"]),
            Origin::Refused
        );
    }
}
