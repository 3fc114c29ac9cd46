//! Which requests ask for the same list.
//!
//! A list is known by its method and its cursor, and by the capabilities of the client if the request names them. A
//! request with other params is for no list that is kept: its server may heed them.

use serde::Deserialize;
use serde_json::Value;

/// Which list, or which page of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ListKey {
    pub(super) method: String,
    cursor: Option<String>,
    /// Of the client, if the request names them.
    capabilities: Option<String>,
}

impl ListKey {
    /// Of a request with this method and these params; `None` if it is for no list, or for one that is not kept.
    pub(super) fn of(method: &str, params: &[u8]) -> Option<Self> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Params {
            cursor: Option<String>,
            #[serde(default, rename = "_meta")]
            meta: Meta,
        }
        #[derive(Default, Deserialize)]
        struct Meta {
            #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
            capabilities: Option<Value>,
        }
        let is_list = matches!(
            method,
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list"
        );
        if !is_list {
            return None;
        }
        let params = match params.is_empty() {
            true => Params::default(),
            false => serde_json::from_slice(params).ok()?,
        };
        Some(Self {
            method: method.to_owned(),
            cursor: params.cursor,
            capabilities: params.meta.capabilities.map(|value| value.to_string()),
        })
    }

    /// How many bytes an entry under it counts, beside those of what is kept there.
    pub(super) fn bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.method.len() + of(&self.cursor) + of(&self.capabilities) + OVERHEAD
    }
}

/// Of one entry, about.
const OVERHEAD: usize = 128;
