//! Sizes: a number of bytes, or one with a unit, such as `"64 MiB"`.

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A size that fits into memory.
pub(super) fn whole<'de, D: Deserializer<'de>>(size: D) -> Result<usize, D::Error> {
    let bytes = ByteSize::deserialize(size)?.as_u64();
    usize::try_from(bytes).map_err(|_| D::Error::custom("more bytes than this machine can address"))
}

/// A size that may be left out.
pub(super) fn optional<'de, D: Deserializer<'de>>(size: D) -> Result<Option<u64>, D::Error> {
    ByteSize::deserialize(size).map(|size| Some(size.as_u64()))
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn a_size_is_a_number_of_bytes_or_has_a_unit() {
        let sizes = [
            ("65536", 65_536),
            ("\"65536\"", 65_536),
            ("\"512 KiB\"", 512 << 10),
            ("\"64MiB\"", 64 << 20),
            ("\"1.5 GiB\"", 3 << 29),
            ("\"64 MB\"", 64_000_000),
        ];
        for (text, bytes) in sizes {
            let keys = format!(
                "[http]\nbody_bytes_max = {text}\nbatch_bytes_max = {text}\nhead_bytes_max = {text}\n\
                 [limits]\nmemory_bytes_max = {text}\n\
                 [servers.a]\ncommand = ['cat']\nlists_bytes_max = {text}\n\
                 memory_bytes_soft = {text}\nmemory_bytes_max = {text}\n"
            );
            let read: Settings = toml::from_str(&keys).unwrap();
            let (http, server) = (&read.http, &read.servers["a"]);
            for size in [
                http.body_bytes_max,
                http.batch_bytes_max,
                http.head_bytes_max,
                server.lists_bytes_max,
            ] {
                assert_eq!(size as u64, bytes, "{text}");
            }
            for size in [
                read.limits.memory_bytes_max,
                server.memory_bytes_soft,
                server.memory_bytes_max,
            ] {
                assert_eq!(size, Some(bytes), "{text}");
            }
        }
    }
}
