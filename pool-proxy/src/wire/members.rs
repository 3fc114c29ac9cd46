//! The members of a JSON object, each of which may be there once.
//!
//! Of two members with one name, a server may read the other one than the proxy.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members by name. Their values are not read.
pub(crate) fn members(object: &[u8]) -> Result<Members<'_>, serde_json::Error> {
    serde_json::from_slice::<Once<'_>>(object).map(|once| once.0)
}

type Members<'o> = BTreeMap<String, &'o RawValue>;

struct Once<'o>(Members<'o>);

impl<'o> Deserialize<'o> for Once<'o> {
    fn deserialize<D: Deserializer<'o>>(object: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'o> Visitor<'o> for Read {
            type Value = Once<'o>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'o>>(self, mut map: A) -> Result<Once<'o>, A::Error> {
                let mut members = Members::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("{name:?} is there twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Once(members))
            }
        }

        object.deserialize_map(Read)
    }
}
